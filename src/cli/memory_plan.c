/* How `serve` shares --memory among its models and tells what each will take. */
#include <stdio.h>
#include "base/log.h"
#include "cli/cli_int.h"

static double mb(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static uint64_t together(const struct engine_memory *m)
{
    return m->weights + m->kv + m->scratch;
}

static void print_json(const char *name, const struct engine_memory *m)
{
    cli_print_json(json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "model", name, "weights",
        (json_int_t)m->weights, "kv", (json_int_t)m->kv, "kv_pages", (json_int_t)m->pages,
        "kv_tokens", (json_int_t)m->pages * KV_PAGE, "context", (json_int_t)m->context, "contexts",
        (json_int_t)m->contexts, "steps", (json_int_t)m->scratch, "step_tokens",
        (json_int_t)m->step_rows, "together", (json_int_t)together(m), "limit",
        (json_int_t)m->limit, "free", (json_int_t)m->free));
}

static void print_table(const char *name, const struct engine_memory *m)
{
    printf("%s\n", name);
    printf("  weights   %8.0f MB\n", mb(m->weights));
    printf("  KV cache  %8.0f MB  %d pages, %lld tokens: %d contexts of %lld\n", mb(m->kv),
           m->pages, (long long)m->pages * KV_PAGE, m->contexts, (long long)m->context);
    printf("  steps     %8.0f MB  of %lld tokens\n", mb(m->scratch), (long long)m->step_rows);
    printf("  together  %8.0f MB  of %.0f MB%s, %.0f MB free\n", mb(together(m)), mb(m->limit),
           m->limit < m->free ? " allowed" : "", mb(m->free));
}

static void log_plan(const char *name, const struct engine_memory *m)
{
    log_info("serve",
             "%s: memory: weights %.0f MB, KV cache %.0f MB (%d pages, %lld tokens, %d contexts of "
             "%lld), steps %.0f MB, together %.0f of %.0f MB%s",
             name, mb(m->weights), mb(m->kv), m->pages, (long long)m->pages * KV_PAGE, m->contexts,
             (long long)m->context, mb(m->scratch), mb(together(m)), mb(m->limit),
             m->limit < m->free ? " allowed" : " free");
}

void memory_share(const options *o, const struct memory_shares *s, struct engine_opts *eo)
{
    if (!options_has(o, "memory"))
        return;
    uint64_t all = options_bytes(o, "memory"), left = all > s->used ? all - s->used : 0;
    eo->memory = left / (uint64_t)s->models_left;
    eo->memory += eo->memory == 0; /* 0 would be no limit */
}

int memory_told(void *arg, const struct engine_memory *m)
{
    struct memory_shares *s = arg;
    s->used += together(m);
    s->models_left--;
    if (s->dry && s->json)
        print_json(s->name, m);
    else if (s->dry)
        print_table(s->name, m);
    else
        log_plan(s->name, m);
    return s->dry;
}
