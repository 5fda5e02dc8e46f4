// For training on CPUs, in float32 or bfloat16: a stack of mixer blocks with the statistics of the batch, called by XLA
// through its foreign function interface.
//
// A block has two phases as in a prediction (`cpu_mixers.cc`). Each ends where the statistics of the activations that it makes
// are needed; the next phase normalises them. What the backward pass reads is stored: each block's input, and its
// activations behind each convolution.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "cpu_convolution.h"
#include "cpu_gelu.h"
#include "cpu_memory.h"
#include "cpu_product.h"
#include "cpu_stack.h"
#include "cpu_threads.h"
#include "cpu_training.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace stlight {
namespace {

struct Weights {
  const float *near, *near_bias, *far, *far_bias, *scale, *bias, *pointwise, *pointwise_bias, *pointwise_scale, *last_bias;
};

// The activations of a block: its input, and what its three convolutions make of it.
template <typename T>
struct Block {
  T *input, *near, *far, *pointwise;
};

// A task of the spatial phase: some channels of an image. The near convolution's rows are in `ring`, as in a prediction.
template <typename T>
struct Strip {
  const TrainingStack& stack;
  const Weights& w;
  const Block<T>& block;
  const T* previous;  // pointwise activations of the block before, which `norm` makes this one's input; or null
  const Norm* norm;
  int64_t image, begin, vectors;
  std::vector<float> near_weights, far_weights, ring;
  int64_t rows;
  ChannelTotals totals;

  float* ring_row(int64_t vector, int64_t row) {
    return ring.data() + (vector * rows + row % rows) * stack.far.width * kLanes;
  }
};

template <typename T>
void InputRow(Strip<T>& strip, int64_t row) {
  const Shape& s = strip.stack.near;
  for (int64_t column = 0; column < s.width; ++column) {
    const int64_t at = s.pixel(strip.image, row, column);
    for (int64_t vector = 0; vector < strip.vectors; ++vector) {
      const int64_t channel = s.first_channel(strip.begin + vector);
      const Vector factor = Load(&strip.norm->factor[channel]), summand = Load(&strip.norm->summand[channel]);
      Store(strip.block.input + at + channel, Gelu(Load(strip.previous + at + channel)) * factor + summand);
    }
  }
}

template <typename T, int width>
void NearRow(Strip<T>& strip, int64_t row) {
  const Shape& s = strip.stack.near;
  for (int64_t vector = 0; vector < strip.vectors; ++vector) {
    const int64_t channel = s.first_channel(strip.begin + vector);
    const T* image = strip.block.input + s.pixel(strip.image, 0, 0) + channel;
    T* stored = strip.block.near + s.pixel(strip.image, row, 0) + channel;
    float* to = strip.ring_row(vector, row);
    const Vector bias = Load(strip.w.near_bias + channel);
    const auto row_at = [&](int64_t from) { return image + from * s.width * s.channels; };
    ConvolveRow<width>(s, row_at, s.channels, strip.near_weights.data() + vector * s.taps() * kLanes, row,
                       [&](int64_t column, Vector sum) {
                         Store(to + column * kLanes, sum + bias);
                         Store(stored + column * s.channels, sum + bias);
                       });
  }
}

template <typename T, int width>
void FarRow(Strip<T>& strip, int64_t row) {
  const Shape& s = strip.stack.far;
  for (int64_t vector = 0; vector < strip.vectors; ++vector) {
    const int64_t channel = s.first_channel(strip.begin + vector);
    T* stored = strip.block.far + s.pixel(strip.image, row, 0) + channel;
    const Vector bias = Load(strip.w.far_bias + channel);
    const auto row_at = [&](int64_t from) { return strip.ring_row(vector, from); };
    Vector total = {}, squares = {};
    ConvolveRow<width>(s, row_at, kLanes, strip.far_weights.data() + vector * s.taps() * kLanes, row,
                       [&](int64_t column, Vector sum) {
                         Store(stored + column * s.channels, sum + bias);
                         const Vector value = Gelu(Load(stored + column * s.channels));  // rounded, as it is normalised
                         total += value;
                         squares += value * value;
                       });
    strip.totals.Add(0, vector, total);
    strip.totals.Add(1, vector, squares);
  }
}

template <typename T>
using Row = void (*)(Strip<T>&, int64_t);

// Channels `begin` to `end`, in vectors, of an image; `sums` are its [2, channels].
template <typename T>
void Spatial(const TrainingStack& stack, Row<T> near_row, Row<T> far_row, const Weights& w, const Block<T>& block,
             const T* previous, const Norm* norm, int64_t image, int64_t begin, int64_t end, double* sums) {
  const Shape &near = stack.near, &far = stack.far;
  const int64_t reach = far.kernel_height / 2 * far.dilation, near_reach = near.kernel_height / 2, height = far.height;
  Strip<T> strip{stack, w, block, previous, norm, image, begin, end - begin,
                 WeightsOfBlock(near, w.near, begin, end, false), WeightsOfBlock(far, w.far, begin, end, false), {},
                 std::min(2 * reach + 1, height), ChannelTotals(2, end - begin)};
  strip.ring.resize(strip.vectors * strip.rows * far.width * kLanes);
  for (int64_t row = 0, of_near = 0, of_input = 0; row < height; ++row) {
    for (; of_near < std::min(row + reach + 1, height); ++of_near) {
      for (; norm && of_input < std::min(of_near + near_reach + 1, height); ++of_input) InputRow(strip, of_input);
      near_row(strip, of_near);
    }
    far_row(strip, row);
  }
  for (int64_t vector = 0; vector < strip.vectors; ++vector) {
    const int64_t channel = near.first_channel(begin + vector);
    for (int64_t list = 0; list < 2; ++list) strip.totals.Write(list, vector, sums + list * near.channels + channel);
  }
}

// Pixels `begin` to `end` of the product of x + norm(gelu(far)); `sums` are of its GELU, [2, channels].
template <typename T>
void Pointwise(const TrainingStack& stack, const Weights& w, const Block<T>& block, const Norm& norm, const float* packed,
               int64_t begin, int64_t end, double* sums) {
  using P = Operand<T>;
  constexpr int64_t depth = Product<P>::depth;
  const int64_t channels = stack.channels(), panels = Panels(channels);
  std::vector<P> inputs(kPixels * channels);
  ChannelTotals totals(2, panels * kTileVectors);
  for (int64_t first = begin; first < end; first += kPixels) {
    const int64_t rows = std::min(kPixels, end - first);
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

// T has the representation of `type`. `statistics` are [blocks, 4, channels]: mean and variance of each norm.
template <typename T, ffi::DataType type>
ffi::Error ForwardHandler(ffi::ThreadPool pool, Images<type> x, Kernels near, Vectors near_bias, Kernels far,
                          Vectors far_bias, Vectors scale, Vectors bias, Matrices pointwise, Vectors pointwise_bias,
                          Vectors pointwise_scale, Vectors last_bias, ffi::Result<Images<type>> output,
                          ffi::Result<Matrices> statistics, ffi::Result<Stacked<type>> inputs,
                          ffi::Result<Stacked<type>> nears, ffi::Result<Stacked<type>> fars,
                          ffi::Result<Stacked<type>> products, int64_t dilation, float epsilon) {
  using P = Operand<T>;
  const TrainingStack stack{StackOf(x, near, far, dilation), epsilon};
  if (ffi::Error error = CheckStack<P>(stack); error.failure()) return error;
  Row<T> near_row = nullptr, far_row = nullptr;
  ffi::Error error = WithWidth(stack.near, [&](auto width) { near_row = NearRow<T, decltype(width)::value>; });
  if (error.failure()) return error;
  error = WithWidth(stack.far, [&](auto width) { far_row = FarRow<T, decltype(width)::value>; });
  if (error.failure()) return error;

  const int64_t channels = stack.channels(), vectors = stack.near.vectors(), images = stack.near.batch;
  const int64_t of_task = stack.vectors_of_task(pool.num_threads()), tasks = (vectors + of_task - 1) / of_task;
  const int64_t parts = stack.parts(), panels = Panels(channels);
  const auto weights_of = [&](int64_t block) {
    const auto at = [&](Vectors of_all) { return of_all.typed_data() + block * channels; };
    return Weights{near.typed_data() + block * stack.near.taps() * channels, at(near_bias),
                   far.typed_data() + block * stack.far.taps() * channels, at(far_bias), at(scale), at(bias),
                   pointwise.typed_data() + block * channels * channels, at(pointwise_bias), at(pointwise_scale),
                   at(last_bias)};
  };
  const auto block_of = [&](int64_t block) {
    const auto at = [&](ffi::Result<Stacked<type>>& of_all, int64_t index) {
      return reinterpret_cast<T*>(of_all->typed_data()) + index * stack.size();
    };
    T* input = block ? at(inputs, block - 1) : reinterpret_cast<T*>(x.typed_data());  // the first one is only read
    return Block<T>{input, at(nears, block), at(fars, block), at(products, block)};
  };
  for (ffi::Result<Stacked<type>>* stored : {&inputs, &nears, &fars, &products}) {
    PreferLargePages((*stored)->untyped_data(), (*stored)->size_bytes());
  }
  PreferLargePages(output->untyped_data(), output->size_bytes());
  std::vector<float> packed(panels * PanelSize<P>(channels));
  std::vector<double> of_images(images * 2 * channels), of_parts(parts * 2 * channels);
  std::optional<Norm> spatial_norm, pointwise_norm;
  const auto keep = [&](const Norm& norm, int64_t index) {
    std::copy_n(norm.mean.begin(), channels, statistics->typed_data() + index * channels);
    std::copy_n(norm.variance.begin(), channels, statistics->typed_data() + (index + 1) * channels);
  };
  const auto counts = [&](int64_t phase) {
    if (phase == 4 * stack.blocks) return parts;
    return phase % 2 ? 1 : phase % 4 ? parts : images * tasks + panels;
  };
  ParallelPhases(pool, 4 * stack.blocks + 1, counts, [&](int64_t phase, int64_t task) {
    const int64_t index = std::min(phase / 4, stack.blocks - 1);
    const Weights w = weights_of(index);
    const Block<T> block = block_of(index);
    if (phase == 4 * stack.blocks) {
      Output(stack, block.pointwise, *pointwise_norm, stack.part_begin(task), stack.part_begin(task + 1),
             reinterpret_cast<T*>(output->typed_data()));
    } else if (phase % 4 == 0 && task < images * tasks) {
      const int64_t begin = task % tasks * of_task, image = task / tasks;
      Spatial(stack, near_row, far_row, w, block, index ? block_of(index - 1).pointwise : nullptr,
              index ? &*pointwise_norm : nullptr, image, begin, std::min(begin + of_task, vectors),
              of_images.data() + image * 2 * channels);
    } else if (phase % 4 == 0) {
      Pack<P>(w.pointwise, channels, task - images * tasks, packed.data());
    } else if (phase % 4 == 1) {
      keep(spatial_norm.emplace(stack, of_images, w.scale, w.bias), 4 * index);
    } else if (phase % 4 == 2) {
      Pointwise(stack, w, block, *spatial_norm, packed.data(), stack.part_begin(task), stack.part_begin(task + 1),
                of_parts.data() + task * 2 * channels);
    } else {
      keep(pointwise_norm.emplace(stack, of_parts, w.pointwise_scale, w.last_bias), 4 * index + 2);
    }
  });
  return ffi::Error::Success();
}

template <ffi::DataType type>
auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .template Arg<Images<type>>()
      .template Arg<Kernels>()
      .template Arg<Vectors>()
      .template Arg<Kernels>()
      .template Arg<Vectors>()
      .template Arg<Vectors>()
      .template Arg<Vectors>()
      .template Arg<Matrices>()
      .template Arg<Vectors>()
      .template Arg<Vectors>()
      .template Arg<Vectors>()
      .template Ret<Images<type>>()
      .template Ret<Matrices>()
      .template Ret<Stacked<type>>()
      .template Ret<Stacked<type>>()
      .template Ret<Stacked<type>>()
      .template Ret<Stacked<type>>()
      .template Attr<int64_t>("dilation")
      .template Attr<float>("epsilon");
}

}  // namespace
}  // namespace stlight

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_forward_float32, (stlight::ForwardHandler<float, ffi::F32>),
                              stlight::Binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_training_forward_bfloat16, (stlight::ForwardHandler<stlight::BFloat16, ffi::BF16>),
                              stlight::Binding<ffi::BF16>());
