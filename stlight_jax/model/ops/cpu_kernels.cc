// For CPUs, in float32, called by XLA through its foreign function interface: depthwise convolution, its filter gradient,
// and sums over all pixels of a channel.
//
// XLA's own loops for a depthwise convolution read an input and a weight from memory for every multiplication. These keep
// a row of weights (or of sums) and a run of neighbouring outputs in registers, so that one load serves up to
// kernel-width multiplications. Arrays are channels-last; a vector holds neighbouring channels, which never mix. Sums are
// made in the same order whatever the number of threads.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kLongRun = 12;  // 32 registers: 12 outputs, up to 11 weights, an input
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kLongRun = 8;
#else
constexpr int kVectorBytes = 16;
constexpr int kLongRun = 8;
#endif
constexpr int kShortRun = 4;
constexpr int64_t kLanes = kVectorBytes / sizeof(float);
constexpr int64_t kBlockVectors = 64 / kLanes;  // a task's share of the channels: four cache lines side by side

typedef float Vector __attribute__((vector_size(kVectorBytes), aligned(alignof(float)), may_alias));

inline Vector Load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void Store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// Calls f(0), ..., f(n - 1) with compile-time constants: arrays indexed by them live in registers.
template <int... i, typename F>
inline __attribute__((always_inline)) void Unrolled(std::integer_sequence<int, i...>, F&& f) {
  (f(std::integral_constant<int, i>{}), ...);
}
template <int n, typename F>
inline __attribute__((always_inline)) void Unrolled(F&& f) {
  Unrolled(std::make_integer_sequence<int, n>{}, f);
}

struct Shape {
  int64_t batch, height, width, channels, kernel_height, kernel_width, dilation;

  int64_t taps() const { return kernel_height * kernel_width; }
  int64_t input_row(int64_t y, int64_t i) const { return y + (i - kernel_height / 2) * dilation; }
  int64_t input_column(int64_t x, int64_t j) const { return x + (j - kernel_width / 2) * dilation; }
  int64_t pixel(int64_t b, int64_t y, int64_t x) const { return ((b * height + y) * width + x) * channels; }

  int64_t vectors() const { return (channels + kLanes - 1) / kLanes; }
  // Where lanes do not divide the channels, the last vector overlaps the one before it, which is in the same block.
  int64_t first_channel(int64_t vector) const { return std::min(vector * kLanes, channels - kLanes); }
  int64_t blocks() const { return std::max<int64_t>(1, vectors() / kBlockVectors); }
  int64_t block_begin(int64_t block) const { return block * vectors() / blocks(); }
};

// Runs task(0), ..., task(count - 1) on the pool and on the calling thread.
template <typename Task>
void ParallelFor(ffi::ThreadPool& pool, int64_t count, const Task& task) {
  struct State {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable changed;
    int64_t done = 0;
  };
  auto state = std::make_shared<State>();
  // A helper that starts after all tasks are taken touches nothing but the state it owns a share of, so that the
  // caller waits for work under way only, never for a busy pool.
  auto work = [state, count, &task] {
    int64_t finished = 0;
    for (int64_t i; (i = state->next.fetch_add(1)) < count; ++finished) task(i);
    if (finished == 0) return;
    std::lock_guard<std::mutex> lock(state->mutex);
    state->done += finished;
    if (state->done == count) state->changed.notify_one();
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(decltype(work)(work));
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->changed.wait(lock, [&] { return state->done == count; });
}

// Splits a row into runs of outputs `dilation` apart: f(run length as a constant, first column, columns that exist).
template <typename F>
inline __attribute__((always_inline)) void ForEachRun(const Shape& s, F&& f) {
  for (int64_t phase = 0; phase < std::min(s.dilation, s.width); ++phase) {
    for (int64_t x = phase; x < s.width;) {
      const int64_t left = (s.width - x + s.dilation - 1) / s.dilation;
      if (left > kShortRun) {
        f(std::integral_constant<int, kLongRun>{}, x, std::min<int64_t>(left, kLongRun));
        x += kLongRun * s.dilation;
      } else {
        f(std::integral_constant<int, kShortRun>{}, x, left);
        x += kShortRun * s.dilation;
      }
    }
  }
}

// One run and one vector of channels. `weights` are [kernel_height, width, lanes]; `image` and `output_row` start at the
// vector's first channel.
template <int width, int run>
void ConvolveRun(const Shape& s, const float* image, const float* weights, float* output_row, int64_t y, int64_t x,
                 int64_t count) {
  Vector sums[run] = {};
  for (int64_t i = 0; i < s.kernel_height; ++i) {
    const int64_t row = s.input_row(y, i);
    if (row < 0 || row >= s.height) continue;
    Vector w[width];
    Unrolled<width>([&](auto j) { w[j] = Load(weights + (i * width + j) * kLanes); });
    const float* inputs = image + row * s.width * s.channels;
    const int64_t first = s.input_column(x, 0);
    Unrolled<run + width - 1>([&](auto c) {
      const int64_t column = first + c * s.dilation;
      if (column < 0 || column >= s.width) return;
      const Vector input = Load(inputs + column * s.channels);
      Unrolled<width>([&](auto j) {
        constexpr int output = decltype(c)::value - decltype(j)::value;
        if constexpr (output >= 0 && output < run) sums[output] += input * w[j];
      });
    });
  }
  Unrolled<run>([&](auto o) {
    if (o < count) Store(output_row + (x + o * s.dilation) * s.channels, sums[o]);
  });
}

// Adds what one run of outputs contributes to the gradient of one kernel row, `sums` [width, lanes].
// It walks over the inputs as `ConvolveRun` does; with the walk in a function of its own, GCC 12 made both a third slower.
template <int width, int run>
void AddRun(const Shape& s, const float* inputs, const float* cotangents, float* sums, int64_t x, int64_t count) {
  Vector g[run], part[width] = {};
  Unrolled<run>([&](auto o) { g[o] = o < count ? Load(cotangents + (x + o * s.dilation) * s.channels) : Vector{}; });
  const int64_t first = s.input_column(x, 0);
  Unrolled<run + width - 1>([&](auto c) {
    const int64_t column = first + c * s.dilation;
    if (column < 0 || column >= s.width) return;
    const Vector input = Load(inputs + column * s.channels);
    Unrolled<width>([&](auto j) {
      constexpr int output = decltype(c)::value - decltype(j)::value;
      if constexpr (output >= 0 && output < run) part[j] += input * g[output];
    });
  });
  Unrolled<width>([&](auto j) { Store(sums + j * kLanes, Load(sums + j * kLanes) + part[j]); });
}

template <int width>
void Convolve(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* kernel, bool flip, float* output) {
  constexpr int64_t rows = 8;
  const int64_t strips = (s.height + rows - 1) / rows, taps = s.taps();
  ParallelFor(pool, s.batch * s.blocks() * strips, [&](int64_t task) {
    const int64_t b = task / (s.blocks() * strips), block = task / strips % s.blocks(), top = task % strips * rows;
    const int64_t begin = s.block_begin(block), end = s.block_begin(block + 1);
    std::vector<float> weights;  // [vectors, kernel_height, kernel_width, lanes]
    weights.reserve((end - begin) * taps * kLanes);
    for (int64_t vector = begin; vector < end; ++vector) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const float* from = kernel + (flip ? taps - 1 - tap : tap) * s.channels + s.first_channel(vector);
        weights.insert(weights.end(), from, from + kLanes);
      }
    }
    for (int64_t y = top; y < std::min(top + rows, s.height); ++y) {
      for (int64_t vector = begin; vector < end; ++vector) {
        const float* image = x + s.pixel(b, 0, 0) + s.first_channel(vector);
        const float* own = weights.data() + (vector - begin) * taps * kLanes;
        float* output_row = output + s.pixel(b, y, 0) + s.first_channel(vector);
        ForEachRun(s, [&](auto run, int64_t column, int64_t count) {
          ConvolveRun<width, decltype(run)::value>(s, image, own, output_row, y, column, count);
        });
      }
    }
  });
}

template <int width>
void FilterGradient(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* cotangent, float* gradient) {
  constexpr int64_t rows = 16;
  const int64_t strips = (s.height + rows - 1) / rows, parts = s.batch * strips, taps = s.taps();
  std::vector<std::vector<float>> sums(s.blocks() * parts);  // of [vectors, kernel_height, kernel_width, lanes]
  ParallelFor(pool, s.blocks() * parts, [&](int64_t task) {
    const int64_t block = task / parts, b = task % parts / strips, top = task % strips * rows;
    const int64_t begin = s.block_begin(block), end = s.block_begin(block + 1);
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
          ForEachRun(s, [&](auto run, int64_t column, int64_t count) {
            AddRun<width, decltype(run)::value>(s, inputs, cotangents, of_row, column, count);
          });
        }
      }
    }
  });
  ParallelFor(pool, s.blocks(), [&](int64_t block) {
    const int64_t begin = s.block_begin(block), end = s.block_begin(block + 1);
    for (int64_t vector = begin; vector < end; ++vector) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        Vector total = {};
        for (int64_t part = 0; part < parts; ++part) {
          total += Load(sums[block * parts + part].data() + ((vector - begin) * taps + tap) * kLanes);
        }
        Store(gradient + tap * s.channels + s.first_channel(vector), total);
      }
    }
  });
}

// Calls f with the kernel's width as a constant.
template <typename F>
ffi::Error WithWidth(const Shape& s, F&& f) {
  if (s.channels < kLanes) return ffi::Error::InvalidArgument("there are fewer channels than a vector holds");
  switch (s.kernel_width) {
    case 1: f(std::integral_constant<int, 1>{}); break;
    case 3: f(std::integral_constant<int, 3>{}); break;
    case 5: f(std::integral_constant<int, 5>{}); break;
    case 7: f(std::integral_constant<int, 7>{}); break;
    case 9: f(std::integral_constant<int, 9>{}); break;
    case 11: f(std::integral_constant<int, 11>{}); break;
    default: return ffi::Error::InvalidArgument("the kernel's width is not an odd number up to 11");
  }
  return ffi::Error::Success();
}

// Of [pixels, channels] arrays: sums[channel] = sum of a, products[channel] = sum of a * (b - center[channel]).
void ChannelSums(ffi::ThreadPool& pool, int64_t pixels, int64_t channels, const float* a, const float* b,
                 const float* center, float* sums, float* products) {
  constexpr int64_t part = 256, group = 16;
  const int64_t parts = (pixels + part - 1) / part;
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

ffi::Error ConvolveHandler(ffi::ThreadPool pool, Array x, Array kernel, ffi::Result<Array> output, int64_t dilation,
                           bool flip) {
  const Shape s = ShapeOf(x, kernel.dimensions(), dilation);
  return WithWidth(s, [&](auto width) {
    Convolve<decltype(width)::value>(pool, s, x.typed_data(), kernel.typed_data(), flip, output->typed_data());
  });
}

ffi::Error FilterGradientHandler(ffi::ThreadPool pool, Array x, Array cotangent, ffi::Result<Array> gradient,
                                 int64_t dilation) {
  const Shape s = ShapeOf(x, gradient->dimensions(), dilation);
  return WithWidth(s, [&](auto width) {
    FilterGradient<decltype(width)::value>(pool, s, x.typed_data(), cotangent.typed_data(), gradient->typed_data());
  });
}

ffi::Error ChannelSumsHandler(ffi::ThreadPool pool, Array a, Array b, Channels center, ffi::Result<Channels> sums,
                              ffi::Result<Channels> products) {
  const int64_t channels = center.element_count();
  ChannelSums(pool, channels ? a.element_count() / channels : 0, channels, a.typed_data(), b.typed_data(),
              center.typed_data(), sums->typed_data(), products->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_convolve, ConvolveHandler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("dilation")
                                  .Attr<bool>("flip"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_filter_gradient, FilterGradientHandler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("dilation"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_channel_sums, ChannelSumsHandler,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Channels>()
                                  .Ret<Channels>()
                                  .Ret<Channels>());
