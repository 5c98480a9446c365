/* A model on disk, whatever its kind: a GGUF file, or a Hugging Face folder (config.json, safetensors,
 * tokenizer.json, ...). Opens, tells what it is, and finds tensors. Read-only once open; any thread.
 * Owner: whoever opened it; views and strings taken from it live as long as it does.
 *
 *     checkpoint *c;
 *     if (checkpoint_open("qwen.gguf", &c, &err) < 0) return err.code;
 *     const struct model_config *cfg = checkpoint_config(c);
 *     const struct tensor_view *t = checkpoint_find(c, "token_embd.weight");
 *     checkpoint_close(c); */
#ifndef SP_FORMAT_CHECKPOINT_H
#define SP_FORMAT_CHECKPOINT_H

#include "format/config.h"
#include "format/safetensors.h"

typedef struct checkpoint checkpoint;

int checkpoint_open(const char *path, checkpoint **out, sp_error *err);
void checkpoint_close(checkpoint *c);

const char *checkpoint_path(const checkpoint *c);
const gguf *checkpoint_gguf(const checkpoint *c); /* NULL for a folder */
const struct model_config *checkpoint_config(const checkpoint *c);
const struct generation_config *checkpoint_generation(const checkpoint *c);
size_t checkpoint_tensor_count(const checkpoint *c);
const struct tensor_view *checkpoint_tensor_at(const checkpoint *c, size_t i);
const struct tensor_view *checkpoint_find(const checkpoint *c, const char *name); /* NULL: none */
int64_t checkpoint_parameters(const checkpoint *c); /* number of weights */
uint64_t checkpoint_tensor_bytes(const checkpoint *c);
/* "GGUF Q5_0" (the dtype most weights have), "safetensors BF16". */
const char *checkpoint_format_text(const checkpoint *c, char out[64]);

/* Reads a JSON file of a model folder, e.g. "tokenizer_config.json". SP_ENOTFOUND when there is none.
 * The caller owns *out (json_decref). Only for folders. */
int checkpoint_json(const checkpoint *c, const char *file, json_t **out, sp_error *err);
/* The chat template's source: for a folder additional_chat_templates/tool_use.jinja (with tools),
 * chat_template.jinja, chat_template.json or tokenizer_config.json, where a list of named templates gives
 * "default" or, with tools, "tool_use"; for GGUF tokenizer.chat_template, or .tool_use of it with tools. A
 * chat model of the first Qwen, whose format is in code, gets ChatML. SP_ENOTFOUND when there is none. *out
 * is the caller's (sp_free). */
int checkpoint_chat_template(const checkpoint *c, bool tools, char **out, sp_error *err);
/* Where the one without tools comes from, for people; NULL: none. */
const char *checkpoint_chat_template_where(const checkpoint *c);

#endif
