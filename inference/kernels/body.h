/* The kernels over sixteen lanes; included once for each instruction set. */

#define EACH_1(F) F(0)
#define EACH_2(F) F(0) F(1)
#define EACH_3(F) F(0) F(1) F(2)
#define EACH_4(F) EACH_3(F) F(3)
#define EACH_5(F) EACH_4(F) F(4)
#define EACH_6(F) EACH_5(F) F(5)
#define EACH_12(F) EACH_6(F) F(6) F(7) F(8) F(9) F(10) F(11)

/* 2^x for x in [-126, 126], relative error below 2e-7, 1 for 0: the whole part apart, a minimax polynomial for the rest. */
ISA static inline f16 NAMED(exp2)(f16 x) {
    x = NAMED(lower)(NAMED(higher)(x, NAMED(splat)(-126.0f)), NAMED(splat)(126.0f));
    const f16 whole = NAMED(nearest)(x), f = NAMED(sub)(x, whole);
    f16 y = NAMED(splat)(1.326472753e-3f);
    y = NAMED(fma)(y, f, NAMED(splat)(9.671512709e-3f));
    y = NAMED(fma)(y, f, NAMED(splat)(5.550733742e-2f));
    y = NAMED(fma)(y, f, NAMED(splat)(2.402224208e-1f));
    y = NAMED(fma)(y, f, NAMED(splat)(6.931469776e-1f));
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
/* Four kilobytes ahead: the time that memory takes, at the speed of the loop over six rows. */
#define PREFETCH(p) __builtin_prefetch((const char *)(p) + 4096); __builtin_prefetch((const char *)(p) + 4160);

#ifdef FEW_REGISTERS
#include "narrow.h"
#else
#include "wide.h"
#endif
#include "int4.h"

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
            NAMED(put_bf16)(to, row * k + i, NAMED(mul)(v, weight ? NAMED(load)(weight + i) : one));
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
        int32_t sum = 0, half = 0;
        for (int j = 0; j < GROUP / 16; j++) {
            sum += NAMED(put_int8)(to, row * k + g * GROUP + j * 16, NAMED(mul)(v[j], inverse));
            if (j == 1) half = sum;
        }
        to->half[row * (k / GROUP) + g] = half;
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

/* Rounds a key or a value to int8, times the scale returned. */
ISA static float NAMED(round_int8)(const float *x, int hd, int8_t *q) {
    int16_t pairs[MAX_HEAD];
    Activations to = {.q = q, .pairs = pairs};
    f16 top = NAMED(splat)(1e-12f);
    for (int d = 0; d < hd; d += 16) top = NAMED(higher)(NAMED(magnitude)(NAMED(load)(x + d)), top);
    const float largest = NAMED(highest)(top);
    for (int d = 0; d < hd; d += 16)
        NAMED(put_int8)(&to, (size_t)d, NAMED(mul)(NAMED(load)(x + d), NAMED(splat)(127.0f / largest)));
    return largest / 127.0f;
}

/* Hadamard's transform of each 64 dimensions, times 8: what stands out in a few of them is shared by all, and products of
 * queries and keys stay as they were, times 64 (Ashkboos et al., arXiv:2404.00456). */
ISA static void NAMED(spread)(float *x, int hd) {
    float other[64];
    for (int first = 0; first < hd; first += 64)
        for (int bit = 0; bit < 6; bit++) {     /* the highest of an index, which becomes the lowest */
            const float *from = bit % 2 ? other : x + first;
            float *to = bit % 2 ? x + first : other;
            for (int i = 0; i < 32; i++) {
                const float a = from[i], b = from[i + 32];
                to[2 * i] = a + b;
                to[2 * i + 1] = a - b;
            }
        }
}

#define PUT(type, row) { \
    type *to = (type *)tile; \
    if (h < m->kv_heads) for (int d = 0; d < hd; d += 2) memcpy(to + d * BLOCK + slot * 2, row + d, 2 * sizeof(type)); \
    else for (int d = 0; d < hd; d++) to[(slot / 2 * hd + d) * 2 + slot % 2] = row[d]; }

/* Rotates a row's queries and keys to its position; queries go to p->q, keys and values to the cache. */
ISA static void NAMED(place)(const Pass *p, const Layer *layer, const Segment *segment, int row) {
    const Model *m = p->model;
    const int hd = m->head_dim, position = segment->start + row - segment->first, slot = position % BLOCK;
    const int narrow = m->kv_format == INT8;
    const float scale = 1.44269504f / sqrtf((float)hd) / (narrow ? 64.0f : 1.0f);   /* attention takes powers of 2 */
    float *x = p->mixed + (size_t)row * layer->qkv.n;
    uint16_t *q = p->q + (size_t)row * m->heads * hd;
    for (int h = 0; h < m->heads; h++, x += hd, q += hd) {
        NAMED(rotate)(p, x, layer->query_norm, position, scale);
        if (narrow) NAMED(spread)(x, hd);
        for (int d = 0; d < hd; d += 16) NAMED(store_bf16)(q + d, NAMED(load)(x + d));
    }
    uint16_t rounded[MAX_HEAD];
    int8_t q8[MAX_HEAD];
    const size_t block = (size_t)segment->blocks[position / BLOCK] * m->kv_heads;
    for (int h = 0; h < 2 * m->kv_heads; h++, x += hd) {
        char *tile = (h < m->kv_heads ? layer->keys : layer->values) + (block + h % m->kv_heads) * tile_bytes(m);
        if (h < m->kv_heads) NAMED(rotate)(p, x, layer->key_norm, position, 1.0f);
        if (narrow) {
            if (h < m->kv_heads) {
                if (layer->key_shift) for (int d = 0; d < hd; d++) x[d] -= layer->key_shift[h * hd + d];
                NAMED(spread)(x, hd);
            }
            ((float *)(tile + hd * BLOCK))[slot] = NAMED(round_int8)(x, hd, q8);
            PUT(int8_t, q8)
        } else {
            for (int d = 0; d < hd; d += 16) NAMED(store_bf16)(rounded + d, NAMED(load)(x + d));
            PUT(uint16_t, rounded)
        }
    }
}

/* ---- attention ---- */

/* Softmax weights, not yet normalized, of rows first .. last - 1 for positions base .. base + count - 1, and times the
 * scales of the values where those are int8. Hidden ones are exact zeros. */
ISA static inline __attribute__((always_inline)) void NAMED(soften)(Scratch *s, int first, int last, int base, int count,
                                                                    int narrow) {
    const f16 hidden = NAMED(splat)(-1e30f), zero = NAMED(splat)(0.0f);
    float highest[MAX_ROWS + 16];
    for (int r = first; r < last; r++) {
        float *scores = s->scores + r * SPAN;
        const int visible = s->position[r] - base + 1;
        for (int i = 0; narrow && i < count; i += 16)
            NAMED(store)(scores + i, NAMED(mul)(NAMED(load)(scores + i), NAMED(load)(s->key_scales + i)));
        f16 top = NAMED(splat)(s->top[r]);
        for (int i = 0; i < count; i += 16)
            top = NAMED(higher)(top, NAMED(first_lanes)(visible - i, NAMED(load)(scores + i), hidden));
        highest[r] = NAMED(highest)(top);
    }
    for (int r = first; r < last; r += 16)  /* what it writes behind `last` is of no use and does no harm */
        NAMED(store)(s->fade + r, NAMED(exp2)(NAMED(sub)(NAMED(load)(s->top + r), NAMED(load)(highest + r))));
    for (int r = first; r < last; r++) {
        const float *scores = s->scores + r * SPAN;
        const int visible = s->position[r] - base + 1;
        const f16 top = NAMED(splat)(highest[r]);
        f16 sum = zero;
        for (int i = 0; i < count; i += 16) {
            const f16 e = NAMED(exp2)(NAMED(sub)(NAMED(load)(scores + i), top));
            const f16 worth = narrow ? NAMED(mul)(e, NAMED(load)(s->value_scales + i)) : e;
            sum = NAMED(add)(sum, NAMED(first_lanes)(visible - i, e, zero));
            NAMED(store_weights)(s, r, i, NAMED(first_lanes)(visible - i, worth, zero));
        }
        s->top[r] = highest[r];
        s->sum[r] = s->sum[r] * s->fade[r] + NAMED(total)(sum);
    }
}

/* The rows of one segment in an attention unit. */
typedef struct {
    const Segment *segment;
    int row, rows, end;     /* its rows; positions before `end` may be seen */
} NAMED(Part);

/* The blocks of a part's keys and values in a span. Past the end any block will do: it is hidden. */
ISA static int NAMED(find_blocks)(const NAMED(Part) *part, int base, int *blocks) {
    const int left = part->end - base < SPAN ? part->end - base : SPAN, count = (left + 31) / 32 * 32;
    for (int b = 0; b < SPAN / BLOCK; b++) {
        const int index = base / BLOCK + b, last = (part->end - 1) / BLOCK;
        blocks[b] = part->segment->blocks[index < last ? index : last];
    }
    return count;
}

/* Int8 tiles of a span in bf16, in their place; asks for those `ahead`, which are read next. */
ISA static void NAMED(widen_tiles)(Scratch *s, const uint16_t **tiles, const uint16_t *const *ahead, int blocks,
                                   int elements) {
    for (int b = 0; b < blocks; b++) {
        uint16_t *to = s->tiles + b * elements;
        for (int i = 0; i < elements; i += 64) {
            __builtin_prefetch((const int8_t *)ahead[b] + i);
            NAMED(widen_int8)(to + i, (const int8_t *)tiles[b] + i);
            NAMED(widen_int8)(to + i + 32, (const int8_t *)tiles[b] + i + 32);
        }
        __builtin_prefetch((const int8_t *)ahead[b] + elements);
        tiles[b] = to;
    }
}

/* One unit: all query heads of a key head; out is [rows][heads][head_dim].
 *
 * Rows pass over the keys in spans on a fixed grid with a running maximum (Milakov and Gimelshein, arXiv:1805.02867;
 * Dao et al., arXiv:2205.14135). A span that a row may not see leaves its sums as they were, to the bit. Segments that
 * share a span's blocks read them together (Juravsky et al., arXiv:2402.05099). */
ISA static void NAMED(attend)(const Pass *p, const Layer *layer, const Unit *unit, int head, float *out, Scratch *s) {
    const Model *m = p->model;
    const int hd = m->head_dim, group = m->heads / m->kv_heads, narrow = m->kv_format == INT8;
    const size_t width = (size_t)m->heads * hd, tile = tile_bytes(m);
    NAMED(Part) parts[MAX_ROWS];
    int padded = 0, end = 0;
    for (int i = 0; i < unit->segments; i++) {
        const Segment *segment = &p->step->segments[unit->segment + i];
        const int tokens = unit->segments > 1 ? segment->length : unit->tokens, rows = tokens * group;
        parts[i] = (NAMED(Part)){segment, padded, rows, segment->start + unit->token + tokens};
        end = parts[i].end > end ? parts[i].end : end;
        for (int r = 0; r < rows || padded % NAMED(ROW_STEP); r++, padded++) {
            const int used = r < rows ? r : rows - 1, token = unit->token + used / group;
            const uint16_t *q = p->q + (size_t)(segment->first + token) * width + (size_t)(head * group + used % group) * hd;
            NAMED(copy_query)(s, padded, q, hd);
            s->position[padded] = segment->start + token;
            s->top[padded] = -1e30f;
            s->sum[padded] = 0;
        }
    }
    memset(s->out, 0, sizeof(float) * (size_t)(padded * hd));
    for (int base = 0; base < end; base += SPAN)
        for (int i = 0, next; i < unit->segments; i = next) {
            next = i + 1;
            if (parts[i].end <= base) continue;
            int blocks[SPAN / BLOCK], others[SPAN / BLOCK];
            const int count = NAMED(find_blocks)(&parts[i], base, blocks);
            while (next < unit->segments && parts[next].end > base && NAMED(find_blocks)(&parts[next], base, others) == count &&
                   !memcmp(blocks, others, sizeof blocks))
                next++;
            const uint16_t *keys[SPAN / BLOCK], *values[SPAN / BLOCK], *ahead[SPAN / BLOCK];
            const int more = base + SPAN < parts[i].end, then = more || head + 1 == m->kv_heads ? head : head + 1;
            NAMED(find_blocks)(&parts[more ? i : 0], more ? base + SPAN : 0, others);
            for (int b = 0; b < count / BLOCK; b++) {
                const size_t at = ((size_t)blocks[b] * m->kv_heads + head) * tile, scales = at + hd * BLOCK;
                keys[b] = (const uint16_t *)(layer->keys + at);
                values[b] = (const uint16_t *)(layer->values + at);
                ahead[b] = (const uint16_t *)(layer->keys + ((size_t)others[b] * m->kv_heads + then) * tile);
                if (!narrow) continue;
                NAMED(store)(s->key_scales + b * BLOCK, NAMED(load)((const float *)(layer->keys + scales)));
                NAMED(store)(s->value_scales + b * BLOCK, NAMED(load)((const float *)(layer->values + scales)));
            }
            const int first = parts[i].row, last = next < unit->segments ? parts[next].row : padded;
            if (narrow) {
                NAMED(widen_tiles)(s, keys, values, count / BLOCK, hd * BLOCK);
                NAMED(score_span)(s, first, last, hd, keys, keys, count / BLOCK);
                NAMED(soften)(s, first, last, base, count, 1);
                NAMED(widen_tiles)(s, values, ahead, count / BLOCK, hd * BLOCK);
                NAMED(add_values)(s, first, last, hd, values, values, count / 2);
            } else {
                NAMED(score_span)(s, first, last, hd, keys, values, count / BLOCK);
                NAMED(soften)(s, first, last, base, count, 0);
                NAMED(add_values)(s, first, last, hd, values, ahead, count / 2);
            }
        }
    for (int i = 0; i < unit->segments; i++)
        for (int r = 0; r < parts[i].rows; r++) {
            const int row = parts[i].row + r;
            const size_t token = (size_t)(parts[i].segment->first + unit->token + r / group);
            float *o = out + token * width + (size_t)(head * group + r % group) * hd;
            const f16 whole = NAMED(splat)(1.0f / s->sum[row]);
            for (int d = 0; d < hd; d += 16) NAMED(store)(o + d, NAMED(mul)(whole, NAMED(load)(s->out + row * hd + d)));
        }
}

#include "encoder.h"

static const Kernels NAMED(kernels) = {
    .panels = {
        {0, NAMED(int8_panel_1), NAMED(int8_panel_2), NAMED(int8_panel_3), NAMED(int8_panel_4), NAMED(int8_panel_5),
         NAMED(int8_panel_6)},
        {0, NAMED(bf16_panel_1), NAMED(bf16_panel_2), NAMED(bf16_panel_3), NAMED(bf16_panel_4), NAMED(bf16_panel_5),
         NAMED(bf16_panel_6)},
        {0, NAMED(int4_panel_2_1), NAMED(int4_panel_2_2), NAMED(int4_panel_2_3), NAMED(int4_panel_2_4),
         NAMED(int4_panel_2_5), NAMED(int4_panel_2_6)},
        {0, NAMED(int4_panel_1_1), NAMED(int4_panel_1_2), NAMED(int4_panel_1_3), NAMED(int4_panel_1_4),
         NAMED(int4_panel_1_5), NAMED(int4_panel_1_6)},
    },
    .quantize = NAMED(quantize),
    .inverse_rms = NAMED(inverse_rms),
    .place = NAMED(place),
    .attend = NAMED(attend),
    .gelu = NAMED(gelu),
    .layer_norm = NAMED(layer_norm),
    .attend_whole = NAMED(attend_whole),
    .row_step = NAMED(ROW_STEP),
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
#undef PUT
