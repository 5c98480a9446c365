/* Long texts: cut into parts that fit, asked for one by one, and for summaries and answers merged level by level until
 * one is left. Parameters that all have: "model", "params" (of sampling), "text"; and of
 *   translate: language, from, instructions       summary: language, length, instructions
 *   answer:    question, language, length, instructions
 *   template:  template (the whole of it), values: the first long field is the text */
#include <stdio.h>
#include <string.h>
#include "engine/engine.h"
#include "server/models_int.h"
#include "server/task_int.h"
#include "text/cut.h"

#define INVALID "invalid_request_error"
#define SEGMENT_TOKENS                                                                             \
    400 /* of a translation: what a small model translates without losing its way */
#define SECTION_TOKENS 3000            /* of what is read in one go */
#define NOTE_TOKENS 300                /* of what is kept of a section */
#define VALUES_MOST ((size_t)64 << 10) /* bytes, without the text: each event has them */
#define NOTE_EXTRA 8                   /* tokens: its number, and the lines between */
#define MARGIN_TOKENS 16               /* pieces put together may have other tokens at their ends */

/* ---- parameters ---- */

static bool bad(struct call *c, const char *param, const char *why)
{
    reply_set_error(c, 400, INVALID, param, NULL, "%s: %s", param, why);
    return false;
}

static bool no_memory(struct call *c)
{
    reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
    return false;
}

static const char *text_of(const json_t *j, const char *name)
{
    const char *text = json_string_value(json_object_get(j, name));
    return text ? text : "";
}

bool task_common(struct call *c, json_t *params)
{
    struct models *ms = c->s->models;
    const json_t *name = json_object_get(params, "model");
    if (name && !json_is_null(name) && !json_is_string(name))
        return bad(c, "model", "must be a string");
    pthread_mutex_lock(&ms->lock);
    const struct served_model *m = models_find(ms, c, json_string_value(name));
    json_t *first = m ? json_string(m->names[0]) : NULL;
    pthread_mutex_unlock(&ms->lock);
    if (first && !json_is_string(name))
        json_object_set(params, "model", first);
    json_decref(first);
    if (!first) {
        reply_set_error(c, 404, INVALID, "model", "model_not_found",
                        "model: '%.128s' is not served here: GET /v1/models lists what is",
                        text_of(params, "model"));
        return false;
    }
    return page_params(c, json_object_get(params, "params")) == 0;
}

static bool check_words(struct call *c, const json_t *params)
{
    static const struct {
        const char *name;
        size_t most;
    } texts[] = {{"language", 100}, {"from", 100}, {"instructions", 1000}, {"question", 4000}};
    static const char *const lengths[] = {"short", "medium", "long"};
    char why[64];
    for (size_t i = 0; i < SP_COUNT(texts); i++) {
        const json_t *j = json_object_get(params, texts[i].name);
        (void)snprintf(why, sizeof why, "must be a string of at most %zu bytes", texts[i].most);
        if (j && !json_is_null(j) && (!json_is_string(j) || json_string_length(j) > texts[i].most))
            return bad(c, texts[i].name, why);
    }
    const json_t *length = json_object_get(params, "length");
    if (!length || json_is_null(length))
        return true;
    for (size_t i = 0; i < SP_COUNT(lengths); i++)
        if (strcmp(text_of(params, "length"), lengths[i]) == 0)
            return true;
    return bad(c, "length", "must be short, medium or long");
}

static bool only(struct call *c, const json_t *params, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)params, key, value)
    {
        const char *const *k = known;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (!*k) {
            reply_set_error(c, 400, INVALID, "params", NULL, "params: there is no %.64s", key);
            return false;
        }
    }
    return true;
}

/* The text moves from `from` into the work. */
static bool take_text(struct call *c, json_t *from, const char *name, struct job_work *w)
{
    const json_t *text = json_object_get(from, name);
    if (!json_is_string(text))
        return bad(c, name, "must be a string");
    size_t n = json_string_length(text);
    if (task_trim((str){json_string_value(text), n}).n == 0)
        return bad(c, name, "must not be empty");
    if (n > TASK_TEXT_MOST)
        return bad(c, name, "has more than 4 MiB: cut it into several");
    w->input = sp_strndup(json_string_value(text), n);
    w->n_input = n;
    if (!w->input)
        return no_memory(c);
    if (!w->title[0])
        store_title_from(w->input, n, w->title);
    json_object_del(from, name);
    return true;
}

static bool prepare(struct call *c, json_t *params, struct job_work *w)
{
    static const char *const known[] = {"model",  "params",   "text",         "language", "from",
                                        "length", "question", "instructions", NULL};
    return only(c, params, known) && task_common(c, params) && check_words(c, params) &&
           take_text(c, params, "text", w);
}

static bool prepare_translate(struct call *c, json_t *params, struct job_work *w)
{
    if (!*text_of(params, "language"))
        return bad(c, "language", "says into which language it is translated");
    return prepare(c, params, w);
}

static bool prepare_answer(struct call *c, json_t *params, struct job_work *w)
{
    if (!*text_of(params, "question"))
        return bad(c, "question", "must be a string that is not empty");
    if (!w->title[0])
        store_title_from(text_of(params, "question"), strlen(text_of(params, "question")),
                         w->title);
    return prepare(c, params, w);
}

static bool prepare_template(struct call *c, json_t *params, struct job_work *w)
{
    static const char *const known[] = {"model", "params", "template", "values", NULL};
    json_t *t = json_object_get(params, "template"), *values = json_object_get(params, "values");
    sp_error err = {0};
    if (!json_is_object(t))
        return bad(c, "template", "must be an object");
    if (!json_is_object(values))
        return bad(c, "values", "must be an object");
    if (!only(c, params, known) || !task_common(c, params) || !template_check(c, t))
        return false;
    if (template_values(t, values, &err) < 0) {
        reply_set_error(c, 400, INVALID, "values", NULL, "values: %s", err.message);
        return false;
    }
    if (!w->title[0])
        (void)snprintf(w->title, sizeof w->title, "%s", text_of(t, "name"));
    const char *field = template_long_field(t);
    bool long_text = field && *text_of(values, field);
    if (long_text && !take_text(c, values, field, w))
        return false;
    if (json_dumpb(values, NULL, 0, JSON_COMPACT) > VALUES_MOST)
        return bad(c, "values", "too long: only the first field for a long text may hold one");
    if (long_text)
        return true;
    w->parts =
        json_pack("[{s:s,s:s,s:s,s:s}]", "role", "final", "before", "", "text", "", "after", "");
    w->total = 1;
    return w->parts != NULL || no_memory(c);
}

/* ---- requests ---- */

struct work {
    const char *kind;
    const json_t *params, *template;
    int64_t context, fixed; /* tokens: of the model; of a request with an empty text */
    int64_t answer;         /* most of a whole answer */
    int64_t sections;       /* for the words of a section */
};

static bool is_translate(const struct work *w)
{
    return strcmp(w->kind, "translate") == 0;
}

/* Parts are done one by one, and the result is all of them. */
static bool is_each(const struct work *w)
{
    return is_translate(w) || (w->template && strcmp(text_of(w->template, "mode"), "merge") != 0);
}

static json_t *merge_of_template(const struct work *w, str text, sp_error *err)
{
    buf b;
    json_t *list = json_array();
    (void)err;
    buf_init(&b, STORE_TEXT_MOST);
    buf_printf(
        &b,
        "The following are results for the sections of one text, in order. Combine them into one "
        "result. Each was made by this instruction:\n%s\n\nResults:\n",
        text_of(w->template, "prompt"));
    buf_add(&b, text.p, text.n);
    json_array_append_new(
        list, json_pack("{s:s,s:s%}", "role", "user", "content", b.data ? b.data : "", b.len));
    buf_free(&b);
    return list;
}

static json_t *messages_for(const struct work *w, str text, const struct task_place *place,
                            sp_error *err)
{
    if (!w->template)
        return task_messages(w->kind, w->params, text, place, err);
    if (place->stage == STAGE_MERGE)
        return merge_of_template(w, text, err);
    json_t *values = json_copy(json_object_get(w->params, "values"));
    const char *field = template_long_field(w->template);
    if (field && text.n)
        json_object_set_new(values, field, json_stringn(text.p, text.n));
    json_t *list = template_messages(w->template, values, err);
    json_decref(values);
    return list;
}

/* Takes messages. What the user has set goes before our own. */
static json_t *completion(const struct work *w, json_t *messages, int64_t most)
{
    json_t *r = json_pack("{s:o,s:I,s:f,s:{s:b}}", "messages", messages, "max_tokens",
                          (json_int_t)most, "temperature", is_translate(w) ? 0.0 : 0.3,
                          "chat_template_kwargs", "enable_thinking", 0);
    if (w->template)
        json_object_del(r, "temperature");
    json_object_update(r, json_object_get(w->template, "params"));
    json_object_update(r, json_object_get(w->params, "params"));
    json_object_set(r, "model", json_object_get(w->params, "model"));
    return r;
}

/* ---- sizes ---- */

static int count_messages(struct engine *e, json_t *messages, int64_t *tokens, sp_error *err)
{
    struct chat_opts co = {.add_generation_prompt = true};
    struct token_list ids = {0};
    int code = engine_chat(e) ? chat_encode(engine_chat(e), messages, &co, &ids, err)
                              : sp_fail(err, SP_EINVAL, "model: it has no chat template");
    *tokens = (int64_t)ids.n;
    token_list_free(&ids);
    json_decref(messages);
    return code;
}

/* The longest of the stages. */
static int measure(struct work *w, struct engine *e, sp_error *err)
{
    int code = 0;
    w->context = engine_context(e);
    w->answer = task_answer_tokens(w->kind, w->params);
    if (w->answer > w->context / 4)
        w->answer = w->context / 4;
    for (int stage = STAGE_WHOLE; code == 0 && stage <= STAGE_MERGE; stage++) {
        struct task_place place = {.stage = (enum task_stage)stage, .i = 9999, .n = 9999};
        if (is_translate(w) && stage == STAGE_MERGE)
            break;
        int64_t n = 0;
        json_t *messages = messages_for(w, str_of("."), &place, err);
        code = messages ? count_messages(e, messages, &n, err) : err->code;
        w->fixed = n > w->fixed ? n : w->fixed;
    }
    return code;
}

/* Most tokens of the text of one part; less than 1: the context is too small. */
static int64_t part_tokens(const struct work *w)
{
    int64_t room = w->context - w->fixed - MARGIN_TOKENS;
    if (is_translate(
            w)) { /* the words twice, the segment before and its translation, this one and its own */
        room = (w->context - 2 * w->fixed - 10 * MARGIN_TOKENS) / 6;
        return room < SEGMENT_TOKENS ? room : SEGMENT_TOKENS;
    }
    room -= w->answer;
    return room < SECTION_TOKENS ? room : SECTION_TOKENS;
}

/* ---- the plan ---- */

static json_t *piece_json(const char *role, str piece)
{
    str core = task_trim(piece);
    const char *end = piece.p + piece.n, *behind = core.p + core.n;
    return json_pack("{s:s,s:s%,s:s%,s:s%}", "role", role, "before", piece.p,
                     (size_t)(core.p - piece.p), "text", core.p, core.n, "after", behind,
                     (size_t)(end - behind));
}

/* Blanks alone, as a text may begin with, go to the piece behind them. How many pieces are left. */
static size_t join_blanks(const char *text, struct cut_piece *pieces, size_t n)
{
    size_t made = 0, begin = 0;
    for (size_t i = 0; i < n; i++) {
        str piece = {text + pieces[i].begin, pieces[i].end - pieces[i].begin};
        bool blank = task_trim(piece).n == 0;
        if (blank && i + 1 < n)
            continue;
        if (blank && made > 0) {
            pieces[made - 1].end = pieces[i].end;
            continue;
        }
        pieces[made].begin = begin;
        pieces[made++].end = begin = pieces[i].end;
    }
    return made;
}

static int plan_parts(const struct work *w, const char *text, struct cut_piece *pieces, size_t n,
                      json_t **out, sp_error *err)
{
    n = join_blanks(text, pieces, n);
    json_t *list = json_array();
    const char *role = is_each(w) ? "segment" : n == 1 ? "final" : "section";
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            list, piece_json(role, (str){text + pieces[i].begin, pieces[i].end - pieces[i].begin}));
    *out = list;
    return json_array_size(list) == n ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

static int plan(struct task *t, struct work *w, struct engine *e, sp_error *err)
{
    char *text = NULL;
    size_t n = 0, n_pieces = 0;
    struct cut_piece *pieces = NULL;
    json_t *parts = NULL;
    int64_t most = part_tokens(w);
    struct cut_opts cut = {.most = most,
                           .paragraphs = is_translate(w),
                           .count = cut_count_tokens,
                           .arg = (void *)(uintptr_t)engine_tokenizer(e)};
    if (most < 16)
        return sp_fail(
            err, SP_EINVAL,
            "the model's context of %lld tokens is too small for this task: its words alone take "
            "%lld: serve it with a larger --max-context",
            (long long)w->context, (long long)w->fixed);
    sp_error none = {0};
    int code = store_job_input(job_store(t->j), job_id(t->j), &text, &n, &none);
    if (code == SP_ENOTFOUND) /* it has its parts already */
        return 0;
    if (code < 0)
        *err = none;
    if (code == 0)
        code = text_cut((str){text, n}, &cut, &pieces, &n_pieces, err);
    if (code == 0)
        code = plan_parts(w, text, pieces, n_pieces, &parts, err);
    if (code == 0)
        code = store_parts_add(job_store(t->j), job_id(t->j), parts, err);
    json_decref(parts);
    sp_free(pieces);
    sp_free(text);
    return code;
}

/* ---- a part's request ---- */

static int one_part(struct task *t, int64_t number, json_t **out, sp_error *err)
{
    struct store_part_query q = {.from = number, .limit = 1};
    json_t *list = NULL;
    int code = store_parts(job_store(t->j), job_id(t->j), &q, &list, err);
    *out = json_incref(json_array_get(list, 0));
    json_decref(list);
    return code;
}

/* What is merged: the texts of its parts, in order. */
static int join_notes(struct task *t, const json_t *of, buf *out, sp_error *err)
{
    size_t i;
    const json_t *number;
    int code = 0;
    json_array_foreach((json_t *)(uintptr_t)of, i, number)
    {
        json_t *part = NULL;
        if (code == 0)
            code = one_part(t, json_integer_value(number), &part, err);
        const json_t *text = json_object_get(json_object_get(part, "result"), "text");
        buf_printf(out, "%s%zu. ", i ? "\n\n" : "", i + 1);
        buf_add(out, json_string_value(text), json_string_length(text));
        json_decref(part);
    }
    return code == 0 && out->failed ? sp_fail(err, SP_ENOMEM, "out of memory") : code;
}

static int64_t most_tokens(const struct work *w, const char *role)
{
    int64_t note = NOTE_TOKENS < w->context / 4 ? NOTE_TOKENS : w->context / 4;
    if (is_translate(w))
        return 2 * part_tokens(w) + 64;
    return strcmp(role, "section") == 0 || strcmp(role, "merge") == 0 ? note : w->answer;
}

static json_t *request(struct task *t, const json_t *part, sp_error *err)
{
    struct work *w = t->state;
    const json_t *source = json_object_get(part, "source"), *of = json_object_get(source, "of");
    const char *role = text_of(source, "role");
    int64_t number = json_integer_value(json_object_get(part, "number"));
    struct task_place place = {.stage = of                             ? STAGE_MERGE
                                        : strcmp(role, "section") == 0 ? STAGE_SECTION
                                                                       : STAGE_WHOLE,
                               .i = number + 1,
                               .n = w->sections};
    const json_t *text = json_object_get(source, "text");
    json_t *before = NULL, *r = NULL;
    buf notes;
    buf_init(&notes, STORE_TEXT_MOST);
    int code = of ? join_notes(t, of, &notes, err) : 0;
    if (code == 0 && is_translate(w) && number > 0)
        code = one_part(t, number - 1, &before, err);
    place.before = before;
    str said = of ? (str){notes.data, notes.len}
                  : (str){json_string_value(text), json_string_length(text)};
    json_t *messages = code == 0 ? messages_for(w, said, &place, err) : NULL;
    if (messages)
        r = completion(w, messages, most_tokens(w, role));
    json_decref(before);
    buf_free(&notes);
    return r;
}

/* ---- levels of merging ---- */

/* The parts that nothing has merged yet: the last level. */
struct level {
    int64_t first, n; /* numbers first .. first + n - 1 */
    bool final;       /* it is the whole result */
};

/* Sections come first, then each level of merges, the next one always behind the one that it merges. */
static int last_level(struct task *t, struct level *l, json_t **parts, sp_error *err)
{
    int64_t all = 0, done = 0;
    struct store_part_query q = {.limit = STORE_PAGE_MOST};
    int64_t merged = 0; /* all below this are merged */
    int code = store_parts_count(job_store(t->j), job_id(t->j), &all, &done, err);
    *parts = json_array();
    while (code == 0 && q.from < all) {
        json_t *list = NULL;
        size_t i;
        json_t *part;
        code = store_parts(job_store(t->j), job_id(t->j), &q, &list, err);
        json_array_foreach(list, i, part)
        {
            const json_t *source = json_object_get(part, "source");
            const json_t *of = json_object_get(source, "of");
            size_t n = json_array_size(of);
            if (n)
                merged = json_integer_value(json_array_get(of, n - 1)) + 1;
            l->final = strcmp(text_of(source, "role"), "final") == 0;
            json_array_append(*parts, part);
        }
        q.from += (int64_t)json_array_size(list);
        json_decref(list);
    }
    l->first = merged;
    l->n = all - merged;
    return code;
}

static int note_tokens(struct engine *e, const json_t *part, int64_t *n, sp_error *err)
{
    const json_t *text = json_object_get(json_object_get(part, "result"), "text");
    str note = {json_string_value(text), json_string_length(text)};
    int code = cut_count_tokens((void *)(uintptr_t)engine_tokenizer(e), note, n, err);
    *n += NOTE_EXTRA;
    return code;
}

/* Groups of notes that fit into one request, two at least: else there would never be fewer. */
static int group(const struct work *w, struct engine *e, const json_t *parts, const struct level *l,
                 json_t **out, sp_error *err)
{
    int64_t room = w->context - w->fixed - w->answer - MARGIN_TOKENS, sum = 0, n = 0;
    json_t *list = *out = json_array(), *of = json_array();
    int code = 0;
    for (int64_t i = l->first; code == 0 && i < l->first + l->n; i++) {
        code = note_tokens(e, json_array_get(parts, (size_t)i), &n, err);
        if (json_array_size(of) >= 2 && sum + n > room) {
            json_array_append_new(list, json_pack("{s:s,s:o}", "role", "merge", "of", of));
            of = json_array();
            sum = 0;
        }
        json_array_append_new(of, json_integer(i));
        sum += n;
    }
    bool one = json_array_size(list) == 0;
    json_array_append_new(list, json_pack("{s:s,s:o}", "role", one ? "final" : "merge", "of", of));
    return code;
}

/* The notes of the last level are put into groups, each a part that merges them. */
static int add_merges(struct task *t, struct work *w, const json_t *parts, const struct level *l,
                      sp_error *err)
{
    struct engine *e = NULL;
    json_t *merges = NULL;
    int code = task_hold(t, text_of(w->params, "model"), &e, err);
    if (code < 0)
        return code;
    code = group(w, e, parts, l, &merges, err);
    task_let_go(t);
    if (code == 0)
        code = store_parts_add(job_store(t->j), job_id(t->j), merges, err);
    json_decref(merges);
    return code;
}

/* *over: the last level is the result. */
static int next_level(struct task *t, struct work *w, bool *over, sp_error *err)
{
    struct level l = {.n = 0};
    json_t *parts = NULL;
    int code = last_level(t, &l, &parts, err);
    *over = code < 0 || is_each(w) || l.final;
    if (!*over)
        code = add_merges(t, w, parts, &l, err);
    json_decref(parts);
    return code;
}

/* ---- the job ---- */

static int begin(struct task *t, struct work *w, sp_error *err)
{
    struct engine *e = NULL;
    int64_t all = 0, done = 0;
    int code = task_hold(t, text_of(w->params, "model"), &e, err);
    if (code < 0)
        return code;
    code = measure(w, e, err);
    if (code == 0)
        code = plan(t, w, e, err);
    task_let_go(t);
    if (code == 0)
        code = store_parts_count(job_store(t->j), job_id(t->j), &all, &done, err);
    w->sections = all;
    return code;
}

static int run(struct server *s, job_run *j, const char *kind, json_t **result, sp_error *err)
{
    const json_t *params = job_params(j);
    struct work w = {
        .kind = kind, .params = params, .template = json_object_get(params, "template")};
    struct task t = {.at_once = 4, .priority = TASK_PRIORITY, .shows = true, .state = &w};
    bool over = false;
    t.request = request;
    if (is_translate(&w))
        t.at_once = 1; /* each is translated with the one before in view */
    task_open(&t, s, j);
    int code = begin(&t, &w, err);
    while (code == 0 && !over) {
        code = task_do_parts(&t, err);
        if (code == 0)
            code = next_level(&t, &w, &over, err);
    }
    if (code == 0)
        code = task_totals(&t, result, err);
    task_close(&t);
    return code;
}

static int run_translate(void *arg, job_run *j, json_t **result, sp_error *err)
{
    return run(arg, j, "translate", result, err);
}

static int run_summary(void *arg, job_run *j, json_t **result, sp_error *err)
{
    return run(arg, j, "summary", result, err);
}

static int run_answer(void *arg, job_run *j, json_t **result, sp_error *err)
{
    return run(arg, j, "answer", result, err);
}

static int run_template(void *arg, job_run *j, json_t **result, sp_error *err)
{
    return run(arg, j, "template", result, err);
}

#define KIND(id, name_, run_, prepare_)                                                            \
    const struct page_kind id = {                                                                  \
        .job = {.name = name_, .unit = "items", .at_once = 2, .resumes = true, .run = run_},       \
        .prepare = prepare_,                                                                       \
        .download = task_download}

KIND(translate_kind, "translate", run_translate, prepare_translate);
KIND(summary_kind, "summary", run_summary, prepare);
KIND(answer_kind, "answer", run_answer, prepare_answer);
KIND(template_kind, "template", run_template, prepare_template);
