// A stack of mixer blocks on a batch of images, in a prediction or in training: the buffers of a call, and how its work is
// divided.
#ifndef STLIGHT_CPU_STACK_H_
#define STLIGHT_CPU_STACK_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu_convolution.h"
#include "cpu_product.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace stlight {

// What a task of a spatial phase has of the channels of an image: vectors `begin` to `begin + vectors`.
struct Share {
  int64_t image, begin, vectors;
};

struct Stack {
  Shape near, far;
  int64_t blocks, threads;

  int64_t channels() const { return near.channels; }
  int64_t pixels() const { return near.batch * near.height * near.width; }
  int64_t size() const { return pixels() * channels(); }
  // Of a spatial phase: all vectors of a share, or fewer to occupy all threads.
  int64_t vectors_of_task() const {
    return std::clamp<int64_t>(near.vectors() * near.batch / std::max<int64_t>(1, 2 * threads), 1, kShareVectors);
  }
  int64_t tasks_of_image() const { return CeilDivide(near.vectors(), vectors_of_task()); }
  int64_t spatial_tasks() const { return near.batch * tasks_of_image(); }
  Share share(int64_t task) const {
    const int64_t begin = task % tasks_of_image() * vectors_of_task();
    return {task / tasks_of_image(), begin, std::min(vectors_of_task(), near.vectors() - begin)};
  }
};

// The parameters of blocks, or their gradients. In a prediction, the scale and the bias of a norm are its folded factor and
// summand.
template <typename Number>
struct Parameters {
  Number *near, *near_bias, *far, *far_bias, *scale, *bias;          // of the spatial half
  Number *pointwise, *pointwise_bias, *pointwise_scale, *last_bias;  // of the pointwise half

  // Those of one block.
  Parameters Of(const Stack& stack, int64_t block) const {
    const int64_t first = block * stack.channels();
    const int64_t rows = first * stack.channels(), near_taps = first * stack.near.taps(), far_taps = first * stack.far.taps();
    return {near + near_taps, near_bias + first,      far + far_taps,          far_bias + first, scale + first, bias + first,
            pointwise + rows, pointwise_bias + first, pointwise_scale + first, last_bias + first};
  }
};
using Weights = Parameters<const float>;

template <typename T>
inline constexpr xla::ffi::DataType kDataType = xla::ffi::F32;
template <>
inline constexpr xla::ffi::DataType kDataType<BFloat16> = xla::ffi::BF16;

// Reads the buffers of a call one after the other.
template <typename Buffers>  // RemainingArgs or RemainingRets
class Reader {
 public:
  std::vector<std::array<int64_t, 5>> sides;  // of the buffers that were read

  explicit Reader(const Buffers& buffers) : buffers_(buffers) {}

  template <typename T, size_t rank>
  T* Next() {
    auto buffer = buffers_.template get<xla::ffi::Buffer<kDataType<T>, rank>>(sides.size());
    sides.emplace_back();
    if (!buffer.has_value()) {
      if (error_.success()) error_ = buffer.error();
      return nullptr;
    }
    std::copy_n(ValueOf(buffer.value()).dimensions().begin(), rank, sides.back().begin());
    return reinterpret_cast<T*>(ValueOf(buffer.value()).typed_data());
  }
  template <typename Number>
  Parameters<Number> NextParameters() {
    return {Next<float, 5>(), Next<float, 2>(), Next<float, 5>(), Next<float, 2>(), Next<float, 2>(), Next<float, 2>(),
            Next<float, 3>(), Next<float, 2>(), Next<float, 2>(), Next<float, 2>()};
  }

  // Returns an error unless all buffers were read, with their types and numbers of dimensions.
  xla::ffi::Error Check() const {
    if (error_.failure() || sides.size() == buffers_.size()) return error_;
    return xla::ffi::Error::InvalidArgument("there are more buffers than the kernel reads");
  }

 private:
  template <typename Buffer>
  static Buffer& ValueOf(Buffer& buffer) {
    return buffer;
  }
  template <typename Buffer>
  static Buffer& ValueOf(xla::ffi::Result<Buffer>& buffer) {
    return *buffer;
  }

  Buffers buffers_;
  xla::ffi::Error error_;  // of the first buffer that is unlike the one that was asked for
};

// A call of a kernel, whose first arguments are the images and the parameters.
template <typename T>
struct Call {
  Reader<xla::ffi::RemainingArgs> arguments;
  Reader<xla::ffi::RemainingRets> results;
  T* images;  // which are only read
  Weights parameters;
  Stack stack;

  Call(const xla::ffi::RemainingArgs& args, const xla::ffi::RemainingRets& rets, int64_t dilation, int64_t threads)
      : arguments(args), results(rets), images(arguments.template Next<T, 4>()),
        parameters(arguments.template NextParameters<const float>()) {
    const auto &x = arguments.sides[0], &near = arguments.sides[1], &far = arguments.sides[3];
    stack.near = {x[0], x[1], x[2], x[3], near[1], near[2], 1};
    stack.far = {x[0], x[1], x[2], x[3], far[1], far[2], dilation};
    stack.blocks = near[0];
    stack.threads = threads;
  }

  // Returns an error if the kernel does not support the call. Otherwise calls both functions, each with the width of a kernel
  // as a constant. P is the type of the product's operands.
  template <typename P, typename Near, typename Far>
  xla::ffi::Error Prepare(const Near& with_near_width, const Far& with_far_width) const {
    using xla::ffi::Error;
    if (Error error = arguments.Check(); error.failure()) return error;
    if (Error error = results.Check(); error.failure()) return error;
    if (stack.blocks < 1) return Error::InvalidArgument("there are no blocks");
    if (stack.channels() < kTileChannels) return Error::InvalidArgument("there are fewer channels than a tile holds");
    if (stack.channels() % Product<P>::depth) return Error::InvalidArgument("bfloat16 needs an even number of channels");
    if (Error error = WithWidth(stack.near, with_near_width); error.failure()) return error;
    return WithWidth(stack.far, with_far_width);
  }
};

inline auto Binding() {
  return xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>().RemainingArgs().RemainingRets().Attr<int64_t>("dilation");
}

}  // namespace stlight

#endif  // STLIGHT_CPU_STACK_H_
