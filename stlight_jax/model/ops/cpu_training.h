// What the forward and the backward pass of mixer blocks in training share: stored activations, statistics, how pixels are
// divided, the call.
//
// Sums are made in the same order whatever the number of threads.
#ifndef STLIGHT_CPU_TRAINING_H_
#define STLIGHT_CPU_TRAINING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cpu_product.h"
#include "cpu_stack.h"
#include "cpu_threads.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace stlight {

constexpr int64_t kChunkPixels = 8 * kTileRows;  // whose products are computed while their factors are in the cache
constexpr int64_t kMostParts = 16;               // of the pixels; each has sums of its own

// A stack of blocks in training. Their pixels are divided into parts of whole chunks.
struct TrainingStack : Stack {
  float epsilon;

  int64_t chunks() const { return CeilDivide(pixels(), kChunkPixels); }
  int64_t parts() const { return std::min(chunks(), kMostParts); }
  int64_t part_begin(int64_t part) const { return std::min(part * chunks() / parts() * kChunkPixels, pixels()); }
};

// What the forward pass stores of a block for the backward one: its input, and its activations behind each convolution.
template <typename Number>  // constant numbers are only read
struct Activations {
  Number *input, *near, *far, *pointwise;
};

// The activations of a stack, [blocks, batch, height, width, channels]. The first block's input is `images`; `inputs` are those
// of the other blocks.
template <typename Number>
struct StackActivations {
  Number *images, *inputs, *nears, *fars, *pointwises;

  // Reads the buffers of a call, but `images`.
  template <typename Buffers>
  StackActivations(Number* images, Reader<Buffers>& buffers) : images(images) {
    for (Number** to : {&inputs, &nears, &fars, &pointwises}) *to = buffers.template Next<std::remove_const_t<Number>, 5>();
  }

  Activations<Number> Of(const Stack& stack, int64_t block) const {
    const int64_t first = block * stack.size();
    return {block ? inputs + first - stack.size() : images, nears + first, fars + first, pointwises + first};
  }
};

// Sums over the parts of `sums`, [parts, 2, channels], for a channel.
struct PairOfSums {
  double first = 0, second = 0;

  PairOfSums(const std::vector<double>& sums, int64_t channels, int64_t channel) {
    for (size_t at = channel; at < sums.size(); at += 2 * channels) {
      first += sums[at];
      second += sums[at + channels];
    }
  }
};

// The mean and the variance of each channel, and the batch norm that they make: value * factor + summand.
struct Norm {
  std::vector<float> mean, variance, factor, summand;

  // `sums` are [parts, 2, channels]: of the values and of their squares.
  Norm(const TrainingStack& stack, const std::vector<double>& sums, const float* scale, const float* bias)
      : Norm(stack.channels()) {
    for (int64_t c = 0; c < stack.channels(); ++c) {
      const auto [total, squares] = PairOfSums(sums, stack.channels(), c);
      const double centre = total / stack.pixels();
      mean[c] = centre;
      variance[c] = std::max(squares / stack.pixels() - centre * centre, 0.0);
    }
    SetFactors(stack, scale, bias);
  }
  Norm(const TrainingStack& stack, const float* known_mean, const float* known_variance, const float* scale, const float* bias)
      : Norm(stack.channels()) {
    std::copy_n(known_mean, mean.size(), mean.begin());
    std::copy_n(known_variance, mean.size(), variance.begin());
    SetFactors(stack, scale, bias);
  }

 private:
  explicit Norm(int64_t channels) : mean(channels), variance(channels), factor(channels), summand(channels) {}

  void SetFactors(const TrainingStack& stack, const float* scale, const float* bias) {
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

// The kernel of a pass, a class that reads the buffers of a call and divides its work into phases.
template <template <typename> class Pass, typename T>
xla::ffi::Error TrainingHandler(xla::ffi::ThreadPool pool, xla::ffi::RemainingArgs args, xla::ffi::RemainingRets rets,
                                int64_t dilation, float epsilon) {
  Call<T> call(args, rets, dilation, pool.num_threads());
  Pass<T> pass(call, epsilon);
  const xla::ffi::Error error = pass.Prepare(call);
  if (error.success()) ParallelPhases(pool, pass);
  return error;
}

inline auto TrainingBinding() { return Binding().Attr<float>("epsilon"); }

}  // namespace stlight

#endif  // STLIGHT_CPU_TRAINING_H_
