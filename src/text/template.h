/* Chat templates: the part of Jinja2 that the templates of published models use, and most of the rest,
 * rendered as transformers does (trim_blocks, lstrip_blocks, immutable sandbox, raise_exception, strftime_now,
 * tojson with ensure_ascii=False). Errors name the template's line. A compiled template is immutable;
 * any thread may render. Rendering has limits on steps, depth and output.
 *
 * Provenance: every byte of the output knows whether it came from the template's own text and literals
 * (trusted) or from the values given (messages, tools: not trusted). Filters, slices, concatenation and
 * methods such as split and strip keep it. */
#ifndef SP_TEXT_TEMPLATE_H
#define SP_TEXT_TEMPLATE_H

#include <jansson.h>
#include "text/tokenizer.h"

typedef struct template template;

int template_compile(const char *source, size_t n, template **out, sp_error *err);
void template_free(template *t);

/* Output text with its trusted parts. */
struct rendered {
    buf text;
    struct text_span *spans; /* trusted, ascending */
    size_t n_spans;
};
void rendered_free(struct rendered *r);

/* vars: an object whose members are the template's globals (messages, tools, add_generation_prompt,
 * bos_token, eos_token, enable_thinking, ...). The members whose names are in `trusted` (NULL-terminated;
 * e.g. bos_token) give trusted strings. SP_ETEMPLATE with the line otherwise; raise_exception("...")
 * gives its own words. */
int template_render(const template *t, const json_t *vars, const char *const *trusted,
                    struct rendered *out, sp_error *err);

#endif
