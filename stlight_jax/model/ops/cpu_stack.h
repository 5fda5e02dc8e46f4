// A stack of mixer blocks on a batch of images, in a prediction or in training: its arrays, and how its work is divided.
#ifndef STLIGHT_CPU_STACK_H_
#define STLIGHT_CPU_STACK_H_

#include <algorithm>
#include <cstdint>

#include "cpu_convolution.h"
#include "cpu_product.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace stlight {

template <xla::ffi::DataType type>
using Images = xla::ffi::Buffer<type, 4>;
template <xla::ffi::DataType type>
using Stacked = xla::ffi::Buffer<type, 5>;
using Kernels = xla::ffi::Buffer<xla::ffi::F32, 5>;
using Matrices = xla::ffi::Buffer<xla::ffi::F32, 3>;
using Vectors = xla::ffi::Buffer<xla::ffi::F32, 2>;

struct Stack {
  Shape near, far;
  int64_t blocks;

  int64_t channels() const { return near.channels; }
  int64_t pixels() const { return near.batch * near.height * near.width; }
  int64_t size() const { return pixels() * channels(); }
  int64_t chunks() const { return (pixels() + kPixels - 1) / kPixels; }
  // Tasks of the spatial phases: four vectors of an image, side by side in four cache lines, or fewer to occupy all threads.
  int64_t vectors_of_task(int64_t threads) const {
    return std::clamp<int64_t>(near.vectors() * near.batch / std::max<int64_t>(1, 2 * threads), 1, kBlockVectors);
  }
};

template <typename Array>
Stack StackOf(const Array& x, Kernels near, Kernels far, int64_t dilation) {
  const auto sides = x.dimensions(), of_near = near.dimensions(), of_far = far.dimensions();
  return {{sides[0], sides[1], sides[2], sides[3], of_near[1], of_near[2], 1},
          {sides[0], sides[1], sides[2], sides[3], of_far[1], of_far[2], dilation},
          of_near[0]};
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

#endif  // STLIGHT_CPU_STACK_H_
