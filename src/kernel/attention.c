#include "kernel/attention_int.h"

#include <math.h>
#include <string.h>
#include "kernel/kernel_int.h"

/* Some rows on their way through the blocks; the arrays lie in the caller's scratch, one entry a vector. */
struct tile {
    const struct attention_args *a;
    const struct attention_parts *parts;
    int64_t row;       /* the first */
    int rows, vectors; /* vectors = rows * group */
    float *p;          /* [vectors, KV_PAGE]: scores, then weights */
    float *acc;        /* [vectors, head_dim] */
    float *max, *sum, *fade;
};

/* Keys [lo, hi) of a block; empty when lo >= hi. */
struct range {
    int lo, hi;
};

static int64_t first_key(const struct attention_args *a, int64_t row)
{
    int64_t pos = a->pos[row];
    return a->window > 0 && pos >= a->window ? pos - a->window + 1 : 0;
}

static struct range keys_of_row(const struct attention_args *a, int64_t row, int64_t block)
{
    int64_t lo = first_key(a, row) - block * KV_PAGE, hi = a->pos[row] + 1 - block * KV_PAGE;
    lo = lo < 0 ? 0 : lo < KV_PAGE ? lo : KV_PAGE;
    hi = hi < 0 ? 0 : hi < KV_PAGE ? hi : KV_PAGE;
    return (struct range){(int)lo, (int)hi};
}

static struct attention_block block_view(const struct attention_args *a, int64_t block)
{
    const struct kv_layer *kv = a->kv;
    size_t size = kv->type == KV_F16 ? 2 : 4;
    const uint8_t *base =
        kv->base + (size_t)a->pages[block] * kv->page_stride + (size_t)a->kv_head * kv->head_stride;
    return (struct attention_block){
        .keys = base,
        .values = base + (size_t)kv->head_dim * KV_PAGE * size,
        .type = kv->type,
        .head_dim = kv->head_dim,
    };
}

/* Adds one block to every row of the tile that sees keys of it. Values are read for all rows together where
 * all see the whole block, else row by row within its own keys: a slot that a row must not see is
 * never read for it, whatever it holds. */
static void tile_block(struct tile *t, int64_t block)
{
    const struct attention_args *a = t->a;
    struct attention_block view = block_view(a, block);
    const float *q[ATTENTION_VECTORS];
    for (int v = 0; v < t->vectors;) {
        int n = 0;
        for (; n < ATTENTION_VECTORS && v + n < t->vectors; n++)
            q[n] = a->q + (t->row + (v + n) / a->group) * a->ldq +
                   (int64_t)((v + n) % a->group) * view.head_dim;
        t->parts->scores(&view, q, n, a->scale, t->p + (size_t)v * KV_PAGE);
        v += n;
    }
    bool whole = true;
    for (int r = 0; r < t->rows; r++) {
        struct range keys = keys_of_row(a, t->row + r, block);
        whole = whole && keys.lo == 0 && keys.hi == KV_PAGE;
        for (int v = r * a->group; keys.lo < keys.hi && v < (r + 1) * a->group; v++)
            t->fade[v] = t->parts->softmax(t->p + (size_t)v * KV_PAGE, keys.lo, keys.hi, &t->max[v],
                                           &t->sum[v]);
    }
    if (whole) {
        t->parts->values(&view, t->p, t->fade, t->vectors, 0, KV_PAGE, t->acc);
        return;
    }
    for (int r = 0; r < t->rows; r++) {
        struct range keys = keys_of_row(a, t->row + r, block);
        size_t v = (size_t)(r * a->group);
        if (keys.lo < keys.hi)
            t->parts->values(&view, t->p + v * KV_PAGE, t->fade + v, a->group, keys.lo, keys.hi,
                             t->acc + v * (size_t)view.head_dim);
    }
}

static void tile_finish(const struct tile *t)
{
    const struct attention_args *a = t->a;
    int hd = a->kv->head_dim;
    for (int v = 0; v < t->vectors; v++) {
        float *out = a->out + (t->row + v / a->group) * a->ldo + (int64_t)(v % a->group) * hd;
        const float *acc = t->acc + (size_t)v * (size_t)hd;
        float inverse = 1.0f / t->sum[v];
        for (int d = 0; d < hd; d++)
            out[d] = acc[d] * inverse;
    }
}

static void tile_run(struct tile *t)
{
    const struct attention_args *a = t->a;
    int64_t begin = INT64_MAX, last = 0;
    for (int r = 0; r < t->rows; r++) {
        int64_t first = first_key(a, t->row + r) / KV_PAGE, end = a->pos[t->row + r] / KV_PAGE;
        begin = first < begin ? first : begin;
        last = end > last ? end : last;
    }
    memset(t->acc, 0, (size_t)t->vectors * (size_t)a->kv->head_dim * sizeof(float));
    memset(t->sum, 0, (size_t)t->vectors * sizeof(float));
    for (int v = 0; v < t->vectors; v++)
        t->max[v] = -INFINITY;
    for (int64_t block = begin; block <= last; block++)
        tile_block(t, block);
    tile_finish(t);
}

void attention_run(const struct attention_args *a, const struct attention_parts *parts)
{
    int most = a->group < ATTENTION_VECTORS ? ATTENTION_VECTORS / a->group : 1;
    size_t vectors = (size_t)most * (size_t)a->group;
    float *acc = a->scratch + vectors * KV_PAGE;
    float *max = acc + vectors * (size_t)a->kv->head_dim;
    for (int64_t row = 0; row < a->rows; row += most) {
        int rows = (int)(a->rows - row < most ? a->rows - row : most);
        struct tile t = {
            .a = a,
            .parts = parts,
            .row = row,
            .rows = rows,
            .vectors = rows * a->group,
            .p = a->scratch,
            .acc = acc,
            .max = max,
            .sum = max + vectors,
            .fade = max + 2 * vectors,
        };
        tile_run(&t);
    }
}
