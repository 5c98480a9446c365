/* Inside the server. Four kinds of thread:
 *   the loop thread (server_run) owns every libevent object and the life of every call;
 *   workers run a route's `work`: they parse, tokenize and submit; some of them do nothing but uploads;
 *   the loader opens and closes models (models_int.h), and answers calls that ask for just that;
 *   engine threads deliver events through the sink, which copies them into the call's list.
 * Workers, the loader and engines hand a call back to the loop by call_wake(). Lock order: call.lock before the
 * engine's queue lock; server.ready_lock is taken last and holds nothing. */
#ifndef SP_SERVER_SERVER_INT_H
#define SP_SERVER_SERVER_INT_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <openssl/types.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/base.h"
#include "base/clock.h"
#include "server/server.h"

#define BODY_MAX ((size_t)32 << 20)   /* bytes of a request's body, unless the settings say else */
#define UPLOAD_MAX ((size_t)20 << 20) /* bytes of a file, in the same way */
#define REPLY_MAX ((size_t)1 << 30)   /* bytes of an answer */
#define CHOICES_MAX 128               /* answers of one request: prompts times n */
#define WAITING_MAX 1024              /* calls between the socket and the engine */
#define WORKER_THREADS 2
#define UPLOAD_THREADS 2             /* parsers of files that run at once */
#define UPLOADS_MAX 64               /* that wait for one of them */
#define IDLE_SECONDS 3600            /* a connection without a byte either way */
#define UNSENT_MAX ((size_t)8 << 20) /* bytes of a stream that its reader has not taken */

/* In logs and metrics: there was nobody to answer, as nginx says it. */
#define STATUS_CLIENT_LEFT 499
/* Of a stream: then its reader gets a comment, so that no proxy gives it up. */
#define SILENCE_SECONDS 15
#define REQUEST_ID_MAX 129 /* bytes with the NUL */

#define ALLOW_MAX 64 /* "GET, HEAD, PATCH, DELETE, OPTIONS" */

struct access;
struct ask;
struct accounts;
struct call;
struct served_model;
struct events;
struct history;
struct jobs;
struct kept;
struct guard;
struct key;
struct loaded_model;
struct map;
struct models;
struct server_file;
struct stats;
struct task;

struct route {
    const char *path; /* "*" stands for one part, a last "/" for whatever follows */
    enum evhttp_cmd_type method;
    bool open;                    /* answered without a key */
    void (*work)(struct call *c); /* on a worker; NULL: `reply` answers on the loop */
    void (*reply)(struct call *c);
};

/* One event of an engine, copied. */
struct call_event {
    struct call_event *next;
    size_t choice;
    double at;              /* clock_seconds when it came */
    struct engine_event ev; /* text and top point behind the struct */
};

/* One answer of a generation. */
struct choice {
    struct call *call;
    size_t index;
    uint64_t id; /* the engine's, under call.lock */
    bool submitted, done;
    struct token_list prompt;
    uint64_t seed;
    buf text; /* what a whole (not streamed) answer collects */
    json_t *lp_tokens, *lp_values, *lp_tops, *lp_offsets; /* completions' arrays */
    json_t *lp_content;                                   /* chat's array */
    int64_t offset;            /* characters of text so far, for text_offset */
    int64_t n_tokens;          /* of the answer so far */
    int64_t n_cached;          /* of the prompt, before the first step; -1: not known */
    double token_at;           /* when the last token came; 0: none has */
    enum finish_reason reason; /* loop: once its DONE has been taken */
};

/* A chat or text completion under way. Made by a worker, then the loop's. */
struct generation {
    bool chat, stream, include_usage, continuous_usage, progress, echo;
    bool begun;   /* a stream: its first chunks have gone out; loop */
    int logprobs; /* -1: none */
    char id[48], model[256];
    char *user; /* whom the client says it is for; NULL: not said */
    int64_t created;
    engine *engine;
    struct choice *choices;
    size_t n_choices, n_done;
    size_t per_prompt;  /* choices that share a prompt: OpenAI's n */
    int64_t max_tokens; /* as asked for; -1: not */
    int64_t prompt_tokens, answer_tokens, cached_tokens;
    double queue_seconds, prefill_seconds, decode_seconds; /* of the choice that took longest */
    double first_at; /* when the first token of any choice came; 0: none has */
    sp_error error;  /* the first failure */
};

/* A request's place in a trace, in lower-case hex (https://www.w3.org/TR/trace-context/); empty: it has none. */
struct trace {
    char trace[33], parent[17], flags[3]; /* as the client has them */
    char span[17];                        /* ours, made here */
};

struct call {
    server *s;
    struct call *prev, *next;   /* the server's list of live calls; loop */
    struct evhttp_request *req; /* loop; NULL when libevent has freed it */
    const struct route *route;
    enum evhttp_cmd_type method;
    const char *path;        /* without --root-path; while req lives */
    char client[64];         /* its address, or the one that a trusted proxy says */
    char id[REQUEST_ID_MAX]; /* X-Request-Id */
    struct trace trace;
    bool refused; /* its framing is unsound: nothing of it was read */
    char *body;
    size_t n_body;
    char *target; /* of /api/: the path, and what stands behind "?" */
    struct evkeyvalq *query;
    bool loading; /* of /api/: no model is there yet */
    bool manages; /* of /api/: it may look into the server and change it */
    double started;
    double wrote_at;  /* a stream, last; until then: started */
    struct key *key;  /* access.c; loop, but a worker of this call may read it */
    int64_t owner;    /* of what it makes and sees under /api/: an account's id, or 0 */
    char session[65]; /* hash of the cookie it came with; "": it has none */
    char cookie[320]; /* Set-Cookie of the answer; "": none */
    bool secure;      /* the client speaks TLS, with us or with a trusted proxy */
    bool key_taken;   /* counts among the key's running requests */
    bool charged;     /* the prompt's tokens */
    int retry_after;  /* seconds, for 429 and 503; 0: 1 */
    bool streaming;   /* the head of an event stream has gone out */
    bool answered;    /* nothing more will be written */

    atomic_bool gone;    /* the client left */
    atomic_bool stopped; /* call_stop */
    pthread_mutex_t lock;
    struct call_event *first, *last; /* under lock */
    bool worked;                     /* under lock: the worker is done with it */
    bool told;     /* under lock: status and reply may be sent though it isn't, and are the last */
    int pending;   /* under lock: worker at work + choices running */
    bool in_ready; /* under server.ready_lock */
    struct call *next_ready;

    struct loaded_model *model; /* that it holds; the worker's, then the loop's */
    char model_name[256];       /* as the model has it */
    /* Set by the worker: what to do once `work` has returned. */
    struct served_model *awaits; /* loaded, before `work` is done again */
    bool wants_stream;           /* and then it gets an event stream */
    int job;                     /* enum model_job: with it, and the answer is the loader's */
    /* Under models.lock: it waits for its model. */
    bool waits, waited; /* now; ever */
    struct call *next_wait, *prev_wait;
    struct call *next_again; /* under work_lock; of an upload, the next one */
    struct call *next_stop;  /* in kept.stoppers */

    /* set by the worker before its call_wake */
    struct kept *
        kept; /* the answer goes into a chat instead of to a client (page_int.h); NULL: it doesn't */
    struct ask
        *ask; /* the answer goes to a part of the server (ask_int.h) that began the call; NULL */
    struct generation *gen;
    int status;             /* an answer in one piece, when gen is NULL */
    char *reply;            /* JSON text, or a page that starts with '<' */
    const char *reply_type; /* Content-Type when it is neither */
    const char *reply_name; /* of a file to be saved; a literal, or NULL */
    const char *error_code; /* of the error that was set, or NULL; a literal */
};

struct server {
    struct server_opts opts;
    struct event_base *base;
    struct evhttp *http;
    struct evhttp_bound_socket *socket;
    struct event *wake, *sigint, *sigterm, *sighup, *deadline, *watchdog, *second;
    int wake_fd;
    int port;
    struct call *calls;
    size_t n_calls;
    bool loading, draining;
    atomic_bool stop, cutting; /* cutting: what still runs is being cancelled */

    /* lifecycle.c: written by the loader before load_over, the loop's then */
    atomic_bool load_over;
    int load_code;
    sp_error load_error;
    double started; /* clock_seconds */
    struct access *access;
    struct accounts *accounts; /* accounts_int.h */
    struct server_file *index; /* the page's first file as --root-path has it; NULL: as built */
    SSL_CTX *tls;              /* NULL: plain */

    struct guard *guards, *guards_last; /* guard.c: one a connection, oldest first */
    struct map *guard_map;              /* by bufferevent */
    size_t n_guards, connections_max;
    size_t bodies; /* bytes of requests' bodies that are not answered yet */
    bool resting;  /* the socket accepts nobody */
    struct event *sweep;

    pthread_t workers[WORKER_THREADS + UPLOAD_THREADS];
    size_t n_workers;
    pthread_mutex_t work_lock;
    pthread_cond_t work_more;
    struct call **work; /* ring of WAITING_MAX */
    size_t work_head, work_len;
    struct call *again; /* calls whose model is there now */
    struct call *uploads, *uploads_last;
    size_t n_uploads;
    pthread_cond_t upload_more;
    bool work_stop;

    pthread_mutex_t ready_lock;
    struct call *ready;
    struct call *posted; /* by the server itself, linked by next; the loop takes them over */
    bool closed;         /* nothing is posted any more */

    struct metrics *metrics; /* metrics_int.h; loop */
    struct models *models;
    struct history *history; /* page_int.h, as the next */
    struct events *events;
    struct stats *stats; /* stats_int.h */
    struct jobs *jobs;   /* jobs_int.h; NULL: there is no store */
    pthread_mutex_t tasks_lock;
    struct task *tasks; /* task_int.h: that run; under tasks_lock */
};

#define SHUTTING_DOWN "the server is shutting down: the answer is cut"
#define STILL_LOADING "the model is being loaded: try again soon"

/* call.c */
void server_wake(struct server *s); /* any thread: the loop takes a turn */
void call_wake(struct call *c);
void call_cancel(struct call *c); /* loop: its choices end within a step */
/* Same on any thread, while something keeps the call from being freed. A call that waits for its model, or is about to,
 * does so no longer. */
void call_stop(struct call *c);
/* Worker: the reply may go out now. What is set from here on ends the kept answer instead (kept_refused). */
void call_tell(struct call *c);
/* Whoever works on the call is done with it: the loop's from here. */
void call_worked(struct call *c);
/* Loop. */
void call_init(struct call *c, struct server *s);
void call_link(struct call *c);        /* among the server's */
void call_free(struct call *c);        /* one that is linked */
void calls_progress(struct server *s); /* all that have been woken */

/* Any thread: a call without a request, not known to the loop yet. NULL: out of memory. */
struct call *call_make(struct server *s, const struct route *route);
bool call_post(
    struct call *c); /* it is done by a worker; false: the server ends, and the call is freed */
void calls_take_posted(struct server *s); /* loop: to workers */
/* Loop: no call can be posted any more; false: some have just been. */
bool server_close_posts(struct server *s);
/* The loop is over: who waits for an answer to a call of the server's own hears that none will come. */
void calls_end_asks(struct server *s);

/* work.c */
int workers_start(struct server *s, sp_error *err);
void workers_stop(struct server *s);              /* waits for them */
bool work_push(struct server *s, struct call *c); /* loop; false: too many wait */
void call_work_again(struct call *c);             /* any thread: to a worker, before newcomers */

/* server.c */
void server_loop_begins(struct server *s);

/* lifecycle.c: loop */
int lifecycle_init(struct server *s); /* signals and timers; 0 or SP_ENOMEM */
void lifecycle_on_wake(struct server *s);
void stop_when_drained(struct server *s);

/* reply.c: answers. The *_set functions may run on a worker: they fill status and reply. */
void reply_set_json(struct call *c, int status, json_t *j);        /* takes j */
void reply_set_text(struct call *c, const char *type, char *text); /* 200; takes text */
void reply_set_empty(struct call *c);                              /* 204 */
void reply_set_error(struct call *c, int status, const char *type, const char *param,
                     const char *code, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* From an sp_error of a request: 400 for what the client can mend, 429 full, 503 and 504 too late, 500 the
 * rest. */
void reply_set_sp_error(struct call *c, const sp_error *err, const char *param);
/* Of what was done or could not be done with a model: 409 it is in another state, 507 no memory for it, 500 it can't be
 * loaded. */
void reply_set_model_error(struct call *c, const sp_error *err);
json_t *reply_error_object(const char *type, const char *param, const char *code,
                           const char *message);
int reply_status_of(int code);
const char *reply_code_of(int code); /* of OpenAI's error object; NULL: none */
void reply_send(
    struct call *c); /* loop: sends status and reply; the reply alone to who has a stream */
/* Loop: sends a built-in file, or 304 to who has it already. */
void reply_file(struct call *c, const struct server_file *f);
/* A file of the page, which has rules of its own (page_policy). for_ever: its name changes when it does. */
void reply_page_file(struct call *c, const struct server_file *f, bool for_ever);
void reply_page_bytes(struct call *c, const char *type, char *data, size_t n); /* takes data */
extern const char page_policy[]; /* Content-Security-Policy */
/* Loop: answers a request whose framing is unsound, and closes. */
void reply_refuse(struct call *c, int status, const char *why);
void reply_stream_begin(struct call *c);           /* loop */
void reply_stream_json(struct call *c, json_t *j); /* loop; takes j: one "data:" event */
void reply_stream_comment(struct call *c);         /* loop: what readers pass over */
void reply_stream_end(struct call *c);             /* loop: [DONE] */
void reply_stream_close(struct call *c);           /* loop: an end without it */

/* routes.c */
/* NULL: there is no such path, or it has other methods: allow then names those it has, else it is "". */
const struct route *route_find(const char *path, enum evhttp_cmd_type method,
                               char allow[ALLOW_MAX]);
size_t route_number(const struct route *r); /* NULL: 0 */
const char *route_path(size_t number);      /* "none" for 0 and for numbers that no route has */

/* forwarded.c: who the client is when a proxy stands between. */
/* Of trusted_proxies: SP_EUSAGE names a wrong one. */
int forwarded_check(const struct server_opts *o, sp_error *err);
/* out: peer itself, or, if it is a trusted proxy, the last of the addresses in `list` (X-Forwarded-For; may be NULL)
 * that is none. What is no address ends the search: nothing before it can be believed. */
void forwarded_client(const struct server_opts *o, const char *peer, const char *list,
                      char out[64]);

/* Whether the client speaks TLS with a trusted proxy: of X-Forwarded-Proto; may be NULL. */
bool forwarded_https(const struct server_opts *o, const char *peer, const char *proto);

/* request_log.c: loop */
bool trace_parse(const char *traceparent, struct trace *out); /* false: it is none */
void call_identify(struct call *c); /* from its head; the answer tells the ids, too */
void request_log(const struct call *c, int status);
/* Of a kept answer, when it ends: its request has left a line when it was taken. */
void answer_log(const struct call *c, const char *message, const char *state);

/* metrics.c: loop. The numbers themselves stand in metrics_int.h. */
int metrics_init(struct server *s, sp_error *err);
void metrics_done(struct server *s);
void metrics_event(const struct call *c, struct choice *ch, const struct call_event *e);
void metrics_answer(const struct call *c, int status); /* once a call, when its answer is out */

/* request.c: bodies. All on a worker; NULL or a negative code: the error has been set. */
json_t *request_parse(struct call *c);
/* The call holds it; NULL: the error has been set, or the model is loaded first, and then comes this again. */
struct loaded_model *request_model(struct call *c, const json_t *body);
int request_refuse_unsupported(struct call *c, const json_t *body, const char *const *fields);
int request_sampling(struct call *c, const json_t *body, struct engine_request *r);
int request_bool(struct call *c, const json_t *body, const char *name, bool fallback, bool *out);
int request_int(struct call *c, const json_t *body, const char *name, int64_t min, int64_t max,
                int64_t *out); /* leaves *out when absent or null */
/* Roles and contents are of the right kind. A content that is null becomes "", as in vLLM. */
int request_messages(struct call *c, json_t *messages);
struct stops {
    const char *text[16];
    size_t n;
};
int request_stops(struct call *c, const json_t *body, struct stops *out);
int request_user(struct call *c, const json_t *body, struct generation *g);
/* Whether it gets an event stream, before its model is taken and all of it is checked. */
void request_note_stream(struct call *c, const json_t *body);
/* stream, stream_options, return_progress */
int request_stream(struct call *c, const json_t *body, struct generation *g);

/* generation.c */
struct generation *generation_new(struct call *c, size_t n_prompts, int64_t n); /* of c->model */
void generation_free(struct generation *g);
/* Worker: gives the choices of one prompt the tokens of the first of them. A prompt that is longer than the context is
 * not copied: generation_start refuses it at the first. */
int generation_share_prompts(struct call *c, struct generation *g);
/* Worker: submits all choices with r as the pattern; on failure sets the error answer. The call owns g from here. */
int generation_start(struct call *c, struct generation *g, const struct engine_request *r);
void generation_event(struct call *c, const struct call_event *e); /* loop */
void generation_keep_alive(struct call *c, double now);            /* loop: after SILENCE_SECONDS */

/* choice_json.c: OpenAI's objects */
json_t *choice_chunk(const struct generation *g, const struct choice *ch,
                     const struct engine_event *ev);
void choice_collect(const struct generation *g, struct choice *ch, const struct engine_event *ev);
json_t *generation_json(const struct generation *g);
json_t *usage_json(const struct generation *g);
json_t *generation_chunk(const struct generation *g, json_t *choice); /* takes choice; NULL: none */
json_t *role_chunk(const struct generation *g, const struct choice *ch);
/* How far the prompt is, as llama.cpp's server tells it: a whole chunk. */
json_t *progress_chunk(const struct generation *g, struct choice *ch,
                       const struct engine_event *ev);

/* api_*.c */
void api_chat(struct call *c);
void api_completions(struct call *c);
void api_tokenize(struct call *c);
void api_detokenize(struct call *c);
void api_models(struct call *c);
void api_model(struct call *c);
void api_health(struct call *c);
void api_livez(struct call *c);
void api_version(struct call *c);
void api_metrics(struct call *c);
void api_root(struct call *c);
void api_page(struct call *c);
void api_page_file(struct call *c);
void api_page_info(struct call *c);
void api_chats_list(struct call *c);
void api_chats_add(struct call *c);
void api_chats_get(struct call *c);
void api_chats_change(struct call *c);
void api_chats_delete(struct call *c);
void api_chats_restore(struct call *c);
void api_messages_add(struct call *c);
void api_messages_edit(struct call *c);
void api_messages_stop(struct call *c);
void api_generate(struct call *c);
void api_files_add(struct call *c);
void api_files_get(struct call *c);
void api_files_text(struct call *c);
void api_files_delete(struct call *c);
void api_jobs_list(struct call *c);
void api_jobs_add(struct call *c);
void api_jobs_get(struct call *c);
void api_jobs_remove(struct call *c);
void api_jobs_pause(struct call *c);
void api_jobs_resume(struct call *c);
void api_jobs_cancel(struct call *c);
void api_jobs_result(struct call *c);
void api_jobs_parts(struct call *c);
void api_templates_list(struct call *c);
void api_templates_add(struct call *c);
void api_templates_change(struct call *c);
void api_templates_remove(struct call *c);
void api_events(struct call *c);
void api_server(struct call *c);
void api_store_list(struct call *c);
void api_store_show(struct call *c);
void api_store_load(struct call *c);
void api_store_unload(struct call *c);
void api_store_sleep(struct call *c);
void api_store_wake(struct call *c);
void api_store_delete(struct call *c);
void api_settings(struct call *c);
void api_requests_cancel(struct call *c);
void api_session(struct call *c);
void api_session_begin(struct call *c);
void api_session_end(struct call *c);
void api_account_add(struct call *c);
void api_account_change(struct call *c);
void api_keys(struct call *c);
void api_keys_add(struct call *c);
void api_keys_change(struct call *c);
void api_keys_remove(struct call *c);
void api_export(struct call *c);
void api_import(struct call *c);
void api_openapi(struct call *c);
void api_docs(struct call *c);
void api_docs_file(struct call *c);
void api_admin_requests(struct call *c);
void api_admin_status(struct call *c);
void api_admin_cancel(struct call *c);
void api_admin_log_level(struct call *c);
void api_admin_reload(struct call *c);
void api_admin_drain(struct call *c);
void api_admin_load(struct call *c);
void api_admin_unload(struct call *c);
void api_admin_sleep(struct call *c);
void api_admin_wake(struct call *c);
void api_admin_flush_cache(struct call *c);

/* Files built in by tools/embed.cmake: openapi.json, and what /docs is made of. */
struct server_file {
    const char *name, *type, *etag;
    const unsigned char *data;
    size_t n;
    bool gzip; /* data is compressed */
};
extern const struct server_file server_files[];
extern const size_t n_server_files;
/* The page, by path ("/index.html"); empty in a build without it. */
extern const struct server_file page_files[];
extern const size_t n_page_files;

/* tls.c; the loop's thread, or before it runs. */
int tls_load(struct server *s, sp_error *err); /* the files anew; on failure all stays as it was */
void tls_close(struct server *s);
struct bufferevent *tls_bufferevent(
    struct server *s); /* of a connection that is about to be accepted; NULL: no memory */
void tls_goodbye(struct bufferevent *bev); /* before it is freed */

/* api_info.c: the entries of /v1/models, those that the call's key may use. Any thread. */
json_t *models_entries(const struct call *c);

/* api_docs.c */
const struct server_file *server_file_find(const char *name); /* NULL: not built in */
/* The plain page: every endpoint of openapi.json, then the words of `end` (HTML). Allocated; NULL: out of memory. */
char *docs_list_page(const char *end);

#endif
