/* The same sixteen lanes in two halves, with AVX2 and FMA (Haswell, Zen 1 and later). */
#define ISA __attribute__((target("avx2,fma,f16c")))
#define NAMED(name) name##_avx2
typedef struct { __m256 l, h; } f16_avx2;
typedef struct { __m256i l, h; } i16_avx2;

#define INLINE ISA static inline __attribute__((always_inline))
#define BOTH(type, f, ...) (type){f(__VA_ARGS__)}
INLINE f16 NAMED(load)(const float *p) { return (f16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void NAMED(store)(float *p, f16 v) { _mm256_storeu_ps(p, v.l); _mm256_storeu_ps(p + 8, v.h); }
INLINE i16 NAMED(load_raw)(const void *p) {
    return (i16){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
INLINE f16 NAMED(splat)(float v) { const __m256 a = _mm256_set1_ps(v); return (f16){a, a}; }
INLINE i16 NAMED(splat_int)(int32_t v) { const __m256i a = _mm256_set1_epi32(v); return (i16){a, a}; }
INLINE i16 NAMED(splat_raw)(const void *p) { int32_t v; memcpy(&v, p, 4); return NAMED(splat_int)(v); }
INLINE f16 NAMED(add)(f16 a, f16 b) { return (f16){_mm256_add_ps(a.l, b.l), _mm256_add_ps(a.h, b.h)}; }
INLINE f16 NAMED(sub)(f16 a, f16 b) { return (f16){_mm256_sub_ps(a.l, b.l), _mm256_sub_ps(a.h, b.h)}; }
INLINE f16 NAMED(mul)(f16 a, f16 b) { return (f16){_mm256_mul_ps(a.l, b.l), _mm256_mul_ps(a.h, b.h)}; }
INLINE f16 NAMED(over)(f16 a, f16 b) { return (f16){_mm256_div_ps(a.l, b.l), _mm256_div_ps(a.h, b.h)}; }
INLINE f16 NAMED(fma)(f16 a, f16 b, f16 c) { return (f16){_mm256_fmadd_ps(a.l, b.l, c.l), _mm256_fmadd_ps(a.h, b.h, c.h)}; }
INLINE f16 NAMED(higher)(f16 a, f16 b) { return (f16){_mm256_max_ps(a.l, b.l), _mm256_max_ps(a.h, b.h)}; }
INLINE f16 NAMED(lower)(f16 a, f16 b) { return (f16){_mm256_min_ps(a.l, b.l), _mm256_min_ps(a.h, b.h)}; }
INLINE f16 NAMED(magnitude)(f16 a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (f16){_mm256_andnot_ps(sign, a.l), _mm256_andnot_ps(sign, a.h)};
}
INLINE f16 NAMED(nearest)(f16 a) {
    return (f16){_mm256_round_ps(a.l, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                 _mm256_round_ps(a.h, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
INLINE __m256 NAMED(power)(__m256 whole) {  /* for whole numbers from -126 to 127 */
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23));
}
INLINE f16 NAMED(times_power)(f16 a, f16 whole) {
    return (f16){_mm256_mul_ps(a.l, NAMED(power)(whole.l)), _mm256_mul_ps(a.h, NAMED(power)(whole.h))};
}
INLINE float NAMED(highest)(f16 a) {
    const __m256 eight = _mm256_max_ps(a.l, a.h);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
INLINE float NAMED(total)(f16 a) {
    const __m256 eight = _mm256_add_ps(a.l, a.h);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
INLINE f16 NAMED(to_float)(i16 a) { return (f16){_mm256_cvtepi32_ps(a.l), _mm256_cvtepi32_ps(a.h)}; }
INLINE f16 NAMED(first_lanes)(int count, f16 a, f16 b) {
    const __m256i n = _mm256_set1_epi32(count), lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i upper = _mm256_add_epi32(lane, _mm256_set1_epi32(8));
    return (f16){_mm256_blendv_ps(b.l, a.l, _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, lane))),
                 _mm256_blendv_ps(b.h, a.h, _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, upper)))};
}
/* Rounds to int8, puts 16 of them at `at`, returns their sum; also as pairs of 16 bits, 0 and 2, 1 and 3 of each four. */
INLINE int32_t NAMED(put_int8)(Activations *to, size_t at, f16 v) {
    const __m256i q = _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvtps_epi32(v.l), _mm256_cvtps_epi32(v.h)), 0xd8);
    const __m256i pairs = _mm256_shuffle_epi8(q, _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15)));
    _mm256_storeu_si256((__m256i *)(to->pairs + at), pairs);
    const __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
    _mm_storeu_si128((__m128i *)(to->q + at), _mm_packs_epi16(low, high));
    const __m128i four = _mm_madd_epi16(_mm_add_epi16(low, high), _mm_set1_epi16(1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}
/* 32 of int8 as bf16, which holds them exactly: the low halves of their fp32 are zero. */
INLINE __m256i NAMED(eight_int8)(const int8_t *from) {
    return _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)))), 16);
}
INLINE void NAMED(widen_int8)(uint16_t *to, const int8_t *from) {
    for (int i = 0; i < 32; i += 16) {
        const __m256i both = _mm256_packus_epi32(NAMED(eight_int8)(from + i), NAMED(eight_int8)(from + i + 8));
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_permute4x64_epi64(both, 0xd8));
    }
}
INLINE __m128i NAMED(round_bf16)(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v), one = _mm256_set1_epi32(1), half = _mm256_set1_epi32(0x7fff);
    const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    const __m256i up = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(even, half)), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(up, up), 0x08);
    return _mm256_castsi256_si128(packed);
}
INLINE void NAMED(store_bf16)(uint16_t *p, f16 v) {
    _mm_storeu_si128((__m128i *)p, NAMED(round_bf16)(v.l));
    _mm_storeu_si128((__m128i *)(p + 8), NAMED(round_bf16)(v.h));
}
INLINE f16 NAMED(widen_bf16)(const uint16_t *p) {
    const __m256i l = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    const __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p + 1));
    return (f16){_mm256_castsi256_ps(_mm256_slli_epi32(l, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(h, 16))};
}
INLINE void NAMED(put_bf16)(Activations *to, size_t at, f16 v) {
    uint16_t rounded[16];
    NAMED(store_bf16)(rounded, v);
    NAMED(store)(to->f + at, NAMED(widen_bf16)(rounded));
}
/* Bytes 0 and 2, or 1 and 3, of each lane, as pairs of 16 bits. */
INLINE i16 NAMED(even_bytes)(const void *p) {
    const i16 v = NAMED(load_raw)(p);
    const __m256i mask = _mm256_set1_epi16(0xff);
    return (i16){_mm256_and_si256(v.l, mask), _mm256_and_si256(v.h, mask)};
}
INLINE i16 NAMED(odd_bytes)(const void *p) {
    const i16 v = NAMED(load_raw)(p);
    return (i16){_mm256_srli_epi16(v.l, 8), _mm256_srli_epi16(v.h, 8)};
}
/* a + the two products of 16 bits in each lane, with the same pair at x. Compilers would add the products of two such
 * calls first, for which there are no registers: the empty assembly keeps them from it. */
INLINE i16 NAMED(dot_pairs)(i16 a, i16 w, const void *x) {
    const i16 pair = NAMED(splat_raw)(x);
    a.l = _mm256_add_epi32(a.l, _mm256_madd_epi16(w.l, pair.l));
    a.h = _mm256_add_epi32(a.h, _mm256_madd_epi16(w.h, pair.h));
    __asm__("" : "+x"(a.l), "+x"(a.h));
    return a;
}
INLINE i16 NAMED(widen_bytes)(const void *p) {
    const __m128i v = _mm_loadu_si128(p);
    return (i16){_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}
INLINE f16 NAMED(widen_halves)(const void *p) {
    return (f16){_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1))};
}
INLINE i16 NAMED(low_halves)(i16 v) {
    const __m256i mask = _mm256_set1_epi8(15);
    return (i16){_mm256_and_si256(v.l, mask), _mm256_and_si256(v.h, mask)};
}
INLINE i16 NAMED(high_halves)(i16 v) { return NAMED(low_halves)((i16){_mm256_srli_epi16(v.l, 4), _mm256_srli_epi16(v.h, 4)}); }
/* In 16 bits, which hold eight sums of two products of at most 15 * 127. */
INLINE i16 NAMED(open_int4)(i16 sum) { (void)sum; return NAMED(splat_int)(0); }
INLINE i16 NAMED(dot_int4)(i16 a, i16 w, i16 x) {
    a.l = _mm256_add_epi16(a.l, _mm256_maddubs_epi16(w.l, x.l));
    a.h = _mm256_add_epi16(a.h, _mm256_maddubs_epi16(w.h, x.h));
    __asm__("" : "+x"(a.l), "+x"(a.h));
    return a;
}
INLINE i16 NAMED(close_int4)(i16 sum, i16 a) {
    const __m256i one = _mm256_set1_epi16(1);
    return (i16){_mm256_add_epi32(sum.l, _mm256_madd_epi16(a.l, one)), _mm256_add_epi32(sum.h, _mm256_madd_epi16(a.h, one))};
}
/* The first, or the second, bf16 of each pair, as fp32. */
INLINE f16 NAMED(first_of_pairs)(const void *p) {
    const i16 v = NAMED(load_raw)(p);
    return (f16){_mm256_castsi256_ps(_mm256_slli_epi32(v.l, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(v.h, 16))};
}
INLINE f16 NAMED(second_of_pairs)(const void *p) {
    const i16 v = NAMED(load_raw)(p);
    const __m256i top = _mm256_set1_epi32((int)0xffff0000);
    return (f16){_mm256_castsi256_ps(_mm256_and_si256(v.l, top)), _mm256_castsi256_ps(_mm256_and_si256(v.h, top))};
}
#undef BOTH
#undef INLINE
#define FEW_REGISTERS
