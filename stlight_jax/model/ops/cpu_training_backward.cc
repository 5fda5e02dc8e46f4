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

#include "cpu_convolution.h"
#include "cpu_gelu.h"
#include "cpu_memory.h"
#include "cpu_product.h"
#include "cpu_stack.h"
#include "cpu_threads.h"
#include "cpu_training.h"
#include "cpu_training_backward.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace stlight {
namespace {

template <typename T>
struct Rows {
  using Of = void (SpatialGradient<T>::*)(int64_t);
  Of far, near, near_kernel, input;
};

// Sums over the last block's output, [2, channels]: of the cotangents of some pixels, and of them times (gelu - mean).
template <typename T>
void OutputSums(const TrainingStack& stack, const T* pointwise, const Norm& norm, const T* cotangent, int64_t begin, int64_t end,
                double* sums) {
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

// Some channels of an image. Sets `sums`, [near taps + far taps + 2, channels], which are gradients of kernels and biases, and
// `of_input`, [2, channels].
template <typename T>
void Spatial(SpatialGradient<T>& task, const Rows<T>& rows, double* sums, double* of_input) {
  const Shape &near = task.stack.near, &far = task.stack.far;
  const int64_t far_reach = far.kernel_height / 2 * far.dilation, near_reach = near.kernel_height / 2, height = far.height;
  for (int64_t row = 0, of_near = 0, of_far = 0; row < height; ++row) {
    for (; of_near < std::min(row + near_reach + 1, height); ++of_near) {
      for (; of_far < std::min(of_near + far_reach + 1, height); ++of_far) (task.*rows.far)(of_far);
      (task.*rows.near)(of_near);
      (task.*rows.near_kernel)(of_near);
    }
    (task.*rows.input)(row);
  }
  for (int64_t vector = 0; vector < task.vectors; ++vector) {
    double* to = sums + task.channel(vector);
    for (int64_t tap = 0; tap < near.taps(); ++tap, to += near.channels) task.near_totals.Write(tap, vector, to);
    for (int64_t tap = 0; tap < far.taps(); ++tap, to += near.channels) task.far_totals.Write(tap, vector, to);
    for (int64_t list = 0; list < 2; ++list, to += near.channels) task.totals.Write(list, vector, to);
    to = of_input + task.channel(vector);
    for (int64_t list = 2; list < 4; ++list, to += near.channels) task.totals.Write(list, vector, to);
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
SpatialGradient<T> SpatialTask(const TrainingStack& stack, const Activations<T>& block, const NormGradient& norm,
                               const T* previous, const float* previous_mean, const float* near, const float* far,
                               const T* cotangent, T* input_cotangent, int64_t image, int64_t begin, int64_t end) {
  const Shape &n = stack.near, &f = stack.far;
  const int64_t vectors = end - begin;
  return {stack, block, norm, previous, previous_mean, cotangent, input_cotangent, image, begin, vectors,
          WeightsOfBlock(n, near, begin, end, true), WeightsOfBlock(f, far, begin, end, true),
          {vectors, std::min(f.kernel_height / 2 * f.dilation * 2 + 1, f.height), f.width},
          {vectors, std::min(n.kernel_height, n.height), n.width},
          std::vector<float>(vectors * n.taps() * kLanes), std::vector<float>(vectors * f.taps() * kLanes),
          ChannelTotals(n.taps(), vectors), ChannelTotals(f.taps(), vectors), ChannelTotals(4, vectors)};
}

using Gradient = ffi::Result<Vectors>;
using KernelGradient = ffi::Result<Kernels>;

// T has the representation of `type`. The arguments are the cotangent, then what the forward pass takes and makes.
template <typename T, ffi::DataType type>
ffi::Error BackwardHandler(ffi::ThreadPool pool, Images<type> cotangent, Images<type> x, Kernels near, Kernels far,
                           Vectors scale, Vectors bias, Matrices pointwise, Vectors pointwise_scale, Vectors last_bias,
                           Matrices statistics, Stacked<type> inputs, Stacked<type> nears, Stacked<type> fars,
                           Stacked<type> products, ffi::Result<Images<type>> x_gradient, KernelGradient near_gradient,
                           Gradient near_bias_gradient, KernelGradient far_gradient, Gradient far_bias_gradient,
                           Gradient scale_gradient, Gradient bias_gradient, ffi::Result<Matrices> pointwise_gradient,
                           Gradient pointwise_bias_gradient, Gradient pointwise_scale_gradient,
                           Gradient last_bias_gradient, ffi::Result<Images<type>> between, int64_t dilation,
                           float epsilon) {
  using P = Operand<T>;
  const TrainingStack stack{StackOf(x, near, far, dilation), epsilon};
  if (ffi::Error error = CheckStack<P>(stack); error.failure()) return error;
  Rows<T> rows{};
  ffi::Error error = WithWidth(stack.near, [&](auto width) {
    rows.near_kernel = &SpatialGradient<T>::template NearKernelRow<decltype(width)::value>;
    rows.input = &SpatialGradient<T>::template InputRow<decltype(width)::value>;
  });
  if (error.failure()) return error;
  error = WithWidth(stack.far, [&](auto width) {
    rows.far = &SpatialGradient<T>::template FarRow<decltype(width)::value>;
    rows.near = &SpatialGradient<T>::template NearRow<decltype(width)::value>;
  });
  if (error.failure()) return error;

  const int64_t channels = stack.channels(), vectors = stack.near.vectors(), images = stack.near.batch;
  const int64_t of_task = stack.vectors_of_task(pool.num_threads()), tasks = (vectors + of_task - 1) / of_task;
  const int64_t parts = stack.parts(), panels = Panels(channels);
  const int64_t near_taps = stack.near.taps(), far_taps = stack.far.taps(), lists = near_taps + far_taps + 2;
  const auto of_block = [&](const auto& of_all, int64_t index) {
    return reinterpret_cast<T*>(of_all.typed_data()) + index * stack.size();
  };
  const auto block_of = [&](int64_t index) {
    const T* input = index ? of_block(inputs, index - 1) : reinterpret_cast<const T*>(x.typed_data());
    return Activations<T>{input, of_block(nears, index), of_block(fars, index), of_block(products, index)};
  };
  const T* given = reinterpret_cast<const T*>(cotangent.typed_data());
  T* const propagated = reinterpret_cast<T*>(x_gradient->typed_data());
  T* const spatial_cotangent = reinterpret_cast<T*>(between->typed_data());

  PreferLargePages(propagated, stack.size() * sizeof(T));
  PreferLargePages(spatial_cotangent, stack.size() * sizeof(T));

  std::vector<Norm> spatial_norms, norms;
  for (int64_t index = 0; index < stack.blocks; ++index) {
    const float* known = statistics.typed_data() + 4 * index * channels;
    const auto at = [&](const Vectors& of_all) { return of_all.typed_data() + index * channels; };
    spatial_norms.emplace_back(stack, known, known + channels, at(scale), at(bias));
    norms.emplace_back(stack, known + 2 * channels, known + 3 * channels, at(pointwise_scale), at(last_bias));
  }
  std::optional<NormGradient> spatial_norm, norm;
  std::vector<float> packed(panels * PanelSize<P>(channels));
  const std::unique_ptr<float[]> weights(new float[parts * panels * channels * kTileChannels]);  // which each part clears
  std::vector<double> of_output(parts * 2 * channels), of_spatial(parts * 2 * channels), of_bias(parts * channels);
  std::vector<double> of_kernels(images * lists * channels);

  const auto counts = [&](int64_t phase) -> int64_t {
    if (phase == 0) return parts;
    switch ((phase - 1) % 5) {
      case 1: return parts;
      case 3: return images * tasks;
      case 4: return lists;
      default: return 1 + panels;
    }
  };
  ParallelPhases(pool, 1 + 5 * stack.blocks, counts, [&](int64_t phase, int64_t task) {
    const int64_t index = stack.blocks - 1 - std::max<int64_t>(phase - 1, 0) / 5;
    const Activations<T> block = block_of(index);
    const auto at = [&](auto& of_all) { return of_all->typed_data() + index * channels; };
    const T* from = index == stack.blocks - 1 ? given : propagated;
    const int64_t begin = stack.part_begin(task), end = stack.part_begin(task + 1);
    const float* matrix = pointwise.typed_data() + index * channels * channels;
    if (phase == 0) {
      OutputSums(stack, block.pointwise, norms[index], given, begin, end, &of_output[task * 2 * channels]);
      return;
    }
    switch ((phase - 1) % 5) {
      case 0:
        if (task) {
          PackTransposed<P>(matrix, channels, task - 1, packed.data());
        } else {
          norm.emplace(stack, of_output, norms[index], pointwise_scale.typed_data() + index * channels,
                       at(pointwise_scale_gradient), at(last_bias_gradient));
          of_output.assign(images * 2 * channels, 0.0);  // of the block before
        }
        break;
      case 1:
        PointwiseGradient<T>{stack, block, spatial_norms[index], *norm, packed.data(), from, spatial_cotangent}.Run(
            begin, end, &weights[task * panels * channels * kTileChannels], &of_bias[task * channels],
            &of_spatial[task * 2 * channels]);
        break;
      case 2:
        if (task) {
          SumOfParts(stack, weights.get(), task - 1, pointwise_gradient->typed_data() + index * channels * channels);
        } else {
          SumOfRows(of_bias.data(), parts, channels, channels, at(pointwise_bias_gradient));
          spatial_norm.emplace(stack, of_spatial, spatial_norms[index], scale.typed_data() + index * channels,
                               at(scale_gradient), at(bias_gradient));
        }
        break;
      case 3: {
        const int64_t image = task / tasks, first = task % tasks * of_task;
        auto gradient = SpatialTask<T>(
            stack, block, *spatial_norm, index ? block_of(index - 1).pointwise : nullptr,
            index ? norms[index - 1].mean.data() : nullptr, near.typed_data() + index * near_taps * channels,
            far.typed_data() + index * far_taps * channels, spatial_cotangent, propagated, image, first,
            std::min(first + of_task, vectors));
        Spatial(gradient, rows, &of_kernels[image * lists * channels], &of_output[image * 2 * channels]);
        break;
      }
      case 4: {
        float* to = task < near_taps              ? near_gradient->typed_data() + (index * near_taps + task) * channels
                    : task < near_taps + far_taps ? far_gradient->typed_data() + (index * far_taps + task - near_taps) * channels
                    : task == lists - 2           ? at(near_bias_gradient)
                                                  : at(far_bias_gradient);
        SumOfRows(&of_kernels[task * channels], images, lists * channels, channels, to);
      }
    }
  });
  return ffi::Error::Success();
}

template <ffi::DataType type>
auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .template Arg<Images<type>>()
      .template Arg<Images<type>>()
      .template Arg<Kernels>()
      .template Arg<Kernels>()
      .template Arg<Vectors>()
      .template Arg<Vectors>()
      .template Arg<Matrices>()
      .template Arg<Vectors>()
      .template Arg<Vectors>()
      .template Arg<Matrices>()
      .template Arg<Stacked<type>>()
      .template Arg<Stacked<type>>()
      .template Arg<Stacked<type>>()
      .template Arg<Stacked<type>>()
      .template Ret<Images<type>>()
      .template Ret<Kernels>()
      .template Ret<Vectors>()
      .template Ret<Kernels>()
      .template Ret<Vectors>()
      .template Ret<Vectors>()
      .template Ret<Vectors>()
      .template Ret<Matrices>()
      .template Ret<Vectors>()
      .template Ret<Vectors>()
      .template Ret<Vectors>()
      .template Ret<Images<type>>()
      .template Attr<int64_t>("dilation")
      .template Attr<float>("epsilon");
}

}  // namespace
}  // namespace stlight

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_backward_float32, (stlight::BackwardHandler<float, ffi::F32>),
                              stlight::Binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_backward_bfloat16, (stlight::BackwardHandler<stlight::BFloat16, ffi::BF16>),
                              stlight::Binding<ffi::BF16>());
