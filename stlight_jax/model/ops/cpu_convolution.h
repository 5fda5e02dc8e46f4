// One run of outputs of a depthwise convolution, for the kernels that convolve.
//
// XLA's own loops for a depthwise convolution read an input and a weight from memory for every multiplication. These keep
// a row of weights (or of sums) and a run of neighbouring outputs in registers, so that one load serves up to
// kernel-width multiplications. Arrays are channels-last; a vector holds neighbouring channels, which never mix.
#ifndef STLIGHT_CPU_CONVOLUTION_H_
#define STLIGHT_CPU_CONVOLUTION_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace stlight {

struct Shape {
  int64_t batch, height, width, channels, kernel_height, kernel_width, dilation;

  int64_t taps() const { return kernel_height * kernel_width; }
  int64_t input_row(int64_t y, int64_t i) const { return y + (i - kernel_height / 2) * dilation; }
  int64_t input_column(int64_t x, int64_t j) const { return x + (j - kernel_width / 2) * dilation; }
  int64_t pixel(int64_t b, int64_t y, int64_t x) const { return ((b * height + y) * width + x) * channels; }

  int64_t vectors() const { return CeilDivide(channels, kLanes); }
  // Where lanes do not divide the channels, the last vector overlaps the one before it. They store the same numbers where
  // they overlap.
  int64_t first_channel(int64_t vector) const { return std::min(vector * kLanes, channels - kLanes); }
  // The shares of the channels that tasks have; a share begins at a vector.
  int64_t shares() const { return std::max<int64_t>(1, vectors() / kShareVectors); }
  int64_t share_begin(int64_t share) const { return share * vectors() / shares(); }
};

// Splits a row into runs of outputs `dilation` apart: f(run length as a constant, first column, columns that exist).
template <typename F>
inline __attribute__((always_inline)) void ForEachRun(const Shape& s, F&& f) {
  for (int64_t phase = 0; phase < std::min(s.dilation, s.width); ++phase) {
    for (int64_t x = phase; x < s.width;) {
      const int64_t left = CeilDivide(s.width - x, s.dilation);
      if (left > kShortRun) {
        f(std::integral_constant<int, kLongRun>{}, x, std::min<int64_t>(left, kLongRun));
        x += kLongRun * s.dilation;
      } else {
        f(std::integral_constant<int, kShortRun>{}, x, left);
        x += kShortRun * s.dilation;
      }
    }
  }
}

// Walks over the inputs of a run of outputs in one row: f(input, output, tap), with both numbers as constants, for each tap of
// each output. Without the attributes of these lambdas and of `f`, convolutions by GCC 12 took a third longer.
template <int width, int run, typename T, typename F>
inline __attribute__((always_inline)) void ForEachProduct(const Shape& s, const T* inputs, int64_t stride, int64_t x,
                                                          const F& f) {
  const int64_t first = s.input_column(x, 0);
  Unrolled<run + width - 1>([&](auto c) __attribute__((always_inline)) {
    const int64_t column = first + c * s.dilation;
    if (column < 0 || column >= s.width) return;
    const Vector input = Load(inputs + column * stride);
    Unrolled<width>([&](auto j) __attribute__((always_inline)) {
      constexpr int output = decltype(c)::value - decltype(j)::value;
      if constexpr (output >= 0 && output < run) f(input, std::integral_constant<int, output>{}, j);
    });
  });
}

// One run and one vector of channels. `weights` are [kernel_height, width, lanes]. `row_at(row)` points to the first pixel of
// an input row, and `stride` floats lie between neighbouring pixels. `finish(column, sum)` takes the results.
template <int width, int run, typename RowAt, typename Finish>
inline __attribute__((always_inline)) void ConvolveRun(const Shape& s, const RowAt& row_at, int64_t stride,
                                                       const float* weights, int64_t y, int64_t x, int64_t count,
                                                       const Finish& finish) {
  Vector sums[run] = {};
  for (int64_t i = 0; i < s.kernel_height; ++i) {
    const int64_t row = s.input_row(y, i);
    if (row < 0 || row >= s.height) continue;
    Vector w[width];
    Unrolled<width>([&](auto j) { w[j] = Load(weights + (i * width + j) * kLanes); });
    ForEachProduct<width, run>(s, row_at(row), stride, x, [&](Vector input, auto o, auto j) __attribute__((always_inline)) {
      sums[o] += input * w[j];
    });
  }
  Unrolled<run>([&](auto o) {
    if (o < count) finish(x + o * s.dilation, sums[o]);
  });
}

// A row of outputs of one vector of channels; see `ConvolveRun`.
template <int width, typename RowAt, typename Finish>
inline __attribute__((always_inline)) void ConvolveRow(const Shape& s, const RowAt& row_at, int64_t stride,
                                                       const float* weights, int64_t y, const Finish& finish) {
  ForEachRun(s, [&](auto run, int64_t column, int64_t count) {
    ConvolveRun<width, decltype(run)::value>(s, row_at, stride, weights, y, column, count, finish);
  });
}

// Adds what one run of outputs contributes to the gradient of one kernel row, `sums` [width, lanes].
template <int width, int run, typename T, typename C>
void AddRun(const Shape& s, const T* inputs, int64_t stride, const C* cotangents, int64_t cotangent_stride, float* sums,
            int64_t x, int64_t count) {
  Vector g[run], part[width] = {};
  Unrolled<run>([&](auto o) {
    g[o] = o < count ? Load(cotangents + (x + o * s.dilation) * cotangent_stride) : Vector{};
  });
  ForEachProduct<width, run>(s, inputs, stride, x, [&](Vector input, auto o, auto j) __attribute__((always_inline)) {
    part[j] += input * g[o];
  });
  Unrolled<width>([&](auto j) { Store(sums + j * kLanes, Load(sums + j * kLanes) + part[j]); });
}

// Adds what a row of outputs contributes to the gradient of one kernel row; see `AddRun`.
template <int width, typename T, typename C>
void AddRow(const Shape& s, const T* inputs, int64_t stride, const C* cotangents, int64_t cotangent_stride, float* sums) {
  ForEachRun(s, [&](auto run, int64_t x, int64_t count) {
    AddRun<width, decltype(run)::value>(s, inputs, stride, cotangents, cotangent_stride, sums, x, count);
  });
}

// The weights of the vectors from `begin` to `end`, [vectors, kernel_height, kernel_width, lanes]; `kernel` is
// [kernel_height, kernel_width, channels], rotated by 180 degrees if `flip`.
inline std::vector<float> WeightsOfVectors(const Shape& s, const float* kernel, int64_t begin, int64_t end, bool flip) {
  std::vector<float> weights;
  weights.reserve((end - begin) * s.taps() * kLanes);
  for (int64_t vector = begin; vector < end; ++vector) {
    for (int64_t tap = 0; tap < s.taps(); ++tap) {
      const float* from = kernel + (flip ? s.taps() - 1 - tap : tap) * s.channels + s.first_channel(vector);
      weights.insert(weights.end(), from, from + kLanes);
    }
  }
  return weights;
}

// Calls f with the kernel's width as a constant.
template <typename F>
xla::ffi::Error WithWidth(const Shape& s, F&& f) {
  if (s.channels < kLanes) return xla::ffi::Error::InvalidArgument("there are fewer channels than a vector holds");
  if (s.dilation < 1) return xla::ffi::Error::InvalidArgument("the dilation is less than 1");
  switch (s.kernel_width) {
    case 1: f(std::integral_constant<int, 1>{}); break;
    case 3: f(std::integral_constant<int, 3>{}); break;
    case 5: f(std::integral_constant<int, 5>{}); break;
    case 7: f(std::integral_constant<int, 7>{}); break;
    case 9: f(std::integral_constant<int, 9>{}); break;
    case 11: f(std::integral_constant<int, 11>{}); break;
    default: return xla::ffi::Error::InvalidArgument("the kernel's width is not an odd number up to 11");
  }
  return xla::ffi::Error::Success();
}

}  // namespace stlight

#endif  // STLIGHT_CPU_CONVOLUTION_H_
