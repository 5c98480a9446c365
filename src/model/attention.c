/* How the attention of a step is shared out among the workers. An item is some rows of one sequence and one
 * KV head; where an item is more than a fair share of the step, as with one sequence that decodes in a long
 * context, its spans are done by different workers, and who is done last joins them. What comes out is the
 * same bits either way (kernel.h). */
#include <math.h>
#include "model/model_int.h"

/* A thread should find so many pieces: one that is half as fast as the others then ends soon after them. */
#define SHARES 8
/* Memory for the parts of shared items. Beyond it items are not shared. */
#define PARTS_BYTES_MOST ((size_t)16 << 20)

static int64_t group_of(const model *m)
{
    return m->config.heads / m->config.kv_heads;
}

/* Floats that one span of one row and KV head gives. */
static size_t part_floats(const model *m)
{
    return (size_t)(group_of(m) * (m->config.head_dim + 2));
}

static int64_t spans_to(int64_t pos)
{
    return pos / KV_SPAN + 1;
}

/* At most SHARES items a thread are greater than a share of the step. */
size_t attention_parts_most(const model *m)
{
    int64_t spans = spans_to(m->opts.max_context - 1), threads = pool_threads(m->opts.pool);
    size_t span = part_floats(m) * (size_t)attention_rows((int)group_of(m));
    size_t most = PARTS_BYTES_MOST / sizeof(float);
    size_t wanted = span * (size_t)(spans * threads * SHARES);
    return spans == 1 || threads == 1 ? 0 : wanted < most ? wanted : most;
}

/* A shared item has a piece for each span, another one piece. */
size_t attention_pieces_most(const model *m)
{
    return (size_t)(m->opts.max_rows * m->config.kv_heads) +
           attention_parts_most(m) / part_floats(m);
}

/* ---- sharing out ---- */

/* Keys that rows [first, first + rows) see, as if there were no window. */
static int64_t keys_seen(const model *m, int64_t first, int64_t rows)
{
    int64_t sum = 0;
    for (int64_t r = first; r < first + rows; r++)
        sum += m->s.pos[r] + 1;
    return sum;
}

static void add_pieces(struct attention_plan *p, int32_t item)
{
    struct attention_item *it = &p->items[item];
    p->pieces[p->n_pieces++] = (struct attention_piece){item, 0};
    for (int32_t span = 1; span < it->spans; span++)
        p->pieces[p->n_pieces++] = (struct attention_piece){item, span};
}

/* One item for each KV head; shared where they are more than `share` keys and there is room. */
static void add_items(model *m, int64_t first, int64_t rows, int64_t share)
{
    struct attention_plan *p = &m->s.attention;
    int64_t spans = spans_to(m->s.pos[first + rows - 1]);
    size_t floats = (size_t)(rows * spans) * part_floats(m);
    bool shared = spans > 1 && keys_seen(m, first, rows) > share;
    for (int32_t h = 0; h < (int32_t)m->config.kv_heads; h++) {
        struct attention_item *it = &p->items[p->n_items];
        it->first = first;
        it->rows = rows;
        it->seq = m->s.seq[first];
        it->kv_head = h;
        it->spans = shared && p->n_parts + floats <= p->most_parts ? (int32_t)spans : 0;
        it->parts = p->parts + p->n_parts;
        atomic_store_explicit(&it->left, it->spans, memory_order_relaxed);
        p->n_parts += it->spans ? floats : 0;
        add_pieces(p, (int32_t)p->n_items++);
    }
}

void attention_share(model *m, int64_t rows)
{
    struct attention_plan *p = &m->s.attention;
    int64_t threads = pool_threads(m->opts.pool), most = attention_rows((int)group_of(m));
    int64_t share = keys_seen(m, 0, rows) * m->config.kv_heads / (threads * SHARES);
    p->n_items = p->n_pieces = p->n_parts = 0;
    for (int64_t first = 0, n; first < rows; first += n) {
        n = 1;
        while (first + n < rows && n < most && m->s.seq[first + n] == m->s.seq[first])
            n++;
        add_items(m, first, n, share);
    }
}

/* ---- doing it ---- */

static struct attention_args args_of(const struct attention_layer *l, struct attention_item *it,
                                     int worker)
{
    const model *m = l->m;
    const struct model_config *c = &m->config;
    int64_t group = group_of(m), nq = c->heads * c->head_dim;
    int64_t at = it->first * nq + it->kv_head * group * c->head_dim;
    return (struct attention_args){
        .kv = &l->kv,
        .pages = l->seqs[it->seq].pages,
        .pos = m->s.pos + it->first,
        .q = m->s.q + at,
        .ldq = nq,
        .out = m->s.norm + at,
        .ldo = nq,
        .rows = it->rows,
        .kv_head = it->kv_head,
        .group = (int)group,
        .scale =
            c->attention_scale != 0 ? (float)c->attention_scale : 1.0f / sqrtf((float)c->head_dim),
        .window = l->window,
        .scratch = (float *)(void *)(m->s.worker + (size_t)worker * m->s.worker_bytes),
        .parts = it->parts};
}

static void attend(void *arg, int worker, size_t begin, size_t end)
{
    const struct attention_layer *l = arg;
    const struct attention_plan *p = &l->m->s.attention;
    const struct kernel_ops *ops = l->m->ops;
    for (size_t i = begin; i < end; i++) {
        struct attention_item *it = &p->items[p->pieces[i].item];
        struct attention_args a = args_of(l, it, worker);
        if (it->spans == 0) {
            ops->attention(&a);
            continue;
        }
        ops->attention_span(&a, p->pieces[i].span);
        if (atomic_fetch_sub_explicit(&it->left, 1, memory_order_acq_rel) > 1)
            continue;
        ops->attention_join(&a);
        atomic_store_explicit(&it->left, it->spans, memory_order_relaxed); /* for the next layer */
    }
}

void attention_layer(struct attention_layer *l)
{
    pool_run(l->m->opts.pool, l->m->s.attention.n_pieces, 1, attend, l);
}
