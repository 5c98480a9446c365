#include "kernel/attention_int.h"

#include <math.h>
#include <string.h>
#include "kernel/kernel_int.h"
#include "kernel/math_int.h"

#define SPAN_BLOCKS (KV_SPAN / KV_PAGE)

/* What some vectors have of the keys so far, one entry each. */
struct softmax_state {
    float *acc; /* [vectors, head_dim] */
    float *max, *sum;
};

/* Some rows on their way through the blocks; the arrays lie in the caller's scratch, one entry a vector. */
struct tile {
    const struct attention_args *a;
    const struct attention_parts *parts;
    int64_t row;       /* the first */
    int rows, vectors; /* vectors = rows * group */
    float *p;          /* [vectors, KV_PAGE]: scores, then weights */
    float *fade;
    struct softmax_state span, all; /* of the span on its way, and of those before it */
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

static bool sees_span(const struct attention_args *a, int64_t row, int64_t span)
{
    return first_key(a, row) / KV_SPAN <= span && span <= a->pos[row] / KV_SPAN;
}

static struct range keys_of_row(const struct attention_args *a, int64_t row, int64_t block)
{
    int64_t lo = first_key(a, row) - block * KV_PAGE, hi = a->pos[row] + 1 - block * KV_PAGE;
    lo = lo < 0 ? 0 : lo < KV_PAGE ? lo : KV_PAGE;
    hi = hi < 0 ? 0 : hi < KV_PAGE ? hi : KV_PAGE;
    return (struct range){(int)lo, (int)hi};
}

static const uint8_t *block_at(const struct attention_args *a, int64_t block)
{
    const struct kv_layer *kv = a->kv;
    return kv->base + (size_t)a->pages[block] * kv->page_stride +
           (size_t)a->kv_head * kv->head_stride;
}

static struct attention_block block_view(const struct attention_args *a, int64_t block,
                                         int64_t next)
{
    const struct kv_layer *kv = a->kv;
    size_t size = kv_value_bytes(kv->type);
    const uint8_t *base = block_at(a, block);
    return (struct attention_block){
        .keys = base,
        .values = base + (size_t)kv->head_dim * KV_PAGE * size,
        .next = block_at(a, next),
        .type = kv->type,
        .head_dim = kv->head_dim,
    };
}

/* Adds one block to every row of the tile that sees keys of it. Values are read for all rows together where
 * all see the whole block, else row by row within its own keys: a slot that a row must not see is
 * never read for it, whatever it holds. */
static void tile_block(struct tile *t, int64_t block, int64_t next)
{
    const struct attention_args *a = t->a;
    struct attention_block view = block_view(a, block, next);
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
            t->fade[v] = t->parts->softmax(t->p + (size_t)v * KV_PAGE, keys.lo, keys.hi,
                                           &t->span.max[v], &t->span.sum[v]);
    }
    if (whole) {
        t->parts->values(&view, t->p, t->fade, t->vectors, 0, KV_PAGE, t->span.acc);
        return;
    }
    for (int r = 0; r < t->rows; r++) {
        struct range keys = keys_of_row(a, t->row + r, block);
        size_t v = (size_t)(r * a->group);
        if (keys.lo < keys.hi)
            t->parts->values(&view, t->p + v * KV_PAGE, t->fade + v, a->group, keys.lo, keys.hi,
                             t->span.acc + v * (size_t)view.head_dim);
    }
}

/* One span of all rows that see keys of it, from nothing on. */
static void tile_span(struct tile *t, int64_t span)
{
    const struct attention_args *a = t->a;
    int64_t begin = INT64_MAX, end = -1;
    for (int r = 0; r < t->rows; r++) {
        if (!sees_span(a, t->row + r, span))
            continue;
        int64_t first = first_key(a, t->row + r) / KV_PAGE, last = a->pos[t->row + r] / KV_PAGE;
        begin = first < begin ? first : begin;
        end = last > end ? last : end;
    }
    begin = begin > span * SPAN_BLOCKS ? begin : span * SPAN_BLOCKS;
    int64_t last = end < (span + 1) * SPAN_BLOCKS ? end : (span + 1) * SPAN_BLOCKS - 1;
    memset(t->span.acc, 0, (size_t)t->vectors * (size_t)a->kv->head_dim * sizeof(float));
    memset(t->span.sum, 0, (size_t)t->vectors * sizeof(float));
    for (int v = 0; v < t->vectors; v++)
        t->span.max[v] = -INFINITY;
    for (int64_t block = begin; block <= last; block++)
        tile_block(t, block, block < end ? block + 1 : block);
}

/* Adds a span's part of vector v to what the spans before it gave; `first`: there are none. */
static void join(const struct softmax_state *all, const struct softmax_state *part, int v, int hd,
                 bool first)
{
    float *acc = all->acc + (size_t)v * (size_t)hd;
    const float *more = part->acc + (size_t)v * (size_t)hd;
    if (first) {
        memcpy(acc, more, (size_t)hd * sizeof *acc);
        all->max[v] = part->max[v];
        all->sum[v] = part->sum[v];
        return;
    }
    float top = part->max[v] > all->max[v] ? part->max[v] : all->max[v];
    float f = exp_f32(all->max[v] - top), g = exp_f32(part->max[v] - top);
    for (int d = 0; d < hd; d++)
        acc[d] = acc[d] * f + more[d] * g;
    all->sum[v] = all->sum[v] * f + part->sum[v] * g;
    all->max[v] = top;
}

static void tile_join(const struct tile *t, int64_t span)
{
    const struct attention_args *a = t->a;
    for (int v = 0; v < t->vectors; v++) {
        int64_t row = t->row + v / a->group;
        if (sees_span(a, row, span))
            join(&t->all, &t->span, v, a->kv->head_dim, first_key(a, row) / KV_SPAN == span);
    }
}

static void tile_finish(const struct tile *t)
{
    const struct attention_args *a = t->a;
    int hd = a->kv->head_dim;
    for (int v = 0; v < t->vectors; v++) {
        float *out = a->out + (t->row + v / a->group) * a->ldo + (int64_t)(v % a->group) * hd;
        const float *acc = t->all.acc + (size_t)v * (size_t)hd;
        float inverse = 1.0f / t->all.sum[v];
        for (int d = 0; d < hd; d++)
            out[d] = acc[d] * inverse;
    }
}

/* The spans that any of the tile's rows sees. */
static void tile_spans(const struct tile *t, int64_t *first, int64_t *last)
{
    const struct attention_args *a = t->a;
    *first = INT64_MAX;
    *last = 0;
    for (int64_t r = t->row; r < t->row + t->rows; r++) {
        int64_t begin = first_key(a, r) / KV_SPAN, end = a->pos[r] / KV_SPAN;
        *first = begin < *first ? begin : *first;
        *last = end > *last ? end : *last;
    }
}

/* The tile that begins at `row`, in the worker's scratch. */
static struct tile tile_at(const struct attention_args *a, int64_t row,
                           const struct attention_parts *parts)
{
    int most = attention_rows(a->group), rows = (int)(a->rows - row < most ? a->rows - row : most);
    size_t n = (size_t)(most * a->group), hd = (size_t)a->kv->head_dim;
    float *acc = a->scratch + n * KV_PAGE, *each = acc + 2 * n * hd;
    return (struct tile){
        .a = a,
        .parts = parts,
        .row = row,
        .rows = rows,
        .vectors = rows * a->group,
        .p = a->scratch,
        .fade = each,
        .span = {acc, each + n, each + 2 * n},
        .all = {acc + n * hd, each + 3 * n, each + 4 * n},
    };
}

/* Where a->parts has a span for the rows from `row` on. */
static struct softmax_state parts_of(const struct attention_args *a, int64_t span, int64_t row)
{
    int64_t n = a->rows * a->group, hd = a->kv->head_dim;
    float *acc = a->parts + span * n * (hd + 2), *max = acc + n * hd;
    int64_t v = row * a->group;
    return (struct softmax_state){acc + v * hd, max + v, max + n + v};
}

void attention_run(const struct attention_args *a, const struct attention_parts *parts)
{
    for (int64_t row = 0; row < a->rows; row += attention_rows(a->group)) {
        struct tile t = tile_at(a, row, parts);
        int64_t first, last;
        tile_spans(&t, &first, &last);
        for (int64_t span = first; span <= last; span++) {
            tile_span(&t, span);
            tile_join(&t, span);
        }
        tile_finish(&t);
    }
}

void attention_run_span(const struct attention_args *a, int64_t span,
                        const struct attention_parts *parts)
{
    for (int64_t row = 0; row < a->rows; row += attention_rows(a->group)) {
        struct tile t = tile_at(a, row, parts);
        t.span = parts_of(a, span, row);
        tile_span(&t, span);
    }
}

void attention_join(const struct attention_args *a)
{
    for (int64_t row = 0; row < a->rows; row += attention_rows(a->group)) {
        struct tile t = tile_at(a, row, NULL);
        int64_t first, last;
        tile_spans(&t, &first, &last);
        for (int64_t span = first; span <= last; span++) {
            t.span = parts_of(a, span, row);
            tile_join(&t, span);
        }
        tile_finish(&t);
    }
}
