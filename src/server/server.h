/* The HTTP server: OpenAI's API over one or more engines. One event-loop thread owns the sockets; a small
 * pool parses, renders templates and tokenizes; engines answer on their own threads. */
#ifndef SP_SERVER_SERVER_H
#define SP_SERVER_SERVER_H

#include "engine/engine.h"

struct served_model {
    engine *engine;           /* not owned */
    const char *const *names; /* first: its id; then aliases */
    size_t n_names;
};
/* Each 0: its default. */
struct server_limits {
    size_t body_bytes; /* of a request: 32 MB; at most 256 MB, which all bodies together may have */
    size_t head_bytes; /* 64 KB, which is also the most */
    int head_seconds;  /* from a head's first byte to its last: 15 */
    int body_seconds;  /* for a body: 600 */
    int keep_seconds;  /* between two requests of a connection: 300 */
    int connections;   /* 4096, or what the process may open */
};
struct server_opts {
    const char *host; /* "127.0.0.1" */
    int port;         /* 0: any free one */
    bool next_port;   /* a busy port: try the next ones and say so */
    const char *const *api_keys;
    size_t n_api_keys;
    const char *keys_file; /* of more keys (keyfile.h); NULL: none */
    const char *admin_key; /* opens /admin/, and nothing else does; NULL: there is no /admin/ */
    const char *const *cors_origins; /* whose pages may use the server; "*": all */
    size_t n_cors_origins;
    const char *const *
        allowed_hosts; /* names in Host beside loopback's; "*": all. Without any: all off loopback */
    size_t n_allowed_hosts;
    const char *tls_cert, *tls_key; /* PEM files: chain and key; NULL: plain HTTP */
    struct server_limits limits;
    bool no_auth;          /* needed to listen off loopback without keys */
    const char *root_path; /* "/llm": paths may begin with it, as behind a proxy; NULL: none */
    const char *const
        *trusted_proxies; /* ADDRESS or ADDRESS/BITS: their X-Forwarded-For is believed */
    size_t n_trusted_proxies;
    bool allow_special; /* messages may hold control tokens */
    bool log_prompts;   /* bodies of requests go into the log */
    bool metrics_open;  /* /metrics needs no key */
    bool metrics_vllm;  /* it tells all of vLLM's names under vLLM's prefix, too */
    int drain_seconds;  /* what running requests get after the first SIGTERM or SIGINT */
    double queue_seconds, request_seconds; /* limits of a request: in the queue, in all; 0: none */
    const char *history;                   /* file of the chats (store.h); NULL: none are kept */
    const char *ui_dir; /* folder that the page is served from; NULL: the one that is built in */
    const struct served_model *models;
    size_t n_models;
    /* Instead of models: makes them on a thread of its own, while the server listens and answers 503. A negative code
     * ends server_run. */
    int (*load)(void *arg, const struct served_model **models, size_t *n, sp_error *err);
    void (*on_reload)(void *arg);                            /* SIGHUP; on the loop thread */
    void (*on_ready)(void *arg, const char *host, int port); /* takes requests now */
    void *arg;
};

typedef struct server server;

int server_new(const struct server_opts *opts, server **out, sp_error *err);
int server_run(
    server *s,
    sp_error
        *err); /* until server_stop or SIGINT/SIGTERM; drains what runs, a second one cuts it */
void server_stop(server *s); /* any thread */
/* Each reads its files again; on failure what is in use stays as it was. The loop's thread (a signal's callback). */
int server_reload_keys(server *s, sp_error *err);
int server_reload_tls(server *s, sp_error *err); /* for new connections */
/* "on", "off" or "unavailable"; then *reason says why. The strings are the server's. */
const char *server_history(const server *s, const char **reason);
void server_free(server *s);

#endif
