/* The inner loops for processors with sixteen vector registers: six rows times sixteen columns, whose sums fill twelve
 * of them. Activations are widened once, when they are quantized, and not once for each column. */


/* ---- linear layers ---- */

#define TWO_PANELS(name, R, A, B) \
ISA static void NAMED(name##_panel_##R)(const Linear *l, int panel, const Activations *in, size_t row, Output to) { \
    NAMED(name##_panel_##A)(l, panel, in, row, to); \
    NAMED(name##_panel_##B)(l, panel, in, row + A, to); \
}

/* Without VNNI: even and odd bytes of the weights as 16-bit products, whose sums cannot overflow. The activations lie
 * as two pairs of 16 bits, (0, 2) and (1, 3) of each four. Up to three rows pass over a panel once, as its reading is
 * what they wait for; more pass over its halves in turn. */
#define INT8_PANEL(R, PASSES) \
ISA static void NAMED(int8_panel_##R)(const Linear *l, int panel, const Activations *in, size_t row, Output to) { \
    const int k = l->k, groups = k / GROUP, column = panel * PANEL; \
    const float *scale = in->scale + row * groups; \
    const int32_t *offset = in->offset + row * groups; \
    f16 sums[2][R]; \
    for (int half = 0; half < 2; half++) \
        for (int r = 0; r < R; r++) sums[half][r] = NAMED(splat)(0.0f); \
    for (int half = 0; half < PASSES; half++) { \
        const uint8_t *w = (const uint8_t *)l->weight + (size_t)column * k + half * 64; \
        const int16_t *x = in->pairs + row * k; \
        for (int g = 0; g < groups; g++) { \
            EACH_##R(START_INT8_##PASSES) \
            for (int i = 0; i < GROUP / 4; i++, w += 128, x += 4) { \
                PREFETCH(w) \
                i16 bytes = NAMED(even_bytes)(w); \
                EACH_##R(DOT_EVEN) \
                bytes = NAMED(odd_bytes)(w); \
                EACH_##R(DOT_ODD) \
                OTHER_HALF_##PASSES(R) \
            } \
            EACH_##R(END_INT8_##PASSES) \
        } \
    } \
    const f16 s0 = NAMED(load)(l->scale + column), s1 = NAMED(load)(l->scale + column + 16); \
    LOAD_BIAS \
    for (int r = 0; r < R; r++) \
        NAMED(emit)(to, row + r, column, NAMED(fma)(sums[0][r], s0, b0), NAMED(fma)(sums[1][r], s1, b1)); \
}
#define START_INT8_2(r) i16 i##r = NAMED(splat_int)(offset[r * groups + g]);
#define START_INT8_1(r) i16 i##r = NAMED(splat_int)(offset[r * groups + g]), j##r = i##r;
#define DOT_EVEN(r) i##r = NAMED(dot_pairs)(i##r, bytes, x + (size_t)r * k);
#define DOT_ODD(r) i##r = NAMED(dot_pairs)(i##r, bytes, x + (size_t)r * k + 2);
#define OTHER_EVEN(r) j##r = NAMED(dot_pairs)(j##r, bytes, x + (size_t)r * k);
#define OTHER_ODD(r) j##r = NAMED(dot_pairs)(j##r, bytes, x + (size_t)r * k + 2);
#define OTHER_HALF_2(R)
#define OTHER_HALF_1(R) \
    bytes = NAMED(even_bytes)(w + 64); EACH_##R(OTHER_EVEN) bytes = NAMED(odd_bytes)(w + 64); EACH_##R(OTHER_ODD)
#define END_INT8(r, sum, half) \
    sums[half][r] = NAMED(fma)(NAMED(to_float)(sum), NAMED(splat)(scale[r * groups + g]), sums[half][r]);
#define END_INT8_2(r) END_INT8(r, i##r, half)
#define END_INT8_1(r) END_INT8(r, i##r, 0) END_INT8(r, j##r, 1)
INT8_PANEL(1, 1) INT8_PANEL(2, 1) INT8_PANEL(3, 1) INT8_PANEL(6, 2)
TWO_PANELS(int8, 4, 2, 2) TWO_PANELS(int8, 5, 3, 2)

/* Activations rounded to bf16 and kept in fp32. */
#define BF16_PANEL(R, PASSES) \
ISA static void NAMED(bf16_panel_##R)(const Linear *l, int panel, const Activations *in, size_t row, Output to) { \
    const int k = l->k, column = panel * PANEL; \
    f16 sums[2][R]; \
    for (int half = 0; half < PASSES; half++) { \
        const uint16_t *w = (const uint16_t *)l->weight + (size_t)column * k + half * 32; \
        const float *x = in->f + row * k; \
        EACH_##R(ZERO_ROW) \
        EACH_##R(ZERO_OTHER) \
        for (int i = 0; i < k / 2; i++, w += 64, x += 2) { \
            PREFETCH(w) \
            f16 weights = NAMED(first_of_pairs)(w); \
            EACH_##R(DOT_FIRST) \
            weights = NAMED(second_of_pairs)(w); \
            EACH_##R(DOT_SECOND) \
            OTHER_PAIRS_##PASSES(R) \
        } \
        EACH_##R(KEEP_ROW_##PASSES) \
    } \
    LOAD_BIAS \
    for (int r = 0; r < R; r++) \
        NAMED(emit)(to, row + r, column, NAMED(add)(sums[0][r], b0), NAMED(add)(sums[1][r], b1)); \
}
#define ZERO_ROW(r) f16 f##r = NAMED(splat)(0.0f);
#define ZERO_OTHER(r) f16 o##r = NAMED(splat)(0.0f); (void)o##r;
#define DOT_FIRST(r) f##r = NAMED(fma)(weights, NAMED(splat)(x[(size_t)r * k]), f##r);
#define DOT_SECOND(r) f##r = NAMED(fma)(weights, NAMED(splat)(x[(size_t)r * k + 1]), f##r);
#define OTHER_FIRST(r) o##r = NAMED(fma)(weights, NAMED(splat)(x[(size_t)r * k]), o##r);
#define OTHER_SECOND(r) o##r = NAMED(fma)(weights, NAMED(splat)(x[(size_t)r * k + 1]), o##r);
#define OTHER_PAIRS_2(R)
#define OTHER_PAIRS_1(R) \
    weights = NAMED(first_of_pairs)(w + 32); EACH_##R(OTHER_FIRST) \
    weights = NAMED(second_of_pairs)(w + 32); EACH_##R(OTHER_SECOND)
#define KEEP_ROW_2(r) sums[half][r] = f##r;
#define KEEP_ROW_1(r) sums[0][r] = f##r; sums[1][r] = o##r;
BF16_PANEL(1, 1) BF16_PANEL(2, 1) BF16_PANEL(3, 1) BF16_PANEL(6, 2)
TWO_PANELS(bf16, 4, 2, 2) TWO_PANELS(bf16, 5, 3, 2)

/* ---- attention ---- */

/* R rows of queries times the sixteen keys of a block; asks for what is read next, of which there is as much. */
#define SCORES(R) \
ISA static void NAMED(scores_##R)(const float *x, int k, const uint16_t *keys, const uint16_t *next_keys, \
                                  const uint16_t *values, float *scores) { \
    EACH_##R(ZERO_ROW) \
    for (int d = 0; d < k; d += 2, x += 2, keys += 32, next_keys += 32, values += 32) { \
        __builtin_prefetch(next_keys); \
        __builtin_prefetch(values); \
        f16 weights = NAMED(first_of_pairs)(keys); \
        EACH_##R(DOT_FIRST) \
        weights = NAMED(second_of_pairs)(keys); \
        EACH_##R(DOT_SECOND) \
    } \
    EACH_##R(STORE_SCORES) \
}
#define STORE_SCORES(r) NAMED(store)(scores + r * SPAN, f##r);
SCORES(3) SCORES(6)

/* R rows' weighted values of a span, in 16 of head_dim: fades the sums so far and adds. */
#define VALUES(R) \
ISA static void NAMED(values_##R)(const float *x, const uint16_t *const *values, int pairs, int head_dim, int first_dim, \
                                  const float *fade, float *out) { \
    enum { k = SPAN }; \
    EACH_##R(FADE) \
    for (int t = 0; t < pairs; t++, x += 2) { \
        const uint16_t *v = values[t / (BLOCK / 2)] + ((size_t)(t % (BLOCK / 2)) * head_dim + first_dim) * 2; \
        f16 weights = NAMED(first_of_pairs)(v); \
        EACH_##R(DOT_FIRST) \
        weights = NAMED(second_of_pairs)(v); \
        EACH_##R(DOT_SECOND) \
    } \
    EACH_##R(STORE_OUT) \
}
#define FADE(r) f16 f##r = NAMED(mul)(NAMED(splat)(fade[r]), NAMED(load)(out + r * head_dim + first_dim));
#define STORE_OUT(r) NAMED(store)(out + r * head_dim + first_dim, f##r);
VALUES(3) VALUES(6)

enum { NAMED(ROW_STEP) = 3 };

ISA static void NAMED(copy_query)(Scratch *s, int r, const uint16_t *q, int head_dim) {
    float *to = s->wide_q + r * head_dim;
    for (int d = 0; d < head_dim; d += 16) NAMED(store)(to + d, NAMED(widen_bf16)(q + d));
}

/* Scores of rows first .. last - 1 over `blocks` blocks. */
ISA static void NAMED(score_span)(Scratch *s, int first, int last, int head_dim, const uint16_t *const *keys,
                                  const uint16_t *const *values, int blocks) {
    for (int b = 0; b < blocks; b++) {
        const uint16_t *next = keys[b + 1 < blocks ? b + 1 : b];
        int r = first;
        for (; r + 6 <= last; r += 6)
            NAMED(scores_6)(s->wide_q + r * head_dim, head_dim, keys[b], next, values[b],
                            s->scores + r * SPAN + b * BLOCK);
        for (; r < last; r += 3)
            NAMED(scores_3)(s->wide_q + r * head_dim, head_dim, keys[b], next, values[b],
                            s->scores + r * SPAN + b * BLOCK);
    }
}

ISA static void NAMED(store_weights)(Scratch *s, int r, int i, f16 weights) {
    NAMED(store)(s->scores + r * SPAN + i, weights);
}

ISA static void NAMED(add_values)(Scratch *s, int first, int last, int head_dim, const uint16_t *const *values,
                                  const uint16_t *const *ahead, int pairs) {
    (void)ahead;
    for (int d = 0; d < head_dim; d += 16) {
        int r = first;
        for (; r + 6 <= last; r += 6)
            NAMED(values_6)(s->scores + r * SPAN, values, pairs, head_dim, d, s->fade + r, s->out + r * head_dim);
        for (; r < last; r += 3)
            NAMED(values_3)(s->scores + r * SPAN, values, pairs, head_dim, d, s->fade + r, s->out + r * head_dim);
    }
}

#undef TWO_PANELS
#undef INT8_PANEL
#undef START_INT8_2
#undef START_INT8_1
#undef DOT_EVEN
#undef DOT_ODD
#undef OTHER_EVEN
#undef OTHER_ODD
#undef OTHER_HALF_2
#undef OTHER_HALF_1
#undef END_INT8
#undef END_INT8_2
#undef END_INT8_1
#undef BF16_PANEL
#undef ZERO_ROW
#undef ZERO_OTHER
#undef DOT_FIRST
#undef DOT_SECOND
#undef OTHER_FIRST
#undef OTHER_SECOND
#undef OTHER_PAIRS_2
#undef OTHER_PAIRS_1
#undef KEEP_ROW_2
#undef KEEP_ROW_1
#undef SCORES
#undef STORE_SCORES
#undef VALUES
#undef FADE
#undef STORE_OUT
