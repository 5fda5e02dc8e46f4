// For prediction on CPUs, in float32 or bfloat16: a stack of mixer blocks with folded batch norms, called by XLA through its
// foreign function interface. Sums are in float32.
//
// A block has two phases. In the spatial one, a task has some channels of an image. It keeps the rows of the near
// convolution that the far one still needs in a ring, which stays in the second-level cache, and applies bias, GELU, norm
// and residual while a sum is in registers. In the pointwise one, a task has some pixels; bias, GELU and norm follow the
// product in registers, too.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu_convolution.h"
#include "cpu_gelu.h"
#include "cpu_memory.h"
#include "cpu_product.h"
#include "cpu_stack.h"
#include "cpu_threads.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace stlight {
namespace {

struct Weights {
  const float *near, *near_bias, *far, *far_bias, *spatial_factor, *spatial_summand;
  const float *pointwise, *pointwise_bias, *pointwise_factor, *pointwise_summand;
};

// What a task of the spatial phase needs: the images `x` and `y`, and its channels of one image, of which the near
// convolution's rows are in `ring`, [vectors, rows, width, lanes], a row at its number modulo `rows`.
template <typename T>
struct Strip {
  const Shape &near, &far;
  const Weights& w;
  const T* x;
  T* y;
  int64_t image, begin, vectors;
  std::vector<float> near_weights, far_weights, ring;
  int64_t rows;

  float* ring_row(int64_t vector, int64_t row) { return ring.data() + (vector * rows + row % rows) * far.width * kLanes; }
};

// A row of the near convolution.
template <typename T, int width>
void NearRow(Strip<T>& strip, int64_t row) {
  const Shape& s = strip.near;
  for (int64_t vector = 0; vector < strip.vectors; ++vector) {
    const int64_t channel = s.first_channel(strip.begin + vector);
    const T* image = strip.x + s.pixel(strip.image, 0, 0) + channel;
    float* to = strip.ring_row(vector, row);
    const float* weights = strip.near_weights.data() + vector * s.taps() * kLanes;
    const Vector bias = Load(strip.w.near_bias + channel);
    const auto row_at = [&](int64_t from) { return image + from * s.width * s.channels; };
    const auto finish = [&](int64_t column, Vector sum) { Store(to + column * kLanes, sum + bias); };
    ConvolveRow<width>(s, row_at, s.channels, weights, row, finish);
  }
}

// A row of y = x + norm(gelu(far(near(x)))).
template <typename T, int width>
void FarRow(Strip<T>& strip, int64_t row) {
  const Shape& s = strip.far;
  for (int64_t vector = 0; vector < strip.vectors; ++vector) {
    const int64_t channel = s.first_channel(strip.begin + vector);
    const T* residual = strip.x + s.pixel(strip.image, row, 0) + channel;
    T* to = strip.y + s.pixel(strip.image, row, 0) + channel;
    const float* weights = strip.far_weights.data() + vector * s.taps() * kLanes;
    const Vector bias = Load(strip.w.far_bias + channel), factor = Load(strip.w.spatial_factor + channel);
    const Vector summand = Load(strip.w.spatial_summand + channel);
    const auto row_at = [&](int64_t from) { return strip.ring_row(vector, from); };
    const auto finish = [&](int64_t column, Vector sum) {
      const int64_t at = column * s.channels;
      Store(to + at, Load(residual + at) + (Gelu(sum + bias) * factor + summand));
    };
    ConvolveRow<width>(s, row_at, kLanes, weights, row, finish);
  }
}

template <typename T>
using Row = void (*)(Strip<T>&, int64_t);

// Channels `begin` to `end`, in vectors, of an image.
template <typename T>
void Spatial(const Shape& near, const Shape& far, Row<T> near_row, Row<T> far_row, const Weights& w, const T* x, T* y,
             int64_t image, int64_t begin, int64_t end) {
  const int64_t reach = far.kernel_height / 2 * far.dilation;
  Strip<T> strip{near, far, w, x, y, image, begin, end - begin, WeightsOfBlock(near, w.near, begin, end, false),
              WeightsOfBlock(far, w.far, begin, end, false), {}, std::min(2 * reach + 1, far.height)};
  strip.ring.resize(strip.vectors * strip.rows * far.width * kLanes);
  for (int64_t row = 0, known = 0; row < far.height; ++row) {
    for (; known < std::min(row + reach + 1, far.height); ++known) near_row(strip, known);
    far_row(strip, row);
  }
}

// Pixels `begin` to `end`: norm(gelu(product + bias)).
template <typename T>
void Pointwise(const T* x, const float* packed, const Weights& w, int64_t channels, int64_t begin, int64_t end, T* y) {
  constexpr int64_t depth = Product<T>::depth;
  for (int64_t panel = 0; panel < Panels(channels); ++panel) {
    const float* own = packed + panel * PanelSize<T>(channels);
    const int64_t first = FirstOfPanel(panel, channels);
    ProductRows(Factors<T>{x + begin * channels, channels, channels / depth, own}, end - begin,
                [&](int64_t v, int64_t row, auto& sums) __attribute__((always_inline)) {
                  const int64_t channel = first + v * kLanes;
                  const Vector bias = Load(w.pointwise_bias + channel), factor = Load(w.pointwise_factor + channel);
                  const Vector summand = Load(w.pointwise_summand + channel);
                  T* to = y + (begin + row) * channels + channel;
                  ForEachRow(sums, [&](auto r) { Store(to + r * channels, Gelu(sums[r] + bias) * factor + summand); });
                });
  }
}

using Packed = ffi::Buffer<ffi::F32, 1>;

// T has the representation of `type`.
template <typename T, ffi::DataType type>
ffi::Error MixersHandler(ffi::ThreadPool pool, Images<type> x, Kernels near, Vectors near_bias, Kernels far,
                         Vectors far_bias, Vectors spatial_factor, Vectors spatial_summand, Matrices pointwise,
                         Vectors pointwise_bias, Vectors pointwise_factor, Vectors pointwise_summand,
                         ffi::Result<Images<type>> output, ffi::Result<Images<type>> between,
                         ffi::Result<Packed> packed, int64_t dilation) {
  static_assert(sizeof(T) == sizeof(ffi::NativeType<type>));
  const Stack stack = StackOf(x, near, far, dilation);
  if (ffi::Error error = CheckStack<T>(stack); error.failure()) return error;
  const int64_t channels = stack.channels(), batch = stack.near.batch;
  const size_t needed = Panels(channels) * PanelSize<T>(channels);
  if (packed->element_count() < needed) return ffi::Error::InvalidArgument("there is no room for the weights of a block");
  const T* images = reinterpret_cast<const T*>(x.typed_data());
  T* spatial = reinterpret_cast<T*>(between->typed_data());
  T* mixed = reinterpret_cast<T*>(output->typed_data());
  PreferLargePages(spatial, x.size_bytes());
  PreferLargePages(mixed, x.size_bytes());
  const int64_t vectors = stack.near.vectors(), of_task = stack.vectors_of_task(pool.num_threads());
  const int64_t tasks = (vectors + of_task - 1) / of_task, panels = Panels(channels);
  const auto weights_of = [&](int64_t block) {
    const auto at = [&](Vectors of_all) { return of_all.typed_data() + block * channels; };
    return Weights{near.typed_data() + block * stack.near.taps() * channels, at(near_bias),
                   far.typed_data() + block * stack.far.taps() * channels, at(far_bias), at(spatial_factor),
                   at(spatial_summand), pointwise.typed_data() + block * channels * channels, at(pointwise_bias),
                   at(pointwise_factor), at(pointwise_summand)};
  };
  const auto counts = [&](int64_t phase) { return phase % 2 ? stack.chunks() : batch * tasks + panels; };
  Row<T> near_row = nullptr, far_row = nullptr;
  ffi::Error error = WithWidth(stack.near, [&](auto width) { near_row = NearRow<T, decltype(width)::value>; });
  if (error.failure()) return error;
  error = WithWidth(stack.far, [&](auto width) { far_row = FarRow<T, decltype(width)::value>; });
  if (error.failure()) return error;
  ParallelPhases(pool, 2 * stack.blocks, counts, [&](int64_t phase, int64_t task) {
    const Weights w = weights_of(phase / 2);
    if (phase % 2) {
      const int64_t begin = task * kPixels;
      Pointwise(spatial, packed->typed_data(), w, channels, begin, std::min(begin + kPixels, stack.pixels()), mixed);
    } else if (task < batch * tasks) {
      const int64_t begin = task % tasks * of_task;
      Spatial(stack.near, stack.far, near_row, far_row, w, phase ? mixed : images, spatial, task / tasks, begin,
              std::min(begin + of_task, vectors));
    } else {
      Pack<T>(w.pointwise, channels, task - batch * tasks, packed->typed_data());
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
      .template Ret<Images<type>>()
      .template Ret<Packed>()
      .template Attr<int64_t>("dilation");
}

}  // namespace
}  // namespace stlight

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_mixers_float32, (stlight::MixersHandler<float, ffi::F32>),
                              stlight::Binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_mixers_bfloat16, (stlight::MixersHandler<stlight::BFloat16, ffi::BF16>),
                              stlight::Binding<ffi::BF16>());
