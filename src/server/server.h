/* The HTTP server: OpenAI's API over the models of a list, which it loads and unloads. One event-loop thread
 * owns the sockets; a small pool parses, renders templates and tokenizes; engines answer on their own threads. */
#ifndef SP_SERVER_SERVER_H
#define SP_SERVER_SERVER_H

#include "engine/engine.h"
#include "hub/hub.h"

struct options;

/* A model that may be asked for. */
struct server_model {
    const char *spec;         /* what `open` is told */
    const char *const *names; /* first: its id; then aliases */
    size_t n_names;
    bool at_start; /* loaded before the server is ready; else when it is first asked for */
};
/* Each 0: its default. */
struct server_limits {
    size_t body_bytes; /* of a request: 32 MB; at most 256 MB, which all bodies together may have */
    size_t upload_bytes; /* of a file for a prompt: 20 MB, or what body_bytes leaves of it */
    size_t unsent_bytes; /* of the texts of an account's files that are in no message: 256 MB */
    size_t head_bytes;   /* 64 KB, which is also the most */
    int head_seconds;    /* from a head's first byte to its last: 15 */
    int body_seconds;    /* for a body: 600 */
    int keep_seconds;    /* between two requests of a connection: 300 */
    int connections;     /* 4096, or what the process may open */
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
    bool no_auth;          /* off loopback: neither keys nor an account are needed */
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
    int keep_deleted_days;                 /* of chats marked as deleted; 0: for ever */
    const char *ui_dir; /* folder that the page is served from; NULL: the one that is built in */
    const struct options
        *settings; /* base/options.h: of the process, for the page to show; or NULL */
    hub *hub;      /* whose models the page may load, pull and delete; NULL: none */
    const struct server_model *models; /* copied */
    size_t n_models;
    /* Opens one, on a thread of the server's, never two at a time. `with` has pool, room, planned and progress set as
     * the server wants them, and the rest by default: for this function to fill in. The server closes it. */
    int (*open)(void *arg, const char *spec, struct engine_opts *with, engine **out, sp_error *err);
    pool *pool; /* that all engines share; NULL: each has its own */
    uint64_t
        memory; /* for all models together, which those at start share equally; 0: what is free */
    double idle_seconds; /* a model that nobody used for so long is unloaded; 0: none is */
    int waiting_most;    /* calls that wait for one model to be loaded; 0: 256 */
    const char *compute; /* what /version says */
    int (*on_models)(void *arg,
                     sp_error *err); /* reads the list again (server_set_models); may be NULL */
    void (*on_reload)(void *arg);    /* SIGHUP; on the loop thread */
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
/* Another list of models; same thread. Models of the same id stay loaded, or are replaced where their spec is
 * another. */
int server_set_models(server *s, const struct server_model *models, size_t n, sp_error *err);
/* What a model may take of `left` bytes: weights, steps and a KV cache. sharers: how many are to share `left` equally;
 * 0: it gets max_seqs contexts, if they are no more than half of what the weights leave. Always at least one context;
 * 0: that is more than `left`. */
uint64_t server_model_share(const struct engine_need *need, uint64_t left, size_t sharers);
/* "on", "off" or "unavailable"; then *reason says why. The strings are the server's. */
const char *server_history(const server *s, const char **reason);
bool server_wants_keys(server *s); /* who asks for models needs one; on_ready may ask */
/* The one-time code that makes the first account; false: there is none. It is good for an hour. */
#define SERVER_CODE_BYTES 12
bool server_sign_up_code(const server *s, char out[SERVER_CODE_BYTES]);
void server_free(server *s);

#endif
