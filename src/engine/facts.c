#include "engine/facts.h"

static uint64_t kv_bytes(const struct model_facts *f)
{
    return (uint64_t)((f->context + KV_PAGE - 1) / KV_PAGE) * f->memory.kv_page;
}

int model_facts_read(const char *path, int64_t context, const enum kv_type *kv,
                     struct model_facts *out, sp_error *err)
{
    struct model_opts mo = model_opts_default();
    *out = (struct model_facts){0};
    int code = checkpoint_open(path, &out->checkpoint, err);
    if (code < 0)
        return code;
    out->config = checkpoint_config(out->checkpoint);
    out->parameters = checkpoint_parameters(out->checkpoint);
    out->tensor_bytes = checkpoint_tensor_bytes(out->checkpoint);
    out->chat_template = checkpoint_chat_template_where(out->checkpoint);
    (void)checkpoint_format_text(out->checkpoint, out->format);
    context = context > 0 ? context : FACTS_CONTEXT;
    out->context = context > out->config->context ? out->config->context : context;
    mo.max_context = out->context;
    mo.kv_given = kv != NULL;
    if (kv)
        mo.kv_type = *kv;
    code = model_memory_plan(out->checkpoint, &mo, &out->memory, err);
    out->need = out->memory.weights + out->memory.scratch + kv_bytes(out);
    if (code < 0)
        model_facts_free(out);
    return code;
}

json_t *model_facts_json(const struct model_facts *f)
{
    const struct model_config *c = f->config;
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:I,s:s,s:s?,s:I,s:s,s:{s:I,s:I,"
                     "s:I,s:I,s:I}}",
                     "name", c->name, "architecture", c->arch->name, "parameters",
                     (json_int_t)f->parameters, "layers", (json_int_t)c->layers, "hidden",
                     (json_int_t)c->hidden, "heads", (json_int_t)c->heads, "kv_heads",
                     (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim, "ffn",
                     (json_int_t)c->ffn, "vocab", (json_int_t)c->vocab, "tied", (int)c->tied,
                     "context", (json_int_t)c->context, "format", f->format, "chat_template",
                     f->chat_template, "tensor_bytes", (json_int_t)f->tensor_bytes, "license",
                     c->license, "memory", "context", (json_int_t)f->context, "total",
                     (json_int_t)f->need, "weights", (json_int_t)f->memory.weights, "scratch",
                     (json_int_t)f->memory.scratch, "kv_page", (json_int_t)f->memory.kv_page);
}

void model_facts_free(struct model_facts *f)
{
    checkpoint_close(f->checkpoint);
    *f = (struct model_facts){0};
}
