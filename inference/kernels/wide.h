/* The inner loops for processors with thirty-two vector registers: six rows times thirty-two columns. */

/* ---- linear layers ---- */

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

/* ---- attention ---- */

/* R rows of queries times 32 keys (two blocks); asks for the values, which are read next. */
#define SCORES(R) \
ISA static void NAMED(scores_##R)(const uint16_t *x, int k, const uint16_t *k0, const uint16_t *k1, const uint16_t *v0, \
                                  const uint16_t *v1, float *scores) { \
    EACH_##R(ZERO) \
    for (int d = 0; d < k / 2; d++, x += 2) { \
        __builtin_prefetch(v0 + d * 32); \
        __builtin_prefetch(v1 + d * 32); \
        const i16 w0 = NAMED(load_raw)(k0 + d * 32), w1 = NAMED(load_raw)(k1 + d * 32); \
        EACH_##R(DOT_BF16) \
    } \
    EACH_##R(STORE_SCORES) \
}
#define STORE_SCORES(r) NAMED(store)(scores + r * SPAN, f##r##0); NAMED(store)(scores + r * SPAN + 16, f##r##1);
SCORES(4) SCORES(12)

/* R rows' weighted values of a span, in 64 of head_dim: fades the sums so far and adds; asks for what is `ahead`. */
#define VALUES(R) \
ISA static void NAMED(values_##R)(const uint16_t *weights, const uint16_t *const *values, \
                                  const uint16_t *const *ahead, int pairs, int head_dim, int first, const float *fade, \
                                  float *out) { \
    EACH_##R(FADE) \
    for (int t = 0; t < pairs; t++, weights += 2) { \
        const size_t at = ((size_t)(t % (BLOCK / 2)) * head_dim + first) * 2; \
        const uint16_t *v = values[t / (BLOCK / 2)] + at, *next = ahead[t / (BLOCK / 2)] + at; \
        for (int line = 0; line < 4; line++) __builtin_prefetch(next + line * 32, 0, 2); \
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

enum { NAMED(ROW_STEP) = 4 };

ISA static void NAMED(copy_query)(Scratch *s, int r, const uint16_t *q, int head_dim) {
    memcpy(s->q + r * head_dim, q, (size_t)head_dim * 2);
}

/* Scores of rows first .. last - 1 over `blocks` blocks, an even number. */
ISA static void NAMED(score_span)(Scratch *s, int first, int last, int head_dim, const uint16_t *const *keys,
                                  const uint16_t *const *values, int blocks) {
    for (int b = 0; b < blocks; b += 2) {
        const uint16_t *ahead0 = values[b], *ahead1 = values[b + 1];
        for (int r = first, next; r < last; r = next, ahead0 = keys[b], ahead1 = keys[b + 1]) {
            const uint16_t *q = s->q + r * head_dim;
            float *scores = s->scores + r * SPAN + b * BLOCK;
            next = r + (r + 12 <= last ? 12 : 4);
            if (next == r + 12) NAMED(scores_12)(q, head_dim, keys[b], keys[b + 1], ahead0, ahead1, scores);
            else NAMED(scores_4)(q, head_dim, keys[b], keys[b + 1], ahead0, ahead1, scores);
        }
    }
}

ISA static void NAMED(store_weights)(Scratch *s, int r, int i, f16 weights) {
    NAMED(store_bf16)(s->weights + r * SPAN + i, weights);
}

/* Adds the values of a span to rows first .. last - 1; `ahead` are the keys that will be read next. */
ISA static void NAMED(add_values)(Scratch *s, int first, int last, int head_dim, const uint16_t *const *values,
                                  const uint16_t *const *ahead, int pairs) {
    for (int d = 0; d < head_dim; d += 64) {
        const uint16_t *const *wanted = ahead;
        for (int r = first, next; r < last; r = next, wanted = values) {
            const uint16_t *weights = s->weights + r * SPAN;
            next = r + (r + 12 <= last || r + 6 == last ? 6 : 4);
            if (next == r + 6) NAMED(values_6)(weights, values, wanted, pairs, head_dim, d, s->fade + r, s->out + r * head_dim);
            else NAMED(values_4)(weights, values, wanted, pairs, head_dim, d, s->fade + r, s->out + r * head_dim);
        }
    }
}

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
