// Vectors of neighbouring channels, and loops that are unrolled over registers.
#ifndef STLIGHT_CPU_VECTORS_H_
#define STLIGHT_CPU_VECTORS_H_

#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

namespace stlight {

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
constexpr int64_t kShareVectors = 64 / kLanes;  // a task's share of the channels: four cache lines of float32 side by side

typedef float Vector __attribute__((vector_size(kVectorBytes), aligned(alignof(float)), may_alias));

inline constexpr int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline Vector Load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void Store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// x - 0 is x for every x, so that no instruction is left of it; x + 0 is not, for -0.
inline Vector Broadcast(float value) { return value - Vector{}; }

// a * b + c, rounded once if the processor can. GCC 12 contracts the written form in some callers of a function only, so that
// they would differ in the last bit.
inline Vector MultiplyAdd(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
  return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

typedef int32_t IntVector __attribute__((vector_size(kVectorBytes)));
typedef uint32_t BitVector __attribute__((vector_size(kVectorBytes)));
typedef uint16_t HalfVector __attribute__((vector_size(kVectorBytes / 2), aligned(alignof(uint16_t)), may_alias));

// The upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

// GCC 12 makes four instructions of the written form where two do.
inline Vector Load(const BFloat16* from) {
#if defined(__AVX512F__)
  return (Vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16);
#else
  return (Vector)(__builtin_convertvector(*reinterpret_cast<const HalfVector*>(from), BitVector) << 16);
#endif
}
// Rounds to nearest, ties to even; NaN stays NaN.
inline void Store(BFloat16* to, Vector value) {
#if defined(__AVX512BF16__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)value));
#else
  const BitVector bits = (BitVector)value;
  const BitVector rounded = value == value ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000;
  *reinterpret_cast<HalfVector*>(to) = __builtin_convertvector(rounded >> 16, HalfVector);
#endif
}

// Calls f(0), ..., f(n - 1) with compile-time constants: arrays indexed by them live in registers.
template <int... i, typename F>
inline __attribute__((always_inline)) void Unrolled(std::integer_sequence<int, i...>, F&& f) {
  (f(std::integral_constant<int, i>{}), ...);
}
template <int n, typename F>
inline __attribute__((always_inline)) void Unrolled(F&& f) {
  Unrolled(std::make_integer_sequence<int, n>{}, f);
}

}  // namespace stlight

#endif  // STLIGHT_CPU_VECTORS_H_
