/* Where models come from and where they are kept.
 *
 * The store is a folder ($SAMPAN_STORE, else $XDG_DATA_HOME/sampan, else ~/.local/share/sampan):
 *   models/<name>/<file>...         the model's files (a GGUF file, or a Hugging Face folder)
 *   models/<name>/sampan.json       source, sizes, sha256, time, licence
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

/* The catalogue: a table in catalogue.c. */
struct catalogue_entry {
    const char *name; /* "qwen2.5-coder-0.5b" */
    const char *title, *family, *license, *languages;
    const char *parameters;   /* "0.49B" */
    const char *quantization; /* "Q4_K_M" */
    uint64_t bytes;           /* download */
    uint64_t memory;          /* needed to run at 4096 tokens of context */
    const char *sources[4];   /* in order of preference, NULL after the last; see source.c */
    const char *sha256;       /* of the one file; NULL when it has several */
    const char *file;         /* its name in the store */
    bool starter;
};
const struct catalogue_entry *catalogue_all(size_t *n);
const struct catalogue_entry *catalogue_find(const char *name); /* NULL: none */
/* The largest entry that runs within `memory` bytes; the smallest if none does. */
const struct catalogue_entry *catalogue_best(uint64_t memory);

struct pull_progress {
    const char *what;     /* "qwen2.5-coder-0.5b from hf:..." */
    uint64_t done, total; /* bytes; total 0: unknown */
    double bytes_per_second, seconds_left;
};
struct pull_opts {
    const char *spec;   /* catalogue name, hf:ORG/NAME[:FILE][@REV], ms:..., https://..., a path */
    const char *name;   /* name in the store; NULL: derived */
    const char *sha256; /* expected; NULL: what the source says, if it does */
    bool offline, force;
    void (*on_progress)(void *arg, const struct pull_progress *p); /* at most 10 a second */
    void (*on_note)(void *arg,
                    const char *line); /* "hf:... did not answer within 3 s: trying ..." */
    int (*cancelled)(void *arg);       /* non-zero: stop; what came stays for the next pull */
    void *arg;
};
/* On success *path is where the model is (caller's, sp_free). */
int hub_pull(hub *h, const struct pull_opts *opts, char **path, sp_error *err);

struct stored_model {
    char *name, *path, *source, *sha256, *license;
    uint64_t bytes;
    int64_t pulled; /* unix time */
};
int hub_list(hub *h, struct stored_model **out, size_t *n, sp_error *err);
void stored_models_free(struct stored_model *m, size_t n);
int hub_remove(hub *h, const char *name, uint64_t *freed, sp_error *err);

/* NAME|PATH -> path of a checkpoint: a stored model's name, or a file or folder. SP_ENOTFOUND says how to
 * pull it, with the nearest names. *path is the caller's. */
int hub_resolve(hub *h, const char *name_or_path, char **path, sp_error *err);

#endif
