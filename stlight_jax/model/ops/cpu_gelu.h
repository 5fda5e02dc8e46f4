// GELU, x * Phi(x) with the normal distribution function Phi, and its derivative, off by no more than the rounding of Phi to
// float32.
#ifndef STLIGHT_CPU_GELU_H_
#define STLIGHT_CPU_GELU_H_

#include <cmath>

#include "cpu_vectors.h"

namespace stlight {

#if defined(__AVX512F__)

// f(a) = coefficients[0][k] + coefficients[1][k] * r + ..., where a = (k + r) / kIntervalsPerUnit and |r| <= 1/2, so that a
// lookup is a permutation of a register. The polynomials interpolate at Chebyshev's nodes. The last one is 0; it stands for
// all a from 5.8 on.
struct Table {
  static constexpr int kIntervals = 16, kTerms = 6;
  static constexpr float kIntervalsPerUnit = 2.5f;
  alignas(64) float coefficients[kTerms][kIntervals];

  explicit Table(double (*f)(double)) : coefficients() {
    for (int k = 0; k + 1 < kIntervals; ++k) {
      double nodes[kTerms], differences[kTerms], powers[kTerms] = {};
      for (int i = 0; i < kTerms; ++i) {
        nodes[i] = 0.5 * std::cos(std::acos(-1.0) * (2 * i + 1) / (2 * kTerms));
        differences[i] = f((k + nodes[i]) / kIntervalsPerUnit);
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

// Phi(-a), off by less than 2e-8, and the derivative of the GELU at -a, off by less than 1.2e-7.
static const Table tail_table([](double a) { return 0.5 * std::erfc(a / std::sqrt(2.0)); });
static const Table slope_table([](double a) {
  return 0.5 * std::erfc(a / std::sqrt(2.0)) - a * std::exp(-0.5 * a * a) / std::sqrt(2 * std::acos(-1.0));
});

// Where the tables are read for |x|, which is limited to where they are not zero; NaN stays NaN.
struct Lookup {
  Vector a, shifted, r;

  explicit Lookup(Vector x) {
    constexpr float scale = Table::kIntervalsPerUnit, limit = (Table::kIntervals - 1) / scale;
    a = (Vector)_mm512_min_ps((__m512)Broadcast(limit), _mm512_abs_ps((__m512)x));
    const Vector scales = Broadcast(scale), large = Broadcast(12582912.0f);
    shifted = MultiplyAdd(a, scales, large);  // adding 1.5 * 2**23 rounds, and leaves k in the lowest bits
    r = MultiplyAdd(a, scales, large - shifted);
  }
  Vector In(const Table& table) const {
    const auto coefficient = [&](int power) {
      return (Vector)_mm512_permutexvar_ps((__m512i)shifted, _mm512_load_ps(table.coefficients[power]));
    };
    Vector sum = coefficient(Table::kTerms - 1);
    for (int power = Table::kTerms - 2; power >= 0; --power) sum = MultiplyAdd(sum, r, coefficient(power));
    return sum;
  }
  Vector Gelu(Vector x) const { return MultiplyAdd(-a, In(tail_table), (Vector)_mm512_max_ps((__m512)x, __m512{})); }
};

inline Vector Gelu(Vector x) { return Lookup(x).Gelu(x); }

inline void GeluAndSlope(Vector x, Vector* value, Vector* slope) {
  const Lookup lookup(x);
  *value = lookup.Gelu(x);
  const Vector at_negative = lookup.In(slope_table);
  *slope = x < 0.0f ? at_negative : 1.0f - at_negative;
}

#else

// exp(exponent), for exponents from -87 to 0.
inline Vector Exp(Vector exponent) {
  // exp(exponent) = 2**k * exp(r): adding 1.5 * 2**23 rounds, and leaves k in the lowest bits.
  const Vector shifted = MultiplyAdd(exponent, Broadcast(1.44269504f), Broadcast(12582912.0f));
  const Vector k = shifted - 12582912.0f;
  const Vector r = MultiplyAdd(k, Broadcast(2.12194440e-4f), MultiplyAdd(k, Broadcast(-0.693359375f), exponent));
  constexpr float e[] = {1.0f, 1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720};
  Vector power = Broadcast(e[6]);
  for (int i = 5; i >= 0; --i) power = MultiplyAdd(power, r, Broadcast(e[i]));
  return (Vector)((IntVector)power + ((IntVector)shifted << 23));
}

// Phi(x) for |x| limited to `a`, at most 9.
//
// Phi(-a) = erfc(a / sqrt(2)) / 2 = exp(-a * p(a)) / 2. The polynomial was fitted to -log(erfc(a / sqrt(2))) / a for a from 0
// to 9 by reweighted least squares, so that Phi is off by less than 2e-8.
inline Vector NormalCdf(Vector x, Vector a) {
  constexpr float p[] = {7.97885418e-1f, 3.18298906e-1f, 3.63822319e-2f,  -4.87383688e-3f, 5.78013787e-5f,
                         1.60418684e-4f, -4.14819988e-5f, 5.30820671e-6f, -3.54491931e-7f, 9.75263781e-9f};
  Vector sum = Broadcast(p[9]);
  for (int i = 8; i >= 0; --i) sum = MultiplyAdd(sum, a, Broadcast(p[i]));
  const Vector tail = Exp(-(a * sum)) * 0.5f;
  return x < 0.0f ? tail : 1.0f - tail;
}

inline Vector Limited(Vector x) {
  const Vector magnitude = x < 0.0f ? -x : x;
  return magnitude > 9.0f ? Broadcast(9.0f) : magnitude;
}

inline Vector Gelu(Vector x) { return x * NormalCdf(x, Limited(x)); }

inline void GeluAndSlope(Vector x, Vector* value, Vector* slope) {
  const Vector a = Limited(x), cdf = NormalCdf(x, a), density = Exp(a * a * -0.5f) * 0.398942280f;
  *value = x * cdf;
  *slope = MultiplyAdd(x < 0.0f ? -a : a, density, cdf);
}

#endif

}  // namespace stlight

#endif  // STLIGHT_CPU_GELU_H_
