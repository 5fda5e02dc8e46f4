// For training on CPUs, in float32 or bfloat16: the gradients of a stack of mixer blocks, called by XLA through its foreign
// function interface.
//
// Two phases of a block do the work, each of them behind the sums over pixels that the gradient of a batch norm needs: the
// pointwise half, a task of which has some pixels, and the spatial one, a task of which has some channels of an image.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cpu_gelu.h"
#include "cpu_memory.h"
#include "cpu_product.h"
#include "cpu_stack.h"
#include "cpu_training.h"
#include "cpu_training_backward.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace stlight {
namespace {

// Sums over the last block's output, [2, channels]: of the cotangents of some pixels, and of them times (gelu - mean).
template <typename T>
void OutputSums(const TrainingStack& stack, const T* pointwise, const Norm& norm, const T* cotangent, int64_t begin,
                int64_t end, double* sums) {
  constexpr int64_t group = 16;  // sums of few terms in float32, sums of those in float64
  ChannelTotals totals(2, stack.near.vectors());
  for (int64_t first = begin; first < end; first += group) {
    for (int64_t vector = 0; vector < stack.near.vectors(); ++vector) {
      const int64_t channel = stack.near.first_channel(vector);
      Vector total = {}, products = {};
      for (int64_t pixel = first; pixel < std::min(first + group, end); ++pixel) {
        const int64_t at = pixel * stack.channels() + channel;
        total += Load(cotangent + at);
        products += Load(cotangent + at) * (Gelu(Load(pointwise + at)) - Load(&norm.mean[channel]));
      }
      totals.Add(0, vector, total);
      totals.Add(1, vector, products);
    }
  }
  for (int64_t vector = 0; vector < stack.near.vectors(); ++vector) {
    const int64_t channel = stack.near.first_channel(vector);
    for (int64_t list = 0; list < 2; ++list) totals.Write(list, vector, sums + list * stack.channels() + channel);
  }
}

// The sum of `count` rows of [channels] numbers, which are `stride` apart.
void SumOfRows(const double* rows, int64_t count, int64_t stride, int64_t channels, float* sum) {
  for (int64_t c = 0; c < channels; ++c) {
    double total = 0;
    for (int64_t row = 0; row < count; ++row) total += rows[row * stride + c];
    sum[c] = total;
  }
}

// A panel of the gradient of the pointwise weights, from those of the parts.
void SumOfParts(const TrainingStack& stack, const float* parts, int64_t panel, float* gradient) {
  const int64_t channels = stack.channels(), size = channels * kTileChannels;
  for (int64_t row = 0; row < channels; ++row) {
    Vector sums[kTileVectors] = {};
    for (int64_t part = 0; part < stack.parts(); ++part) {
      const float* from = &parts[(part * Panels(channels) + panel) * size + row * kTileChannels];
      Unrolled<kTileVectors>([&](auto v) { sums[v] += Load(from + v * kLanes); });
    }
    float* to = gradient + row * channels + FirstOfPanel(panel, channels);
    Unrolled<kTileVectors>([&](auto v) { Store(to + v * kLanes, sums[v]); });
  }
}

template <typename T>
class BackwardPass {
 public:
  using P = Operand<T>;

  BackwardPass(Call<T>& call, float epsilon)
      : parameters_(call.parameters), stack_{call.stack, epsilon},
        statistics_(call.arguments.template Next<float, 3>()), activations_(call.images, call.arguments),
        cotangent_(call.arguments.template Next<T, 4>()), x_gradient_(call.results.template Next<T, 4>()),
        gradients_(call.results.template NextParameters<float>()), spatial_cotangent_(call.results.template Next<T, 4>()) {}

  ffi::Error Prepare(const Call<T>& call) {
    const ffi::Error error = call.template Prepare<P>(
        [&](auto width) {
          near_kernel_row_ = &SpatialGradient<T>::template NearKernelRow<decltype(width)::value>;
          input_row_ = &SpatialGradient<T>::template InputRow<decltype(width)::value>;
        },
        [&](auto width) {
          far_row_ = &SpatialGradient<T>::template FarRow<decltype(width)::value>;
          near_row_ = &SpatialGradient<T>::template NearRow<decltype(width)::value>;
        });
    if (error.failure()) return error;
    const int64_t channels = stack_.channels(), parts = stack_.parts();
    PreferLargePages(x_gradient_, stack_.size() * sizeof(T));
    PreferLargePages(spatial_cotangent_, stack_.size() * sizeof(T));
    for (int64_t index = 0; index < stack_.blocks; ++index) {
      const float* known = statistics_ + 4 * index * channels;
      const Weights w = parameters_.Of(stack_, index);
      spatial_norms_.emplace_back(stack_, known, known + channels, w.scale, w.bias);
      norms_.emplace_back(stack_, known + 2 * channels, known + 3 * channels, w.pointwise_scale, w.last_bias);
    }
    packed_.resize(panels() * PanelSize<P>(channels));
    weights_.reset(new float[parts * panels() * channels * kTileChannels]);
    of_output_.resize(parts * 2 * channels);
    of_spatial_.resize(parts * 2 * channels);
    of_bias_.resize(parts * channels);
    of_kernels_.resize(stack_.near.batch * lists() * channels);
    return error;
  }

  // The sums over the output, then five phases a block: its last norm, the pointwise half, sums, the spatial half, sums.
  int64_t phases() const { return 1 + 5 * stack_.blocks; }
  int64_t tasks(int64_t phase) const {
    switch (phase ? phase % 5 : 2) {
      case 2: return stack_.parts();
      case 4: return stack_.spatial_tasks();
      case 0: return lists();
      default: return 1 + panels();
    }
  }
  void Run(int64_t phase, int64_t task) {
    const int64_t index = stack_.blocks - 1 - std::max<int64_t>(phase - 1, 0) / 5;
    if (phase == 0) {
      OutputSums(stack_, activations_.Of(stack_, index).pointwise, norms_[index], cotangent_, stack_.part_begin(task),
                 stack_.part_begin(task + 1), &of_output_[task * 2 * stack_.channels()]);
      return;
    }
    switch (phase % 5) {
      case 1: return PrepareBlock(index, task);
      case 2: return Pointwise(index, task);
      case 3: return SumPointwise(index, task);
      case 4: return Spatial(index, stack_.share(task));
      case 0: return SumSpatial(index, task);
    }
  }

 private:
  int64_t panels() const { return Panels(stack_.channels()); }
  // Sums over pixels that the spatial half makes for a channel: gradients of both kernels and of their biases.
  int64_t lists() const { return stack_.near.taps() + stack_.far.taps() + 2; }

  void PrepareBlock(int64_t index, int64_t task) {
    const Weights w = parameters_.Of(stack_, index);
    if (task) {
      PackTransposed<P>(w.pointwise, stack_.channels(), task - 1, packed_.data());
    } else {
      const Parameters<float> to = gradients_.Of(stack_, index);
      norm_.emplace(stack_, of_output_, norms_[index], w.pointwise_scale, to.pointwise_scale, to.last_bias);
      of_output_.assign(stack_.near.batch * 2 * stack_.channels(), 0.0);  // of the block before
    }
  }

  void Pointwise(int64_t index, int64_t part) {
    const int64_t channels = stack_.channels();
    const Activations<const T> own = activations_.Of(stack_, index);
    const T* cotangent = index == stack_.blocks - 1 ? cotangent_ : x_gradient_;
    PointwiseGradient<T>{stack_, own, spatial_norms_[index], *norm_, packed_.data(), cotangent, spatial_cotangent_}.Run(
        stack_.part_begin(part), stack_.part_begin(part + 1), &weights_[part * panels() * channels * kTileChannels],
        &of_bias_[part * channels], &of_spatial_[part * 2 * channels]);
  }

  void SumPointwise(int64_t index, int64_t task) {
    const Parameters<float> to = gradients_.Of(stack_, index);
    if (task) {
      SumOfParts(stack_, weights_.get(), task - 1, to.pointwise);
    } else {
      SumOfRows(of_bias_.data(), stack_.parts(), stack_.channels(), stack_.channels(), to.pointwise_bias);
      spatial_norm_.emplace(stack_, of_spatial_, spatial_norms_[index], parameters_.Of(stack_, index).scale, to.scale, to.bias);
    }
  }

  void Spatial(int64_t index, const Share& share) {
    const Activations<const T> own = activations_.Of(stack_, index);
    SpatialGradient<T> gradient(stack_, own, *spatial_norm_, parameters_.Of(stack_, index), share, spatial_cotangent_,
                                x_gradient_);
    if (index) gradient.SetPrevious(activations_.Of(stack_, index - 1).pointwise, norms_[index - 1].mean.data());
    const Shape& far = stack_.far;
    const int64_t far_reach = far.kernel_height / 2 * far.dilation, near_reach = stack_.near.kernel_height / 2;
    for (int64_t row = 0, of_near = 0, of_far = 0; row < far.height; ++row) {
      for (; of_near < std::min(row + near_reach + 1, far.height); ++of_near) {
        for (; of_far < std::min(of_near + far_reach + 1, far.height); ++of_far) (gradient.*far_row_)(of_far);
        (gradient.*near_row_)(of_near);
        (gradient.*near_kernel_row_)(of_near);
      }
      (gradient.*input_row_)(row);
    }
    gradient.Write(&of_kernels_[share.image * lists() * stack_.channels()],
                   &of_output_[share.image * 2 * stack_.channels()]);
  }

  void SumSpatial(int64_t index, int64_t list) {
    const int64_t channels = stack_.channels(), near_taps = stack_.near.taps(), far_taps = stack_.far.taps();
    const Parameters<float> gradients = gradients_.Of(stack_, index);
    float* to = list < near_taps              ? gradients.near + list * channels
                : list < near_taps + far_taps ? gradients.far + (list - near_taps) * channels
                : list == lists() - 2         ? gradients.near_bias
                                              : gradients.far_bias;
    SumOfRows(&of_kernels_[list * channels], stack_.near.batch, lists() * channels, channels, to);
  }

  Weights parameters_;
  TrainingStack stack_;
  const float* statistics_;                // and activations: results of the forward pass
  StackActivations<const T> activations_;
  const T* cotangent_;
  T* x_gradient_;  // the cotangent of each block's input until the block before has read it
  Parameters<float> gradients_;
  T* spatial_cotangent_;  // of a block's spatial half
  void (SpatialGradient<T>::*far_row_)(int64_t) = nullptr;
  void (SpatialGradient<T>::*near_row_)(int64_t) = nullptr;
  void (SpatialGradient<T>::*near_kernel_row_)(int64_t) = nullptr;
  void (SpatialGradient<T>::*input_row_)(int64_t) = nullptr;
  std::vector<Norm> spatial_norms_, norms_;  // of all blocks
  std::optional<NormGradient> spatial_norm_, norm_;
  std::vector<float> packed_;         // the transposed pointwise weights of a block
  std::unique_ptr<float[]> weights_;  // gradients of those, [parts, panels, channels, kTileChannels]; each part clears its own
  std::vector<double> of_output_, of_spatial_, of_bias_, of_kernels_;
};

}  // namespace
}  // namespace stlight

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_backward_float32, (stlight::TrainingHandler<stlight::BackwardPass, float>),
                              stlight::TrainingBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_backward_bfloat16,
                              (stlight::TrainingHandler<stlight::BackwardPass, stlight::BFloat16>), stlight::TrainingBinding());
