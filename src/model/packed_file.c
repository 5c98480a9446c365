/* Reading a packed form: whose it is, whether it fits, and its place in memory. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/sha256.h"
#include "model/packed_file.h"
#include "model/packed_int.h"

#define PACKED_MAGIC "sampack\n"
#define PACKED_VERSION 1 /* of the header; that of the tiles is part of the key */
#define PACKED_ORDER 0x01020304u
#define KEY_FILE_BYTES                                                                             \
    ((size_t)64 << 10) /* of each file's beginning: its header, or the most of it */
#define KEY_FILES 256  /* told apart; more are summed once a change of file */

/* ---- the data's sum ---- */

void packed_sum_init(struct packed_sum *s)
{
    for (uint64_t i = 0; i < 8; i++)
        s->lane[i] = 0x9e3779b97f4a7c15u * (i + 1);
}

/* Each step maps different states to different states, so that one changed word is always found; the rotation brings
 * high bits down, where the product spreads them again. */
static inline uint64_t sum_step(uint64_t lane, uint64_t word)
{
    uint64_t x = lane ^ word;
    return (x << 29 | x >> 35) * 0x9fb21c651e98df25u;
}

void packed_sum_add(struct packed_sum *s, const uint8_t *p, size_t n)
{
    struct packed_sum now = *s;
    for (size_t i = 0; i < n; i += sizeof now) {
        uint64_t word[8];
        memcpy(word, p + i, sizeof word);
        for (int k = 0; k < 8; k++)
            now.lane[k] = sum_step(now.lane[k], word[k]);
    }
    *s = now;
}

uint64_t packed_sum_end(const struct packed_sum *s)
{
    uint64_t all = 0;
    for (int k = 0; k < 8; k++)
        all = sum_step(all, s->lane[k]);
    return all ^ all >> 32;
}

/* ---- the key ---- */

struct keyer {
    sha256 *h;
    const file_map *seen[KEY_FILES];
    size_t n;
    bool known; /* all bytes are those of files */
};

static void key_text(struct keyer *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void key_text(struct keyer *k, const char *fmt, ...)
{
    char line[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    sha256_add(k->h, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static void key_file(struct keyer *k, const file_map *f)
{
    const struct file_identity *id = &f->id;
    for (size_t i = 0; i < k->n; i++)
        if (k->seen[i] == f) {
            key_text(k, "file %zu\n", i);
            return;
        }
    if (k->n < KEY_FILES)
        k->seen[k->n++] = f;
    k->known = k->known && !f->borrowed;
    key_text(k, "file %llu %zu %lld.%09lld\n", (unsigned long long)id->inode, f->size,
             (long long)id->changed_s, (long long)id->changed_ns);
    sha256_add(k->h, f->data, f->size < KEY_FILE_BYTES ? f->size : KEY_FILE_BYTES);
}

static void key_linear(void *arg, struct linear *l)
{
    struct keyer *k = arg;
    const struct tensor_view *t = l->source;
    key_file(k, t->map);
    key_text(k, "%s at %zu, %zu bytes: %lld x %lld in %zu\n", dtype_get(t->dtype)->name,
             (size_t)(t->data - t->map->data), t->bytes, (long long)l->w.rows, (long long)l->w.cols,
             l->w.tile_bytes);
    if (l->map)
        sha256_add(k->h, l->map, (size_t)l->w.rows * sizeof *l->map);
}

/* False: the model's bytes are no file's, or out of memory. */
static bool make_key(model *m, char key[65])
{
    struct keyer k = {.h = sha256_new(), .known = true};
    if (!k.h)
        return false;
    key_text(&k, "layout %d\n", PACK_LAYOUT);
    bind_each(m, key_linear, &k);
    sha256_hex(k.h, key);
    sha256_free(k.h);
    return k.known && key[0];
}

int model_key(model *m, char key[65], sp_error *err)
{
    if (make_key(m, key))
        return 0;
    return sp_fail(err, SP_EINVAL, "the model can't be told from others: its bytes are no file's");
}

/* ---- the header ---- */

static int header_sum(const struct packed_header *h, char sum[65])
{
    sha256 *s = sha256_new();
    if (!s)
        return SP_ENOMEM;
    sha256_add(s, h, offsetof(struct packed_header, sum));
    sha256_hex(s, sum);
    sha256_free(s);
    return sum[0] ? 0 : SP_ENOMEM;
}

int packed_header_make(struct packed_header *h, uint64_t bytes, uint64_t data_sum,
                       const char key[65])
{
    char sum[65];
    *h = (struct packed_header){.byte_order = PACKED_ORDER,
                                .version = PACKED_VERSION,
                                .data_at = PACKED_ALIGN,
                                .data_bytes = bytes,
                                .data_sum = data_sum};
    memcpy(h->magic, PACKED_MAGIC, sizeof h->magic);
    memcpy(h->key, key, sizeof h->key);
    int code = header_sum(h, sum);
    memcpy(h->sum, sum, sizeof h->sum);
    return code;
}

/* Whether fd holds a whole packed form, of whatever model; NULL: yes, else what is wrong. */
static const char *read_header(int fd, const struct stat *st, struct packed_header *h)
{
    char sum[65];
    if (pread(fd, h, sizeof *h, 0) != sizeof *h || memcmp(h->magic, PACKED_MAGIC, 8) != 0)
        return "no packed form";
    if (h->byte_order != PACKED_ORDER || h->version != PACKED_VERSION)
        return "of another version";
    if (header_sum(h, sum) < 0 || memcmp(sum, h->sum, sizeof h->sum) != 0)
        return "its header is damaged";
    if (h->data_at != PACKED_ALIGN || h->data_bytes % 64 != 0 ||
        (uint64_t)st->st_size < h->data_at || (uint64_t)st->st_size - h->data_at != h->data_bytes)
        return "not whole";
    return NULL;
}

/* ---- mapping ---- */

/* Enough of a mapping to know its pages by; from its middle, since who reads a file (a backup, cp) begins small. */
#define LOOK_BYTES ((size_t)32 << 20)

/* kB that /proc/self/smaps says of a mapping in the line that begins with `field`; -1: it doesn't. */
static long smaps_kb(const void *mapping, const char *field)
{
    char line[512], start[32];
    long kb = -1;
    bool here = false;
    size_t n = strlen(field);
    FILE *f = fopen("/proc/self/smaps", "r");
    snprintf(start, sizeof start, "%llx-", (unsigned long long)(uintptr_t)mapping);
    while (f && kb < 0 && fgets(line, sizeof line, f)) {
        if (strncmp(line, start, strlen(start)) == 0)
            here = true;
        else if (here && strncmp(line, field, n) == 0)
            (void)sscanf(line + n, "%ld", &kb);
    }
    if (f)
        fclose(f);
    return kb;
}

static bool memory_has_large_pages(void)
{
    char *text = NULL;
    bool has =
        file_read("/sys/kernel/mm/transparent_hugepage/enabled", 4096, &text, NULL, NULL) == 0 &&
        !strstr(text, "[never]");
    sp_free(text);
    return has;
}

bool packed_large_pages(void *mapping, size_t bytes)
{
    size_t n = bytes < LOOK_BYTES ? bytes / PACKED_ALIGN * PACKED_ALIGN : LOOK_BYTES;
    size_t from = (bytes - n) / 2 / PACKED_ALIGN * PACKED_ALIGN;
    (void)madvise(mapping, bytes, MADV_HUGEPAGE); /* of a file: to be read in such pages */
    if (n == 0 || !memory_has_large_pages())
        return true;
    if (madvise((uint8_t *)mapping + from, n, MADV_POPULATE_READ) !=
        0) /* before Linux 5.14, no file system has them */
        return false;
    return smaps_kb(mapping, "FilePmdMapped:") * 1024 >= (long)(n / 2);
}

#define SLICES_A_TURN 16 /* some 10 ms: who shares the pool waits no longer */

struct copy {
    uint8_t *to;
    size_t bytes;
    int fd;
    atomic_bool failed;
};

static void copy_slice(void *arg, int worker, size_t begin, size_t end)
{
    struct copy *c = arg;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        size_t at = i * PACKED_ALIGN,
               n = c->bytes - at < PACKED_ALIGN ? c->bytes - at : PACKED_ALIGN;
        if (pread(c->fd, c->to + at, n, (off_t)(PACKED_ALIGN + at)) != (ssize_t)n)
            atomic_store(&c->failed, true);
    }
}

/* NULL: it stays mapped. */
static uint8_t *copy_to_memory(const model *m, int fd)
{
    struct copy c = {.to = weights_memory(m->weight_bytes), .bytes = m->weight_bytes, .fd = fd};
    if (!c.to)
        return NULL;
    pool_run_in_turns(m->opts.pool, (c.bytes + PACKED_ALIGN - 1) / PACKED_ALIGN, SLICES_A_TURN,
                      copy_slice, &c);
    if (atomic_load(&c.failed)) {
        (void)munmap(c.to, c.bytes);
        return NULL;
    }
    (void)mprotect(c.to, c.bytes, PROT_READ);
    return c.to;
}

/* Of a file that others may write to, nothing is believed. */
static bool trusted(const struct stat *st, const model *m)
{
    const struct linear *any = &m->head;
    return S_ISREG(st->st_mode) && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
           (st->st_uid == geteuid() || st->st_uid == 0 || st->st_uid == any->source->map->id.owner);
}

/* A file descriptor of a packed form that is this model's; -1: it is none. */
static int open_fitting(const model *m, const char *path, const char key[65])
{
    struct packed_header h;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0 || !trusted(&st, m)) {
        log_warn("model",
                 "%s: not used: others than you, root and the model's owner could have written it: "
                 "remove it",
                 path);
        (void)close(fd);
        return -1;
    }
    const char *why = read_header(fd, &st, &h);
    if (!why && (memcmp(h.key, key, sizeof h.key) != 0 || h.data_bytes != m->weight_bytes))
        why = "of another model or an earlier state of it";
    if (!why)
        return fd;
    log_debug("model", "%s: not used: %s", path, why);
    (void)close(fd);
    return -1;
}

static bool take(model *m, int fd)
{
    size_t n = m->weight_bytes;
    void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, (off_t)PACKED_ALIGN);
    if (p == MAP_FAILED)
        return false;
    bool large = packed_large_pages(p, n);
    m->weights = large ? NULL : copy_to_memory(m, fd);
    if (m->weights) {
        (void)munmap(p, n);
    } else {
        m->weights = p;
        packed_task_read_ahead(m->packed, m);
    }
    return true;
}

bool packed_file_map(model *m)
{
    const struct packed_opts o = m->opts.packed;
    char key[65];
    bool taken = false;
    m->opts.packed.paths[0] = m->opts.packed.paths[1] = NULL; /* the caller's: not good for long */
    if ((!o.paths[0] && !o.paths[1]) || m->weight_bytes < o.least || !make_key(m, key))
        return false;
    m->packed = packed_task_new(&o, key);
    for (size_t i = 0; m->packed && !taken && i < SP_COUNT(o.paths); i++) {
        int fd = o.paths[i] ? open_fitting(m, o.paths[i], key) : -1;
        if (fd >= 0) {
            taken = take(m, fd);
            (void)close(fd);
        }
    }
    return taken;
}

/* ---- asleep ---- */

/* The file that m's task knows, if it is there and m's; -1: it isn't. */
static int open_own(const model *m)
{
    int fd = -1;
    for (size_t i = 0; fd < 0 && i < SP_COUNT(m->opts.packed.paths); i++)
        if (packed_task_path(m->packed, i))
            fd = open_fitting(m, packed_task_path(m->packed, i), packed_task_key(m->packed));
    return fd;
}

bool packed_file_sleep(model *m)
{
    if (!m->packed)
        return false;
    packed_task_rest(m->packed);
    int fd = open_own(m);
    if (fd < 0)
        return false;
    void *p = mmap(m->weights, m->weight_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
                   (off_t)PACKED_ALIGN);
    (void)close(fd);
    return p != MAP_FAILED;
}

void packed_file_wake(model *m)
{
    int fd = packed_large_pages(m->weights, m->weight_bytes) ? -1 : open_own(m);
    uint8_t *copy = fd >= 0 ? copy_to_memory(m, fd) : NULL;
    if (fd >= 0)
        (void)close(fd);
    if (copy && mremap(copy, m->weight_bytes, m->weight_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                       m->weights) != MAP_FAILED)
        return;
    if (copy)
        (void)munmap(copy, m->weight_bytes);
    packed_task_read_ahead(m->packed, m);
}

/* ---- looking at one ---- */

static int check_data(int fd, const struct packed_header *h, int (*cancelled)(void *arg), void *arg,
                      uint64_t *sum)
{
    struct packed_sum s;
    uint8_t *chunk = sp_alloc_aligned(64, PACKED_ALIGN);
    int code = chunk ? 0 : SP_ENOMEM;
    packed_sum_init(&s);
    for (uint64_t at = 0; code == 0 && at < h->data_bytes;) {
        uint64_t left = h->data_bytes - at;
        size_t n = left < PACKED_ALIGN ? (size_t)left : PACKED_ALIGN;
        if (cancelled && cancelled(arg))
            code = SP_ECANCELLED;
        else if (pread(fd, chunk, n, (off_t)(h->data_at + at)) != (ssize_t)n)
            code = SP_EIO;
        else
            packed_sum_add(&s, chunk, n);
        at += n;
    }
    sp_free(chunk);
    *sum = packed_sum_end(&s);
    return code;
}

int packed_file_check(const char *path, int (*cancelled)(void *arg), void *arg, sp_error *err)
{
    struct packed_header h;
    struct stat st;
    uint64_t sum = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return sp_fail(err, SP_ENOTFOUND, "%.300s: can't be opened", path);
    const char *why =
        fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read_header(fd, &st, &h) : "no regular file";
    int code = why ? SP_EFORMAT : check_data(fd, &h, cancelled, arg, &sum);
    (void)close(fd);
    if (code == 0 && sum != h.data_sum)
        code = SP_ECHECKSUM;
    if (code < 0)
        return sp_fail(err, code, "%.300s: %s", path,
                       why                    ? why
                       : code == SP_ECHECKSUM ? "damaged: its sum is another"
                                              : sp_code_text(code));
    return 0;
}
