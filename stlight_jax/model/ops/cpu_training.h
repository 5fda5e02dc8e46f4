// What the forward and the backward pass of mixer blocks in training share: parameters, statistics, and how work is divided.
//
// Sums are made in the same order whatever the number of threads.
#ifndef STLIGHT_CPU_TRAINING_H_
#define STLIGHT_CPU_TRAINING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu_convolution.h"
#include "cpu_product.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace stlight {

constexpr int64_t kMostParts = 16;  // of the pixels; each has sums of its own

// A stack of blocks on a batch of images.
struct Stack {
  Shape near, far;
  int64_t blocks;
  float epsilon;

  int64_t channels() const { return near.channels; }
  int64_t pixels() const { return near.batch * near.height * near.width; }
  int64_t size() const { return pixels() * channels(); }
  int64_t chunks() const { return (pixels() + kPixels - 1) / kPixels; }
  int64_t parts() const { return std::min(chunks(), kMostParts); }
  int64_t part_begin(int64_t part) const { return std::min(part * chunks() / parts() * kPixels, pixels()); }
  // Tasks of the spatial phases: four vectors of an image, side by side in four cache lines, or fewer to occupy all threads.
  int64_t vectors_of_task(int64_t threads) const {
    return std::clamp<int64_t>(near.vectors() * near.batch / std::max<int64_t>(1, 2 * threads), 1, kBlockVectors);
  }
};

// The mean and the variance of each channel, and the batch norm that they make: value * factor + summand.
struct Norm {
  std::vector<float> mean, variance, factor, summand;

  // `sums` are [parts, 2, channels]: of the values and of their squares.
  Norm(const Stack& stack, const std::vector<double>& sums, const float* scale, const float* bias)
      : Norm(stack.channels()) {
    const int64_t channels = stack.channels(), parts = sums.size() / (2 * channels);
    for (int64_t c = 0; c < channels; ++c) {
      double total = 0, squares = 0;
      for (int64_t part = 0; part < parts; ++part) {
        total += sums[part * 2 * channels + c];
        squares += sums[(part * 2 + 1) * channels + c];
      }
      const double centre = total / stack.pixels();
      mean[c] = centre;
      variance[c] = std::max(squares / stack.pixels() - centre * centre, 0.0);
    }
    SetFactors(stack, scale, bias);
  }
  Norm(const Stack& stack, const float* known_mean, const float* known_variance, const float* scale, const float* bias)
      : Norm(stack.channels()) {
    std::copy_n(known_mean, mean.size(), mean.begin());
    std::copy_n(known_variance, mean.size(), variance.begin());
    SetFactors(stack, scale, bias);
  }

 private:
  explicit Norm(int64_t channels) : mean(channels), variance(channels), factor(channels), summand(channels) {}

  void SetFactors(const Stack& stack, const float* scale, const float* bias) {
    for (size_t c = 0; c < mean.size(); ++c) {
      factor[c] = scale[c] / std::sqrt(variance[c] + stack.epsilon);
      summand[c] = bias[c] - mean[c] * factor[c];
    }
  }
};

inline void AddTo(double* totals, Vector part) {
  float numbers[kLanes];
  Store(numbers, part);
  for (int64_t lane = 0; lane < kLanes; ++lane) totals[lane] += numbers[lane];
}

// Sums over pixels for channels in the order of vectors or panels, which overlap: `lists` lists of [groups, lanes] numbers.
struct ChannelTotals {
  int64_t groups;
  std::vector<double> totals;

  ChannelTotals(int64_t lists, int64_t groups) : groups(groups), totals(lists * groups * kLanes) {}
  void Add(int64_t list, int64_t group, Vector part) { AddTo(totals.data() + (list * groups + group) * kLanes, part); }
  // Copies a group's totals to its channels.
  void Write(int64_t list, int64_t group, double* to) const {
    std::copy_n(totals.data() + (list * groups + group) * kLanes, kLanes, to);
  }
};

template <xla::ffi::DataType type>
using Images = xla::ffi::Buffer<type, 4>;
template <xla::ffi::DataType type>
using Stacked = xla::ffi::Buffer<type, 5>;
using Kernels = xla::ffi::Buffer<xla::ffi::F32, 5>;
using Matrices = xla::ffi::Buffer<xla::ffi::F32, 3>;
using Vectors = xla::ffi::Buffer<xla::ffi::F32, 2>;

template <typename Array>
Stack StackOf(const Array& x, Kernels near, Kernels far, int64_t dilation, float epsilon) {
  const auto sides = x.dimensions(), of_near = near.dimensions(), of_far = far.dimensions();
  return {{sides[0], sides[1], sides[2], sides[3], of_near[1], of_near[2], 1},
          {sides[0], sides[1], sides[2], sides[3], of_far[1], of_far[2], dilation},
          of_near[0],
          epsilon};
}

template <typename T>
xla::ffi::Error CheckStack(const Stack& stack) {
  if (stack.channels() < kTileChannels) {
    return xla::ffi::Error::InvalidArgument("there are fewer channels than a tile holds");
  }
  if (stack.channels() % Product<T>::depth) {
    return xla::ffi::Error::InvalidArgument("bfloat16 needs an even number of channels");
  }
  return xla::ffi::Error::Success();
}

}  // namespace stlight

#endif  // STLIGHT_CPU_TRAINING_H_
