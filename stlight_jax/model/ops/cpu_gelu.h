// GELU, x * Phi(x) with the normal distribution function Phi, off by no more than the rounding of Phi to float32.
#ifndef STLIGHT_CPU_GELU_H_
#define STLIGHT_CPU_GELU_H_

#include <cmath>

#include "cpu_vectors.h"

namespace stlight {

#if defined(__AVX512F__)

// Phi(-a) = coefficients[0][k] + coefficients[1][k] * r + ..., where a = (k + r) / kIntervalsPerUnit and |r| <= 1/2, so that
// a lookup is a permutation of a register. The polynomials interpolate at Chebyshev's nodes and are off by less than 5e-9.
// The last one is 0; it stands for all a from 5.6 on.
struct GeluTable {
  static constexpr int kIntervals = 16, kTerms = 6;
  static constexpr float kIntervalsPerUnit = 2.6f;
  alignas(64) float coefficients[kTerms][kIntervals];

  GeluTable() : coefficients() {
    for (int k = 0; k + 1 < kIntervals; ++k) {
      double nodes[kTerms], differences[kTerms], powers[kTerms] = {};
      for (int i = 0; i < kTerms; ++i) {
        nodes[i] = 0.5 * std::cos(std::acos(-1.0) * (2 * i + 1) / (2 * kTerms));
        differences[i] = 0.5 * std::erfc((k + nodes[i]) / kIntervalsPerUnit / std::sqrt(2.0));
      }
      for (int order = 1; order < kTerms; ++order) {  // divided differences
        for (int i = kTerms - 1; i >= order; --i) {
          differences[i] = (differences[i] - differences[i - 1]) / (nodes[i] - nodes[i - order]);
        }
      }
      for (int i = kTerms - 1; i >= 0; --i) {  // powers = powers * (r - node) + difference
        for (int power = kTerms - 1; power > 0; --power) powers[power] = powers[power - 1] - powers[power] * nodes[i];
        powers[0] = differences[i] - powers[0] * nodes[i];
      }
      for (int power = 0; power < kTerms; ++power) coefficients[power][k] = static_cast<float>(powers[power]);
    }
  }
};
static const GeluTable gelu_table;

inline Vector Gelu(Vector x) {
  constexpr float scale = GeluTable::kIntervalsPerUnit, limit = (GeluTable::kIntervals - 1) / scale;
  // The smaller of the two; NaN if x is.
  const Vector a = (Vector)_mm512_min_ps((__m512)Broadcast(limit), _mm512_abs_ps((__m512)x));
  const Vector shifted = a * scale + 12582912.0f;  // adding 1.5 * 2**23 rounds, and leaves k in the lowest bits
  const Vector r = a * scale - (shifted - 12582912.0f);
  const auto coefficient = [&](int power) {
    return (Vector)_mm512_permutexvar_ps((__m512i)shifted, _mm512_load_ps(gelu_table.coefficients[power]));
  };
  Vector tail = coefficient(GeluTable::kTerms - 1);
  for (int power = GeluTable::kTerms - 2; power >= 0; --power) tail = tail * r + coefficient(power);
  return (Vector)_mm512_max_ps((__m512)x, __m512{}) - a * tail;
}

#else

// Phi(-|x|) = erfc(|x| / sqrt(2)) / 2 = exp(-|x| * p(|x|)) / 2. The polynomial was fitted to -log(erfc(a / sqrt(2))) / a
// for a from 0 to 9 by reweighted least squares, so that Phi is off by less than 2e-8.
inline Vector Gelu(Vector x) {
  constexpr float p[] = {7.97885418e-1f, 3.18298906e-1f, 3.63822319e-2f,  -4.87383688e-3f, 5.78013787e-5f,
                         1.60418684e-4f, -4.14819988e-5f, 5.30820671e-6f, -3.54491931e-7f, 9.75263781e-9f};
  const Vector magnitude = x < 0.0f ? -x : x;
  const Vector a = magnitude > 9.0f ? Broadcast(9.0f) : magnitude;
  Vector sum = Broadcast(p[9]);
  for (int i = 8; i >= 0; --i) sum = sum * a + p[i];
  const Vector exponent = -(a * sum);  // from -45 to 0
  // exp(exponent) = 2**k * exp(r): adding 1.5 * 2**23 rounds, and leaves k in the lowest bits.
  const Vector shifted = exponent * 1.44269504f + 12582912.0f;
  const Vector k = shifted - 12582912.0f;
  const Vector r = (exponent - k * 0.693359375f) - k * -2.12194440e-4f;
  constexpr float e[] = {1.0f, 1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720};
  Vector power = Broadcast(e[6]);
  for (int i = 5; i >= 0; --i) power = power * r + e[i];
  const IntVector scaled = (IntVector)power + ((IntVector)shifted << 23);
  const Vector tail = (Vector)scaled * 0.5f;
  return x * (x < 0.0f ? tail : 1.0f - tail);
}

#endif

}  // namespace stlight

#endif  // STLIGHT_CPU_GELU_H_
