/* Sixteen lanes with AVX-512, VNNI and BF16 (Zen 4, Sapphire Rapids and later). */
#define ISA __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,fma")))
#define NAMED(name) name##_avx512
typedef __m512 f16_avx512;   /* 16 fp32 */
typedef __m512i i16_avx512;  /* 16 int32, 64 int8 or 32 bf16 */

#define INLINE ISA static inline __attribute__((always_inline))
INLINE f16 NAMED(load)(const float *p) { return _mm512_loadu_ps(p); }
INLINE void NAMED(store)(float *p, f16 v) { _mm512_storeu_ps(p, v); }
INLINE i16 NAMED(load_raw)(const void *p) { return _mm512_loadu_si512(p); }
INLINE f16 NAMED(splat)(float v) { return _mm512_set1_ps(v); }
INLINE i16 NAMED(splat_int)(int32_t v) { return _mm512_set1_epi32(v); }
INLINE i16 NAMED(splat_raw)(const void *p) { int32_t v; memcpy(&v, p, 4); return _mm512_set1_epi32(v); }
INLINE f16 NAMED(add)(f16 a, f16 b) { return _mm512_add_ps(a, b); }
INLINE f16 NAMED(sub)(f16 a, f16 b) { return _mm512_sub_ps(a, b); }
INLINE f16 NAMED(mul)(f16 a, f16 b) { return _mm512_mul_ps(a, b); }
INLINE f16 NAMED(over)(f16 a, f16 b) { return _mm512_div_ps(a, b); }
INLINE f16 NAMED(fma)(f16 a, f16 b, f16 c) { return _mm512_fmadd_ps(a, b, c); }
INLINE f16 NAMED(higher)(f16 a, f16 b) { return _mm512_max_ps(a, b); }
INLINE f16 NAMED(lower)(f16 a, f16 b) { return _mm512_min_ps(a, b); }
INLINE f16 NAMED(magnitude)(f16 a) { return _mm512_abs_ps(a); }
INLINE f16 NAMED(nearest)(f16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE f16 NAMED(times_power)(f16 a, f16 whole) { return _mm512_scalef_ps(a, whole); }
INLINE float NAMED(highest)(f16 a) { return _mm512_reduce_max_ps(a); }
INLINE float NAMED(total)(f16 a) { return _mm512_reduce_add_ps(a); }
INLINE f16 NAMED(to_float)(i16 a) { return _mm512_cvtepi32_ps(a); }
/* Lanes below `count` of a, the others from b. */
INLINE f16 NAMED(first_lanes)(int count, f16 a, f16 b) {
    const __mmask16 mask = count <= 0 ? 0 : count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
    return _mm512_mask_mov_ps(b, mask, a);
}
/* Rounds to int8, puts 16 of them at `at`, returns their sum. */
INLINE int32_t NAMED(put_int8)(Activations *to, size_t at, f16 v) {
    const __m512i q = _mm512_cvtps_epi32(v);
    _mm_storeu_si128((__m128i *)(to->q + at), _mm512_cvtsepi32_epi8(q));
    return _mm512_reduce_add_epi32(q);
}
INLINE void NAMED(store_bf16)(uint16_t *p, f16 v) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(v)); }
INLINE void NAMED(put_bf16)(Activations *to, size_t at, f16 v) { NAMED(store_bf16)(to->h + at, v); }
/* 32 of int8 as bf16, which holds them exactly. */
INLINE void NAMED(widen_int8)(uint16_t *to, const int8_t *from) {
    const __m512 l = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
    const __m512 h = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from + 1)));
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(h, l));
}
/* a + the four products of unsigned w and signed x in each lane. */
INLINE i16 NAMED(dot_int8)(i16 a, i16 w, i16 x) { return _mm512_dpbusd_epi32(a, w, x); }
/* The sixteen lanes of bytes and of fp16; the low and the high halves of bytes. */
INLINE i16 NAMED(widen_bytes)(const void *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(p)); }
INLINE f16 NAMED(widen_halves)(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
INLINE i16 NAMED(low_halves)(i16 v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
INLINE i16 NAMED(high_halves)(i16 v) { return NAMED(low_halves)(_mm512_srli_epi16(v, 4)); }
/* Sums of products of codes (0 to 15) and int8: `open` from a sum so far, eight `dot_int4` at most, `close`. */
INLINE i16 NAMED(open_int4)(i16 sum) { return sum; }
INLINE i16 NAMED(dot_int4)(i16 a, i16 w, i16 x) { return _mm512_dpbusd_epi32(a, w, x); }
INLINE i16 NAMED(close_int4)(i16 sum, i16 a) { (void)sum; return a; }
/* a + the two products of bf16 in each lane. */
INLINE f16 NAMED(dot_bf16)(f16 a, i16 w, i16 x) { return _mm512_dpbf16_ps(a, (__m512bh)w, (__m512bh)x); }
#undef INLINE
