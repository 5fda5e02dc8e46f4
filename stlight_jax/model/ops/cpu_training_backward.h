// The backward pass of the two halves of a mixer block; `cpu_training_backward.cc` calls them.
#ifndef STLIGHT_CPU_TRAINING_BACKWARD_H_
#define STLIGHT_CPU_TRAINING_BACKWARD_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu_convolution.h"
#include "cpu_gelu.h"
#include "cpu_product.h"
#include "cpu_training.h"
#include "cpu_vectors.h"

namespace stlight {

// The gradient with respect to the values that a norm takes: cotangent * of_cotangent + value * of_value + constant.
struct NormGradient {
  std::vector<float> of_cotangent, of_value, constant, mean;

  // `sums` are [parts, 2, channels]: of the cotangents, and of them times (value - mean). Sets the gradients of the scale and
  // the bias.
  NormGradient(const TrainingStack& stack, const std::vector<double>& sums, const Norm& norm, const float* scale,
               float* scale_gradient, float* bias_gradient)
      : of_cotangent(norm.factor), of_value(stack.channels()), constant(stack.channels()), mean(norm.mean) {
    for (int64_t c = 0; c < stack.channels(); ++c) {
      const auto [total, product] = PairOfSums(sums, stack.channels(), c);
      const double rsqrt = 1 / std::sqrt(static_cast<double>(norm.variance[c]) + stack.epsilon);
      const double slope = -scale[c] * rsqrt * rsqrt * rsqrt * product / stack.pixels();
      scale_gradient[c] = product * rsqrt;
      bias_gradient[c] = total;
      of_value[c] = slope;
      constant[c] = -scale[c] * rsqrt * total / stack.pixels() - slope * norm.mean[c];
    }
  }

  Vector At(int64_t channel, Vector cotangent, Vector value) const {
    return cotangent * Load(&of_cotangent[channel]) + (value * Load(&of_value[channel]) + Load(&constant[channel]));
  }
};

// Operands of a product that sums over pixels.
template <typename P>
struct Operands {
  static constexpr int64_t depth = Product<P>::depth;
  int64_t channels;
  std::vector<float> pairs;  // [pixels / depth, channels]

  explicit Operands(int64_t channels) : channels(channels), pairs(kChunkPixels / depth * channels) {}
  void Set(int64_t pixel, int64_t channel, const Vector (&values)[depth]) {
    float* to = pairs.data() + pixel / depth * channels + channel;
    if constexpr (depth == 2) {
      Store(to, Product<P>::Packed(values[0], values[1]));
    } else {
      Store(to, values[0]);
    }
  }
};

// The pointwise half on some of the pixels.
template <typename T>
struct PointwiseGradient {
  using P = Operand<T>;
  static constexpr int64_t depth = Product<P>::depth;
  const TrainingStack& stack;
  const Activations<const T>& block;
  const Norm& spatial_norm;
  const NormGradient& norm;  // of the block's output
  const float* packed;       // the transposed weights
  const T* cotangent;        // of the block's output
  T* input_cotangent;        // of the product's input

  // Pixels `begin` to `end`. Sets the gradients of the weights, [panels, channels, kTileChannels], and of the bias, and `sums`,
  // [2, channels]: of the input's cotangent, and of it times (gelu(far) - mean).
  void Run(int64_t begin, int64_t end, float* weights, double* bias, double* sums) const {
    const int64_t channels = stack.channels(), panels = Panels(channels), vectors = stack.near.vectors();
    Operands<P> inputs(channels), cotangents(channels);
    std::vector<P> rows_of_cotangents(depth == 1 ? 0 : kChunkPixels * channels);  // of channels in pairs
    P* const in_rows = depth == 1 ? reinterpret_cast<P*>(cotangents.pairs.data()) : rows_of_cotangents.data();
    std::fill_n(weights, panels * channels * kTileChannels, 0.0f);
    std::vector<float> centred(kChunkPixels * channels);  // gelu(far) - mean
    ChannelTotals of_input(2, panels * kTileVectors), of_product(1, vectors);
    for (int64_t first = begin; first < end; first += kChunkPixels) {
      const int64_t rows = std::min(kChunkPixels, end - first);
      for (int64_t vector = 0; vector < vectors; ++vector) {
        const int64_t channel = stack.near.first_channel(vector);
        Vector total = {};
        for (int64_t row = 0; row < rows; row += depth) {
          Vector input[depth] = {}, product_cotangent[depth] = {};
          for (int64_t r = 0; r < std::min(depth, rows - row); ++r) {
            const int64_t at = (first + row + r) * channels + channel, here = (row + r) * channels + channel;
            Vector value, slope;
            GeluAndSlope(Load(block.pointwise + at), &value, &slope);
            product_cotangent[r] = norm.At(channel, Load(cotangent + at), value) * slope;
            total += product_cotangent[r];
            if constexpr (depth == 2) Store(in_rows + here, product_cotangent[r]);
            value = Gelu(Load(block.far + at));
            Store(&centred[here], value - Load(&spatial_norm.mean[channel]));
            const Vector normed = value * Load(&spatial_norm.factor[channel]) + Load(&spatial_norm.summand[channel]);
            input[r] = Load(block.input + at) + normed;
          }
          inputs.Set(row, channel, input);
          cotangents.Set(row, channel, product_cotangent);
        }
        of_product.Add(0, vector, total);
      }
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t from = FirstOfPanel(panel, channels);
        AddWeights(inputs, cotangents, from, CeilDivide(rows, depth), weights + panel * channels * kTileChannels);
        const float* own = packed + panel * PanelSize<P>(channels);
        const Factors<P> factors{in_rows, channels, channels / depth, own};
        ProductRows(factors, rows, [&](int64_t v, int64_t row, auto& product) __attribute__((always_inline)) {
          const int64_t channel = from + v * kLanes;
          T* to = input_cotangent + (first + row) * channels + channel;
          const float* values = &centred[row * channels + channel];
          Vector total = {}, products = {};
          ForEachRow(product, [&](auto r) {
            Store(to + r * channels, product[r]);
            total += product[r];
            products += product[r] * Load(values + r * channels);
          });
          of_input.Add(0, panel * kTileVectors + v, total);
          of_input.Add(1, panel * kTileVectors + v, products);
        });
      }
    }
    for (int64_t group = 0; group < panels * kTileVectors; ++group) {
      const int64_t channel = FirstOfPanel(group / kTileVectors, channels) + group % kTileVectors * kLanes;
      for (int64_t list = 0; list < 2; ++list) of_input.Write(list, group, sums + list * channels + channel);
    }
    for (int64_t vector = 0; vector < vectors; ++vector) {
      of_product.Write(0, vector, bias + stack.near.first_channel(vector));
    }
  }

  // Adds transpose(inputs) * cotangents of a panel of columns, which begins at channel `from`.
  static void AddWeights(const Operands<P>& inputs, const Operands<P>& cotangents, int64_t from, int64_t steps,
                         float* weights) {
    const TransposedFactors<P> factors{reinterpret_cast<const P*>(inputs.pairs.data()), inputs.channels, steps,
                                       cotangents.pairs.data() + from};
    ProductRows(factors, inputs.channels, [&](int64_t v, int64_t row, auto& product) __attribute__((always_inline)) {
      float* to = weights + row * kTileChannels + v * kLanes;
      ForEachRow(product, [&](auto r) { Store(to + r * kTileChannels, Load(to + r * kTileChannels) + product[r]); });
    });
  }
};

// The spatial half on some channels of an image.
template <typename T>
struct SpatialGradient {
  // Rows of the cotangents of a convolution's output, [vectors, rows, width, lanes], a row at its number modulo `rows`.
  struct Ring {
    int64_t rows, width;
    std::vector<float> numbers;

    Ring(int64_t vectors, int64_t rows, int64_t width) : rows(rows), width(width), numbers(vectors * rows * width * kLanes) {}
    float* row(int64_t vector, int64_t row) { return &numbers[(vector * rows + row % rows) * width * kLanes]; }
  };
  static constexpr int64_t kRowsOfSum = 16;  // sums of so many rows in float32, sums of those in float64

  const TrainingStack& stack;
  const Activations<const T>& block;
  const NormGradient& norm;              // of the spatial half's output
  const T* previous = nullptr;           // pointwise activations of the block before, or null
  const float* previous_mean = nullptr;  // of their GELU
  const T* cotangent;                    // of the spatial half's output
  T* input_cotangent;                    // of the block's input
  int64_t image, begin, vectors;
  std::vector<float> near_weights, far_weights;  // rotated by 180 degrees
  Ring of_far, of_near;
  std::vector<float> near_sums, far_sums;        // gradients of some rows, [vectors, taps, lanes]
  ChannelTotals near_totals, far_totals, totals;  // [taps], [taps]; near bias, far bias, input cotangent, it times value

  SpatialGradient(const TrainingStack& stack, const Activations<const T>& block, const NormGradient& norm, const Weights& w,
                  const Share& share, const T* cotangent, T* input_cotangent)
      : stack(stack), block(block), norm(norm), cotangent(cotangent), input_cotangent(input_cotangent), image(share.image),
        begin(share.begin), vectors(share.vectors),
        near_weights(WeightsOfVectors(stack.near, w.near, begin, begin + vectors, true)),
        far_weights(WeightsOfVectors(stack.far, w.far, begin, begin + vectors, true)),
        of_far(vectors, std::min(stack.far.kernel_height / 2 * stack.far.dilation * 2 + 1, stack.far.height), stack.far.width),
        of_near(vectors, std::min(stack.near.kernel_height, stack.near.height), stack.near.width),
        near_sums(vectors * stack.near.taps() * kLanes), far_sums(vectors * stack.far.taps() * kLanes),
        near_totals(stack.near.taps(), vectors), far_totals(stack.far.taps(), vectors), totals(4, vectors) {}

  void SetPrevious(const T* pointwise, const float* mean) {
    previous = pointwise;
    previous_mean = mean;
  }

  int64_t channel(int64_t vector) const { return stack.near.first_channel(begin + vector); }
  int64_t at(int64_t row, int64_t vector) const { return stack.near.pixel(image, row, 0) + channel(vector); }

  // Fetches a row that is read soon: the lines of a task lie too far apart for the processor to foresee them.
  void Fetch(const T* activations, int64_t row) const {
    if (row >= stack.near.height) return;
    const char* first = reinterpret_cast<const char*>(activations + at(row, 0));
    const int64_t stride = stack.channels() * sizeof(T), bytes = vectors * kLanes * sizeof(T);
    for (int64_t column = 0; column < stack.near.width; ++column, first += stride) {
      for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(first + byte);
    }
  }

  // Adds what a row of cotangents contributes to the gradient of a kernel.
  template <int width>
  void AddKernelRow(const Shape& s, const T* inputs, Ring& ring, int64_t row, int64_t vector, std::vector<float>& sums) {
    for (int64_t i = 0; i < s.kernel_height; ++i) {
      const int64_t from = s.input_row(row, i);
      if (from < 0 || from >= s.height) continue;
      AddRow<width>(s, inputs + at(from, vector), s.channels, ring.row(vector, row), kLanes,
                    &sums[(vector * s.taps() + i * width) * kLanes]);
    }
  }

  static void Flush(const Shape& s, int64_t vectors, std::vector<float>& sums, ChannelTotals& totals) {
    for (int64_t vector = 0; vector < vectors; ++vector) {
      for (int64_t tap = 0; tap < s.taps(); ++tap) totals.Add(tap, vector, Load(&sums[(vector * s.taps() + tap) * kLanes]));
    }
    std::fill(sums.begin(), sums.end(), 0.0f);
  }

  // A row of the far convolution's cotangents.
  template <int width>
  void FarRow(int64_t row) {
    const Shape& s = stack.far;
    Fetch(block.far, row + 1);
    Fetch(cotangent, row + 1);
    Fetch(block.near, s.input_row(row, s.kernel_height - 1) + 1);
    for (int64_t vector = 0; vector < vectors; ++vector) {
      float* to = of_far.row(vector, row);
      Vector total = {};
      for (int64_t column = 0; column < s.width; ++column) {
        const int64_t from = at(row, vector) + column * s.channels;
        Vector value, slope;
        GeluAndSlope(Load(block.far + from), &value, &slope);
        const Vector result = norm.At(channel(vector), Load(cotangent + from), value) * slope;
        total += result;
        Store(to + column * kLanes, result);
      }
      totals.Add(1, vector, total);
      AddKernelRow<width>(s, block.near, of_far, row, vector, far_sums);
    }
    if (row % kRowsOfSum == kRowsOfSum - 1 || row == s.height - 1) Flush(s, vectors, far_sums, far_totals);
  }

  // A row of the near convolution's cotangents, whose gradients take the near width.
  template <int width>
  void NearRow(int64_t row) {
    const Shape& s = stack.far;
    for (int64_t vector = 0; vector < vectors; ++vector) {
      float* to = of_near.row(vector, row);
      Vector total = {};
      ConvolveRow<width>(s, [&](int64_t from) { return of_far.row(vector, from); }, kLanes,
                         &far_weights[vector * s.taps() * kLanes], row, [&](int64_t column, Vector sum) {
                           total += sum;
                           Store(to + column * kLanes, sum);
                         });
      totals.Add(0, vector, total);
    }
  }

  template <int width>
  void NearKernelRow(int64_t row) {
    const Shape& s = stack.near;
    Fetch(block.input, s.input_row(row, s.kernel_height - 1) + 1);
    for (int64_t vector = 0; vector < vectors; ++vector) {
      AddKernelRow<width>(s, block.input, of_near, row, vector, near_sums);
    }
    if (row % kRowsOfSum == kRowsOfSum - 1 || row == s.height - 1) Flush(s, vectors, near_sums, near_totals);
  }

  // A row of the input's cotangents.
  template <int width>
  void InputRow(int64_t row) {
    const Shape& s = stack.near;
    if (previous) Fetch(previous, row + 1);
    for (int64_t vector = 0; vector < vectors; ++vector) {
      const int64_t first = at(row, vector);
      const Vector mean = previous ? Load(previous_mean + channel(vector)) : Vector{};
      Vector total = {}, products = {};
      ConvolveRow<width>(s, [&](int64_t from) { return of_near.row(vector, from); }, kLanes,
                         &near_weights[vector * s.taps() * kLanes], row, [&](int64_t column, Vector sum) {
                           const int64_t pixel = first + column * s.channels;
                           const Vector result = Load(cotangent + pixel) + sum;
                           Store(input_cotangent + pixel, result);
                           if (!previous) return;
                           total += result;
                           products += result * (Gelu(Load(previous + pixel)) - mean);
                         });
      totals.Add(2, vector, total);
      totals.Add(3, vector, products);
    }
  }

  // Sets `sums`, [near taps + far taps + 2, channels]: gradients of kernels and biases; and `of_input`, [2, channels].
  void Write(double* sums, double* of_input) const {
    const int64_t near_taps = stack.near.taps(), far_taps = stack.far.taps(), channels = stack.channels();
    for (int64_t vector = 0; vector < vectors; ++vector) {
      double* to = sums + channel(vector);
      for (int64_t tap = 0; tap < near_taps; ++tap, to += channels) near_totals.Write(tap, vector, to);
      for (int64_t tap = 0; tap < far_taps; ++tap, to += channels) far_totals.Write(tap, vector, to);
      for (int64_t list = 0; list < 2; ++list, to += channels) totals.Write(list, vector, to);
      to = of_input + channel(vector);
      for (int64_t list = 2; list < 4; ++list, to += channels) totals.Write(list, vector, to);
    }
  }
};

}  // namespace stlight

#endif  // STLIGHT_CPU_TRAINING_BACKWARD_H_
