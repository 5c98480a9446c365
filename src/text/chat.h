/* From messages to tokens: the model's own template, rendered and encoded with provenance. */
#ifndef SP_TEXT_CHAT_H
#define SP_TEXT_CHAT_H

#include "text/template.h"

typedef struct chat_format chat_format;

/* SP_ENOTFOUND when the model has no template (it still serves completions). */
int chat_format_load(const checkpoint *c, const tokenizer *t, chat_format **out, sp_error *err);
void chat_format_free(chat_format *f);

struct chat_opts {
    bool add_generation_prompt;
    bool allow_special;  /* message text may hold control tokens */
    const json_t *tools; /* array or NULL */
    const json_t *extra; /* object of further template variables (chat_template_kwargs) or NULL */
};

/* messages: an array of {"role","content",...} as in OpenAI's API; content may be a string, null, or an
 * array of {"type":"text","text":...} parts (joined before rendering; other parts are refused). As in
 * transformers, "reasoning" and "thinking" also count as "reasoning_content"; the arguments of a tool call
 * become an object when they are one's JSON. Appends ids to *out. */
int chat_encode(const chat_format *f, const json_t *messages, const struct chat_opts *opts,
                struct token_list *out, sp_error *err);
/* The rendered text itself. */
int chat_render(const chat_format *f, const json_t *messages, const struct chat_opts *opts,
                struct rendered *out, sp_error *err);

#endif
