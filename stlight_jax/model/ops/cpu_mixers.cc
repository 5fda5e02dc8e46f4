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

#include "cpu_gelu.h"
#include "cpu_memory.h"
#include "cpu_product.h"
#include "cpu_spatial.h"
#include "cpu_stack.h"
#include "cpu_threads.h"
#include "cpu_vectors.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace stlight {
namespace {

// A task of the spatial phase.
template <typename T>
struct SpatialTask {
  const T* x;
  T* y;
  Strip strip;

  template <int width>
  void NearRow(int64_t row) {
    for (int64_t vector = 0; vector < strip.share.vectors; ++vector) {
      strip.NearRow<width>(x, row, vector, [](int64_t, Vector) {});
    }
  }

  // A row of y = x + norm(gelu(far(near(x)))).
  template <int width>
  void FarRow(int64_t row) {
    for (int64_t vector = 0; vector < strip.share.vectors; ++vector) {
      const int64_t channel = strip.channel(vector);
      const Vector factor = Load(strip.w.scale + channel), summand = Load(strip.w.bias + channel);
      strip.FarRow<width>(row, vector, [&, x = x, y = y](int64_t at, Vector value) __attribute__((always_inline)) {
        Store(y + at, Load(x + at) + (Gelu(value) * factor + summand));
      });
    }
  }
};

// Pixels `begin` to `end`: norm(gelu(product + bias)).
template <typename T>
void Pointwise(const T* x, const float* packed, const Weights& w, int64_t channels, int64_t begin, int64_t end, T* y) {
  using P = Operand<T>;
  constexpr int64_t depth = Product<P>::depth;
  thread_local std::vector<P> widened;
  const P* inputs = ProductInputs(x + begin * channels, (end - begin) * channels, widened);
  for (int64_t panel = 0; panel < Panels(channels); ++panel) {
    const float* own = packed + panel * PanelSize<P>(channels);
    const int64_t first = FirstOfPanel(panel, channels);
    ProductRows(Factors<P>{inputs, channels, channels / depth, own}, end - begin,
                [&](int64_t v, int64_t row, auto& sums) __attribute__((always_inline)) {
                  const int64_t channel = first + v * kLanes;
                  const Vector bias = Load(w.pointwise_bias + channel), factor = Load(w.pointwise_scale + channel);
                  const Vector summand = Load(w.last_bias + channel);
                  T* to = y + (begin + row) * channels + channel;
                  ForEachRow(sums, [&](auto r) { Store(to + r * channels, Gelu(sums[r] + bias) * factor + summand); });
                });
  }
}

constexpr int64_t kInputBytes = 1 << 19;  // of a task's product

template <typename T>
class Prediction {
 public:
  using P = Operand<T>;

  explicit Prediction(Call<T>& call)
      : x_(call.images), parameters_(call.parameters), stack_(call.stack), mixed_(call.results.template Next<T, 4>()),
        spatial_(call.results.template Next<T, 4>()), packed_(call.results.template Next<float, 1>()) {}

  ffi::Error Prepare(const Call<T>& call) {
    const ffi::Error error = call.template Prepare<P>(
        [&](auto width) { near_row_ = &SpatialTask<T>::template NearRow<decltype(width)::value>; },
        [&](auto width) { far_row_ = &SpatialTask<T>::template FarRow<decltype(width)::value>; });
    if (error.failure()) return error;
    if (call.results.sides[2][0] < Panels(stack_.channels()) * PanelSize<P>(stack_.channels())) {
      return ffi::Error::InvalidArgument("there is no room for the weights of a block");
    }
    pixels_of_task_ = PixelsOfTask(stack_.channels() * sizeof(P));
    PreferLargePages(spatial_, stack_.size() * sizeof(T));
    PreferLargePages(mixed_, stack_.size() * sizeof(T));
    return error;
  }

  int64_t phases() const { return 2 * stack_.blocks; }
  int64_t tasks(int64_t phase) const {
    if (phase % 2) return CeilDivide(stack_.pixels(), pixels_of_task_);
    return stack_.spatial_tasks() + Panels(stack_.channels());
  }
  void Run(int64_t phase, int64_t task) const {
    const Weights w = parameters_.Of(stack_, phase / 2);
    if (phase % 2) {
      const int64_t begin = task * pixels_of_task_, end = std::min(begin + pixels_of_task_, stack_.pixels());
      Pointwise(spatial_, packed_, w, stack_.channels(), begin, end, mixed_);
    } else if (task < stack_.spatial_tasks()) {
      SpatialTask<T> own{phase ? mixed_ : x_, spatial_, Strip(stack_, w, stack_.share(task))};
      own.strip.Walk([&](int64_t row) { (own.*near_row_)(row); }, [&](int64_t row) { (own.*far_row_)(row); });
    } else {
      Pack<P>(w.pointwise, stack_.channels(), task - stack_.spatial_tasks(), packed_);
    }
  }

 private:
  // Pixels of a task of a pointwise phase: each thread has equally many tasks, at least two. More pixels read the weights less
  // often, as long as their inputs stay in the second-level cache. Whole tiles, at least one, also of an empty batch.
  int64_t PixelsOfTask(int64_t bytes_of_pixel) const {
    const int64_t most = std::max<int64_t>(1, kInputBytes / bytes_of_pixel), threads = std::max<int64_t>(1, stack_.threads);
    const int64_t rounds = std::max<int64_t>(2, CeilDivide(stack_.pixels(), most * threads));
    return std::max<int64_t>(1, CeilDivide(stack_.pixels(), rounds * threads * kTileRows)) * kTileRows;
  }

  const T* x_;
  Weights parameters_;
  Stack stack_;
  T *mixed_, *spatial_;  // the outputs of both halves
  float* packed_;        // the pointwise weights of a block
  int64_t pixels_of_task_ = 0;
  void (SpatialTask<T>::*near_row_)(int64_t) = nullptr;
  void (SpatialTask<T>::*far_row_)(int64_t) = nullptr;
};

template <typename T>
ffi::Error MixersHandler(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t dilation) {
  Call<T> call(args, rets, dilation, pool.num_threads());
  Prediction<T> prediction(call);
  const ffi::Error error = prediction.Prepare(call);
  if (error.success()) ParallelPhases(pool, prediction);
  return error;
}

}  // namespace
}  // namespace stlight

XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_mixers_float32, stlight::MixersHandler<float>, stlight::Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(stlight_mixers_bfloat16, stlight::MixersHandler<stlight::BFloat16>, stlight::Binding());
