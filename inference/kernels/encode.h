/* An encoder's step: sequences side by side, without padding, through all layers (Devlin et al., arXiv:1810.04805). */

enum { PHASES_OF_ENCODER_LAYER = 9, MOST_QUERIES = 6 };

typedef struct {
    Pass pass;
    const Encoder *model;
    int rows, sequences;
    const int32_t *starts;                      /* [sequences + 1]: where each begins, and the end of the last */
    float *x;                                   /* [rows][hidden]: embeddings in, hidden states out */
    float *notes;                               /* one part a thread */
    size_t note_floats;
} Encoding;

/* A phase: rows of x normalized in place and, for a `reader`, quantized. */
static void settle_rows(Walk *walk, Encoding *e, const float *weight, const float *shift, const Linear *reader) {
    const int k = e->model->hidden;
    for (int first, end; (first = take(walk, e->rows, ROWS_AT_ONCE, &end)) >= 0; finish(walk, end - first))
        for (int row = first; row < end; row++) {
            float *x = e->x + (size_t)row * k;
            kernels->layer_norm(x, k, weight, shift, e->model->eps);
            if (reader) kernels->quantize(x, 1.0f, NULL, k, reader->format, &e->pass.acts, (size_t)row);
        }
    leave(walk, e->rows);
}

static void attend_sequences(Walk *walk, Encoding *e) {
    const Encoder *m = e->model;
    const int units = e->sequences * m->heads;
    for (int first, end; (first = take(walk, units, 1, &end)) >= 0; finish(walk, end - first)) {
        const int sequence = first / m->heads, head = first % m->heads * m->head_dim, row = e->starts[sequence];
        kernels->attend_whole(m, e->pass.mixed + (size_t)row * 3 * m->hidden + head, e->starts[sequence + 1] - row,
                              e->pass.wide + (size_t)row * m->hidden + head, e->notes + e->note_floats * (size_t)walk->thread);
    }
    leave(walk, units);
}

static void activate_rows(Walk *walk, Encoding *e, const Linear *reader) {
    for (int first, end; (first = take(walk, e->rows, ROWS_AT_ONCE, &end)) >= 0; finish(walk, end - first))
        for (int row = first; row < end; row++) {
            float *x = e->pass.wide + (size_t)row * reader->k;
            kernels->gelu(x, reader->k);
            kernels->quantize(x, 1.0f, NULL, reader->k, reader->format, &e->pass.acts, (size_t)row);
        }
    leave(walk, e->rows);
}

static void encode(Walk *walk, void *context) {
    Encoding *e = context;
    const Encoder *m = e->model;
    Pass *p = &e->pass;
    const int n = e->rows;
    settle_rows(walk, e, m->norm, m->shift, &m->layers[0].qkv);
    for (int i = 0; i < m->num_layers; i++) {   /* PHASES_OF_ENCODER_LAYER phases */
        const EncoderLayer *l = &m->layers[i];
        linear(walk, &l->qkv, &p->acts, n, (Output){p->mixed, l->qkv.n, STORE});
        attend_sequences(walk, e);
        quantize_rows(walk, p, p->wide, n, &l->output);
        linear(walk, &l->output, &p->acts, n, (Output){e->x, m->hidden, ADD});
        settle_rows(walk, e, l->attention_norm, l->attention_shift, &l->up);
        linear(walk, &l->up, &p->acts, n, (Output){p->wide, l->up.n, STORE});
        activate_rows(walk, e, &l->down);
        linear(walk, &l->down, &p->acts, n, (Output){e->x, m->hidden, ADD});
        settle_rows(walk, e, l->output_norm, l->output_shift, i + 1 < m->num_layers ? &l[1].qkv : NULL);
    }
}

static size_t lay_out_encoding(Encoding *e, char *arena, int threads) {
    const Encoder *m = e->model;
    const size_t n = (size_t)e->rows;
    size_t used = 0, longest = 0;
    for (int i = 0; i < e->sequences; i++) {
        const size_t length = (size_t)(e->starts[i + 1] - e->starts[i]);
        longest = length > longest ? length : longest;
    }
    e->note_floats = (longest + 31) / 32 * 32 * (size_t)(2 * m->head_dim + MOST_QUERIES);
    e->pass.mixed = grab(&arena, &used, n * 3 * (size_t)m->hidden * sizeof(float));
    e->pass.wide = grab(&arena, &used, n * (size_t)m->ffn * sizeof(float));
    e->notes = grab(&arena, &used, e->note_floats * sizeof(float) * (size_t)threads);
    grab_activations(&e->pass.acts, &arena, &used, n, (size_t)m->ffn);
    e->pass.phases = grab(&arena, &used, sizeof(Phase) * (size_t)(m->num_layers * PHASES_OF_ENCODER_LAYER + 1));
    return used;
}

/* Turns x, the embeddings of all tokens, into their hidden states. 0, or -1 when memory is short: x is as it was then. */
EXPORT int tessera_encode(Team *team, const Encoder *model, float *x, const int32_t *starts, int sequences) {
    Encoding e = {.model = model, .rows = starts[sequences], .sequences = sequences, .starts = starts, .x = x};
    if (!reserve(team, lay_out_encoding(&e, NULL, team->size))) return -1;
    lay_out_encoding(&e, team->arena, team->size);
    run(team, encode, &e, e.pass.phases, model->num_layers * PHASES_OF_ENCODER_LAYER + 1);
    return 0;
}
