// Vectors: one value of LANES images side by side, and what can be done with them.
//
// Every tensor of a network is stored as [group][row][channel][column][lane]; a group is LANES images. All arithmetic is
// element by element over the lanes, so channels, widths and borders cost exactly their operations.
#pragma once

#include <stdint.h>
#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float V __attribute__((vector_size(LANES * 4), may_alias));
typedef int32_t I __attribute__((vector_size(LANES * 4), may_alias));  // also a mask: all bits or none
typedef uint32_t U __attribute__((vector_size(LANES * 4), may_alias));

typedef uint64_t W __attribute__((vector_size(LANES * 4), may_alias));  // half as many

#define INLINE static inline __attribute__((always_inline))

INLINE V spread(float value) { return value - (V){0}; }

INLINE V where(I mask, V value) { return (V)(mask & (I)value); }  // value, or 0

INLINE V choose(I mask, V yes, V no) { return (V)((mask & (I)yes) | (~mask & (I)no)); }

INLINE uint16_t bits(I mask)  // one per lane
{
#if LANES == 16
  return (uint16_t)_mm512_cmplt_epi32_mask((__m512i)mask, _mm512_setzero_si512());
#elif LANES == 8
  return (uint16_t)_mm256_movemask_ps((__m256)mask);
#else
  return (uint16_t)((mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8));
#endif
}

INLINE I lanes(uint16_t bits)  // the mask again
{
#if LANES == 16
  return (I)_mm512_maskz_set1_epi32(bits, -1);
#else
  const I bit = {
#if LANES == 8
      1, 2, 4, 8, 16, 32, 64, 128
#else
      1, 2, 4, 8
#endif
  };
  return (((I){0} + bits) & bit) != 0;
#endif
}

INLINE float sum(I mask, V value)  // over the lanes in the mask, in halves: the same order on every machine of LANES
{
  float lane[LANES] __attribute__((aligned(64)));
  *(V *)lane = where(mask, value);
#if LANES == 16
  typedef float Half __attribute__((vector_size(32), may_alias));
  *(Half *)lane += *(Half *)(lane + 8);
#endif
#if LANES >= 8
  typedef float Quarter __attribute__((vector_size(16), may_alias));
  *(Quarter *)lane += *(Quarter *)(lane + 4);
#endif
  return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

// The same sums of many vectors. Two vectors of blocks become one: of each block the one half is added to the other, so
// that after all halvings a vector holds the sums of LANES vectors, in their order.
#ifdef __clang__
#define PICK(...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(...) __builtin_shuffle(a, b, (I){__VA_ARGS__})
#endif
#if LANES == 16
INLINE V halve_16(V a, V b)
{
  return PICK(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         PICK(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
INLINE V halve_8(V a, V b)
{
  return PICK(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
         PICK(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}
INLINE V halve_4(V a, V b)
{
  return PICK(0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
         PICK(2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
}
INLINE V halve_2(V a, V b)
{
  return PICK(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         PICK(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
#elif LANES == 8
INLINE V halve_8(V a, V b) { return PICK(0, 1, 2, 3, 8, 9, 10, 11) + PICK(4, 5, 6, 7, 12, 13, 14, 15); }
INLINE V halve_4(V a, V b) { return PICK(0, 1, 4, 5, 8, 9, 12, 13) + PICK(2, 3, 6, 7, 10, 11, 14, 15); }
INLINE V halve_2(V a, V b) { return PICK(0, 2, 4, 6, 8, 10, 12, 14) + PICK(1, 3, 5, 7, 9, 11, 13, 15); }
#else
INLINE V halve_4(V a, V b) { return PICK(0, 1, 4, 5) + PICK(2, 3, 6, 7); }
INLINE V halve_2(V a, V b) { return PICK(0, 2, 4, 6) + PICK(1, 3, 5, 7); }
#endif
#undef PICK

INLINE V sums_of_2(I mask, const V *v)
{
  const V a = where(mask, v[0]), b = where(mask, v[1]);
#if LANES == 16
  return halve_16(a, b);
#elif LANES == 8
  return halve_8(a, b);
#else
  return halve_4(a, b);
#endif
}

INLINE V sums_of_4(I mask, const V *v)
{
  const V a = sums_of_2(mask, v), b = sums_of_2(mask, v + 2);
#if LANES == 16
  return halve_8(a, b);
#elif LANES == 8
  return halve_4(a, b);
#else
  return halve_2(a, b);
#endif
}

INLINE V sums(I mask, const V *v)  // of LANES vectors
{
#if LANES == 16
  return halve_2(halve_4(sums_of_4(mask, v), sums_of_4(mask, v + 4)), halve_4(sums_of_4(mask, v + 8), sums_of_4(mask, v + 12)));
#elif LANES == 8
  return halve_2(sums_of_4(mask, v), sums_of_4(mask, v + 4));
#else
  return sums_of_4(mask, v);
#endif
}

INLINE void write_sums(I mask, const V *values, int count, float *out)
{
  typedef float Anywhere __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
  int i = 0;
  for (; i + LANES <= count; i += LANES) *(Anywhere *)(out + i) = sums(mask, values + i);
  for (; i < count; i++) out[i] = sum(mask, values[i]);
}

INLINE void add_sums(I mask, const V *values, int count, float *out)
{
  for (int i = 0; i < count; i++) out[i] += sum(mask, values[i]);
}

INLINE V gather(const float *from, I at)  // from[at], lane by lane
{
#if LANES == 16
  return (V)_mm512_i32gather_ps((__m512i)at, from, 4);
#elif LANES == 8 && defined(__AVX2__)
  return (V)_mm256_i32gather_ps(from, (__m256i)at, 4);
#else
  V found;
  for (int l = 0; l < LANES; l++) found[l] = from[at[l]];
  return found;
#endif
}

INLINE U words(const uint8_t *from, I at)  // the four bytes that begin at from[at], lane by lane; the first is the lowest
{
#if LANES == 16
  return (U)_mm512_i32gather_epi32((__m512i)at, from, 1);
#elif LANES == 8 && defined(__AVX2__)
  return (U)_mm256_i32gather_epi32((const int *)from, (__m256i)at, 1);
#else
  U found;
  for (int l = 0; l < LANES; l++) {
    const uint8_t *byte = from + at[l];
    found[l] = byte[0] | byte[1] << 8 | byte[2] << 16 | (uint32_t)byte[3] << 24;
  }
  return found;
#endif
}

INLINE V within(V x, float least, float most)  // what is no number stays so
{
#if LANES == 16
  return (V)_mm512_min_ps((__m512)spread(most), _mm512_max_ps((__m512)spread(least), (__m512)x));
#elif LANES == 8
  return (V)_mm256_min_ps((__m256)spread(most), _mm256_max_ps((__m256)spread(least), (__m256)x));
#else
  return choose(x < least, spread(least), choose(x > most, spread(most), x));
#endif
}

INLINE V rounded(V x) { return (x + 12582912.0f) - 12582912.0f; }  // to a whole number, ties to even, below 2^22

INLINE V doubled(V x, V times)  // x 2^times, for whole numbers from -126 to 127
{
#if LANES == 16
  return (V)_mm512_scalef_ps((__m512)x, (__m512)times);
#else
  return x * (V)((__builtin_convertvector(times, I) + 127) << 23);
#endif
}

INLINE V inverse(V x)  // 1 / x, to the last place but one
{
#if LANES == 16
  const V near = (V)_mm512_rcp14_ps((__m512)x);  // 14 bits; a step of Newton's doubles them
  return near * (2.0f - x * near);
#else
  return 1.0f / x;
#endif
}

// Pairs of bfloat16, the first in the lower half of each lane: two products of a lane in one instruction, where the
// processor has it. Rounded to the nearest, ties to even; what is no number stays none.
typedef U P;

INLINE U upper_half(V x) { return ((U)x + 0x7fff + (((U)x >> 16) & 1)) & 0xffff0000u; }

INLINE P pair(V first, V second) { return upper_half(first) >> 16 | upper_half(second); }

INLINE V dot(V sum, P a, P b)  // sum + a.first b.first + a.second b.second
{
#if LANES == 16 && defined(__AVX512BF16__)
  return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#elif LANES == 4 && defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  return (V)vbfdotq_f32((float32x4_t)sum, (bfloat16x8_t)a, (bfloat16x8_t)b);
#else
  return sum + (V)(a << 16) * (V)(b << 16) + (V)(a & 0xffff0000u) * (V)(b & 0xffff0000u);
#endif
}

INLINE float packed_pair(float first, float second)  // of weights; only its bits mean anything
{
  const union { P pair; float number; } both = {pair(spread(first), spread(second))};
  return both.number;
}

INLINE P spread_pair(float packed)
{
  const union { float number; uint32_t bits; } same = {packed};
  return (P){0} + same.bits;
}

// Cephes' expf (S. Moshier): 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; relative error below 2e-7.
INLINE V exponential(V x)
{
  x = within(x, -87, 88);
  V n = rounded(x * 1.44269504088896341f);
  V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = spread(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return doubled(p * r * r + r + 1.0f, n);
}

// exp(x) - 1 without cancellation near 0: a Taylor polynomial below 0.35, exponential() above.
INLINE V exponential_minus_1(V x)
{
  V p = spread(1.0f / 40320);
  p = p * x + 1.0f / 5040;
  p = p * x + 1.0f / 720;
  p = p * x + 1.0f / 120;
  p = p * x + 1.0f / 24;
  p = p * x + 1.0f / 6;
  p = p * x + 0.5f;
  V near = p * x * x + x;
  return choose((x < 0.35f) & (x > -0.35f), near, exponential(x) - 1.0f);
}

// 2^n times the polynomial of least relative error on [-1/2, 1/2]; it and the rounding: below 3e-7.
INLINE V power_of_2(V x)
{
  V n = rounded(x), r = x - n;
  V p = spread(1.3276418528e-3f);
  p = p * r + 9.6755426746e-3f;
  p = p * r + 5.5507135258e-2f;
  p = p * r + 2.4022119702e-1f;
  p = p * r + 6.9314696678e-1f;
  return doubled(p * r + 1.0000000716f, n);
}

INLINE V sigmoid(V x) { return inverse(1.0f + power_of_2(within(x * -1.44269504088896341f, -126, 126))); }

INLINE V hyperbolic_tangent(V x)
{
  V e = exponential_minus_1(2 * within(x, -10, 10));
  return e / (e + 2.0f);
}

// 1/2 + x P(x^2) / Q(x^2), fitted for the least error between -5.4 and 5.4: 6e-9, and with 32 bits below 2e-7.
// Below that it is 0 to the last digit, which GELU multiplies by x; what is no number stays none.
INLINE V normal_distribution(V x)
{
  V z = within(x, -5.4f, 5.4f), s = z * z;
  V p = spread(2.3386786197e-8f);
  p = p * s + 6.3600273299e-6f;
  p = p * s + 1.6432172708e-4f;
  p = p * s + 4.6508515687e-3f;
  p = p * s + 3.3372222978e-2f;
  p = p * s + 3.9894224537e-1f;
  V q = spread(1.2165930482e-6f);
  q = q * s + 7.2400231590e-5f;
  q = q * s + 1.8589817043e-3f;
  q = q * s + 2.8378686031e-2f;
  q = q * s + 2.5031784671e-1f;
  q = q * s + 1.0f;
  return where(~(x <= -5.4f), 0.5f + z * p * inverse(q));
}

// The derivative of x normal_distribution(x), in the same form between -6 and 6: 1.4e-7, and with 32 bits below 4e-7.
INLINE V gelu_derivative(V x)
{
  V z = within(x, -6.0f, 6.0f), s = z * z;
  V p = spread(1.9088514251e-7f);
  p = p * s + 3.5850576912e-5f;
  p = p * s + 2.4184016421e-5f;
  p = p * s + 1.4209174839e-2f;
  p = p * s - 3.0743458252e-2f;
  p = p * s + 7.9788453292e-1f;
  V q = spread(8.8874794672e-6f);
  q = q * s + 1.9351982133e-4f;
  q = q * s + 3.5287624943e-3f;
  q = q * s + 4.1064694138e-2f;
  q = q * s + 2.9480567424e-1f;
  q = q * s + 1.0f;
  return where(~(x <= -6.0f), 0.5f + z * p * inverse(q));
}
