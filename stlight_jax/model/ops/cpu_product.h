// Matrix products of tiles whose sums stay in registers, with a function that takes the sums from there.
#ifndef STLIGHT_CPU_PRODUCT_H_
#define STLIGHT_CPU_PRODUCT_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu_vectors.h"

namespace stlight {

#if defined(__AVX512F__)
constexpr int kTileRows = 12;  // 32 registers: 24 sums, 2 weights, inputs
#elif defined(__AVX__)
constexpr int kTileRows = 6;  // 16 registers: 12 sums, 2 weights, an input
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileVectors = 2;
constexpr int64_t kTileChannels = kTileVectors * kLanes;

inline int64_t Panels(int64_t channels) { return CeilDivide(channels, kTileChannels); }

// Where the panel's channels begin; the last panel overlaps the one before it.
inline int64_t FirstOfPanel(int64_t panel, int64_t channels) {
  return std::min(panel * kTileChannels, channels - kTileChannels);
}

// The instruction that multiplies and adds pairs of bfloat16 has twice float32's rate on AMD's processors. On Intel's it has
// half of it: 86 GFLOP/s instead of 176 on a core of a Xeon of the fifth generation. A compiler that does not know AMD's
// fourth generation takes it for the third.
#if defined(__AVX512BF16__) && (defined(__znver3__) || defined(__znver4__) || defined(__znver5__))
#define STLIGHT_PRODUCTS_OF_PAIRS
#endif

// A number of the product's input, and numbers of its weights for a vector of outputs: one float32, or two bfloat16 that the
// processor multiplies and adds in one step.
template <typename P>
struct Product;

template <>
struct Product<float> {
  static constexpr int64_t depth = 1;
  static Vector Packed(Vector weights) { return weights; }
  static Vector Input(const float* input) { return Broadcast(*input); }
  static Vector Add(Vector sum, Vector input, Vector weights) { return MultiplyAdd(input, weights, sum); }
};

// `Operand<T>` is the type of the product's input that an array of T becomes.
#if defined(STLIGHT_PRODUCTS_OF_PAIRS)
template <>
struct Product<BFloat16> {
  static constexpr int64_t depth = 2;
  // Rounded numbers side by side: the lower half of a lane is of `even`.
  static Vector Packed(Vector even, Vector odd) {
    const auto rounded = [](Vector value) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)value)); };
    return (Vector)_mm512_or_si512(rounded(even), _mm512_slli_epi32(rounded(odd), 16));
  }
  static Vector Input(const BFloat16* input) {
    int32_t pair;
    std::memcpy(&pair, input, sizeof(pair));
    return (Vector)_mm512_set1_epi32(pair);
  }
  static Vector Add(Vector sum, Vector input, Vector weights) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weights, (__m512bh)input);
  }
};
template <typename T>
using Operand = T;
#else
template <typename T>
using Operand = float;  // bfloat16 is widened once, not in each product
#endif

// Returns `count` numbers as inputs of a product: themselves, or a wider copy in `widened`. `count` is at least kLanes.
inline const float* ProductInputs(const float* from, int64_t, std::vector<float>&) { return from; }
#if defined(STLIGHT_PRODUCTS_OF_PAIRS)
inline const BFloat16* ProductInputs(const BFloat16* from, int64_t, std::vector<BFloat16>&) { return from; }
#else
inline const float* ProductInputs(const BFloat16* from, int64_t count, std::vector<float>& widened) {
  widened.resize(count);
  int64_t at = 0;
  for (; at + kLanes <= count; at += kLanes) Store(&widened[at], Load(from + at));
  if (at < count) Store(&widened[count - kLanes], Load(from + count - kLanes));  // overlaps the vector before it
  return widened.data();
}
#endif

// Copies kTileChannels columns of a matrix, whose rows are `stride` apart, so that the product reads them from one end to the
// other.
template <typename T>
void PackColumns(const float* from, int64_t stride, int64_t rows, float* to) {
  constexpr int64_t depth = Product<T>::depth;
  for (int64_t k = 0; k < rows; k += depth) {
    for (int v = 0; v < kTileVectors; ++v, to += kLanes) {
      const float* row = from + k * stride + v * kLanes;
      if constexpr (depth == 2) {
        Store(to, Product<T>::Packed(Load(row), Load(row + stride)));
      } else {
        Store(to, Product<T>::Packed(Load(row)));
      }
    }
  }
}

// The space of a packed panel of a [channels, channels] matrix.
template <typename T>
int64_t PanelSize(int64_t channels) {
  return channels / Product<T>::depth * kTileChannels;
}

template <typename T>
void Pack(const float* weights, int64_t channels, int64_t panel, float* packed) {
  PackColumns<T>(weights + FirstOfPanel(panel, channels), channels, channels, packed + panel * PanelSize<T>(channels));
}

// Packs a panel of the transposed matrix.
template <typename T>
void PackTransposed(const float* weights, int64_t channels, int64_t panel, float* packed) {
  std::vector<float> columns(channels * kTileChannels);
  for (int64_t column = 0; column < kTileChannels; ++column) {
    const float* from = weights + (FirstOfPanel(panel, channels) + column) * channels;
    for (int64_t row = 0; row < channels; ++row) columns[row * kTileChannels + column] = from[row];
  }
  PackColumns<T>(columns.data(), kTileChannels, channels, packed + panel * PanelSize<T>(channels));
}

// The factors of a panel of `inputs * weights`; `weights` are packed.
template <typename P>
struct Factors {
  using Input = P;
  const P* inputs;
  int64_t row_stride, steps;
  const float* weights;

  const P* input(int64_t row, int64_t step) const { return inputs + row * row_stride + step * Product<P>::depth; }
  const float* weight(int64_t step) const { return weights + step * kTileChannels; }
};

// The factors of a panel of `transpose(inputs) * weights`; a step of both is a row of [stride] operands.
template <typename P>
struct TransposedFactors {
  using Input = P;
  const P* inputs;
  int64_t stride, steps;
  const float* weights;

  const P* input(int64_t row, int64_t step) const { return inputs + (step * stride + row) * Product<P>::depth; }
  const float* weight(int64_t step) const { return weights + step * stride; }
};

// `rows` rows and one panel; `finish(vector, row, sums)` takes `rows` sums of a vector. In a function of its own, the sums and
// the addresses of the inputs have all registers.
template <int rows, typename F, typename Finish>
__attribute__((noinline)) void ProductTile(const F& f, int64_t row, const Finish& finish) {
  using P = Product<typename F::Input>;
  Vector sums[kTileVectors][rows] = {};
  for (int64_t step = 0; step < f.steps; ++step) {
    Vector weights[kTileVectors];
    Unrolled<kTileVectors>([&](auto v) { weights[v] = Load(f.weight(step) + v * kLanes); });
    Unrolled<rows>([&](auto r) {
      const Vector input = P::Input(f.input(row + r, step));
      Unrolled<kTileVectors>([&](auto v) { sums[v][r] = P::Add(sums[v][r], input, weights[v]); });
    });
  }
  Unrolled<kTileVectors>([&](auto v) { finish(v, row, sums[v]); });
}

// Rows 0 to `rows`.
template <typename F, typename Finish>
void ProductRows(const F& f, int64_t rows, const Finish& finish) {
  int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) ProductTile<kTileRows>(f, row, finish);
  for (; row + 4 <= rows; row += 4) ProductTile<4>(f, row, finish);
  for (; row < rows; ++row) ProductTile<1>(f, row, finish);
}

// Calls f(row) for each of the sums that `finish` takes.
template <int rows, typename F>
inline __attribute__((always_inline)) void ForEachRow(const Vector (&)[rows], F&& f) {
  Unrolled<rows>(f);
}

}  // namespace stlight

#endif  // STLIGHT_CPU_PRODUCT_H_
