/* A server in this process with a tiny model, which nobody listens to unless the target runs its loop. */
#ifndef SP_TESTS_FUZZ_MODEL_H
#define SP_TESTS_FUZZ_MODEL_H

#include "../unit/tiny_model.h"
#include "engine/engine.h"
#include "fuzz.h"
#include "server/server_int.h"

static inline server *fuzz_server(void)
{
    static const char *const names[] = {"tiny"};
    static struct served_model served = {.names = names, .n_names = 1};
    struct engine_opts eo = engine_opts_default();
    static const char *const any[] = {"*"};
    struct server_opts so = {.host = "127.0.0.1",
                             .models = &served,
                             .n_models = 1,
                             .allowed_hosts = any,
                             .n_allowed_hosts = 1};
    server *s = NULL;
    sp_error err = {0};
    char *dir = tiny_model_make();
    log_setup(LOG_OFF, LOG_TEXT);
    eo.threads = 1;
    eo.max_context = 64;
    eo.max_seqs = 4;
    if (!dir || engine_open(dir, &eo, &served.engine, &err) < 0 || server_new(&so, &s, &err) < 0) {
        fprintf(stderr, "no server: %s\n", err.message);
        abort();
    }
    tiny_model_remove(dir);
    return s;
}

#endif
