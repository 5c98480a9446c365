/* The processor as a backend: memory, and which function runs which operation. */
#include <string.h>
#include <sys/mman.h>
#include "model/cpu_int.h"

static struct cpu_backend *of(backend *b)
{
    return (struct cpu_backend *)(void *)b;
}

/* ---- memory ---- */

static int new_buffer(buffer is, buffer **out, sp_error *err)
{
    *out = sp_malloc(sizeof **out);
    if (!*out)
        return sp_fail(err, SP_ENOMEM, "out of memory for a model's buffers");
    **out = is;
    return 0;
}

/* Fresh anonymous pages are zero and take memory only once they are written. */
static int cpu_alloc(backend *b, size_t bytes, buffer **out, sp_error *err)
{
    (void)b;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return sp_fail(err, SP_ENOMEM,
                       "no %.0f MB of memory for a model's buffers: use a shorter context or "
                       "smaller steps",
                       (double)bytes / 1e6);
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a wish; 4 KB pages do as well */
    int code = new_buffer((buffer){memory, bytes, true}, out, err);
    if (code < 0)
        munmap(memory, bytes);
    return code;
}

static int cpu_import(backend *b, const void *host, size_t bytes, buffer **out, sp_error *err)
{
    (void)b;
    return new_buffer((buffer){(void *)(uintptr_t)host, bytes, false}, out, err);
}

static void cpu_free(backend *b, buffer *memory)
{
    (void)b;
    if (memory->owned)
        munmap(memory->memory, memory->bytes);
    sp_free(memory);
}

static void cpu_upload(backend *b, struct tensor to, const void *from, size_t bytes)
{
    (void)b;
    memcpy(cpu_bytes(to), from, bytes);
}

static void cpu_download(backend *b, void *to, struct tensor from, size_t bytes)
{
    (void)b;
    memcpy(to, cpu_bytes(from), bytes);
}

static void cpu_copy(struct cpu_backend *cpu)
{
    const struct op *op = cpu->op;
    memcpy(cpu_bytes(op->copy.to), cpu_bytes(op->copy.from), op->copy.bytes);
}

/* ---- a step ---- */

static void cpu_begin(backend *b, const struct model_batch *batch)
{
    struct cpu_backend *cpu = of(b);
    cpu->batch = batch;
    for (int64_t r = 0; r < batch->n_rows; r++) {
        cpu->pos[r] = batch->rows[r].pos;
        cpu->seq[r] = batch->rows[r].seq;
    }
    cpu_share_attention(cpu, batch->n_rows);
}

static void cpu_submit(backend *b, const struct op *op)
{
    static void (*const run[])(struct cpu_backend *) = {
        [OP_EMBED] = cpu_embed,       [OP_PRODUCTS] = cpu_products,
        [OP_STORE_KV] = cpu_store_kv, [OP_ATTENTION] = cpu_attention,
        [OP_GATE] = cpu_gate,         [OP_RESIDUAL] = cpu_residual,
        [OP_EXPERTS] = cpu_experts,   [OP_KEEP_WANTED] = cpu_keep_wanted,
        [OP_LOGITS] = cpu_logits,     [OP_COPY] = cpu_copy};
    struct cpu_backend *cpu = of(b);
    cpu->op = op;
    run[op->kind](cpu);
    cpu->op = NULL;
}

static int cpu_sync(backend *b, sp_error *err)
{
    struct cpu_backend *cpu = of(b);
    int bad = atomic_exchange(&cpu->bad_layer, -1);
    cpu->batch = NULL;
    if (bad < 0)
        return 0;
    return sp_fail(err, SP_EINTERNAL,
                   "a hidden state of layer %d is not finite: the file may be damaged: check "
                   "its checksum",
                   bad);
}

/* ---- opening and closing ---- */

static void cpu_close(backend *b)
{
    sp_free(of(b)->memory);
    sp_free(b);
}

size_t cpu_backend_bytes(const struct cpu_backend_opts *o)
{
    struct cpu_backend cpu = {.o = *o};
    return cpu_workspace(&cpu, NULL);
}

int cpu_backend_new(const struct cpu_backend_opts *o, backend **out, sp_error *err)
{
    static const struct backend_table table = {.alloc = cpu_alloc,
                                               .import = cpu_import,
                                               .free = cpu_free,
                                               .upload = cpu_upload,
                                               .download = cpu_download,
                                               .begin = cpu_begin,
                                               .submit = cpu_submit,
                                               .sync = cpu_sync,
                                               .close = cpu_close};
    struct cpu_backend *cpu = sp_calloc(1, sizeof *cpu);
    if (cpu) {
        cpu->base.table = &table;
        cpu->o = *o;
        cpu->memory = sp_alloc_aligned(64, cpu_workspace(cpu, NULL));
    }
    if (!cpu || !cpu->memory) {
        sp_free(cpu);
        return sp_fail(err, SP_ENOMEM, "out of memory for the buffers of a step");
    }
    cpu_workspace(cpu, cpu->memory);
    cpu->gate_mul =
        o->config->arch->activation == ACT_GELU_TANH ? o->ops->gelu_mul : o->ops->silu_mul;
    atomic_init(&cpu->bad_layer, -1);
    *out = &cpu->base;
    return 0;
}
