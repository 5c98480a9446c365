/* What models are told: the words of the built-in tasks, in English and in Chinese. Small models answer in the language
 * that they are asked in, so the words are in the language that the answer is to have. */
#include <stdio.h>
#include <string.h>
#include "server/task_int.h"

struct words {
    const char *kind;
    const char *system[2];  /* English, Chinese */
    const char *user[3][2]; /* by stage */
};

static const struct words words[] = {
    {"translate",
     {"You are a professional translator. You translate faithfully and completely, and keep tone, "
      "names, "
      "numbers, line breaks and Markdown as they are. You reply with the translation only.",
      "你是专业译者，翻译忠实完整，语气、人名、数字、换行和 Markdown 保持原样。只回复译文。"},
     {{"Translate the following text{{from}} into {{language}}.{{extra}}\n\n{{text}}",
       "请把下面的文字{{from}}翻译成{{language}}。{{extra}}\n\n{{text}}"},
      {"Translate the following text{{from}} into {{language}}.{{extra}}\n\n{{text}}",
       "请把下面的文字{{from}}翻译成{{language}}。{{extra}}\n\n{{text}}"},
      {NULL, NULL}}},
    {"summary",
     {"You summarise texts faithfully: only what the text says, in your own words, without "
      "opinions.",
      "你忠实地概括文章：只写文中说到的内容，用自己的话，不加评论。"},
     {{"Summarise the following text {{size}}{{language}}.{{extra}}\n\nText:\n{{text}}\n\nSummary:",
       "请{{size}}{{language}}概括下面的文章。{{extra}}\n\n文章：\n{{text}}\n\n概括："},
      {"The following is section {{i}} of {{n}} of a longer text. Summarise what it says in a few "
       "sentences{{language}}.{{extra}}\n\nSection:\n{{text}}\n\nSummary:",
       "下面是一篇长文的第 {{i}} 部分，共 {{n}} "
       "部分。请用几句话{{language}}概括它的内容。{{extra}}\n\n这一部分：\n{{text}}\n\n概括："},
      {"The following are summaries of the sections of one text, in order. Combine them into one "
       "summary "
       "of the whole text {{size}}{{language}}.{{extra}}\n\n{{text}}\n\nSummary of the whole:",
       "下面按顺序列出一篇文章各部分的概括。请{{size}}{{language}}把它们合成全文的概括。{{extra}}"
       "\n\n"
       "{{text}}\n\n全文概括："}}},
    {"answer",
     {"You answer questions about a text from that text only. When it does not hold the answer you "
      "say so.",
      "你只根据所给的文章回答问题。文章里没有答案时，就说没有。"},
     {{"Text:\n{{text}}\n\nAnswer this question from the text{{language}}{{size}}: "
       "{{question}}{{extra}}",
       "文章：\n{{text}}\n\n请根据文章{{language}}回答{{size}}：{{question}}{{extra}}"},
      {"Section {{i}} of {{n}} of a longer text:\n{{text}}\n\nWrite down{{language}} what this "
       "section "
       "says that helps to answer the question below. If it says nothing about it, write: nothing."
       "\n\nQuestion: {{question}}{{extra}}",
       "一篇长文的第 {{i}} 部分，共 {{n}} "
       "部分：\n{{text}}\n\n请{{language}}"
       "写下这一部分中有助于回答下面问题的内容；如果没有，就写：无。"
       "\n\n问题：{{question}}{{extra}}"},
      {"Notes from the sections of one text, in order:\n{{text}}\n\nAnswer this question from the "
       "notes{{language}}{{size}}: {{question}}{{extra}}",
       "从一篇文章各部分按顺序摘出的笔记：\n{{text}}\n\n请根据笔记{{language}}回答{{size}}："
       "{{question}}{{extra}}"}}},
};

/* Bytes of the blank that text begins with (or ends with); 0: none. */
static size_t blank_of(str text, bool at_end)
{
    static const char *const blanks[] = {" ", "\t", "\r", "\n", "\xc2\xa0", "\xe3\x80\x80"};
    for (size_t i = 0; i < SP_COUNT(blanks); i++)
        if (at_end ? str_ends(text, blanks[i]) : str_starts(text, blanks[i]))
            return strlen(blanks[i]);
    return 0;
}

str task_trim(str text)
{
    size_t n;
    while ((n = blank_of(text, false)) > 0) {
        text.p += n;
        text.n -= n;
    }
    while ((n = blank_of(text, true)) > 0)
        text.n -= n;
    return text;
}

/* ---- {{name}} ---- */

/* The next {{name}} from p on: *name; where it begins and ends. 1: there is one, 0: none. */
static int next_name(const char *p, const char **begin, const char **end, str *name, sp_error *err)
{
    *begin = strstr(p, "{{");
    if (!*begin)
        return 0;
    const char *close = strstr(*begin, "}}");
    if (!close)
        return sp_fail(err, SP_EINVAL, "prompt: a {{ has no }}");
    str inside = str_trim((str){*begin + 2, (size_t)(close - *begin - 2)});
    *name = inside;
    *end = close + 2;
    return 1;
}

int task_names(const char *text, int (*each)(void *arg, str name), void *arg, sp_error *err)
{
    const char *begin, *end = text;
    str name;
    int code;
    while ((code = next_name(end, &begin, &end, &name, err)) == 1) {
        int said = each(arg, name);
        if (said)
            return said;
    }
    return code;
}

static int put_value(const json_t *v, buf *out)
{
    if (json_is_string(v))
        return buf_add(out, json_string_value(v), json_string_length(v));
    if (json_is_integer(v))
        return buf_printf(out, "%lld", (long long)json_integer_value(v));
    return buf_printf(out, "%.10g", json_number_value(v));
}

int task_fill(const char *text, const json_t *values, buf *out, sp_error *err)
{
    const char *begin, *end = text, *at = text;
    char key[128];
    str name;
    int code;
    while ((code = next_name(end, &begin, &end, &name, err)) == 1) {
        (void)snprintf(key, sizeof key, "%.*s", (int)name.n, name.p);
        const json_t *v = json_object_get(values, key);
        if (!json_is_string(v) && !json_is_number(v))
            return sp_fail(err, SP_EINVAL, "%s: has no value", key);
        buf_add(out, at, (size_t)(begin - at));
        (void)put_value(v, out);
        at = end;
    }
    buf_puts(out, at);
    return code < 0 ? code : out->failed ? sp_fail(err, SP_ENOMEM, "out of memory") : 0;
}

/* ---- the built-in tasks ---- */

bool text_is_chinese(str text)
{
    size_t wide = 0, latin = 0;
    for (size_t at = 0; at < text.n && at < 20000;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text.p + at, text.n - at, &cp);
        wide += cp >= 0x4e00 && cp <= 0x9fff;
        latin += (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
        at += n ? n : 1;
    }
    return 3 * wide > latin; /* a word has several letters */
}

static const char *text_of(const json_t *params, const char *name)
{
    const char *text = json_string_value(json_object_get(params, name));
    return text ? text : "";
}

static bool language_is_chinese(const char *language)
{
    static const char *const names[] = {"chinese", "zh",       "zh-cn",   "simplified chinese",
                                        "中文",    "简体中文", "汉语",    "普通话",
                                        "zh-hans", "繁體中文", "繁体中文"};
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (str_eqz_nocase(str_of(language), names[i]))
            return true;
    return false;
}

enum length { SHORT, MEDIUM, LONG };

static enum length length_of(const json_t *params)
{
    const char *text = text_of(params, "length");
    return strcmp(text, "short") == 0 ? SHORT : strcmp(text, "long") == 0 ? LONG : MEDIUM;
}

int task_answer_tokens(const char *kind, const json_t *params)
{
    static const int tokens[] = {200, 500, 1200};
    (void)kind;
    return tokens[length_of(params)];
}

/* Values for the words of a task. */
static json_t *values_for(const struct words *w, const json_t *params, str text,
                          const struct task_place *place, int zh)
{
    static const char *const sizes[3][2] = {{" in about 50 words", "用大约 80 个字"},
                                            {" in about 150 words", "用大约 250 个字"},
                                            {" in about 400 words", "用大约 700 个字"}};
    bool answer = strcmp(w->kind, "answer") == 0, translate = strcmp(w->kind, "translate") == 0;
    const char *language = text_of(params, "language"), *from = text_of(params, "from"),
               *extra = text_of(params, "instructions");
    char in[256] = "", source[256] = "", more[2048] = "";
    if (translate)
        (void)snprintf(in, sizeof in, "%s", language);
    else if (*language)
        (void)snprintf(in, sizeof in, zh ? "用%s" : " in %s", language);
    else if (!zh && !answer)
        (void)snprintf(in, sizeof in, " in the language that it is written in");
    if (*from)
        (void)snprintf(source, sizeof source, zh ? "从%s" : " from %s", from);
    if (*extra)
        (void)snprintf(more, sizeof more, zh ? "要求：%s" : " %s", extra);
    const char *size = sizes[length_of(params)][zh];
    if (answer && !*text_of(params, "length"))
        size = "";
    return json_pack("{s:s%,s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "text", text.p, text.n, "language", in,
                     "from", source, "extra", more, "question", text_of(params, "question"), "size",
                     !zh && !answer && *size ? size + 1 : size, "i", (json_int_t)place->i, "n",
                     (json_int_t)place->n);
}

static json_t *message(const char *role, const char *text, size_t n)
{
    return json_pack("{s:s,s:s%}", "role", role, "content", text ? text : "", n);
}

static int add_user(json_t *list, const struct words *w, const json_t *params, str text,
                    const struct task_place *place, sp_error *err)
{
    bool same = *text_of(params, "language") == '\0';
    int zh = same ? text_is_chinese(text) : language_is_chinese(text_of(params, "language"));
    json_t *values = values_for(w, params, text, place, zh);
    buf b;
    buf_init(&b, STORE_TEXT_MOST);
    int code = values ? task_fill(w->user[place->stage][zh], values, &b, err)
                      : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && json_array_size(list) == 0)
        json_array_append_new(list, message("system", w->system[zh], strlen(w->system[zh])));
    if (code == 0)
        json_array_append_new(list, message("user", b.data, b.len));
    buf_free(&b);
    json_decref(values);
    return code;
}

static const struct words *words_of(const char *kind)
{
    for (size_t i = 0; i < SP_COUNT(words); i++)
        if (strcmp(words[i].kind, kind) == 0)
            return &words[i];
    return NULL;
}

json_t *task_messages(const char *kind, const json_t *params, str text,
                      const struct task_place *place, sp_error *err)
{
    const struct words *w = words_of(kind);
    json_t *list = json_array();
    int code = 0;
    const json_t *result = json_object_get(place->before, "result");
    const char *said = json_string_value(json_object_get(result, "text"));
    const json_t *source = json_object_get(json_object_get(place->before, "source"), "text");
    const char *reason = json_string_value(json_object_get(result, "finish_reason"));
    bool whole = reason && strcmp(reason, "stop") == 0;
    if (whole && said && *said && json_is_string(source)) {
        str last = {json_string_value(source), json_string_length(source)};
        code = add_user(list, w, params, last, place, err);
        json_array_append_new(list, message("assistant", said, strlen(said)));
    }
    if (code == 0)
        code = add_user(list, w, params, text, place, err);
    if (code == 0)
        return list;
    json_decref(list);
    return NULL;
}
