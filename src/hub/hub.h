/* Where models come from and where they are kept.
 *
 * The store is a folder ($SAMPAN_STORE, else $XDG_DATA_HOME/sampan, else ~/.local/share/sampan):
 *   models/<name>/<file>...         the model's files (a GGUF file, or a Hugging Face folder)
 *   models/<name>/sampan.json       source, sizes, sha256, time, licence
 *   packed/<name>.packed            its weights as the kernels like them, made by the first start (packed.c)
 *   partial/<name>/...              unfinished downloads, resumed by the next pull
 * A model appears under models/ by one rename, when whole and checked. A lock file per name makes two
 * pulls of one model take turns. Functions may be called from any thread; they block. */
#ifndef SP_HUB_HUB_H
#define SP_HUB_HUB_H

#include "format/checkpoint.h"

typedef struct hub hub;

/* store: the folder or NULL for the default above. Creates nothing yet. */
int hub_open(const char *store, hub **out, sp_error *err);
void hub_close(hub *h);
const char *hub_store(const hub *h);

/* Where the packed weights of models are kept: "on" (the default: in the store those of its models, else in
 * $XDG_CACHE_HOME/sampan/packed, or ~/.cache for it), "off", or a folder, with a '/' in it. SP_EUSAGE for other
 * words. */
int hub_set_packed(hub *h, const char *setting, sp_error *err);
/* The places for a model, by its path, in the order in which they are looked at; NULL: none. */
struct packed_place {
    char *paths[2];
};
int hub_packed(const hub *h, const char *path, struct packed_place *out, sp_error *err);
void packed_place_free(struct packed_place *p);
/* Bytes on disk; *path, when not NULL, is the first of them that is there (or NULL), the place's. */
uint64_t packed_place_bytes(const struct packed_place *p, const char **path);
/* Removes them, unfinished ones, too; processes that use them go on. *freed: bytes. */
int packed_place_remove(const struct packed_place *p, uint64_t *freed, sp_error *err);
/* Removes all that are kept where h keeps them, those of models that are gone, too. */
int hub_packed_clear(const hub *h, uint64_t *freed, size_t *n, sp_error *err);

/* The catalogue: a table in catalogue_data.c. */
struct catalogue_entry {
    const char *name; /* "qwen2.5-coder-0.5b" */
    const char *title, *family, *license, *languages;
    const char *parameters;   /* "0.49B" */
    const char *quantization; /* "Q4_K_M" */
    const char *chat;         /* its chat template: "ChatML", "Llama 3", ... */
    uint64_t bytes;           /* download */
    bool about;               /* bytes is an estimate: parameters times bits, not a hub's word */
    int layers, kv_heads, head_dim, hidden, ffn, vocab; /* of its config.json */
    const char *sources[4]; /* in order of preference, NULL after the last; see source.c */
    const char *sha256;     /* of the one file; NULL where nobody here has summed it */
    const char *file; /* its name in the store, for a source that does not name it; may be NULL */
    bool starter;     /* what `./start` gets */
    bool newest;      /* the newest Qwen of its size: what is offered first */
};
const struct catalogue_entry *catalogue_all(size_t *n);
const struct catalogue_entry *catalogue_find(const char *name); /* NULL: none */
/* Bytes to run it with one context of `context` tokens: weights, keys and values, scratch. */
uint64_t catalogue_memory(const struct catalogue_entry *e, int64_t context);
/* The largest of the newest that runs within `memory` bytes at 4096 tokens; the smallest if none does. */
const struct catalogue_entry *catalogue_best(uint64_t memory);

struct pull_progress {
    const char *what;     /* "qwen2.5-coder-0.5b from hf:..." */
    uint64_t done, total; /* bytes; total 0: unknown */
    double bytes_per_second, seconds_left;
};
struct pull_opts {
    /* A catalogue name, hf:ORG/NAME[:WHAT][@REV], ms:..., https://..., or a path. WHAT is a file, a
     * pattern (*.gguf) or a quantization (Q4_K_M). */
    const char *spec;
    const char *name;     /* name in the store; NULL: derived */
    const char *sha256;   /* expected, of the one file; NULL: what the source says, if it does */
    const char *revision; /* branch, tag or commit; NULL: the spec's, else the hub's default */
    const char
        *source; /* "hf", "ms" or "pip": of a catalogue entry's sources only this; NULL: any */
    const char *const *endpoints; /* the hub's address or mirrors, in order */
    size_t n_endpoints;           /* 0: HF_ENDPOINT or MODELSCOPE_ENDPOINT, else the hubs' own */
    int connections;              /* ranges of a big file side by side; 0: 4 */
    long timeout;                 /* seconds without a byte before a line is given up; 0: 30 */
    bool offline, force;
    void (*on_progress)(void *arg, const struct pull_progress *p); /* at most 10 a second */
    void (*on_note)(void *arg,
                    const char *line); /* "hf:... did not answer within 3 s: trying ..." */
    int (*cancelled)(void *arg);       /* non-zero: stop; what came stays for the next pull */
    void *arg;
};
/* For who may only name what is elsewhere: what `spec` would be called in the store (name: STORE_NAME_MAX bytes).
 * SP_EUSAGE for a path of this machine, or a spec or `wanted` (a name to be had instead, or NULL) that is none. */
#define STORE_NAME_MAX 128
int hub_spec_name(const char *spec, const char *wanted, char name[STORE_NAME_MAX], sp_error *err);
/* HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE says that hubs are not to be asked. */
bool hub_offline_wanted(void);
/* On success *path is where the model is (caller's, sp_free). */
int hub_pull(hub *h, const struct pull_opts *opts, char **path, sp_error *err);

struct stored_model {
    char *name, *path, *source, *sha256, *license;
    char *commit;                 /* the repository's, that was got; NULL: its source has none */
    uint64_t bytes, packed_bytes; /* of its files; of its packed weights on disk, 0: none yet */
    int64_t pulled;               /* unix time */
};
int hub_list(hub *h, struct stored_model **out, size_t *n, sp_error *err);
void stored_models_free(struct stored_model *m, size_t n);
/* With its packed weights. *freed: bytes. */
int hub_remove(hub *h, const char *name, uint64_t *freed, sp_error *err);

/* Sums all files of a stored model again and compares. A damaged model is no error: look at `bad`. */
struct verify_opts {
    void (*on_file)(void *arg, const char *file,
                    const char *what); /* what: "fine", "missing", ... */
    int (*cancelled)(void *arg);
    void *arg;
};
struct verify_result {
    uint64_t bytes;
    size_t files, bad;
};
int hub_verify(hub *h, const char *name, struct verify_opts *o, struct verify_result *out,
               sp_error *err);

/* A model as one file for machines without a network: bundle.c tells the format. Progress, cancelling and
 * force (write over a file, replace a model) are those of opts; its name, when given, is the model's name
 * after an import. *path of hub_import is the caller's. */
int hub_export(hub *h, const char *name, const char *file, const struct pull_opts *opts,
               sp_error *err);
int hub_import(hub *h, const char *file, const struct pull_opts *opts, char **path, sp_error *err);

/* NAME|PATH -> path of a checkpoint: a stored model's name, or a file or folder. SP_ENOTFOUND says how to
 * pull it, with the nearest names. *path is the caller's. */
int hub_resolve(hub *h, const char *name_or_path, char **path, sp_error *err);
/* The same of a model in the store and of nothing else. */
int hub_stored(hub *h, const char *name, char **path, sp_error *err);

#endif
