/* The models that a server has: what they are called, in which state they are, and who uses them.
 *
 * A *served model* is a row of the list (--model, the store). A *loaded model* is an engine for it. There may be more
 * than one of these for a row: after a replacement the older one goes on until the last call that holds it has ended.
 * Calls hold loaded models by counted references, so an engine is closed only when nobody uses it.
 *
 * One thread, the loader, does all that takes long, one job after the other in the order in which they came: it opens,
 * closes, puts to sleep and wakes. A call whose model isn't there waits in its row (it takes no worker) and goes to a
 * worker again when the model is there.
 *
 * models.lock guards all of this and is held for short. Lock order: models.lock before engine locks; never together
 * with call.lock. */
#ifndef SP_SERVER_MODELS_INT_H
#define SP_SERVER_MODELS_INT_H

#include "server/server_int.h"

enum model_state {
    MODEL_UNLOADED,
    MODEL_LOADING, /* while an older one may still take calls (current is set then) */
    MODEL_LOADED,
    MODEL_ASLEEP,
    MODEL_FAILED /* the last try to load it; `error` says why */
};

struct loaded_model {
    struct loaded_model *next; /* in models.retired */
    struct served_model *of;
    engine *engine;
    uint64_t bytes_awake, bytes; /* of memory: awake, and now */
    int calls;                   /* that hold it */
    bool left_store;             /* the loader's: it has no prefix store any more */
};

struct served_model {
    struct served_model *next;
    char **names; /* [n_names] first: its id */
    size_t n_names;
    char *spec; /* what server_opts.open is told */
    bool at_start;
    bool added;   /* by the page: not in the list that the server was given */
    bool removed; /* from the list: goes when nothing refers to it */
    enum model_state state;
    struct loaded_model *current; /* takes new calls; NULL: none */
    int retired;                  /* of its loaded models: in models.retired */
    int users;                    /* jobs, and calls on their way into `waiting` */
    bool wanted;                  /* a job that loads it is in line */
    struct call *waiting, *waiting_last;
    int n_waiting;
    sp_error error;
    double failed, used; /* clock_seconds: of the last failure, of the last use */
    uint64_t version;    /* how often it was loaded */
    uint64_t failures, unloads;
    double load_seconds;            /* of all loads */
    uint64_t load_done, load_total; /* bytes, of the load under way */
    int64_t context;                /* 0: never loaded */
    char format[64];                /* "" never loaded */
    struct engine_stats past;       /* of its engines that are closed: counters */
    struct model_metrics *metrics;  /* loop */
    struct { /* loop: at the last sample of stats.c, and since the one before */
        uint64_t prompt_tokens, answer_tokens;
        double rate_in, rate_out; /* tokens a second */
    } seen;
    const char *told_state; /* loop: in the last `model` event, as the next */
    uint64_t told_done;
};

enum model_job { JOB_NONE, JOB_LOAD, JOB_REPLACE, JOB_UNLOAD, JOB_SLEEP, JOB_WAKE, JOB_FLUSH };

struct job {
    struct job *next;
    enum model_job kind;
    struct served_model *m;
    struct call *call; /* that is answered when it is done; NULL: none */
    const char *why;   /* for the log; a literal */
    bool start;        /* of those that the server needs to become ready */
};

struct models {
    struct server *s;
    pthread_mutex_t lock;
    pthread_cond_t more;               /* a job, or a retired model that nobody uses any more */
    struct served_model *first, *gone; /* in the list's order; removed ones */
    size_t n;
    struct loaded_model *retired;
    struct job *jobs, *jobs_last;
    pthread_t thread;
    bool runs, stop;
    size_t starting; /* models that are to be loaded before the server is ready */
    uint64_t limit;  /* bytes for all of them */
};

/* models.c */
int models_open(struct server *s, sp_error *err); /* with opts.models */
void models_close(struct server *s);              /* ends the loader, closes all engines */
/* Loop: another list. Rows whose id stays keep their engines; another spec replaces them. SP_ENOMEM: all stays. */
int models_set(struct server *s, const struct server_model *list, size_t n, sp_error *err);
/* Any thread: a model of the store joins the list, or is there already; models_set leaves it there. SP_EBUSY: its name
 * is another's. */
int models_add(struct server *s, const char *spec, sp_error *err);
/* Any thread: it leaves the list; *dropped: it was there. SP_EBUSY: it is used, loaded, or the only one. */
int models_drop(struct server *s, const char *spec, bool *dropped, sp_error *err);
void models_tell(struct server *s); /* loop, each second: `model` events for what has changed */

/* Worker: the model that the call names (NULL: the first that its key may use), held by the call; its name there goes
 * into call.model_name. NULL: an error was set, or the call is to wait (call.awaits). */
struct loaded_model *models_take(struct call *c, const char *name);
/* Worker: the same if it is there now. NULL: *why says why it isn't (a literal), and nothing waits; or *why is NULL,
 * and the error was set. */
struct loaded_model *models_take_loaded(struct call *c, const char *name, const char **why);
/* Worker: call.awaits is set, and it need not wait. */
void models_take_back(struct call *c);
/* Worker: after route->work with call.awaits set. */
enum parked { PARKED, PARK_AGAIN, PARK_REFUSED }; /* it waits; work again; the error was set */
enum parked models_park(struct call *c);
/* Worker: the call asks for a job with the model of that name; its answer will tell how it is done. */
void models_ask(struct call *c, enum model_job kind, const char *name);
bool models_waits(struct call *c);   /* any thread: it waits for its model */
void models_release(struct call *c); /* loop: the call ends */
void models_forget(struct call *c);  /* loop: it waits no longer, if it did, and is answered */
void models_tick(struct server *s, double now); /* loop: limits of those that wait; idle models */
/* Under lock. */
struct served_model *models_find(struct models *ms, const struct call *c, const char *name);
struct served_model *models_find_spec(struct models *ms, const char *spec);
const char *model_state_text(const struct served_model *m);
bool model_busy(const struct served_model *m); /* calls use it or wait for it */
int models_post(struct models *ms, enum model_job kind, struct served_model *m, struct call *c,
                const char *why);
uint64_t models_used(const struct models *ms); /* bytes of all that is loaded */
/* Takes the current one out: no new calls; closed when its last call ends. */
void models_retire(struct models *ms, struct served_model *m);
struct call *models_take_waiting(struct served_model *m); /* all, linked by next_wait */
/* The call has it from here, until models_release. */
struct loaded_model *models_hold(struct call *c, struct loaded_model *l);

void served_model_free(struct served_model *m); /* that nothing refers to */

/* models_loader.c */
void *models_loader_main(void *arg);
/* Loads those that the server needs to become ready: lifecycle.c hears of it by load_over. */
int models_start(struct server *s, sp_error *err);

#endif
