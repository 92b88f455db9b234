/* The kernels that only an encoder needs, over sixteen lanes; included once for each instruction set. */

/* x times the normal distribution's Phi(x), in place; erf by Abramowitz and Stegun 7.1.26, absolute error below 2e-7. */
ISA static void NAMED(gelu)(float *x, int k) {
    const f16 one = NAMED(splat)(1.0f), zero = NAMED(splat)(0.0f);
    for (int i = 0; i < k; i += 16) {
        const f16 v = NAMED(load)(x + i), size = NAMED(magnitude)(v), a = NAMED(mul)(size, NAMED(splat)(0.707106781f));
        const f16 t = NAMED(over)(one, NAMED(fma)(a, NAMED(splat)(0.3275911f), one));
        f16 tail = NAMED(splat)(1.061405429f);
        tail = NAMED(fma)(tail, t, NAMED(splat)(-1.453152027f));
        tail = NAMED(fma)(tail, t, NAMED(splat)(1.421413741f));
        tail = NAMED(fma)(tail, t, NAMED(splat)(-0.284496736f));
        tail = NAMED(fma)(tail, t, NAMED(splat)(0.254829592f));
        tail = NAMED(mul)(NAMED(mul)(tail, t), NAMED(exp2)(NAMED(mul)(NAMED(mul)(a, a), NAMED(splat)(-1.44269504f))));
        const f16 lost = NAMED(mul)(NAMED(mul)(size, NAMED(splat)(0.5f)), tail);
        NAMED(store)(x + i, NAMED(sub)(NAMED(higher)(v, zero), lost));
    }
}

/* Layer normalization of one row, in place. */
ISA static void NAMED(layer_norm)(float *x, int k, const float *weight, const float *shift, float eps) {
    f16 sum = NAMED(splat)(0.0f), squares = sum;
    for (int i = 0; i < k; i += 16) sum = NAMED(add)(sum, NAMED(load)(x + i));
    const f16 mean = NAMED(splat)(NAMED(total)(sum) / (float)k);
    for (int i = 0; i < k; i += 16) {
        const f16 v = NAMED(sub)(NAMED(load)(x + i), mean);
        squares = NAMED(fma)(v, v, squares);
    }
    const f16 factor = NAMED(splat)(1.0f / sqrtf(NAMED(total)(squares) / (float)k + eps));
    for (int i = 0; i < k; i += 16) {
        const f16 v = NAMED(mul)(NAMED(sub)(NAMED(load)(x + i), mean), factor);
        NAMED(store)(x + i, NAMED(fma)(v, NAMED(load)(weight + i), NAMED(load)(shift + i)));
    }
}

#ifdef FEW_REGISTERS
enum { NAMED(QUERIES) = 2 };
#else
enum { NAMED(QUERIES) = 6 };
#endif

/* One head of a sequence of `count` tokens, each of which sees all: qkv [count][3][heads][head_dim], out
 * [count][heads][head_dim], both from this head on. */
ISA static void NAMED(attend_whole)(const Encoder *m, const float *qkv, int count, float *out, float *notes) {
    enum { R = NAMED(QUERIES) };
    const int hd = m->head_dim, width = m->heads * hd, padded = (count + 31) / 32 * 32;
    const f16 scale = NAMED(splat)(1.44269504f / sqrtf((float)hd)), hidden = NAMED(splat)(-1e30f), zero = NAMED(splat)(0.0f);
    float *keys = notes, *values = keys + hd * padded, *scores = values + hd * padded;   /* keys: [head_dim][padded] */
    for (int t = 0; t < padded; t++) {
        const float *from = qkv + (size_t)(t < count ? t : count - 1) * 3 * width + width;
        for (int d = 0; d < hd; d++) keys[d * padded + t] = from[d];
        memcpy(values + t * hd, from + width, sizeof(float) * (size_t)hd);
    }
    for (int first = 0; first < count; first += R) {
        const float *q[R];
        f16 whole[R];
        for (int r = 0; r < R; r++) q[r] = qkv + (size_t)(first + r < count ? first + r : count - 1) * 3 * width;
        for (int j = 0; j < padded; j += 32) {
            f16 s[R][2];
            for (int r = 0; r < R; r++) s[r][0] = s[r][1] = zero;
            for (int d = 0; d < hd; d++) {
                const f16 k0 = NAMED(load)(keys + d * padded + j), k1 = NAMED(load)(keys + d * padded + j + 16);
                for (int r = 0; r < R; r++) {
                    const f16 one = NAMED(splat)(q[r][d]);
                    s[r][0] = NAMED(fma)(k0, one, s[r][0]);
                    s[r][1] = NAMED(fma)(k1, one, s[r][1]);
                }
            }
            for (int r = 0; r < R; r++) {
                NAMED(store)(scores + r * padded + j, NAMED(mul)(s[r][0], scale));
                NAMED(store)(scores + r * padded + j + 16, NAMED(mul)(s[r][1], scale));
            }
        }
        for (int r = 0; r < R; r++) {
            float *row = scores + r * padded;
            f16 top = hidden, sum = zero;
            for (int j = 0; j < padded; j += 16)
                top = NAMED(higher)(top, NAMED(first_lanes)(count - j, NAMED(load)(row + j), hidden));
            const f16 most = NAMED(splat)(NAMED(highest)(top));
            for (int j = 0; j < padded; j += 16) {
                const f16 e = NAMED(exp2)(NAMED(sub)(NAMED(load)(row + j), most));
                const f16 seen = NAMED(first_lanes)(count - j, e, zero);
                sum = NAMED(add)(sum, seen);
                NAMED(store)(row + j, seen);
            }
            whole[r] = NAMED(splat)(1.0f / NAMED(total)(sum));
        }
        for (int d = 0; d < hd; d += 32) {
            f16 o[R][2];
            for (int r = 0; r < R; r++) o[r][0] = o[r][1] = zero;
            for (int j = 0; j < count; j++) {
                const f16 v0 = NAMED(load)(values + j * hd + d), v1 = NAMED(load)(values + j * hd + d + 16);
                for (int r = 0; r < R; r++) {
                    const f16 weight = NAMED(splat)(scores[r * padded + j]);
                    o[r][0] = NAMED(fma)(v0, weight, o[r][0]);
                    o[r][1] = NAMED(fma)(v1, weight, o[r][1]);
                }
            }
            for (int r = 0; r < R && first + r < count; r++) {
                float *to = out + (size_t)(first + r) * width + d;
                NAMED(store)(to, NAMED(mul)(o[r][0], whole[r]));
                NAMED(store)(to + 16, NAMED(mul)(o[r][1], whole[r]));
            }
        }
    }
}
