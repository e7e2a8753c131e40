// Vectors: one value of LANES images side by side, and what can be done with them.
//
// Every tensor of a network is stored as [group][row][channel][column][lane]; a group is LANES images. All arithmetic is
// element by element over the lanes, so channels, widths and borders cost exactly their operations.
#pragma once

#include <stdint.h>
#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
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

INLINE V within(V x, float least, float most) { return choose(x < least, spread(least), choose(x > most, spread(most), x)); }

INLINE V rounded(V x) { return (x + 12582912.0f) - 12582912.0f; }  // to a whole number, ties to even, below 2^22

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
  V power = (V)((__builtin_convertvector(n, I) + 127) << 23);
  return (p * r * r + r + 1.0f) * power;
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

INLINE V sigmoid(V x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE V hyperbolic_tangent(V x)
{
  V e = exponential_minus_1(2 * within(x, -10, 10));
  return e / (e + 2.0f);
}

// The normal distribution function, by W. Cody's idea of two ranges: a Taylor series of erf around 0, and beyond it
// Abramowitz and Stegun 7.1.26's form with the exponential; see normal_* in test_native_kernels for the error.
INLINE V normal_density(V x) { return exponential(-0.5f * x * x) * 0.39894228040143268f; }

INLINE V normal_distribution(V x)
{
  V z = x * 0.70710678118654752f, s = z * z;
  V near = spread(-1.0f / 75600);  // erf(z) = 2 / sqrt(pi) * sum (-1)^n z^(2n+1) / (n! (2n+1))
  near = spread(1.0f / 9360) + s * near;
  near = spread(-1.0f / 1320) + s * near;
  near = spread(1.0f / 216) + s * near;
  near = spread(-1.0f / 42) + s * near;
  near = spread(0.1f) + s * near;
  near = spread(-1.0f / 3) + s * near;
  near = (spread(1.0f) + s * near) * z * 1.1283791670955126f;
  V size = choose(z < 0.0f, -z, z);
  V t = 1.0f / (1.0f + 0.3275911f * size);
  V tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  V far = 1.0f - tail * exponential(-s);
  V erf = choose(size < 0.7f, near, choose(z < 0.0f, -far, far));
  return 0.5f + 0.5f * erf;
}
