// For layers on CPUs, in float32, called by XLA through its foreign function interface: depthwise convolution, its filter
// gradient, and sums over all pixels of a channel. Sums are made in the same order whatever the number of threads.
//
// Stacks of mixer blocks have kernels of their own, `cpu_mixers.cc` and `cpu_training_*.cc`, under the conditions of
// `cpu_kernels.supports_mixers`.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu_convolution.h"
#include "cpu_threads.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace stlight {
namespace {

template <int width>
void Convolve(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* kernel, bool flip, float* output) {
  constexpr int64_t rows = 8;
  const int64_t strips = CeilDivide(s.height, rows), taps = s.taps();
  ParallelFor(pool, s.batch * s.shares() * strips, [&](int64_t task) {
    const int64_t b = task / (s.shares() * strips), share = task / strips % s.shares(), top = task % strips * rows;
    const int64_t begin = s.share_begin(share), end = s.share_begin(share + 1);
    const std::vector<float> weights = WeightsOfVectors(s, kernel, begin, end, flip);
    for (int64_t y = top; y < std::min(top + rows, s.height); ++y) {
      for (int64_t vector = begin; vector < end; ++vector) {
        const float* image = x + s.pixel(b, 0, 0) + s.first_channel(vector);
        const float* own = weights.data() + (vector - begin) * taps * kLanes;
        float* output_row = output + s.pixel(b, y, 0) + s.first_channel(vector);
        const auto row_at = [&](int64_t row) { return image + row * s.width * s.channels; };
        const auto finish = [&](int64_t column, Vector sum) { Store(output_row + column * s.channels, sum); };
        ConvolveRow<width>(s, row_at, s.channels, own, y, finish);
      }
    }
  });
}

template <int width>
void FilterGradient(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* cotangent, float* gradient) {
  constexpr int64_t rows = 16;
  const int64_t strips = CeilDivide(s.height, rows), parts = s.batch * strips, taps = s.taps();
  std::vector<std::vector<float>> sums(s.shares() * parts);  // of [vectors, kernel_height, kernel_width, lanes]
  ParallelFor(pool, s.shares() * parts, [&](int64_t task) {
    const int64_t share = task / parts, b = task % parts / strips, top = task % strips * rows;
    const int64_t begin = s.share_begin(share), end = s.share_begin(share + 1);
    std::vector<float>& own = sums[task];
    own.assign((end - begin) * taps * kLanes, 0.0f);
    for (int64_t y = top; y < std::min(top + rows, s.height); ++y) {
      for (int64_t i = 0; i < s.kernel_height; ++i) {
        const int64_t row = s.input_row(y, i);
        if (row < 0 || row >= s.height) continue;
        for (int64_t vector = begin; vector < end; ++vector) {
          const float* inputs = x + s.pixel(b, row, 0) + s.first_channel(vector);
          const float* cotangents = cotangent + s.pixel(b, y, 0) + s.first_channel(vector);
          float* of_row = own.data() + ((vector - begin) * taps + i * width) * kLanes;
          AddRow<width>(s, inputs, s.channels, cotangents, s.channels, of_row);
        }
      }
    }
  });
  ParallelFor(pool, s.shares(), [&](int64_t share) {
    const int64_t begin = s.share_begin(share), end = s.share_begin(share + 1);
    for (int64_t vector = begin; vector < end; ++vector) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        Vector total = {};
        for (int64_t part = 0; part < parts; ++part) {
          total += Load(sums[share * parts + part].data() + ((vector - begin) * taps + tap) * kLanes);
        }
        Store(gradient + tap * s.channels + s.first_channel(vector), total);
      }
    }
  });
}

// Of [pixels, channels] arrays: sums[channel] = sum of a, products[channel] = sum of a * (b - center[channel]).
void ChannelSums(ffi::ThreadPool& pool, int64_t pixels, int64_t channels, const float* a, const float* b,
                 const float* center, float* sums, float* products) {
  constexpr int64_t part = 256, group = 16;
  const int64_t parts = CeilDivide(pixels, part);
  std::vector<double> of_parts(parts * 2 * channels, 0.0);
  ParallelFor(pool, parts, [&](int64_t task) {
    double* totals = of_parts.data() + task * 2 * channels;
    std::vector<float> own(2 * channels);  // sums of few terms in float32, sums of those in float64
    const int64_t end = std::min((task + 1) * part, pixels);
    for (int64_t first = task * part; first < end; first += group) {
      std::fill(own.begin(), own.end(), 0.0f);
      for (int64_t pixel = first; pixel < std::min(first + group, end); ++pixel) {
        const float* from_a = a + pixel * channels;
        const float* from_b = b + pixel * channels;
        for (int64_t c = 0; c < channels; ++c) {
          own[c] += from_a[c];
          own[channels + c] += from_a[c] * (from_b[c] - center[c]);
        }
      }
      for (int64_t c = 0; c < 2 * channels; ++c) totals[c] += own[c];
    }
  });
  std::vector<double> totals(2 * channels, 0.0);
  for (int64_t task = 0; task < parts; ++task) {
    for (int64_t c = 0; c < 2 * channels; ++c) totals[c] += of_parts[task * 2 * channels + c];
  }
  std::copy_n(totals.begin(), channels, sums);
  std::copy_n(totals.begin() + channels, channels, products);
}

using Array = ffi::Buffer<ffi::F32, 4>;
using Channels = ffi::Buffer<ffi::F32, 1>;

Shape ShapeOf(Array x, ffi::Span<const int64_t> kernel, int64_t dilation) {
  const auto sides = x.dimensions();
  return {sides[0], sides[1], sides[2], sides[3], kernel[0], kernel[1], dilation};
}

ffi::Error ConvolveHandler(ffi::ThreadPool pool, Array x, Array kernel, ffi::Result<stlight::Array> output, int64_t dilation,
                           bool flip) {
  const Shape s = ShapeOf(x, kernel.dimensions(), dilation);
  return WithWidth(s, [&](auto width) {
    Convolve<decltype(width)::value>(pool, s, x.typed_data(), kernel.typed_data(), flip, output->typed_data());
  });
}

ffi::Error FilterGradientHandler(ffi::ThreadPool pool, Array x, Array cotangent, ffi::Result<stlight::Array> gradient,
                                 int64_t dilation) {
  const Shape s = ShapeOf(x, gradient->dimensions(), dilation);
  return WithWidth(s, [&](auto width) {
    FilterGradient<decltype(width)::value>(pool, s, x.typed_data(), cotangent.typed_data(), gradient->typed_data());
  });
}

ffi::Error ChannelSumsHandler(ffi::ThreadPool pool, Array a, Array b, Channels center, ffi::Result<stlight::Channels> sums,
                              ffi::Result<stlight::Channels> products) {
  const int64_t channels = center.element_count();
  ChannelSums(pool, channels ? a.element_count() / channels : 0, channels, a.typed_data(), b.typed_data(),
              center.typed_data(), sums->typed_data(), products->typed_data());
  return ffi::Error::Success();
}

}  // namespace
}  // namespace stlight

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_convolve, stlight::ConvolveHandler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<stlight::Array>()
                                  .Arg<stlight::Array>()
                                  .Ret<stlight::Array>()
                                  .Attr<int64_t>("dilation")
                                  .Attr<bool>("flip"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_filter_gradient, stlight::FilterGradientHandler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<stlight::Array>()
                                  .Arg<stlight::Array>()
                                  .Ret<stlight::Array>()
                                  .Attr<int64_t>("dilation"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_channel_sums, stlight::ChannelSumsHandler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<stlight::Array>()
                                  .Arg<stlight::Array>()
                                  .Arg<stlight::Channels>()
                                  .Ret<stlight::Channels>()
                                  .Ret<stlight::Channels>());
