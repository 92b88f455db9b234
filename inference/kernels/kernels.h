/* Kernels for x86-64 processors: int8, int4 and bf16 linear layers, paged attention over a cache in bf16 or int8, and the
 * decoder that strings them together. Plain C, called through ctypes, which releases the interpreter's lock; it needs
 * neither Python nor torch.
 *
 * What always holds: a row of a result depends on the same row of the input and on the row's own sequence alone, and
 * so does the order of the operations that make it. No neighbour in a batch, no cut of a prompt into chunks and no
 * number of threads changes a row by one bit.
 */
#include <stddef.h>
#include <stdint.h>

enum {
    GROUP = 64,     /* activations that share a scale, along the input of a layer */
    PANEL = 32,     /* output columns that lie together in a packed weight */
    BLOCK = 16,     /* positions in a block of the KV cache */
    SPAN = 128,     /* positions that attention takes at a time */
    MAX_ROWS = 48,  /* rows of an attention unit */
    MAX_HEAD = 256,
};

#define EXPORT __attribute__((visibility("default")))

enum { INT8 = 0, BF16 = 1, INT4 = 2, INT4_FINE = 3 };

/* How a group of an int4 weight says its scale s and its minimum m, where a weight is code * s + m:
 * STEPS  levels uint8 of s; offsets the zero point z in half a byte (column c + 16 in the high half), m = -z s
 * ZEROS  levels fp16 s; offsets fp16 z, m = -z s
 * MINIMA levels fp16 s; offsets fp16 m */
enum { STEPS, ZEROS, MINIMA };

/* A packed weight: INT8 as [n/PANEL][k/4][PANEL][4] of w + 128, BF16 as [n/PANEL][k/2][PANEL][2], INT4 as
 * [n/PANEL][k/4][PANEL/2][4] of codes 0 to 15, column c in the low half of a byte and c + 16 in the high one. n is a
 * multiple of PANEL, k of GROUP. `group` inputs of an int4 weight share levels and offsets, [n/PANEL][k/group][PANEL]:
 * a multiple of GROUP, or 32 for INT4_FINE. */
typedef struct {
    int32_t format, n, k;
    const void *weight;
    const float *scale;                         /* [n]; not BF16 */
    const float *bias;                          /* [n] or null */
    int32_t group, coding;
    const void *levels, *offsets;
} Linear;

typedef struct {
    Linear qkv, output, gate_up, down;          /* gate_up: each panel holds 16 of gate, then the same 16 of up */
    const float *attention_norm, *mlp_norm;     /* [hidden] */
    const float *query_norm, *key_norm;         /* [head_dim] or null */
    const float *key_shift;                     /* [kv_heads][head_dim], taken from int8 keys, or null */
    char *keys, *values;                        /* [blocks][kv_heads] tiles */
} Layer;

typedef struct {
    int32_t num_layers, hidden, ffn, heads, kv_heads, head_dim, kv_format;
    float eps;
    const Layer *layers;
    const float *norm;                          /* [hidden] */
    Linear head;
    const float *cosines, *sines;               /* [positions][head_dim/2] */
} Model;

/* A layer of an encoder, which normalizes behind each residual; ffn is at least hidden. */
typedef struct {
    Linear qkv, output, up, down;
    const float *attention_norm, *attention_shift, *output_norm, *output_shift;     /* [hidden] */
} EncoderLayer;

typedef struct {
    int32_t num_layers, hidden, ffn, heads, head_dim;   /* head_dim: a multiple of 32; hidden: heads * head_dim */
    float eps;
    const EncoderLayer *layers;
    const float *norm, *shift;                  /* of the embeddings, [hidden] */
} Encoder;

/* Bytes of a tile, a block of one head: keys [head_dim/2][BLOCK][2] or values [BLOCK/2][head_dim][2], in bf16, or in int8
 * with fp32 scales [BLOCK] behind them, one a position. */
static inline size_t tile_bytes(const Model *m) {
    const size_t elements = (size_t)m->head_dim * BLOCK;
    return m->kv_format == BF16 ? elements * 2 : elements + BLOCK * sizeof(float);
}

/* Tokens of one sequence: rows first .. first + length - 1 of the step, at positions start .. */
typedef struct {
    int32_t first, length, start, unused;
    const int32_t *blocks;
} Segment;

typedef struct {
    int32_t num_rows, num_segments, num_chosen, unused;
    float *x;                                   /* [num_rows][hidden]: embeddings in, hidden states out */
    const Segment *segments;
    const int32_t *chosen;                      /* rows whose logits are wanted */
    float *logits;                              /* [num_chosen][head.n] */
} Step;

/* Rows of activations in the format of the layer that reads them. */
typedef struct {
    int8_t *q;                                  /* [rows][k] */
    float *scale;                               /* [rows][k/GROUP] */
    int32_t *offset;                            /* [rows][k/GROUP]: -128 * the group's sum, undoes the weights' + 128 */
    int32_t *half;                              /* [rows][k/GROUP]: the sum of the group's first half */
    uint16_t *h;                                /* bf16 [rows][k] */
    int16_t *pairs;                             /* q in 16 bits, 0 2 1 3 of each four; where registers are few */
    float *f;                                   /* h in fp32; where registers are few */
} Activations;

typedef enum { STORE, ADD, SWIGLU } Emit;

typedef struct {
    float *at;
    int ld;                                     /* floats from one row to the next */
    Emit how;
} Output;

/* One thread's notes on an attention unit. */
typedef struct {
    _Alignas(64) uint16_t q[MAX_ROWS * MAX_HEAD];
    _Alignas(64) float wide_q[MAX_ROWS * MAX_HEAD];     /* where registers are few, and there scores become weights */
    _Alignas(64) float scores[MAX_ROWS * SPAN];
    _Alignas(64) uint16_t weights[MAX_ROWS * SPAN];
    _Alignas(64) float out[MAX_ROWS * MAX_HEAD];
    _Alignas(64) uint16_t tiles[SPAN * MAX_HEAD];       /* a span's int8 keys, then its values, in bf16: exact */
    _Alignas(64) float key_scales[SPAN], value_scales[SPAN];
    float top[MAX_ROWS + 16], sum[MAX_ROWS], fade[MAX_ROWS + 16];
    int position[MAX_ROWS];
} Scratch;

/* What attention takes at a time: `tokens` tokens of one segment from `token` on, or all of `segments` segments that
 * begin with the same blocks. */
typedef struct {
    int segment, segments, token, tokens;
} Unit;

/* What a step needs beside the model, and one set of kernels. */
typedef struct {
    const Model *model;
    const Step *step;
    float *mixed;                               /* [rows][max(qkv.n, heads * head_dim)] */
    float *wide;                                /* [rows][ffn] */
    uint16_t *q;                                /* bf16 [rows][heads][head_dim] */
    Activations acts;
    Scratch *scratch;                           /* one a thread */
    int num_units;
    Unit *units;
    int *row_segment;
    struct Phase *phases;
} Pass;

typedef void (*PanelKernel)(const Linear *, int panel, const Activations *, size_t row, Output);

typedef struct {
    PanelKernel panels[4][7];                   /* by format and number of rows */
    void (*quantize)(const float *x, float factor, const float *weight, int k, int format, Activations *, size_t row);
    float (*inverse_rms)(const float *x, int k, float eps);
    void (*place)(const Pass *, const Layer *, const Segment *, int row);
    void (*attend)(const Pass *, const Layer *, const Unit *, int head, float *out, Scratch *);
    void (*gelu)(float *x, int k);
    void (*layer_norm)(float *x, int k, const float *weight, const float *shift, float eps);
    void (*attend_whole)(const Encoder *, const float *qkv, int count, float *out, float *notes);
    int row_step;                               /* rows that attention takes at least */
} Kernels;
