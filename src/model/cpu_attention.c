/* Attention over the pages: how a step's is shared out among the workers. An item is some rows of one sequence and one
 * KV head; where an item is more than a fair share of the step, as with one sequence that decodes in a long
 * context, its spans are done by different workers, and who is done last joins them. What comes out is the
 * same bits either way (kernel.h). */
#include <math.h>
#include <string.h>
#include "model/cpu_int.h"

/* A thread should find so many pieces: one that is half as fast as the others then ends soon after them. */
#define SHARES 8
/* Memory for the parts of shared items. Beyond it items are not shared. */
#define PARTS_BYTES_MOST ((size_t)16 << 20)

static int64_t group_of(const struct cpu_backend *cpu)
{
    return cpu->o.config->heads / cpu->o.config->kv_heads;
}

/* Floats that one span of one row and KV head gives. */
static size_t part_floats(const struct cpu_backend *cpu)
{
    return (size_t)(group_of(cpu) * (cpu->o.config->head_dim + 2));
}

static int64_t spans_to(int64_t pos)
{
    return pos / KV_SPAN + 1;
}

/* At most SHARES items a thread are greater than a share of the step. */
size_t cpu_attention_parts(const struct cpu_backend *cpu)
{
    int64_t spans = spans_to(cpu->o.max_context - 1), threads = pool_threads(cpu->o.pool);
    size_t span = part_floats(cpu) * (size_t)attention_rows((int)group_of(cpu));
    size_t most = PARTS_BYTES_MOST / sizeof(float);
    size_t wanted = span * (size_t)(spans * threads * SHARES);
    return spans == 1 || threads == 1 ? 0 : wanted < most ? wanted : most;
}

/* A shared item has a piece for each span, another one piece. */
size_t cpu_attention_pieces(const struct cpu_backend *cpu)
{
    return (size_t)(cpu->o.max_rows * cpu->o.config->kv_heads) +
           cpu_attention_parts(cpu) / part_floats(cpu);
}

/* ---- sharing out ---- */

/* Keys that rows [first, first + rows) see, as if there were no window. */
static int64_t keys_seen(const struct cpu_backend *cpu, int64_t first, int64_t rows)
{
    int64_t sum = 0;
    for (int64_t r = first; r < first + rows; r++)
        sum += cpu->pos[r] + 1;
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
static void add_items(struct cpu_backend *cpu, int64_t first, int64_t rows, int64_t share)
{
    struct attention_plan *p = &cpu->attention;
    int64_t spans = spans_to(cpu->pos[first + rows - 1]);
    size_t floats = (size_t)(rows * spans) * part_floats(cpu);
    bool shared = spans > 1 && keys_seen(cpu, first, rows) > share;
    for (int32_t h = 0; h < (int32_t)cpu->o.config->kv_heads; h++) {
        struct attention_item *it = &p->items[p->n_items];
        it->first = first;
        it->rows = rows;
        it->seq = cpu->seq[first];
        it->kv_head = h;
        it->spans = shared && p->n_parts + floats <= p->most_parts ? (int32_t)spans : 0;
        it->parts = p->parts + p->n_parts;
        atomic_store_explicit(&it->left, it->spans, memory_order_relaxed);
        p->n_parts += it->spans ? floats : 0;
        add_pieces(p, (int32_t)p->n_items++);
    }
}

void cpu_share_attention(struct cpu_backend *cpu, int64_t rows)
{
    struct attention_plan *p = &cpu->attention;
    int64_t threads = pool_threads(cpu->o.pool), most = attention_rows((int)group_of(cpu));
    int64_t share = keys_seen(cpu, 0, rows) * cpu->o.config->kv_heads / (threads * SHARES);
    p->n_items = p->n_pieces = p->n_parts = 0;
    for (int64_t first = 0, n; first < rows; first += n) {
        n = 1;
        while (first + n < rows && n < most && cpu->seq[first + n] == cpu->seq[first])
            n++;
        add_items(cpu, first, n, share);
    }
}

/* ---- doing it ---- */

static struct attention_args args_of(struct cpu_backend *cpu, const struct attention_item *it,
                                     int worker)
{
    const struct op *op = cpu->op;
    const struct model_config *c = cpu->o.config;
    int64_t group = group_of(cpu), nq = c->heads * c->head_dim;
    int64_t at = it->first * nq + it->kv_head * group * c->head_dim;
    return (struct attention_args){
        .kv = &cpu->layer_kv,
        .pages = cpu->batch->seqs[it->seq].pages,
        .pos = cpu->pos + it->first,
        .q = cpu_floats(op->attention.q) + at,
        .ldq = nq,
        .out = cpu_floats(op->attention.out) + at,
        .ldo = nq,
        .rows = it->rows,
        .kv_head = it->kv_head,
        .group = (int)group,
        .scale =
            c->attention_scale != 0 ? (float)c->attention_scale : 1.0f / sqrtf((float)c->head_dim),
        .window = op->attention.window,
        .scratch = (float *)(void *)(cpu->worker + (size_t)worker * cpu->worker_bytes),
        .parts = it->parts};
}

static void attend(void *arg, int worker, size_t begin, size_t end)
{
    struct cpu_backend *cpu = arg;
    const struct attention_plan *p = &cpu->attention;
    const struct kernel_ops *ops = cpu->o.ops;
    for (size_t i = begin; i < end; i++) {
        struct attention_item *it = &p->items[p->pieces[i].item];
        struct attention_args a = args_of(cpu, it, worker);
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

void cpu_attention(struct cpu_backend *cpu)
{
    const struct model_config *c = cpu->o.config;
    cpu->layer_kv = cpu->op->attention.kv.layout;
    cpu->layer_kv.base = cpu_bytes(cpu->op->attention.kv.at);
    pool_run(cpu->o.pool, cpu->attention.n_pieces, 1, attend, cpu);
    cpu_row_work(cpu, cpu_prepare_rows, c->heads * c->head_dim, cpu_floats(cpu->op->attention.out));
}

static void move_row(float *x, size_t to, size_t from, size_t cols)
{
    memcpy(x + to * cols, x + from * cols, cols * sizeof *x);
}

void cpu_keep_wanted(struct cpu_backend *cpu)
{
    const struct op *op = cpu->op;
    const struct model_config *c = cpu->o.config;
    float *x = cpu_floats(op->keep.x), *q = cpu_floats(op->keep.q);
    size_t n = 0;
    for (size_t r = 0; r < (size_t)op->rows; r++) {
        if (!cpu->batch->rows[r].want_logits)
            continue;
        if (n < r) {
            move_row(x, n, r, (size_t)c->hidden);
            move_row(q, n, r, (size_t)(c->heads * c->head_dim));
            cpu->pos[n] = cpu->pos[r];
            cpu->seq[n] = cpu->seq[r];
        }
        n++;
    }
    cpu_share_attention(cpu, (int64_t)n);
}
