/* The same sixteen lanes in two halves, with AVX2 and FMA (Haswell, Zen 1 and later). */
#define ISA __attribute__((target("avx2,fma")))
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
    float v[8];
    _mm256_storeu_ps(v, _mm256_max_ps(a.l, a.h));
    float top = v[0];
    for (int i = 1; i < 8; i++) top = v[i] > top ? v[i] : top;
    return top;
}
INLINE float NAMED(total)(f16 a) {
    float v[8];
    _mm256_storeu_ps(v, _mm256_add_ps(a.l, a.h));
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}
INLINE f16 NAMED(to_float)(i16 a) { return (f16){_mm256_cvtepi32_ps(a.l), _mm256_cvtepi32_ps(a.h)}; }
INLINE f16 NAMED(first_lanes)(int count, f16 a, f16 b) {
    const __m256i n = _mm256_set1_epi32(count), lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i upper = _mm256_add_epi32(lane, _mm256_set1_epi32(8));
    return (f16){_mm256_blendv_ps(b.l, a.l, _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, lane))),
                 _mm256_blendv_ps(b.h, a.h, _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, upper)))};
}
INLINE int32_t NAMED(store_int8)(int8_t *p, f16 v) {
    int32_t q[16], sum = 0;
    _mm256_storeu_si256((__m256i *)q, _mm256_cvtps_epi32(v.l));
    _mm256_storeu_si256((__m256i *)(q + 8), _mm256_cvtps_epi32(v.h));
    for (int i = 0; i < 16; i++) { p[i] = (int8_t)q[i]; sum += q[i]; }
    return sum;
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
/* Without VNNI: even and odd bytes as 16-bit products, whose sums cannot overflow. */
INLINE __m256i NAMED(dot_half)(__m256i a, __m256i w, __m256i x) {
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(0xff)), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
    return _mm256_add_epi32(a, _mm256_add_epi32(even, odd));
}
INLINE i16 NAMED(dot_int8)(i16 a, i16 w, i16 x) { return (i16){NAMED(dot_half)(a.l, w.l, x.l), NAMED(dot_half)(a.h, w.h, x.h)}; }
INLINE __m256 NAMED(dot_half_bf16)(__m256 a, __m256i w, __m256i x) {
    const __m256i top = _mm256_set1_epi32((int)0xffff0000);
    a = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(w, top)), _mm256_castsi256_ps(_mm256_and_si256(x, top)), a);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(w, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), a);
}
INLINE f16 NAMED(dot_bf16)(f16 a, i16 w, i16 x) { return (f16){NAMED(dot_half_bf16)(a.l, w.l, x.l), NAMED(dot_half_bf16)(a.h, w.h, x.h)}; }
#undef BOTH
#undef INLINE
