/* What an engine will take of memory, planned before any of it is taken. */
#include <stdio.h>
#include "base/machine.h"
#include "engine/engine_int.h"

#define CONTEXT_LEAST 256 /* no smaller one is worth proposing */

static double mb(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static uint64_t context_bytes(const struct engine_memory *m)
{
    return (uint64_t)request_pages_for(m->context) * m->kv_page;
}

/* The largest context that fits into so many bytes of pages. */
static int64_t context_within(const struct engine_memory *m, uint64_t bytes)
{
    uint64_t n = bytes / m->kv_page * KV_PAGE;
    return n < (uint64_t)m->context ? (int64_t)n : m->context;
}

static const char *whose(const struct engine_opts *o)
{
    return o->memory ? "--memory allows it" : "are free";
}

static int too_little(const engine *e, const struct engine_memory *m, sp_error *err)
{
    const char *name = e->ckpt ? checkpoint_config(e->ckpt)->name : "";
    uint64_t fixed = m->weights + m->scratch, need = fixed + context_bytes(m);
    int64_t fits = m->limit > fixed ? context_within(m, m->limit - fixed) : 0;
    if (fits >= CONTEXT_LEAST)
        return sp_fail(err, SP_ENOMEM,
                       "%.150s needs %.0f MB at a context of %lld tokens, %.0f MB %s: "
                       "--max-context %lld fits",
                       name, mb(need), (long long)m->context, mb(m->limit), whose(&e->opts),
                       (long long)fits);
    return sp_fail(err, SP_ENOMEM,
                   "%.150s needs %.0f MB (%.0f of weights), %.0f MB %s: %s or take a smaller model "
                   "(`sampan pull` lists what fits)",
                   name, mb(need), mb(m->weights), mb(m->limit), whose(&e->opts),
                   e->opts.memory ? "allow more" : "end other programs");
}

/* --kv-memory counts, as long as a context fits into it and it into what there is. */
static int check_kv(const engine *e, const struct engine_memory *m, uint64_t most, sp_error *err)
{
    uint64_t want = e->opts.kv_bytes, one = context_bytes(m);
    int64_t fits = context_within(m, want);
    char less[48] = "";
    if (want >= one && want <= most)
        return 0;
    if (want < one && fits >= CONTEXT_LEAST)
        (void)snprintf(less, sizeof less, ", or --max-context %lld", (long long)fits);
    return sp_fail(err, want < one ? SP_EINVAL : SP_ENOMEM,
                   "--kv-memory %.0f MB: one context of %lld tokens takes %.0f MB and there are "
                   "%.0f MB for it: give between these%s",
                   mb(want), (long long)m->context, mb(one), mb(most), less);
}

/* Without --memory and --kv-memory: max_seqs contexts, but at most half of what the weights leave free, and at least
 * one context. With --memory all that it leaves: what no request needs keeps prefixes. */
static uint64_t kv_bytes(const engine *e, const struct engine_memory *m, uint64_t most)
{
    uint64_t one = context_bytes(m), want = one * (uint64_t)e->opts.max_seqs, half = most / 2;
    if (e->opts.kv_bytes)
        return e->opts.kv_bytes;
    if (e->opts.memory)
        return most;
    return want <= half ? want : half > one ? half : one;
}

/* Of the model's buffers, and of the workers that choose tokens. */
static uint64_t scratch_bytes(const engine *e, const struct model_memory *take)
{
    return take->scratch + chooser_bytes(e->vocab, pool_threads(e->pool));
}

struct engine_need memory_need(const engine *e, const struct model_memory *take)
{
    uint64_t one = (uint64_t)request_pages_for(e->context) * take->kv_page;
    return (struct engine_need){.fixed = take->weights + scratch_bytes(e, take),
                                .kv_one = one,
                                .kv_wanted = one * (uint64_t)e->opts.max_seqs,
                                .kv_given = e->opts.kv_bytes};
}

int memory_plan(const engine *e, const struct model_memory *take, struct engine_memory *m,
                sp_error *err)
{
    *m = (struct engine_memory){.weights = take->weights,
                                .scratch = scratch_bytes(e, take),
                                .kv_page = take->kv_page,
                                .context = e->context,
                                .step_rows = e->opts.step_rows,
                                .free = machine_memory_free()};
    m->limit = e->opts.memory ? e->opts.memory : m->free;
    if (m->limit > m->free)
        return sp_fail(err, SP_ENOMEM, "--memory %.0f MB: %.0f MB are free: give at most these",
                       mb(m->limit), mb(m->free));
    uint64_t fixed = m->weights + m->scratch;
    if (m->limit < fixed + context_bytes(m))
        return too_little(e, m, err);
    int code = e->opts.kv_bytes ? check_kv(e, m, m->limit - fixed, err) : 0;
    if (code < 0)
        return code;
    uint64_t pages = kv_bytes(e, m, m->limit - fixed) / m->kv_page;
    m->pages = pages > INT32_MAX ? INT32_MAX : (int32_t)pages;
    m->kv = (uint64_t)m->pages * m->kv_page;
    m->contexts = m->pages / request_pages_for(m->context);
    return 0;
}
