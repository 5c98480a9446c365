/* Reading request bodies: every value is checked, and the message names the parameter. */
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "server/models_int.h"

#define INVALID "invalid_request_error"

json_t *request_parse(struct call *c)
{
    json_error_t je;
    json_t *j = json_loadb(c->body ? c->body : "", c->n_body, JSON_REJECT_DUPLICATES, &je);
    if (!j) {
        reply_set_error(c, 400, INVALID, NULL, "invalid_json",
                        "the body is not valid JSON: line %d, column %d: %s", je.line, je.column,
                        je.text);
        return NULL;
    }
    if (!json_is_object(j)) {
        json_decref(j);
        reply_set_error(c, 400, INVALID, NULL, "invalid_json", "the body must be a JSON object");
        return NULL;
    }
    return j;
}

struct loaded_model *request_model(struct call *c, const json_t *body)
{
    const json_t *j = json_object_get(body, "model");
    if (json_is_string(j))
        return models_take(c, json_string_value(j));
    reply_set_error(c, 400, INVALID, "model", NULL,
                    j ? "model: must be a string"
                      : "model: missing: GET /v1/models lists what is served");
    return NULL;
}

void request_note_stream(struct call *c, const json_t *body)
{
    if (!c->model) /* else it has waited for it, and the loop may still be reading what was noted then */
        c->wants_stream = !c->kept && json_is_true(json_object_get(body, "stream"));
}

/* What OpenAI, vLLM and llama.cpp know and this server does not do, at either endpoint. */
static const char *const never[] = {"guided_json",
                                    "guided_regex",
                                    "structured_outputs",
                                    "grammar",
                                    "json_schema",
                                    "prompt_logprobs",
                                    "truncate_prompt_tokens",
                                    "stop_token_ids",
                                    "allowed_token_ids",
                                    "bad_words",
                                    "use_beam_search",
                                    "include_stop_str_in_output",
                                    "suffix",
                                    NULL};

static int refuse(struct call *c, const json_t *body, const char *const *fields)
{
    for (; *fields; fields++) {
        const json_t *j = json_object_get(body, *fields);
        if (!j || json_is_null(j) || json_is_false(j) ||
            (json_is_array(j) && json_array_size(j) == 0))
            continue;
        reply_set_error(c, 400, INVALID, *fields, "unsupported_parameter",
                        "%s: this server does not do that: leave it out", *fields);
        return SP_EUNSUPPORTED;
    }
    return 0;
}

int request_refuse_unsupported(struct call *c, const json_t *body, const char *const *fields)
{
    int code = refuse(c, body, never);
    return code == 0 ? refuse(c, body, fields) : code;
}

int request_bool(struct call *c, const json_t *body, const char *name, bool fallback, bool *out)
{
    const json_t *j = json_object_get(body, name);
    *out = fallback;
    if (!j || json_is_null(j))
        return 0;
    if (!json_is_boolean(j)) {
        reply_set_error(c, 400, INVALID, name, NULL, "%s: must be true or false", name);
        return SP_EINVAL;
    }
    *out = json_is_true(j);
    return 0;
}

int request_int(struct call *c, const json_t *body, const char *name, int64_t min, int64_t max,
                int64_t *out)
{
    const json_t *j = json_object_get(body, name);
    if (!j || json_is_null(j))
        return 0;
    double v = json_is_number(j) ? json_number_value(j) : NAN;
    if (!(v >= (double)min && v <= (double)max) || v != floor(v)) {
        reply_set_error(c, 400, INVALID, name, NULL, "%s: must be a whole number from %lld to %lld",
                        name, (long long)min, (long long)max);
        return SP_EINVAL;
    }
    *out = json_is_integer(j) ? json_integer_value(j) : (int64_t)v;
    return 0;
}

static int request_float(struct call *c, const json_t *body, const char *name, double min,
                         double max, float *out)
{
    const json_t *j = json_object_get(body, name);
    if (!j || json_is_null(j))
        return 0;
    double v = json_is_number(j) ? json_number_value(j) : NAN;
    if (!(v >= min && v <= max)) {
        reply_set_error(c, 400, INVALID, name, NULL, "%s: must be a number from %g to %g", name,
                        min, max);
        return SP_EINVAL;
    }
    *out = (float)v;
    return 0;
}

static int bias_bad(struct call *c)
{
    reply_set_error(c, 400, INVALID, "logit_bias", NULL,
                    "logit_bias: must map token ids of this model to numbers from -100 to 100");
    return SP_EINVAL;
}

/* r->bias is allocated; the caller frees it. */
static int request_bias(struct call *c, const json_t *body, struct engine_request *r)
{
    const json_t *j = json_object_get(body, "logit_bias");
    if (!j || json_is_null(j))
        return 0;
    if (!json_is_object(j))
        return bias_bad(c);
    size_t n = json_object_size(j);
    if (n == 0)
        return 0;
    struct logit_bias *bias = sp_calloc(n, sizeof *bias);
    if (!bias) {
        reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
        return SP_ENOMEM;
    }
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach((json_t *)(uintptr_t)j, key, value)
    {
        int64_t id;
        double v = json_is_number(value) ? json_number_value(value) : NAN;
        if (!str_to_i64(str_of(key), &id) || id < 0 || id > INT32_MAX || !(v >= -100 && v <= 100)) {
            sp_free(bias);
            return bias_bad(c);
        }
        bias[i++] = (struct logit_bias){(int32_t)id, (float)v};
    }
    r->sampling.bias = bias;
    r->sampling.n_bias = n;
    return 0;
}

int request_sampling(struct call *c, const json_t *body, struct engine_request *r)
{
    struct sampling *s = &r->sampling;
    int64_t top_k = s->top_k, seed = 0, priority = 0;
    bool ignore_end = false;
    bool has_seed = json_is_integer(json_object_get(body, "seed"));
    if (request_float(c, body, "temperature", 0, 100, &s->temperature) < 0 ||
        request_float(c, body, "top_p", 0, 1, &s->top_p) < 0 ||
        request_float(c, body, "min_p", 0, 1, &s->min_p) < 0 ||
        request_float(c, body, "repetition_penalty", 0.01, 100, &s->repetition_penalty) < 0 ||
        request_float(c, body, "presence_penalty", -2, 2, &s->presence_penalty) < 0 ||
        request_float(c, body, "frequency_penalty", -2, 2, &s->frequency_penalty) < 0 ||
        request_int(c, body, "top_k", -1, INT32_MAX, &top_k) < 0 ||
        request_int(c, body, "seed", INT64_MIN, INT64_MAX, &seed) < 0 ||
        request_int(c, body, "min_tokens", 0, INT32_MAX, &r->min_tokens) < 0 ||
        request_int(c, body, "priority", -ENGINE_PRIORITY_MOST, ENGINE_PRIORITY_MOST, &priority) <
            0 ||
        request_bool(c, body, "ignore_eos", false, &ignore_end) < 0)
        return SP_EINVAL;
    s->top_k = top_k < 0 ? 0 : (int32_t)top_k;
    s->seed = has_seed ? (uint64_t)seed : rng_seed();
    r->ignore_end = ignore_end;
    r->priority = (int)priority;
    return request_bias(c, body, r);
}

int request_user(struct call *c, const json_t *body, struct generation *g)
{
    const json_t *user = json_object_get(body, "user");
    if (!user || json_is_null(user))
        return 0;
    if (!json_is_string(user)) {
        reply_set_error(c, 400, INVALID, "user", NULL, "user: must be a string");
        return SP_EINVAL;
    }
    g->user = sp_strdup(json_string_value(user));
    if (g->user)
        return 0;
    reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
    return SP_ENOMEM;
}

static int stop_bad(struct call *c)
{
    reply_set_error(c, 400, INVALID, "stop", NULL,
                    "stop: must be a non-empty string or a list of at most 16 of them");
    return SP_EINVAL;
}

int request_stops(struct call *c, const json_t *body, struct stops *out)
{
    const json_t *j = json_object_get(body, "stop");
    out->n = 0;
    if (!j || json_is_null(j))
        return 0;
    bool list = json_is_array(j);
    size_t n = list ? json_array_size(j) : 1;
    if (n > SP_COUNT(out->text))
        return stop_bad(c);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = list ? json_array_get(j, i) : j;
        if (!json_is_string(s) || json_string_length(s) == 0)
            return stop_bad(c);
        out->text[out->n++] = json_string_value(s);
    }
    return 0;
}

int request_stream(struct call *c, const json_t *body, struct generation *g)
{
    const json_t *options = json_object_get(body, "stream_options");
    if (request_bool(c, body, "stream", false, &g->stream) < 0 ||
        request_bool(c, body, "return_progress", false, &g->progress) < 0)
        return SP_EINVAL;
    if (g->progress && !g->stream) {
        reply_set_error(c, 400, INVALID, "return_progress", NULL,
                        "return_progress: only with stream: true");
        return SP_EINVAL;
    }
    if (!options || json_is_null(options))
        return 0;
    if (!g->stream || !json_is_object(options)) {
        reply_set_error(c, 400, INVALID, "stream_options", NULL,
                        "stream_options: an object, and only with stream: true");
        return SP_EINVAL;
    }
    if (request_bool(c, options, "include_usage", false, &g->include_usage) < 0 ||
        request_bool(c, options, "continuous_usage_stats", false, &g->continuous_usage) < 0)
        return SP_EINVAL;
    return 0;
}

static bool content_ok(const json_t *content)
{
    size_t i;
    const json_t *part;
    if (!content || json_is_null(content) || json_is_string(content))
        return true;
    if (!json_is_array(content))
        return false;
    json_array_foreach((json_t *)(uintptr_t)content, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(json_object_get(part, "text")))
            return false;
    }
    return true;
}

int request_messages(struct call *c, json_t *messages)
{
    size_t i;
    json_t *m;
    if (!json_is_array(messages) || json_array_size(messages) == 0) {
        reply_set_error(c, 400, INVALID, "messages", NULL,
                        "messages: must be a list of at least one message");
        return SP_EINVAL;
    }
    json_array_foreach(messages, i, m)
    {
        const json_t *content = json_object_get(m, "content");
        if (!json_is_string(json_object_get(m, "role"))) {
            reply_set_error(c, 400, INVALID, "messages", NULL,
                            "messages[%zu].role: must be a string", i);
            return SP_EINVAL;
        }
        if (!content_ok(content)) {
            reply_set_error(c, 400, INVALID, "messages", NULL,
                            "messages[%zu].content: must be a string, null or a list of text parts",
                            i);
            return SP_EINVAL;
        }
        if (!content || json_is_null(content))
            json_object_set_new(m, "content", json_string(""));
    }
    return 0;
}
