/* Linear layers in int4: the codes of a panel are taken out of half bytes in registers and multiplied with int8
 * activations. Every HALVES * 32 inputs are summed exactly in int32, then scaled, and the minimum times the sum of the
 * activations is added, in fp32. Names are int4_panel_HALVES_ROWS. */

/* Scale and minimum of a group, for its columns 0 to 15 or, of half 1, 16 to 31. */
ISA static inline void NAMED(read_group)(const Linear *l, size_t group, int half, f16 *scale, f16 *minimum) {
    const size_t at = group * PANEL + (size_t)half * 16;
    if (l->coding == STEPS) {
        const i16 zeros = NAMED(widen_bytes)((const uint8_t *)l->offsets + group * 16);
        const f16 zero = NAMED(to_float)(half ? NAMED(high_halves)(zeros) : NAMED(low_halves)(zeros));
        *scale = NAMED(to_float)(NAMED(widen_bytes)((const uint8_t *)l->levels + at));
        *minimum = NAMED(mul)(zero, NAMED(sub)(NAMED(splat)(0.0f), *scale));
        return;
    }
    const f16 offset = NAMED(widen_halves)((const uint16_t *)l->offsets + at);
    *scale = NAMED(widen_halves)((const uint16_t *)l->levels + at);
    *minimum = l->coding == MINIMA ? offset : NAMED(mul)(offset, NAMED(sub)(NAMED(splat)(0.0f), *scale));
}

/* The sum of the activations of a group of 64, or of its first or second half. */
static inline float NAMED(group_sum)(const Activations *in, size_t group, int half, int halves) {
    const int32_t all = in->offset[group] / -128;
    return (float)(halves == 2 ? all : half % 2 ? all - in->half[group] : in->half[group]);
}

#define INT4_BEGIN \
    const int k = l->k, groups = k / GROUP, column = panel * PANEL; \
    const uint8_t *w = (const uint8_t *)l->weight + (size_t)column * k / 2; \
    const int8_t *x = in->q + row * k;
#define INT4_GROUP ((size_t)panel * (size_t)(k / l->group) + (size_t)(half * (GROUP / 2) / l->group))
#define INT4_END(r, f, sum, s, m) { \
    const size_t at = (row + r) * groups + half / 2; \
    const float each = in->scale[at]; \
    f = NAMED(fma)(NAMED(to_float)(sum), NAMED(mul)(s, NAMED(splat)(each)), f); \
    f = NAMED(fma)(m, NAMED(splat)(each * NAMED(group_sum)(in, at, half, halves)), f); }

/* R rows in one pass over the panel. */
#define INT4_PANEL(R, HALVES) \
ISA static void NAMED(int4_panel_##HALVES##_##R)(const Linear *l, int panel, const Activations *in, size_t row, \
                                                 Output to) { \
    enum { halves = HALVES }; \
    INT4_BEGIN \
    EACH_##R(ZERO) \
    for (int half = 0; half < groups * 2; half += halves) { \
        EACH_##R(INT4_START) \
        for (int h = 0; h < halves; h++) { \
            EACH_##R(INT4_OPEN) \
            for (int i = 0; i < GROUP / 8; i++, w += 64, x += 4) { \
                const i16 both = NAMED(load_raw)(w); \
                const i16 w0 = NAMED(low_halves)(both), w1 = NAMED(high_halves)(both); \
                __builtin_prefetch((const char *)w + 1024); \
                EACH_##R(INT4_DOT) \
            } \
            EACH_##R(INT4_CLOSE) \
        } \
        f16 s0, s1, m0, m1; \
        NAMED(read_group)(l, INT4_GROUP, 0, &s0, &m0); \
        NAMED(read_group)(l, INT4_GROUP, 1, &s1, &m1); \
        EACH_##R(INT4_ADD) \
    } \
    const f16 s0 = NAMED(load)(l->scale + column), s1 = NAMED(load)(l->scale + column + 16); \
    LOAD_BIAS \
    EACH_##R(INT4_EMIT) \
}
#define INT4_START(r) i16 i##r##0 = NAMED(splat_int)(0), i##r##1 = i##r##0, a##r##0, a##r##1;
#define INT4_OPEN(r) a##r##0 = NAMED(open_int4)(i##r##0); a##r##1 = NAMED(open_int4)(i##r##1);
#define INT4_DOT(r) { \
    const i16 four = NAMED(splat_raw)(x + (size_t)r * k); \
    a##r##0 = NAMED(dot_int4)(a##r##0, w0, four); \
    a##r##1 = NAMED(dot_int4)(a##r##1, w1, four); }
#define INT4_CLOSE(r) i##r##0 = NAMED(close_int4)(i##r##0, a##r##0); i##r##1 = NAMED(close_int4)(i##r##1, a##r##1);
#define INT4_ADD(r) INT4_END(r, f##r##0, i##r##0, s0, m0) INT4_END(r, f##r##1, i##r##1, s1, m1)
#define INT4_EMIT(r) NAMED(emit)(to, row + r, column, NAMED(fma)(f##r##0, s0, b0), NAMED(fma)(f##r##1, s1, b1));

#define INT4_PANELS(R) INT4_PANEL(R, 1) INT4_PANEL(R, 2)
INT4_PANELS(1) INT4_PANELS(2) INT4_PANELS(3)

#ifdef FEW_REGISTERS    /* which hold the sums of three rows, or of six over half of the columns at a time */
#define INT4_HALVED(HALVES) \
ISA static void NAMED(int4_panel_##HALVES##_6)(const Linear *l, int panel, const Activations *in, size_t row, \
                                               Output to) { \
    enum { halves = HALVES }; \
    f16 sums[2][6]; \
    for (int c = 0; c < 2; c++) { \
        INT4_BEGIN \
        EACH_6(INT4_ZERO_6) \
        (void)column; \
        for (int half = 0; half < groups * 2; half += halves) { \
            EACH_6(INT4_START_6) \
            for (int h = 0; h < halves; h++) { \
                EACH_6(INT4_OPEN_6) \
                for (int i = 0; i < GROUP / 8; i++, w += 64, x += 4) { \
                    const i16 both = NAMED(load_raw)(w); \
                    const i16 codes = c ? NAMED(high_halves)(both) : NAMED(low_halves)(both); \
                    __builtin_prefetch((const char *)w + 1024); \
                    EACH_6(INT4_DOT_6) \
                } \
                EACH_6(INT4_CLOSE_6) \
            } \
            f16 s, m; \
            NAMED(read_group)(l, INT4_GROUP, c, &s, &m); \
            EACH_6(INT4_ADD_6) \
        } \
        EACH_6(INT4_KEEP_6) \
    } \
    const int column = panel * PANEL; \
    const f16 s0 = NAMED(load)(l->scale + column), s1 = NAMED(load)(l->scale + column + 16); \
    LOAD_BIAS \
    for (int r = 0; r < 6; r++) \
        NAMED(emit)(to, row + r, column, NAMED(fma)(sums[0][r], s0, b0), NAMED(fma)(sums[1][r], s1, b1)); \
}
#define INT4_ZERO_6(r) f16 f##r = NAMED(splat)(0.0f);
#define INT4_START_6(r) i16 i##r = NAMED(splat_int)(0), a##r;
#define INT4_OPEN_6(r) a##r = NAMED(open_int4)(i##r);
#define INT4_DOT_6(r) a##r = NAMED(dot_int4)(a##r, codes, NAMED(splat_raw)(x + (size_t)r * k));
#define INT4_CLOSE_6(r) i##r = NAMED(close_int4)(i##r, a##r);
#define INT4_ADD_6(r) INT4_END(r, f##r, i##r, s, m)
#define INT4_KEEP_6(r) sums[c][r] = f##r;
#define INT4_TWO(HALVES, R, A, B) \
ISA static void NAMED(int4_panel_##HALVES##_##R)(const Linear *l, int panel, const Activations *in, size_t row, \
                                                 Output to) { \
    NAMED(int4_panel_##HALVES##_##A)(l, panel, in, row, to); \
    NAMED(int4_panel_##HALVES##_##B)(l, panel, in, row + A, to); \
}
INT4_HALVED(1) INT4_TWO(1, 4, 2, 2) INT4_TWO(1, 5, 3, 2)
INT4_HALVED(2) INT4_TWO(2, 4, 2, 2) INT4_TWO(2, 5, 3, 2)
#undef INT4_HALVED
#undef INT4_ZERO_6
#undef INT4_START_6
#undef INT4_OPEN_6
#undef INT4_DOT_6
#undef INT4_CLOSE_6
#undef INT4_ADD_6
#undef INT4_KEEP_6
#undef INT4_TWO
#else
INT4_PANELS(4) INT4_PANELS(5) INT4_PANELS(6)
#endif

#undef INT4_BEGIN
#undef INT4_GROUP
#undef INT4_END
#undef INT4_PANEL
#undef INT4_PANELS
#undef INT4_START
#undef INT4_OPEN
#undef INT4_DOT
#undef INT4_CLOSE
#undef INT4_ADD
#undef INT4_EMIT
