#define _GNU_SOURCE
#include "kernels.h"

#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "threads.h"

#define f16 f16_avx512
#define i16 i16_avx512
#include "avx512.h"
#include "body.h"
#undef ISA
#undef NAMED
#undef f16
#undef i16
#define f16 f16_avx2
#define i16 i16_avx2
#include "avx2.h"
#include "body.h"
#undef f16
#undef i16

enum { LARGE_PAGE = 1 << 21 };

static const Kernels *kernels;

static int has(unsigned bits, unsigned wanted) { return (bits & wanted) == wanted; }

/* Chooses the instruction set: "avx512", "avx2", or "" for the best there is. 0, or -1 when the processor or the
 * system lacks it. */
EXPORT int tessera_select(const char *name) {
    unsigned a, b, c, d, state = 0, unused;
    int narrow = 0, wide = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) && has(c, bit_OSXSAVE | bit_FMA | bit_F16C)) {
        __asm__("xgetbv" : "=a"(state), "=d"(unused) : "c"(0));     /* registers that the system saves */
        if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
            narrow = has(state, 0x06) && has(b, bit_AVX2);
            wide = narrow && has(state, 0xe6) && has(b, bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL) &&
                   has(c, bit_AVX512VNNI) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, bit_AVX512BF16);
        }
    }
    const Kernels *chosen = NULL;
    if (wide && (!strcmp(name, "avx512") || !*name)) chosen = &kernels_avx512;
    else if (narrow && (!strcmp(name, "avx2") || !*name)) chosen = &kernels_avx2;
    if (!chosen) return -1;
    kernels = chosen;
    return 0;
}

/* From so many rows a thread on, a weight is read for each part of the rows, which costs less than moving rows. */
enum { MANY_ROWS = 64 };

/* A phase: all rows through a layer. A slice of rows stays in the second-level cache while the panels pass. */
static void linear(Walk *walk, const Linear *l, const Activations *in, int rows, Output to) {
    const PanelKernel *panel = kernels->panels[l->format];
    const int panels = l->n / PANEL, bytes = l->k * (l->format == BF16 ? 2 : 1);
    const int most = (400000 / bytes + 1) / 6 * 6 + 6, parts = rows < MANY_ROWS * walk->parts ? 1 : walk->parts;
    const int slices = (rows + most * parts - 1) / (most * parts) * parts, units = panels * slices;
    const int batch = panels < 64 || rows > 48 ? 1 : 4;
    for (int first, end; (first = take(walk, units, batch, &end)) >= 0;) {
        for (int u = first; u < end; u++) {
            int row = (int)((long)rows * (u / panels) / slices);
            const int last = (int)((long)rows * (u / panels + 1) / slices);
            for (; row + 6 <= last; row += 6) panel[6](l, u % panels, in, (size_t)row, to);
            if (row < last) panel[last - row](l, u % panels, in, (size_t)row, to);
        }
        finish(walk, end - first);
    }
    leave(walk, units);
}

enum { ROWS_AT_ONCE = 8, PHASES_OF_LINEAR = 2, PHASES_OF_LAYER = 10, PHASES_OF_HEAD = 2 };

static void quantize_rows(Walk *walk, Pass *p, const float *x, int rows, const Linear *reader) {
    for (int first, end; (first = take(walk, rows, ROWS_AT_ONCE, &end)) >= 0;) {
        for (int row = first; row < end; row++)
            kernels->quantize(x + (size_t)row * reader->k, 1.0f, NULL, reader->k, reader->format, &p->acts, (size_t)row);
        finish(walk, end - first);
    }
    leave(walk, rows);
}

/* The rows of x, or those `chosen`, normalized and quantized for `reader`. */
static void normalize_rows(Walk *walk, Pass *p, const float *x, const int32_t *chosen, int rows, const float *norm,
                           const Linear *reader) {
    const int batch = chosen ? 1 : ROWS_AT_ONCE;
    for (int first, end; (first = take(walk, rows, batch, &end)) >= 0;) {
        for (int row = first; row < end; row++) {
            const float *from = x + (size_t)(chosen ? chosen[row] : row) * reader->k;
            const float factor = kernels->inverse_rms(from, reader->k, p->model->eps);
            kernels->quantize(from, factor, norm, reader->k, reader->format, &p->acts, (size_t)row);
        }
        finish(walk, end - first);
    }
    leave(walk, rows);
}

static void attend_all(Walk *walk, Pass *p, const Layer *layer) {
    const int rows = p->step->num_rows, kv_heads = p->model->kv_heads;
    for (int first, end; (first = take(walk, rows, ROWS_AT_ONCE, &end)) >= 0;) {
        for (int row = first; row < end; row++)
            kernels->place(p, layer, &p->step->segments[p->row_segment[row]], row);
        finish(walk, end - first);
    }
    leave(walk, rows);
    const int batch = p->num_units < 16 ? 1 : kv_heads;     /* of a unit, which asks for the next head's keys */
    for (int first, end; (first = take(walk, p->num_units * kv_heads, batch, &end)) >= 0; finish(walk, end - first))
        for (int u = first; u < end; u++)
            kernels->attend(p, layer, &p->units[u / kv_heads], u % kv_heads, p->mixed, &p->scratch[walk->thread]);
    leave(walk, p->num_units * kv_heads);
}

static void forward(Walk *walk, void *context) {
    Pass *p = context;
    const Model *m = p->model;
    const int n = p->step->num_rows;
    float *x = p->step->x;
    for (int i = 0; i < m->num_layers; i++) {   /* PHASES_OF_LAYER phases */
        const Layer *l = &m->layers[i];
        normalize_rows(walk, p, x, NULL, n, l->attention_norm, &l->qkv);
        linear(walk, &l->qkv, &p->acts, n, (Output){p->mixed, l->qkv.n, STORE});
        attend_all(walk, p, l);
        quantize_rows(walk, p, p->mixed, n, &l->output);
        linear(walk, &l->output, &p->acts, n, (Output){x, m->hidden, ADD});
        normalize_rows(walk, p, x, NULL, n, l->mlp_norm, &l->gate_up);
        linear(walk, &l->gate_up, &p->acts, n, (Output){p->wide, m->ffn, SWIGLU});
        quantize_rows(walk, p, p->wide, n, &l->down);
        linear(walk, &l->down, &p->acts, n, (Output){x, m->hidden, ADD});
    }
    normalize_rows(walk, p, x, p->step->chosen, p->step->num_chosen, m->norm, &m->head);
    linear(walk, &m->head, &p->acts, p->step->num_chosen, (Output){p->step->logits, m->head.n, STORE});
}

/* One layer by itself, for checks and measurements. */
typedef struct {
    Pass pass;
    const Linear *layer;
    const float *x;
    float *out;
    int rows;
} Alone;

static void apply(Walk *walk, void *context) {  /* PHASES_OF_LINEAR phases */
    Alone *a = context;
    quantize_rows(walk, &a->pass, a->x, a->rows, a->layer);
    linear(walk, a->layer, &a->pass.acts, a->rows, (Output){a->out, a->layer->n, STORE});
}

/* Memory from one arena. With a null arena it only counts. */
static void *grab(char **arena, size_t *used, size_t bytes) {
    void *at = *arena ? *arena + *used : NULL;
    *used += (bytes + 127) / 64 * 64;
    return at;
}

static void grab_activations(Activations *to, char **arena, size_t *used, size_t rows, size_t k) {
    to->q = grab(arena, used, rows * k);
    to->scale = grab(arena, used, rows * (k / GROUP) * sizeof(float));
    to->offset = grab(arena, used, rows * (k / GROUP) * sizeof(int32_t));
    to->half = grab(arena, used, rows * (k / GROUP) * sizeof(int32_t));
    to->h = grab(arena, used, rows * k * sizeof(uint16_t));
    to->pairs = grab(arena, used, rows * k * sizeof(int16_t));
    to->f = grab(arena, used, rows * k * sizeof(float));
}

static size_t lay_out(Pass *p, char *arena, int threads) {
    const Model *m = p->model;
    const size_t n = (size_t)p->step->num_rows, width = (size_t)m->heads * m->head_dim;
    const size_t qkv = width + 2 * (size_t)m->kv_heads * m->head_dim;
    size_t k = (size_t)(m->hidden > m->ffn ? m->hidden : m->ffn), used = 0;
    k = width > k ? width : k;
    p->mixed = grab(&arena, &used, n * qkv * sizeof(float));
    p->wide = grab(&arena, &used, n * (size_t)m->ffn * sizeof(float));
    p->q = grab(&arena, &used, n * width * sizeof(uint16_t));
    grab_activations(&p->acts, &arena, &used, n, k);
    p->scratch = grab(&arena, &used, sizeof(Scratch) * (size_t)threads);
    p->phases = grab(&arena, &used, sizeof(Phase) * (size_t)(m->num_layers * PHASES_OF_LAYER + PHASES_OF_HEAD));
    p->units = grab(&arena, &used, (n + (size_t)p->step->num_segments) * sizeof(Unit));
    p->row_segment = grab(&arena, &used, n * sizeof(int));
    return used;
}

static int begin_alike(const Segment *a, const Segment *b) {
    const int middle = (a->start < b->start ? a : b)->start / BLOCK / 2;
    return a->blocks[middle] == b->blocks[middle];
}

/* The units of attention: a long segment in pieces; short ones one by one, or together while they share blocks. */
static void plan(Pass *p) {
    const int group = p->model->heads / p->model->kv_heads, tile = MAX_ROWS / group, step = kernels->row_step;
    int rows = MAX_ROWS;    /* of the last unit */
    for (int i = 0; i < p->step->num_segments; i++) {
        const Segment *segment = &p->step->segments[i];
        const int own = (segment->length * group + step - 1) / step * step;
        for (int r = 0; r < segment->length; r++) p->row_segment[segment->first + r] = i;
        if (rows + own <= MAX_ROWS && begin_alike(segment - 1, segment)) {
            p->units[p->num_units - 1].segments++;
            rows += own;
            continue;
        }
        rows = segment->length > tile ? MAX_ROWS : own;
        for (int t = 0; t < segment->length; t += tile) {
            const int left = segment->length - t;
            p->units[p->num_units++] = (Unit){i, 1, t, left < tile ? left : tile};
        }
    }
}

/* The team's arena with room for `bytes`, or null. It is kept for the next step: fresh pages would have to be cleared. */
static char *reserve(Team *team, size_t bytes) {
    if (bytes > team->arena_bytes) {
        free(team->arena);
        const size_t whole = (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
        team->arena = aligned_alloc(LARGE_PAGE, whole);
        team->arena_bytes = team->arena ? whole : 0;
        if (team->arena) madvise(team->arena, whole, MADV_HUGEPAGE);
    }
    return team->arena;
}

/* Computes a step and writes its keys and values. 0, or -1 when memory is short: nothing was written then. */
EXPORT int tessera_forward(Team *team, const Model *model, const Step *step) {
    Pass p = {.model = model, .step = step};
    if (!reserve(team, lay_out(&p, NULL, team->size))) return -1;
    lay_out(&p, team->arena, team->size);
    plan(&p);
    run(team, forward, &p, p.phases, model->num_layers * PHASES_OF_LAYER + PHASES_OF_HEAD);
    return 0;
}

static size_t lay_out_alone(Alone *a, char *arena) {
    const size_t n = (size_t)a->rows, k = (size_t)a->layer->k;
    size_t used = 0;
    grab_activations(&a->pass.acts, &arena, &used, n, k);
    a->pass.phases = grab(&arena, &used, sizeof(Phase) * PHASES_OF_LINEAR);
    return used;
}

/* x [rows][k] times one layer, [rows][n]. 0, or -1 when memory is short. */
EXPORT int tessera_linear(Team *team, const Linear *layer, const float *x, int rows, float *out) {
    Alone a = {.layer = layer, .x = x, .out = out, .rows = rows};
    char *arena = aligned_alloc(64, (lay_out_alone(&a, NULL) + 63) / 64 * 64);
    if (!arena) return -1;
    lay_out_alone(&a, arena);
    run(team, apply, &a, a.pass.phases, PHASES_OF_LINEAR);
    free(arena);
    return 0;
}

#include "encode.h"
