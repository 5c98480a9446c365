/* A server in this process with a tiny model, which nobody listens to unless the target runs its loop. */
#ifndef SP_TESTS_FUZZ_MODEL_H
#define SP_TESTS_FUZZ_MODEL_H

#include "../unit/tiny_model.h"
#include "engine/engine.h"
#include "fuzz.h"
#include "server/models_int.h"

static inline int fuzz_open(void *arg, const char *spec, struct engine_opts *with, engine **out,
                            sp_error *err)
{
    (void)arg;
    with->threads = 1;
    with->max_context = 64;
    with->max_seqs = 4;
    return engine_open(spec, with, out, err);
}

static inline server *fuzz_server(void)
{
    static const char *const names[] = {"tiny"};
    static const char *const any[] = {"*"};
    struct server_model served = {.names = names, .n_names = 1, .at_start = true};
    struct server_opts so = {.host = "127.0.0.1",
                             .models = &served,
                             .n_models = 1,
                             .open = fuzz_open,
                             .allowed_hosts = any,
                             .n_allowed_hosts = 1};
    server *s = NULL;
    sp_error err = {0};
    char *dir = tiny_model_make();
    log_setup(LOG_OFF, LOG_TEXT);
    served.spec = dir;
    if (!dir || server_new(&so, &s, &err) < 0 || models_start(s, &err) < 0) {
        fprintf(stderr, "no server: %s\n", err.message);
        abort();
    }
    while (!atomic_load(&s->load_over))
        clock_sleep(0.001);
    tiny_model_remove(dir);
    return s;
}

#endif
