/* The memory of keys and values: pages of 64 positions, every page with all layers. */
#include <assert.h>
#include "model/model_int.h"

static enum kv_type type_for(const struct model_opts *o)
{
    if (o->kv_given)
        return o->kv_type;
    return o->compute == COMPUTE_F32 ? KV_F32 : KV_F16;
}

static size_t head_bytes(const struct model_config *c, enum kv_type t)
{
    return 2 * (size_t)c->head_dim * KV_PAGE * kv_value_bytes(t);
}

enum kv_type model_kv_type(const model *m)
{
    return type_for(&m->opts);
}

size_t kv_page_bytes(const struct model_config *c, const struct model_opts *o)
{
    return (size_t)c->layers * (size_t)c->kv_heads * head_bytes(c, type_for(o));
}

int kv_pool_new(const model *m, int32_t n_pages, kv_pool **out, sp_error *err)
{
    const struct model_config *c = &m->config;
    if (n_pages < 1)
        return sp_fail(err, SP_EINVAL, "a KV cache of %d pages: it needs at least one", n_pages);
    kv_pool *kv = sp_calloc(1, sizeof *kv);
    if (!kv)
        return sp_fail(err, SP_ENOMEM, "out of memory for a KV cache");
    kv->type = type_for(&m->opts);
    kv->head_bytes = head_bytes(c, kv->type);
    kv->layer_bytes = kv->head_bytes * (size_t)c->kv_heads;
    kv->page_bytes = kv_page_bytes(c, &m->opts);
    kv->pages = n_pages;
    kv->writer = sp_calloc((size_t)n_pages, sizeof *kv->writer);
    kv->backend = m->backend;
    if (kv->writer && !__builtin_mul_overflow(kv->page_bytes, (size_t)n_pages, &kv->bytes))
        (void)m->backend->table->alloc(m->backend, kv->bytes, &kv->buffer, NULL);
    if (!kv->buffer) {
        kv_pool_free(kv);
        return sp_fail(err, SP_ENOMEM,
                       "no %.0f MB of memory for a KV cache of %d pages: use a shorter context or "
                       "fewer sequences",
                       (double)kv_page_bytes(c, &m->opts) * n_pages / 1e6, n_pages);
    }
    *out = kv;
    return 0;
}

void kv_pool_free(kv_pool *kv)
{
    if (!kv)
        return;
    if (kv->buffer)
        kv->backend->table->free(kv->backend, kv->buffer);
    sp_free(kv->writer);
    sp_free(kv);
}

enum kv_type kv_pool_type(const kv_pool *kv)
{
    return kv->type;
}

int32_t kv_pool_pages(const kv_pool *kv)
{
    return kv->pages;
}

size_t kv_pool_page_bytes(const kv_pool *kv)
{
    return kv->page_bytes;
}

static struct tensor page_at(const kv_pool *kv, int32_t page)
{
    assert(page >= 0 && page < kv->pages);
    return (struct tensor){kv->buffer, (size_t)page * kv->page_bytes};
}

void kv_pool_read(kv_pool *kv, int32_t page, void *out)
{
    kv->backend->table->download(kv->backend, out, page_at(kv, page), kv->page_bytes);
}

void kv_pool_write(kv_pool *kv, int32_t page, const void *from)
{
    kv->backend->table->upload(kv->backend, page_at(kv, page), from, kv->page_bytes);
}

void kv_pool_copy(kv_pool *kv, int32_t from, int32_t to)
{
    const struct op op = {
        .kind = OP_COPY,
        .copy = {.from = page_at(kv, from), .to = page_at(kv, to), .bytes = kv->page_bytes}};
    assert(from != to);
    kv->backend->table->submit(kv->backend, &op);
    int code = kv->backend->table->sync(kv->backend, NULL);
    assert(code == 0); /* no hidden state is made here */
    (void)code;
}

struct kv_view kv_pool_layer(const kv_pool *kv, const struct model_config *c, int64_t layer)
{
    return (struct kv_view){.layout = {.page_stride = kv->page_bytes,
                                       .head_stride = kv->head_bytes,
                                       .type = kv->type,
                                       .kv_heads = (int)c->kv_heads,
                                       .head_dim = (int)c->head_dim},
                            .at = {kv->buffer, (size_t)layer * kv->layer_bytes}};
}
