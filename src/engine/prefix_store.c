/* The prefix cache on disk, so that a restart begins warm.
 *
 * One file for a key: this very program, model, KV type, compute mode, instruction set and longest context, that is,
 * all that decides the bits of a page. It is a mirror of the KV pool: record i is what page i held when it was last
 * kept. A page has a number, its order, that no page of the file had before it; a record names its parent by place and
 * order, so that a record whose parent has been overwritten since is found out. Its sum finds what is torn or damaged.
 * Such records are left out; nothing else is asked of a file that a killed process left behind.
 *
 * The engine thread copies kept pages into a few buffers between steps and never waits; a thread of the store's own
 * sums and writes them. Prompts can be read from the file: it is its owner's only. Lock order: engine.lock before
 * prefix_store.lock. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "engine/engine_int.h"

#define STORE_MAGIC "saprefix"
#define STORE_VERSION 1
#define STORE_ORDER 0x01020304u
#define STORE_BUFFERS 4

struct store_head {
    char magic[8];
    uint32_t byte_order, version;
    uint64_t page_bytes;
    char key[64];
};

/* Before each page's bytes. */
struct record {
    char sum[64];   /* sha256 of all that follows, hexadecimal */
    uint64_t order; /* from 1 */
    uint64_t parent_order, tenant;
    int32_t parent; /* -1: none */
    int32_t unused;
    int32_t tokens[KV_PAGE];
};

struct prefix_store {
    int fd;
    bool failed; /* the writer's */
    kv_pool *kv;
    size_t record_bytes;
    void (*wake)(void *arg); /* a buffer is free */
    void *arg;
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t more;
    uint8_t *buffers[STORE_BUFFERS];
    int32_t page[STORE_BUFFERS];
    int first, n_full; /* under lock */
    bool stop;         /* under lock */

    /* the engine thread's */
    uint64_t *order, next_order; /* [pages] of what is kept there */
    int32_t *line;               /* [pages] a ring of pages that are to be saved */
    bool *in_line;               /* [pages] */
    int32_t line_first, line_n, pages;
};

/* ---- the file ---- */

static int make_key(engine *e, char key[65], sp_error *err)
{
    char program[65], model_id[65], line[128];
    int code = sha256_file("/proc/self/exe", program, err);
    if (code == 0)
        code = model_key(e->model, model_id, err);
    if (code < 0)
        return code;
    sha256 *h = sha256_new();
    if (!h)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int n = snprintf(line, sizeof line, "%s %s %s %lld", e->info.isa, e->info.compute,
                     e->info.kv_type, (long long)e->context);
    sha256_add(h, program, 64);
    sha256_add(h, model_id, 64);
    sha256_add(h, line, (size_t)n);
    sha256_hex(h, key);
    sha256_free(h);
    return key[0] ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

static off_t record_at(const struct prefix_store *s, int32_t page)
{
    return (off_t)(sizeof(struct store_head) + (size_t)page * s->record_bytes);
}

/* A file with the right head, of no more records than there are pages. */
static int prepare(struct prefix_store *s, const char *path, const char key[65], sp_error *err)
{
    struct store_head want = {.byte_order = STORE_ORDER, .version = STORE_VERSION}, have;
    struct stat st;
    memcpy(want.magic, STORE_MAGIC, sizeof want.magic);
    memcpy(want.key, key, sizeof want.key);
    want.page_bytes = s->record_bytes - sizeof(struct record);
    if (fstat(s->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return sp_fail(err, SP_EINVAL,
                       "--prefix-store: %.300s: not used: others than you could have written it: "
                       "remove it or take another folder",
                       path);
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
        return sp_fail(err, SP_EBUSY,
                       "--prefix-store: %.300s: another process uses it: give each a folder of its "
                       "own",
                       path);
    bool fits = pread(s->fd, &have, sizeof have, 0) == sizeof have &&
                memcmp(&have, &want, sizeof want) == 0;
    if (!fits && st.st_size > 0)
        log_info("engine", "%s: of another version: begun anew", path);
    off_t most = record_at(s, s->pages);
    if ((!fits && ftruncate(s->fd, 0) != 0) || (st.st_size > most && ftruncate(s->fd, most) != 0) ||
        pwrite(s->fd, &want, sizeof want, 0) != sizeof want)
        return sp_fail(err, SP_EIO, "--prefix-store: %.300s: can't be written", path);
    return 0;
}

static int open_file(engine *e, struct prefix_store *s, const char *dir, sp_error *err)
{
    char key[65], path[PATH_MAX];
    int code = make_key(e, key, err);
    if (code == 0)
        code = file_mkdirs(dir, err);
    if (code < 0)
        return code;
    if ((size_t)snprintf(path, sizeof path, "%s/%.32s.prefix", dir, key) >= sizeof path)
        return sp_fail(err, SP_EINVAL, "--prefix-store: %.300s: too long a path", dir);
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0)
        return sp_fail(err, SP_EIO, "--prefix-store: %.300s: can't be opened for writing", path);
    return prepare(s, path, key, err);
}

/* ---- records ---- */

static int sum_record(const struct prefix_store *s, const uint8_t *record, char sum[65])
{
    size_t from = offsetof(struct record, order);
    sha256 *h = sha256_new();
    if (!h)
        return SP_ENOMEM;
    sha256_add(h, record + from, s->record_bytes - from);
    sha256_hex(h, sum);
    sha256_free(h);
    return sum[0] ? 0 : SP_ENOMEM;
}

static void fill_record(const struct prefix_store *s, const struct pages *p, int32_t page,
                        uint8_t *to)
{
    const struct page *is = &p->page[page];
    struct record r = {.order = s->order[page],
                       .parent_order = is->parent < 0 ? 0 : s->order[is->parent],
                       .tenant = is->tenant,
                       .parent = is->parent};
    memcpy(r.tokens, p->tokens + (size_t)page * KV_PAGE, sizeof r.tokens);
    memcpy(to, &r, sizeof r);
    kv_pool_read(s->kv, page, to + sizeof r);
}

static void write_record(struct prefix_store *s, int32_t page, uint8_t *record)
{
    char sum[65];
    if (s->failed || sum_record(s, record, sum) < 0)
        return;
    memcpy(record + offsetof(struct record, sum), sum, 64);
    if (pwrite(s->fd, record, s->record_bytes, record_at(s, page)) == (ssize_t)s->record_bytes)
        return;
    s->failed = true;
    log_warn("engine", "the prefix store can't be written, is the disk full? It stays as it is");
}

/* ---- loading ---- */

struct found {
    struct record r;
    int32_t page; /* its place in the file */
    int32_t as;   /* the page that has its content now; -1: none, it isn't sound */
    uint64_t recency;
};

static int by_order(const void *a, const void *b)
{
    uint64_t x = ((const struct found *)a)->r.order, y = ((const struct found *)b)->r.order;
    return x < y ? -1 : x > y;
}

/* Chains that were used last come last, each with its last page first. */
static int by_recency(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->recency != y->recency)
        return x->recency < y->recency ? -1 : 1;
    return -by_order(a, b);
}

static bool sound(const engine *e, const struct record *r, int32_t page)
{
    bool is = r->order > 0 && r->parent >= -1 && r->parent < e->pages.total && r->parent != page;
    for (int i = 0; i < KV_PAGE && is; i++)
        is = r->tokens[i] >= 0 && r->tokens[i] < e->vocab;
    return is;
}

static int32_t read_heads(engine *e, const struct prefix_store *s, struct found *list)
{
    int32_t n = 0;
    for (int32_t i = 0; i < s->pages; i++) {
        struct found *f = &list[n];
        if (pread(s->fd, &f->r, sizeof f->r, record_at(s, i)) == sizeof f->r &&
            sound(e, &f->r, i)) {
            f->page = i;
            f->as = -1;
            f->recency = f->r.order;
            n++;
        }
    }
    qsort(list, (size_t)n, sizeof *list, by_order);
    return n;
}

/* The record's page goes into the pool, with one holder for now. */
static int32_t restore(engine *e, struct prefix_store *s, const struct found *f, int32_t parent)
{
    struct pages *p = &e->pages;
    uint8_t *record = s->buffers[0];
    char sum[65];
    int32_t same = prefix_find(p, parent, f->r.tokens, f->r.tenant);
    if (same >= 0)
        return same;
    if (pread(s->fd, record, s->record_bytes, record_at(s, f->page)) != (ssize_t)s->record_bytes ||
        sum_record(s, record, sum) < 0 || memcmp(sum, f->r.sum, 64) != 0 ||
        memcmp(record, &f->r, sizeof f->r) != 0)
        return -1;
    kv_pool_write(s->kv, f->page, record + sizeof f->r);
    p->page[f->page].holders = 1;
    s->order[f->page] = f->r.order;
    return prefix_keep(p, f->page, parent, f->r.tokens, f->r.tenant);
}

static void load(engine *e, struct prefix_store *s, struct found *list)
{
    int32_t n = read_heads(e, s, list), kept = 0;
    struct found **at = sp_calloc((size_t)s->pages, sizeof(struct found *));
    s->next_order = n ? list[n - 1].r.order + 1 : 1;
    for (int32_t i = 0; i < n && at; i++) { /* parents first */
        struct found *f = &list[i];
        const struct found *parent = f->r.parent >= 0 ? at[f->r.parent] : NULL;
        if (f->r.parent < 0)
            f->as = restore(e, s, f, -1);
        else if (parent && parent->as >= 0 && parent->r.order == f->r.parent_order)
            f->as = restore(e, s, f, parent->as);
        at[f->page] = f;
    }
    for (int32_t i = n - 1; i >= 0 && at; i--) {
        struct found *parent = list[i].r.parent >= 0 ? at[list[i].r.parent] : NULL;
        if (list[i].as >= 0 && parent && parent->recency < list[i].recency)
            parent->recency = list[i].recency;
    }
    sp_free(at);
    qsort(list, (size_t)n, sizeof *list, by_recency);
    pages_refill(&e->pages);
    for (int32_t i = 0; i < n; i++)
        if (list[i].as == list[i].page) {
            pages_give(&e->pages, list[i].page);
            kept++;
        }
    log_info("engine", "prefix cache: %d pages of %d tokens came from the store", kept, KV_PAGE);
}

/* ---- saving ---- */

static void *save_main(void *arg)
{
    struct prefix_store *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (s->n_full == 0 && !s->stop)
            pthread_cond_wait(&s->more, &s->lock);
        int i = s->first, n = s->n_full;
        pthread_mutex_unlock(&s->lock);
        if (n == 0)
            return NULL;
        write_record(s, s->page[i], s->buffers[i]);
        pthread_mutex_lock(&s->lock);
        s->first = (i + 1) % STORE_BUFFERS;
        s->n_full--;
        pthread_mutex_unlock(&s->lock);
        s->wake(s->arg);
    }
}

void prefix_store_add(struct prefix_store *s, int32_t page)
{
    s->order[page] = s->next_order++;
    if (s->in_line[page])
        return;
    s->in_line[page] = true;
    s->line[(s->line_first + s->line_n++) % s->pages] = page;
}

static int32_t next_in_line(struct prefix_store *s)
{
    int32_t page = s->line[s->line_first];
    s->line_first = (s->line_first + 1) % s->pages;
    s->line_n--;
    s->in_line[page] = false;
    return page;
}

bool prefix_store_ready(struct prefix_store *s)
{
    if (!s || s->line_n == 0)
        return false;
    pthread_mutex_lock(&s->lock);
    bool ready = s->n_full < STORE_BUFFERS;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

void prefix_store_save(struct prefix_store *s, const struct pages *p)
{
    while (prefix_store_ready(s)) {
        int32_t page = next_in_line(s);
        if (!p->page[page].kept) /* evicted meanwhile */
            continue;
        pthread_mutex_lock(&s->lock);
        int i = (s->first + s->n_full) % STORE_BUFFERS;
        pthread_mutex_unlock(&s->lock);
        fill_record(s, p, page, s->buffers[i]);
        s->page[i] = page;
        pthread_mutex_lock(&s->lock);
        s->n_full++;
        pthread_cond_signal(&s->more);
        pthread_mutex_unlock(&s->lock);
    }
}

/* ---- opening and closing ---- */

static int make_buffers(struct prefix_store *s, struct found **list)
{
    size_t n = (size_t)s->pages;
    s->order = sp_calloc(n, sizeof *s->order);
    s->line = sp_calloc(n, sizeof *s->line);
    s->in_line = sp_calloc(n, sizeof *s->in_line);
    *list = sp_calloc(n, sizeof **list);
    for (int i = 0; i < STORE_BUFFERS; i++) {
        s->buffers[i] = sp_malloc(s->record_bytes);
        if (!s->buffers[i])
            return SP_ENOMEM;
    }
    return s->order && s->line && s->in_line && *list ? 0 : SP_ENOMEM;
}

static void free_store(struct prefix_store *s)
{
    for (int i = 0; i < STORE_BUFFERS; i++)
        sp_free(s->buffers[i]);
    sp_free(s->order);
    sp_free(s->line);
    sp_free(s->in_line);
    if (s->fd >= 0)
        (void)close(s->fd);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    sp_free(s);
}

static void wake_engine(void *arg)
{
    engine *e = arg;
    pthread_mutex_lock(&e->lock);
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
}

int prefix_store_open(engine *e, const char *dir, sp_error *err)
{
    struct found *list = NULL;
    struct prefix_store *s = sp_calloc(1, sizeof *s);
    if (!s)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    s->fd = -1;
    s->kv = e->kv;
    s->pages = e->pages.total;
    s->record_bytes = sizeof(struct record) + kv_pool_page_bytes(e->kv);
    s->wake = wake_engine;
    s->arg = e;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    int code = open_file(e, s, dir, err);
    if (code == 0 && make_buffers(s, &list) < 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory for the prefix store");
    if (code == 0) {
        load(e, s, list);
        s->thread_runs = pthread_create(&s->thread, NULL, save_main, s) == 0;
        if (!s->thread_runs)
            code = sp_fail(err, SP_ENOMEM, "the prefix store's thread could not be started");
    }
    sp_free(list);
    if (code < 0)
        free_store(s);
    else
        e->store = s;
    return code;
}

void prefix_store_close(struct prefix_store *s, const struct pages *p)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL); /* what was full is written */
    while (s->line_n > 0) {
        int32_t page = next_in_line(s);
        if (!p->page[page].kept)
            continue;
        fill_record(s, p, page, s->buffers[0]);
        write_record(s, page, s->buffers[0]);
    }
    free_store(s);
}
