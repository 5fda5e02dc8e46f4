// For training on CPUs, in float32 or bfloat16: a stack of mixer blocks with the statistics of the batch, called by XLA
// through its foreign function interface.
//
// A block has two phases as in a prediction (`cpu_mixers.cc`). Each ends where the statistics of the activations that it makes
// are needed; the next phase normalises them. What the backward pass reads is stored.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "cpu_gelu.h"
#include "cpu_memory.h"
#include "cpu_product.h"
#include "cpu_spatial.h"
#include "cpu_stack.h"
#include "cpu_training.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace stlight {
namespace {

// A task of the spatial phase.
template <typename T>
struct SpatialTask {
  const Activations<T>& block;
  const T* previous;  // pointwise activations of the block before, which `norm` makes this one's input; or null
  const Norm* norm;
  Strip strip;
  ChannelTotals totals;  // of the GELU of the far activations, and of its square
  int64_t known = 0;     // rows of the input

  void InputRow(int64_t row) {
    const Shape& s = strip.near;
    for (int64_t column = 0; column < s.width; ++column) {
      const int64_t at = s.pixel(strip.share.image, row, column);
      for (int64_t vector = 0; vector < strip.share.vectors; ++vector) {
        const int64_t channel = strip.channel(vector);
        const Vector factor = Load(&norm->factor[channel]), summand = Load(&norm->summand[channel]);
        Store(block.input + at + channel, Gelu(Load(previous + at + channel)) * factor + summand);
      }
    }
  }

  template <int width>
  void NearRow(int64_t row) {
    const int64_t needed = std::min(row + strip.near.kernel_height / 2 + 1, strip.near.height);
    for (; norm && known < needed; ++known) InputRow(known);
    for (int64_t vector = 0; vector < strip.share.vectors; ++vector) {
      strip.NearRow<width>(block.input, row, vector, [to = block.near](int64_t at, Vector value)
                               __attribute__((always_inline)) { Store(to + at, value); });
    }
  }

  template <int width>
  void FarRow(int64_t row) {
    for (int64_t vector = 0; vector < strip.share.vectors; ++vector) {
      Vector total = {}, squares = {};
      strip.FarRow<width>(row, vector, [&, to = block.far](int64_t at, Vector value) __attribute__((always_inline)) {
        Store(to + at, value);
        value = Gelu(Load(to + at));  // rounded, as it is normalised
        total += value;
        squares += value * value;
      });
      totals.Add(0, vector, total);
      totals.Add(1, vector, squares);
    }
  }
};

// Pixels `begin` to `end` of the product of x + norm(gelu(far)); `sums` are of its GELU, [2, channels].
template <typename T>
void Pointwise(const TrainingStack& stack, const Weights& w, const Activations<T>& block, const Norm& norm,
               const float* packed, int64_t begin, int64_t end, double* sums) {
  using P = Operand<T>;
  constexpr int64_t depth = Product<P>::depth;
  const int64_t channels = stack.channels(), panels = Panels(channels);
  std::vector<P> inputs(kChunkPixels * channels);
  ChannelTotals totals(2, panels * kTileVectors);
  for (int64_t first = begin; first < end; first += kChunkPixels) {
    const int64_t rows = std::min(kChunkPixels, end - first);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t vector = 0; vector < stack.near.vectors(); ++vector) {
        const int64_t channel = stack.near.first_channel(vector), at = (first + row) * channels + channel;
        const Vector normed = Gelu(Load(block.far + at)) * Load(&norm.factor[channel]) + Load(&norm.summand[channel]);
        Store(inputs.data() + row * channels + channel, Load(block.input + at) + normed);
      }
    }
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t from = FirstOfPanel(panel, channels);
      const float* own = packed + panel * PanelSize<P>(channels);
      const Factors<P> factors{inputs.data(), channels, channels / depth, own};
      ProductRows(factors, rows, [&](int64_t v, int64_t row, auto& product) __attribute__((always_inline)) {
        const int64_t channel = from + v * kLanes;
        const Vector bias = Load(w.pointwise_bias + channel);
        T* to = block.pointwise + (first + row) * channels + channel;
        Vector total = {}, squares = {};
        ForEachRow(product, [&](auto r) {
          Store(to + r * channels, product[r] + bias);
          const Vector value = Gelu(Load(to + r * channels));
          total += value;
          squares += value * value;
        });
        totals.Add(0, panel * kTileVectors + v, total);
        totals.Add(1, panel * kTileVectors + v, squares);
      });
    }
  }
  for (int64_t group = 0; group < panels * kTileVectors; ++group) {
    const int64_t channel = FirstOfPanel(group / kTileVectors, channels) + group % kTileVectors * kLanes;
    for (int64_t list = 0; list < 2; ++list) totals.Write(list, group, sums + list * channels + channel);
  }
}

// Pixels `begin` to `end` of the last block's output.
template <typename T>
void Output(const TrainingStack& stack, const T* pointwise, const Norm& norm, int64_t begin, int64_t end, T* output) {
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    for (int64_t vector = 0; vector < stack.near.vectors(); ++vector) {
      const int64_t channel = stack.near.first_channel(vector), at = pixel * stack.channels() + channel;
      Store(output + at, Gelu(Load(pointwise + at)) * Load(&norm.factor[channel]) + Load(&norm.summand[channel]));
    }
  }
}

template <typename T>
class ForwardPass {
 public:
  using P = Operand<T>;

  ForwardPass(Call<T>& call, float epsilon)
      : parameters_(call.parameters), stack_{call.stack, epsilon}, output_(call.results.template Next<T, 4>()),
        statistics_(call.results.template Next<float, 3>()), activations_(call.images, call.results) {}

  ffi::Error Prepare(const Call<T>& call) {
    const ffi::Error error = call.template Prepare<P>(
        [&](auto width) { near_row_ = &SpatialTask<T>::template NearRow<decltype(width)::value>; },
        [&](auto width) { far_row_ = &SpatialTask<T>::template FarRow<decltype(width)::value>; });
    if (error.failure()) return error;
    const int64_t bytes = stack_.size() * sizeof(T), lists = 2 * stack_.channels();
    const StackActivations<T>& a = activations_;
    PreferLargePages(a.inputs, (stack_.blocks - 1) * bytes);
    for (T* each : {a.nears, a.fars, a.pointwises}) PreferLargePages(each, stack_.blocks * bytes);
    PreferLargePages(output_, bytes);
    packed_.resize(Panels(stack_.channels()) * PanelSize<P>(stack_.channels()));
    of_images_.resize(stack_.near.batch * lists);
    of_parts_.resize(stack_.parts() * lists);
    return error;
  }

  // A block has four phases: the spatial half, its norm, the pointwise half, its norm. The last phase makes the output.
  int64_t phases() const { return 4 * stack_.blocks + 1; }
  int64_t tasks(int64_t phase) const {
    if (phase % 2) return 1;
    return phase % 4 || phase == 4 * stack_.blocks ? stack_.parts() : stack_.spatial_tasks() + Panels(stack_.channels());
  }
  void Run(int64_t phase, int64_t task) {
    const int64_t index = std::min(phase / 4, stack_.blocks - 1);
    const Weights w = parameters_.Of(stack_, index);
    if (phase == 4 * stack_.blocks) {
      Output(stack_, activations_.Of(stack_, index).pointwise, *norm_, stack_.part_begin(task), stack_.part_begin(task + 1),
             output_);
    } else if (phase % 4 == 1) {
      Keep(spatial_norm_.emplace(stack_, of_images_, w.scale, w.bias), 4 * index);
    } else if (phase % 4 == 2) {
      Pointwise(stack_, w, activations_.Of(stack_, index), *spatial_norm_, packed_.data(), stack_.part_begin(task),
                stack_.part_begin(task + 1), &of_parts_[task * 2 * stack_.channels()]);
    } else if (phase % 4 == 3) {
      Keep(norm_.emplace(stack_, of_parts_, w.pointwise_scale, w.last_bias), 4 * index + 2);
    } else if (task < stack_.spatial_tasks()) {
      Spatial(w, index, stack_.share(task));
    } else {
      Pack<P>(w.pointwise, stack_.channels(), task - stack_.spatial_tasks(), packed_.data());
    }
  }

 private:
  void Spatial(const Weights& w, int64_t index, const Share& share) {
    const Activations<T> own = activations_.Of(stack_, index);
    SpatialTask<T> task{own, index ? activations_.Of(stack_, index - 1).pointwise : nullptr, index ? &*norm_ : nullptr,
                        Strip(stack_, w, share), ChannelTotals(2, share.vectors)};
    task.strip.Walk([&](int64_t row) { (task.*near_row_)(row); }, [&](int64_t row) { (task.*far_row_)(row); });
    for (int64_t vector = 0; vector < share.vectors; ++vector) {
      double* sums = &of_images_[share.image * 2 * stack_.channels() + task.strip.channel(vector)];
      for (int64_t list = 0; list < 2; ++list) task.totals.Write(list, vector, sums + list * stack_.channels());
    }
  }

  void Keep(const Norm& norm, int64_t index) {
    std::copy(norm.mean.begin(), norm.mean.end(), statistics_ + index * stack_.channels());
    std::copy(norm.variance.begin(), norm.variance.end(), statistics_ + (index + 1) * stack_.channels());
  }

  Weights parameters_;
  TrainingStack stack_;
  T* output_;
  float* statistics_;                // [blocks, 4, channels]: mean and variance of each norm
  StackActivations<T> activations_;  // the images are only read
  void (SpatialTask<T>::*near_row_)(int64_t) = nullptr;
  void (SpatialTask<T>::*far_row_)(int64_t) = nullptr;
  std::vector<float> packed_;                // the pointwise weights of a block
  std::vector<double> of_images_, of_parts_;  // sums of the activations of both halves, [images or parts, 2, channels]
  std::optional<Norm> spatial_norm_, norm_;
};

}  // namespace
}  // namespace stlight

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_forward_float32, (stlight::TrainingHandler<stlight::ForwardPass, float>),
                              stlight::TrainingBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_forward_bfloat16,
                              (stlight::TrainingHandler<stlight::ForwardPass, stlight::BFloat16>), stlight::TrainingBinding());
