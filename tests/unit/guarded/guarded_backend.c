#include "guarded_backend.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGIONS_MOST 32
#define OPS_MOST 512
#define BATCH_BYTES ((size_t)1 << 20)

struct region {
    uint8_t *memory;
    size_t bytes;
    buffer *inner; /* the processor's, of that memory */
};

struct guarded {
    backend base, *inner;
    struct region regions[REGIONS_MOST];
    struct op ops[OPS_MOST]; /* submitted and not run */
    int n_ops;
    bool begun;
    struct model_batch batch; /* in `copy` */
    uint8_t *copy;
    size_t copied;
};

int __real_cpu_backend_new(const struct cpu_backend_opts *o, backend **out, sp_error *err);
int __wrap_cpu_backend_new(const struct cpu_backend_opts *o, backend **out, sp_error *err);

static atomic_long steps; /* of all guarded backends of this program */

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "guarded backend: %s\n", what);
    abort();
}

static struct guarded *of(backend *b)
{
    return (struct guarded *)(void *)b;
}

/* ---- memory ---- */

static uint8_t *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void protect(void *memory, size_t bytes, int how)
{
    must(mprotect(memory, bytes, how) == 0, "mprotect failed");
}

static void protect_all(const struct guarded *g, int how)
{
    protect(g->copy, BATCH_BYTES, how);
    for (int i = 0; i < REGIONS_MOST; i++)
        if (g->regions[i].memory)
            protect(g->regions[i].memory, g->regions[i].bytes, how);
}

static bool idle(const struct guarded *g)
{
    return g->n_ops == 0 && !g->begun;
}

static struct region *find(const struct guarded *g, const buffer *inner)
{
    for (int i = 0; i < REGIONS_MOST; i++)
        if (g->regions[i].inner == inner)
            return (struct region *)(uintptr_t)&g->regions[i];
    must(false, inner ? "a buffer that is none of its own" : "too many buffers");
    return NULL;
}

uint8_t *guarded_address(const backend *b, struct tensor t)
{
    const struct region *r = find((const struct guarded *)(const void *)b, t.buffer);
    must(t.at < r->bytes, "a tensor behind the end of its buffer");
    return r->memory + t.at;
}

static int guarded_alloc(backend *b, size_t bytes, buffer **out, sp_error *err)
{
    struct guarded *g = of(b);
    must(idle(g), "alloc between submit and sync");
    struct region *r = find(g, NULL);
    uint8_t *memory = map(bytes);
    if (!memory)
        return sp_fail(err, SP_ENOMEM, "no %zu bytes of guarded memory", bytes);
    int code = g->inner->table->import(g->inner, memory, bytes, out, err);
    if (code < 0)
        munmap(memory, bytes);
    else
        *r = (struct region){memory, bytes, *out};
    return code;
}

/* A copy, as on a GPU. */
static int guarded_import(backend *b, const void *host, size_t bytes, buffer **out, sp_error *err)
{
    int code = guarded_alloc(b, bytes, out, err);
    if (code == 0)
        b->table->upload(b, (struct tensor){*out, 0}, host, bytes);
    return code;
}

static void guarded_free(backend *b, buffer *memory)
{
    struct guarded *g = of(b);
    struct region *r = find(g, memory);
    must(idle(g), "free between submit and sync");
    g->inner->table->free(g->inner, memory);
    munmap(r->memory, r->bytes);
    *r = (struct region){0};
}

static void guarded_upload(backend *b, struct tensor to, const void *from, size_t bytes)
{
    struct guarded *g = of(b);
    const struct region *r = find(g, to.buffer);
    must(idle(g), "upload between submit and sync");
    must(to.at <= r->bytes && bytes <= r->bytes - to.at, "upload beyond the end of a buffer");
    protect(r->memory, r->bytes, PROT_READ | PROT_WRITE);
    g->inner->table->upload(g->inner, to, from, bytes);
    protect(r->memory, r->bytes, PROT_NONE);
}

static void guarded_download(backend *b, void *to, struct tensor from, size_t bytes)
{
    struct guarded *g = of(b);
    const struct region *r = find(g, from.buffer);
    must(idle(g), "download between submit and sync");
    must(from.at <= r->bytes && bytes <= r->bytes - from.at, "download beyond the end of a buffer");
    protect(r->memory, r->bytes, PROT_READ | PROT_WRITE);
    g->inner->table->download(g->inner, to, from, bytes);
    protect(r->memory, r->bytes, PROT_NONE);
}

/* ---- steps ---- */

static void *copy(struct guarded *g, const void *from, size_t bytes)
{
    uint8_t *to = g->copy + g->copied;
    g->copied += (bytes + 15) / 16 * 16;
    must(g->copied <= BATCH_BYTES, "a batch too large for a test");
    memcpy(to, from, bytes);
    return to;
}

static void guarded_begin(backend *b, const struct model_batch *batch)
{
    struct guarded *g = of(b);
    must(idle(g), "begin before sync");
    protect(g->copy, BATCH_BYTES, PROT_READ | PROT_WRITE);
    g->copied = 0;
    struct model_seq *seqs = copy(g, batch->seqs, (size_t)batch->n_seqs * sizeof *seqs);
    for (int32_t i = 0; i < batch->n_seqs; i++)
        seqs[i].pages = copy(g, seqs[i].pages, (size_t)seqs[i].n_pages * sizeof(int32_t));
    g->batch = *batch;
    g->batch.seqs = seqs;
    g->batch.rows = copy(g, batch->rows, (size_t)batch->n_rows * sizeof *batch->rows);
    protect(g->copy, BATCH_BYTES, PROT_NONE);
    g->begun = true;
}

static void guarded_submit(backend *b, const struct op *op)
{
    struct guarded *g = of(b);
    must(g->n_ops < OPS_MOST, "more operations than a test's step has");
    g->ops[g->n_ops++] = *op;
}

static int guarded_sync(backend *b, sp_error *err)
{
    struct guarded *g = of(b);
    protect_all(g, PROT_READ | PROT_WRITE);
    if (g->begun)
        g->inner->table->begin(g->inner, &g->batch);
    for (int i = 0; i < g->n_ops; i++)
        g->inner->table->submit(g->inner, &g->ops[i]);
    int code = g->inner->table->sync(g->inner, err);
    protect_all(g, PROT_NONE);
    g->n_ops = 0;
    g->begun = false;
    atomic_fetch_add(&steps, 1);
    return code;
}

/* ---- opening and closing ---- */

static void guarded_close(backend *b)
{
    struct guarded *g = of(b);
    for (int i = 0; i < REGIONS_MOST; i++)
        must(!g->regions[i].inner, "closed before its buffers are freed");
    g->inner->table->close(g->inner);
    munmap(g->copy, BATCH_BYTES);
    sp_free(g);
}

int __wrap_cpu_backend_new(const struct cpu_backend_opts *o, backend **out, sp_error *err)
{
    static const struct backend_table table = {.alloc = guarded_alloc,
                                               .import = guarded_import,
                                               .free = guarded_free,
                                               .upload = guarded_upload,
                                               .download = guarded_download,
                                               .begin = guarded_begin,
                                               .submit = guarded_submit,
                                               .sync = guarded_sync,
                                               .close = guarded_close};
    struct guarded *g = sp_calloc(1, sizeof *g);
    int code = g ? __real_cpu_backend_new(o, &g->inner, err) : SP_ENOMEM;
    if (code < 0) {
        sp_free(g);
        return code;
    }
    g->base.table = &table;
    g->copy = map(BATCH_BYTES);
    must(g->copy != NULL, "no memory");
    *out = &g->base;
    return 0;
}

__attribute__((destructor)) static void expect_steps(void)
{
    if (atomic_load(&steps) == 0) {
        fprintf(stderr, "guarded backend: no step ran on it\n");
        _exit(1);
    }
}
