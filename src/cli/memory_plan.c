/* `serve --plan`: what each model would take of memory. */
#include <stdio.h>
#include "base/machine.h"
#include "cli/cli_int.h"
#include "server/server.h"

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

/* At start all are given the same of what those before have left. */
static void share(const options *o, const struct memory_shares *s, struct engine_opts *eo)
{
    if (!options_has(o, "memory"))
        return;
    uint64_t all = options_bytes(o, "memory"), left = all > s->used ? all - s->used : 0;
    eo->memory = left / (uint64_t)s->models_left;
    eo->memory += eo->memory == 0; /* 0 would be no limit */
}

static int tell(void *arg, const struct engine_memory *m)
{
    struct memory_shares *s = arg;
    s->used += together(m);
    if (s->json)
        print_json(s->name, m);
    else
        print_table(s->name, m);
    return 1;
}

/* On demand: what the server gives to one whose others have been unloaded. */
static int room(void *arg, const struct engine_need *need, uint64_t *memory, sp_error *err)
{
    const options *o = arg;
    uint64_t all = options_has(o, "memory") ? options_bytes(o, "memory") : machine_memory_free();
    uint64_t mine = server_model_share(need, all, 0);
    (void)err;
    *memory = mine ? mine : all; /* too little: the engine says what would fit */
    return 0;
}

int memory_plan_told(const options *o, const char *name, bool sharing, struct memory_shares *s,
                     sp_error *err)
{
    struct engine_opts eo = engine_opts_default();
    engine *e = NULL;
    int code = cli_engine_options(o, &eo, err);
    eo.compute = cli_compute(o);
    eo.planned = tell;
    eo.planned_arg = s;
    s->name = name;
    if (sharing) {
        share(o, s, &eo);
        s->models_left--;
    } else {
        eo.room = room;
        eo.room_arg = (void *)(uintptr_t)o;
    }
    if (code == 0)
        code = cli_engine_with(o, name, &eo, &e, err);
    return code == SP_ECANCELLED && !cli_interrupted ? 0 : code;
}
