/* The kernels over sixteen lanes; included once for each instruction set. */

#define EACH_1(F) F(0)
#define EACH_2(F) F(0) F(1)
#define EACH_3(F) F(0) F(1) F(2)
#define EACH_4(F) EACH_3(F) F(3)
#define EACH_5(F) EACH_4(F) F(4)
#define EACH_6(F) EACH_5(F) F(5)
#define EACH_12(F) EACH_6(F) F(6) F(7) F(8) F(9) F(10) F(11)

/* 2^x for x in [-126, 126], relative error below 3e-7: Taylor's series on [-1/2, 1/2], then the whole part. */
ISA static inline f16 NAMED(exp2)(f16 x) {
    x = NAMED(lower)(NAMED(higher)(x, NAMED(splat)(-126.0f)), NAMED(splat)(126.0f));
    const f16 whole = NAMED(nearest)(x), f = NAMED(sub)(x, whole);
    f16 y = NAMED(splat)(1.5403530e-4f);
    y = NAMED(fma)(y, f, NAMED(splat)(1.3333558e-3f));
    y = NAMED(fma)(y, f, NAMED(splat)(9.6181291e-3f));
    y = NAMED(fma)(y, f, NAMED(splat)(5.5504109e-2f));
    y = NAMED(fma)(y, f, NAMED(splat)(2.4022651e-1f));
    y = NAMED(fma)(y, f, NAMED(splat)(6.9314718e-1f));
    y = NAMED(fma)(y, f, NAMED(splat)(1.0f));
    return NAMED(times_power)(y, whole);
}

/* ---- linear layers ---- */

ISA static inline void NAMED(emit)(Output to, size_t row, int column, f16 a, f16 b) {
    float *out = to.at + row * (size_t)to.ld;
    if (to.how == SWIGLU) {     /* a * sigmoid(a) * b */
        const f16 one = NAMED(splat)(1.0f), e = NAMED(exp2)(NAMED(mul)(a, NAMED(splat)(-1.44269504f)));
        NAMED(store)(out + column / 2, NAMED(mul)(NAMED(over)(a, NAMED(add)(one, e)), b));
        return;
    }
    out += column;
    if (to.how == ADD) {
        a = NAMED(add)(a, NAMED(load)(out));
        b = NAMED(add)(b, NAMED(load)(out + 16));
    }
    NAMED(store)(out, a);
    NAMED(store)(out + 16, b);
}

#define ZERO(r) f16 f##r##0 = NAMED(splat)(0.0f), f##r##1 = f##r##0;
#define LOAD_BIAS \
    f16 b0 = NAMED(splat)(0.0f), b1 = b0; \
    if (l->bias) { b0 = NAMED(load)(l->bias + column); b1 = NAMED(load)(l->bias + column + 16); }
#define PREFETCH(p) __builtin_prefetch((const char *)(p) + 1024); __builtin_prefetch((const char *)(p) + 1088);

/* One panel of an int8 weight times R rows: each group is summed exactly in int32, then scaled and added in fp32. */
#define INT8_PANEL(R) \
ISA static void NAMED(int8_panel_##R)(const Linear *l, int panel, const Activations *in, size_t row, Output to) { \
    const int k = l->k, groups = k / GROUP, column = panel * PANEL; \
    const uint8_t *w = (const uint8_t *)l->weight + (size_t)column * k; \
    const int8_t *x = in->q + row * k; \
    const float *scale = in->scale + row * groups; \
    const int32_t *offset = in->offset + row * groups; \
    EACH_##R(ZERO) \
    for (int g = 0; g < groups; g++) { \
        EACH_##R(START_INT8) \
        for (int i = 0; i < GROUP / 4; i++, w += 128, x += 4) { \
            const i16 w0 = NAMED(load_raw)(w), w1 = NAMED(load_raw)(w + 64); \
            PREFETCH(w) \
            EACH_##R(DOT_INT8) \
        } \
        EACH_##R(END_INT8) \
    } \
    const f16 s0 = NAMED(load)(l->scale + column), s1 = NAMED(load)(l->scale + column + 16); \
    LOAD_BIAS \
    EACH_##R(EMIT_INT8) \
}
#define START_INT8(r) i16 i##r##0 = NAMED(splat_int)(offset[r * groups + g]), i##r##1 = i##r##0;
#define DOT_INT8(r) { \
    const i16 four = NAMED(splat_raw)(x + (size_t)r * k); \
    i##r##0 = NAMED(dot_int8)(i##r##0, w0, four); \
    i##r##1 = NAMED(dot_int8)(i##r##1, w1, four); }
#define END_INT8(r) { \
    const f16 s = NAMED(splat)(scale[r * groups + g]); \
    f##r##0 = NAMED(fma)(NAMED(to_float)(i##r##0), s, f##r##0); \
    f##r##1 = NAMED(fma)(NAMED(to_float)(i##r##1), s, f##r##1); }
#define EMIT_INT8(r) \
    NAMED(emit)(to, row + r, column, NAMED(fma)(f##r##0, s0, b0), NAMED(fma)(f##r##1, s1, b1));
INT8_PANEL(1) INT8_PANEL(2) INT8_PANEL(3) INT8_PANEL(4) INT8_PANEL(5) INT8_PANEL(6)

/* One panel of a bf16 weight times R rows, summed in fp32. */
#define BF16_PANEL(R) \
ISA static void NAMED(bf16_panel_##R)(const Linear *l, int panel, const Activations *in, size_t row, Output to) { \
    const int k = l->k, column = panel * PANEL; \
    const uint16_t *w = (const uint16_t *)l->weight + (size_t)column * k, *x = in->h + row * k; \
    EACH_##R(ZERO) \
    for (int i = 0; i < k / 2; i++, w += 64, x += 2) { \
        const i16 w0 = NAMED(load_raw)(w), w1 = NAMED(load_raw)(w + 32); \
        PREFETCH(w) \
        EACH_##R(DOT_BF16) \
    } \
    LOAD_BIAS \
    EACH_##R(EMIT_BF16) \
}
#define DOT_BF16(r) { \
    const i16 two = NAMED(splat_raw)(x + (size_t)r * k); \
    f##r##0 = NAMED(dot_bf16)(f##r##0, w0, two); \
    f##r##1 = NAMED(dot_bf16)(f##r##1, w1, two); }
#define EMIT_BF16(r) NAMED(emit)(to, row + r, column, NAMED(add)(f##r##0, b0), NAMED(add)(f##r##1, b1));
BF16_PANEL(1) BF16_PANEL(2) BF16_PANEL(3) BF16_PANEL(4) BF16_PANEL(5) BF16_PANEL(6)

/* ---- one row at a time ---- */

ISA static float NAMED(inverse_rms)(const float *x, int k, float eps) {
    f16 sum = NAMED(splat)(0.0f);
    for (int i = 0; i < k; i += 16) {
        const f16 v = NAMED(load)(x + i);
        sum = NAMED(fma)(v, v, sum);
    }
    return 1.0f / sqrtf(NAMED(total)(sum) / (float)k + eps);
}

/* Row `row` of the activations: x * factor * weight, rounded to the format; weight may be null. */
ISA static void NAMED(quantize)(const float *x, float factor, const float *weight, int k, int format, Activations *to,
                                size_t row) {
    const f16 f = NAMED(splat)(factor), one = NAMED(splat)(1.0f);
    if (format == BF16) {
        for (int i = 0; i < k; i += 16) {
            const f16 v = NAMED(mul)(NAMED(load)(x + i), f);
            NAMED(store_bf16)(to->h + row * k + i, NAMED(mul)(v, weight ? NAMED(load)(weight + i) : one));
        }
        return;
    }
    for (int g = 0; g < k / GROUP; g++) {
        f16 v[GROUP / 16], top = NAMED(splat)(1e-12f);
        for (int j = 0; j < GROUP / 16; j++) {
            const int i = g * GROUP + j * 16;
            v[j] = NAMED(mul)(NAMED(mul)(NAMED(load)(x + i), f), weight ? NAMED(load)(weight + i) : one);
            top = NAMED(higher)(NAMED(magnitude)(v[j]), top);
        }
        const float largest = NAMED(highest)(top);
        const f16 inverse = NAMED(splat)(127.0f / largest);
        int32_t sum = 0;
        for (int j = 0; j < GROUP / 16; j++)
            sum += NAMED(store_int8)(to->q + row * k + g * GROUP + j * 16, NAMED(mul)(v[j], inverse));
        to->scale[row * (k / GROUP) + g] = largest / 127.0f;
        to->offset[row * (k / GROUP) + g] = -128 * sum;
    }
}

/* Normalizes (where the model does) and rotates one head, fp32 [head_dim], times `scale`. */
ISA static void NAMED(rotate)(const Pass *p, float *x, const float *norm, int position, float scale) {
    const Model *m = p->model;
    const int half = m->head_dim / 2;
    const float *c = m->cosines + (size_t)position * half, *s = m->sines + (size_t)position * half;
    const float factor = norm ? NAMED(inverse_rms)(x, m->head_dim, m->eps) : 1.0f;
    const f16 f = NAMED(splat)(factor), by = NAMED(splat)(scale);
    for (int d = 0; d < half; d += 16) {
        const f16 cd = NAMED(mul)(NAMED(load)(c + d), by), sd = NAMED(mul)(NAMED(load)(s + d), by);
        f16 a = NAMED(load)(x + d), b = NAMED(load)(x + half + d);
        if (norm) {
            a = NAMED(mul)(NAMED(mul)(a, f), NAMED(load)(norm + d));
            b = NAMED(mul)(NAMED(mul)(b, f), NAMED(load)(norm + half + d));
        }
        NAMED(store)(x + d, NAMED(sub)(NAMED(mul)(a, cd), NAMED(mul)(b, sd)));
        NAMED(store)(x + half + d, NAMED(fma)(b, cd, NAMED(mul)(a, sd)));
    }
}

/* Rotates a row's queries and keys to its position; queries go to p->q, keys and values to the cache. */
ISA static void NAMED(place)(const Pass *p, const Layer *layer, const Segment *segment, int row) {
    const Model *m = p->model;
    const int hd = m->head_dim, position = segment->start + row - segment->first, slot = position % BLOCK;
    const float scale = 1.44269504f / sqrtf((float)hd);     /* attention takes powers of 2 */
    float *x = p->mixed + (size_t)row * layer->qkv.n;
    uint16_t *q = p->q + (size_t)row * m->heads * hd;
    for (int h = 0; h < m->heads; h++, x += hd, q += hd) {
        NAMED(rotate)(p, x, layer->query_norm, position, scale);
        for (int d = 0; d < hd; d += 16) NAMED(store_bf16)(q + d, NAMED(load)(x + d));
    }
    uint16_t rounded[MAX_HEAD];
    const size_t block = (size_t)segment->blocks[position / BLOCK] * m->kv_heads * hd * BLOCK;
    for (int h = 0; h < m->kv_heads; h++, x += hd) {
        NAMED(rotate)(p, x, layer->key_norm, position, 1.0f);
        for (int d = 0; d < hd; d += 16) NAMED(store_bf16)(rounded + d, NAMED(load)(x + d));
        uint16_t *k = layer->keys + block + (size_t)h * hd * BLOCK + slot * 2;
        for (int d = 0; d < hd; d += 2) memcpy(k + d * BLOCK, rounded + d, 4);
    }
    for (int h = 0; h < m->kv_heads; h++, x += hd) {
        for (int d = 0; d < hd; d += 16) NAMED(store_bf16)(rounded + d, NAMED(load)(x + d));
        uint16_t *v = layer->values + block + ((size_t)h * BLOCK + slot / 2 * 2) * hd + slot % 2;
        for (int d = 0; d < hd; d++) v[d * 2] = rounded[d];
    }
}

/* ---- attention ---- */

/* R rows of queries times 32 keys (two blocks). */
#define SCORES(R) \
ISA static void NAMED(scores_##R)(const uint16_t *x, int k, const uint16_t *k0, const uint16_t *k1, float *scores) { \
    EACH_##R(ZERO) \
    for (int d = 0; d < k / 2; d++, x += 2) { \
        const i16 w0 = NAMED(load_raw)(k0 + d * 32), w1 = NAMED(load_raw)(k1 + d * 32); \
        EACH_##R(DOT_BF16) \
    } \
    EACH_##R(STORE_SCORES) \
}
#define STORE_SCORES(r) NAMED(store)(scores + r * SPAN, f##r##0); NAMED(store)(scores + r * SPAN + 16, f##r##1);
SCORES(4) SCORES(12)

/* R rows' weighted values of a span, in 64 of head_dim: fades the sums so far and adds. */
#define VALUES(R) \
ISA static void NAMED(values_##R)(const uint16_t *weights, const uint16_t *const *values, int pairs, int head_dim, \
                                  int first, const float *fade, float *out) { \
    EACH_##R(FADE) \
    for (int t = 0; t < pairs; t++, weights += 2) { \
        const uint16_t *v = values[t / (BLOCK / 2)] + ((size_t)(t % (BLOCK / 2)) * head_dim + first) * 2; \
        const i16 v0 = NAMED(load_raw)(v), v1 = NAMED(load_raw)(v + 32); \
        const i16 v2 = NAMED(load_raw)(v + 64), v3 = NAMED(load_raw)(v + 96); \
        EACH_##R(WEIGH) \
    } \
    EACH_##R(STORE_OUT) \
}
#define FADE(r) \
    const f16 fade##r = NAMED(splat)(fade[r]); \
    float *to##r = out + r * head_dim + first; \
    f16 o##r##0 = NAMED(mul)(fade##r, NAMED(load)(to##r)), o##r##1 = NAMED(mul)(fade##r, NAMED(load)(to##r + 16)); \
    f16 o##r##2 = NAMED(mul)(fade##r, NAMED(load)(to##r + 32)), o##r##3 = NAMED(mul)(fade##r, NAMED(load)(to##r + 48));
#define WEIGH(r) { \
    const i16 two = NAMED(splat_raw)(weights + r * SPAN); \
    o##r##0 = NAMED(dot_bf16)(o##r##0, v0, two); o##r##1 = NAMED(dot_bf16)(o##r##1, v1, two); \
    o##r##2 = NAMED(dot_bf16)(o##r##2, v2, two); o##r##3 = NAMED(dot_bf16)(o##r##3, v3, two); }
#define STORE_OUT(r) \
    NAMED(store)(to##r, o##r##0); NAMED(store)(to##r + 16, o##r##1); \
    NAMED(store)(to##r + 32, o##r##2); NAMED(store)(to##r + 48, o##r##3);
VALUES(4) VALUES(6)

/* Softmax weights, not yet normalized, of row r for positions base .. base + count - 1. Hidden ones are exact zeros. */
ISA static void NAMED(soften)(Scratch *s, int r, int base, int count) {
    float *scores = s->scores + r * SPAN;
    uint16_t *weights = s->weights + r * SPAN;
    const int visible = s->position[r] - base + 1;
    const f16 hidden = NAMED(splat)(-1e30f), zero = NAMED(splat)(0.0f);
    f16 top = NAMED(splat)(s->top[r]), sum = zero;
    for (int i = 0; i < count; i += 16)
        top = NAMED(higher)(top, NAMED(first_lanes)(visible - i, NAMED(load)(scores + i), hidden));
    const float highest = NAMED(highest)(top);
    s->fade[r] = exp2f(s->top[r] - highest);
    s->top[r] = highest;
    for (int i = 0; i < count; i += 16) {
        const f16 e = NAMED(exp2)(NAMED(sub)(NAMED(load)(scores + i), NAMED(splat)(highest)));
        const f16 seen = NAMED(first_lanes)(visible - i, e, zero);
        sum = NAMED(add)(sum, seen);
        NAMED(store_bf16)(weights + i, seen);
    }
    s->sum[r] = s->sum[r] * s->fade[r] + NAMED(total)(sum);
}

/* One unit: `tokens` tokens of a segment from `token` on, all query heads of a key head; out is [rows][heads][head_dim].
 *
 * Rows pass over the keys in spans on a fixed grid with a running maximum (Milakov and Gimelshein, arXiv:1805.02867;
 * Dao et al., arXiv:2205.14135). A span that a row may not see leaves its sums as they were, to the bit. */
ISA static void NAMED(attend)(const Pass *p, const Layer *layer, const Segment *segment, int head, int token, int tokens,
                              float *out, Scratch *s) {
    const Model *m = p->model;
    const int hd = m->head_dim, group = m->heads / m->kv_heads, rows = tokens * group, padded = (rows + 3) / 4 * 4;
    const size_t width = (size_t)m->heads * hd, block_size = (size_t)m->kv_heads * hd * BLOCK;
    const size_t first = (size_t)(segment->first + token);
    for (int r = 0; r < padded; r++) {
        const int used = r < rows ? r : rows - 1;
        const uint16_t *q = p->q + (first + (size_t)(used / group)) * width + (size_t)(head * group + used % group) * hd;
        memcpy(s->q + r * hd, q, (size_t)hd * 2);
        s->position[r] = segment->start + token + used / group;
        s->top[r] = -1e30f;
        s->sum[r] = 0;
    }
    memset(s->out, 0, sizeof(float) * (size_t)(padded * hd));
    const int end = segment->start + token + tokens, last = (end - 1) / BLOCK;
    for (int base = 0; base < end; base += SPAN) {
        const int left = end - base < SPAN ? end - base : SPAN, count = (left + 31) / 32 * 32;
        const uint16_t *keys[SPAN / BLOCK], *values[SPAN / BLOCK];
        for (int b = 0; b < count / BLOCK; b++) {   /* past the end any block will do: it is hidden */
            const int index = base / BLOCK + b < last ? base / BLOCK + b : last;
            const size_t at = (size_t)segment->blocks[index] * block_size + (size_t)head * hd * BLOCK;
            keys[b] = layer->keys + at;
            values[b] = layer->values + at;
        }
        for (int b = 0; b < count / BLOCK; b += 2) {
            int r = 0;
            for (; r + 12 <= padded; r += 12)
                NAMED(scores_12)(s->q + r * hd, hd, keys[b], keys[b + 1], s->scores + r * SPAN + b * BLOCK);
            for (; r < padded; r += 4)
                NAMED(scores_4)(s->q + r * hd, hd, keys[b], keys[b + 1], s->scores + r * SPAN + b * BLOCK);
        }
        for (int r = 0; r < padded; r++) NAMED(soften)(s, r, base, count);
        for (int d = 0; d < hd; d += 64) {
            int r = 0;
            for (; r + 12 <= padded; r += 12)
                for (int h = r; h < r + 12; h += 6)
                    NAMED(values_6)(s->weights + h * SPAN, values, count / 2, hd, d, s->fade + h, s->out + h * hd);
            for (; r < padded; r += 4)
                NAMED(values_4)(s->weights + r * SPAN, values, count / 2, hd, d, s->fade + r, s->out + r * hd);
        }
    }
    for (int r = 0; r < rows; r++) {
        float *o = out + (first + (size_t)(r / group)) * width + (size_t)(head * group + r % group) * hd;
        const f16 whole = NAMED(splat)(1.0f / s->sum[r]);
        for (int d = 0; d < hd; d += 16) NAMED(store)(o + d, NAMED(mul)(whole, NAMED(load)(s->out + r * hd + d)));
    }
}

static const Kernels NAMED(kernels) = {
    .panels = {
        {0, NAMED(int8_panel_1), NAMED(int8_panel_2), NAMED(int8_panel_3), NAMED(int8_panel_4), NAMED(int8_panel_5),
         NAMED(int8_panel_6)},
        {0, NAMED(bf16_panel_1), NAMED(bf16_panel_2), NAMED(bf16_panel_3), NAMED(bf16_panel_4), NAMED(bf16_panel_5),
         NAMED(bf16_panel_6)},
    },
    .quantize = NAMED(quantize),
    .inverse_rms = NAMED(inverse_rms),
    .place = NAMED(place),
    .attend = NAMED(attend),
};

#undef EACH_1
#undef EACH_2
#undef EACH_3
#undef EACH_4
#undef EACH_5
#undef EACH_6
#undef EACH_12
#undef ZERO
#undef LOAD_BIAS
#undef PREFETCH
#undef INT8_PANEL
#undef START_INT8
#undef DOT_INT8
#undef END_INT8
#undef EMIT_INT8
#undef BF16_PANEL
#undef DOT_BF16
#undef EMIT_BF16
#undef SCORES
#undef STORE_SCORES
#undef VALUES
#undef FADE
#undef WEIGH
#undef STORE_OUT
