#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli_int.h"

#define PROMPT_MAX ((size_t)64 << 20) /* bytes; no context is that long */

static int read_stdin(buf *out, sp_error *err)
{
    char chunk[65536];
    for (;;) {
        ssize_t got = read(STDIN_FILENO, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sp_fail(err, SP_EIO, "standard input: %s", strerror(errno));
        if (got == 0)
            return 0;
        if (buf_add(out, chunk, (size_t)got) < 0)
            return sp_fail(err, SP_EFULL, "standard input: more than %zu MB: give a shorter prompt",
                           PROMPT_MAX >> 20);
    }
}

/* The prompt: the arguments joined by spaces, else standard input. */
static int read_prompt(const options *o, buf *out, sp_error *err)
{
    const char *const *args;
    size_t n = options_args(o, &args);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ' ');
        buf_puts(out, args[i]);
    }
    if (n == 0) {
        if (term_is_tty(STDIN_FILENO))
            return sp_fail(err, SP_EUSAGE,
                           "no prompt: give one as an argument or on standard input");
        int code = read_stdin(out, err);
        if (code < 0)
            return code;
    }
    if (out->failed)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    if (out->len == 0)
        return sp_fail(err, SP_EUSAGE,
                       "the prompt is empty: give one as an argument or on standard input");
    return 0;
}

static int encode_raw(engine *e, const buf *prompt, struct token_list *ids, sp_error *err)
{
    struct encode_opts eo = {.special = SPECIAL_ALL, .add_bos = true};
    return tokenizer_encode(engine_tokenizer(e), prompt->data, prompt->len, &eo, ids, err);
}

static int encode_chat(engine *e, const options *o, const buf *prompt, struct token_list *ids,
                       sp_error *err)
{
    const char *system = options_str(o, "system");
    struct chat_opts co = {.add_generation_prompt = true,
                           .allow_special = options_bool(o, "allow-special")};
    json_t *messages = json_array();
    if (system)
        json_array_append_new(messages,
                              json_pack("{s:s,s:s}", "role", "system", "content", system));
    json_t *text = json_stringn(prompt->data, prompt->len);
    int code = 0;
    if (!text)
        code = sp_fail(err, SP_EINVAL,
                       "the prompt is not UTF-8 text: convert it first, for example with iconv");
    else
        json_array_append_new(messages, json_pack("{s:s,s:o}", "role", "user", "content", text));
    if (code == 0)
        code = chat_encode(engine_chat(e), messages, &co, ids, err);
    json_decref(messages);
    return code;
}

static int encode(engine *e, const options *o, const buf *prompt, struct token_list *ids,
                  sp_error *err)
{
    if (options_bool(o, "raw"))
        return encode_raw(e, prompt, ids, err);
    if (engine_chat(e))
        return encode_chat(e, o, prompt, ids, err);
    return sp_fail(err, SP_EUSAGE,
                   "this model has no chat template: use --raw to let it continue the text");
}

static int answer(engine *e, const options *o, const struct token_list *ids, sp_error *err)
{
    struct engine_request r = engine_request_default(e);
    const char *const *stops;
    r.prompt = ids->ids;
    r.n_prompt = ids->n;
    r.max_tokens = options_has(o, "max-tokens") ? options_int(o, "max-tokens") : -1;
    r.n_stop = options_list(o, "stop", &stops);
    r.stop = stops;
    int code = cli_sampling(o, &r.sampling, err);
    if (code < 0)
        return code;
    struct answer a;
    code = answer_get(e, &r, true, &a, err);
    if (code == 0 && term_is_tty(STDOUT_FILENO) &&
        (a.text.len == 0 || a.text.data[a.text.len - 1] != '\n'))
        printf("\n");
    if (code == 0 && a.reason == FINISH_LENGTH && !options_has(o, "max-tokens"))
        fprintf(stderr, "sampan: the context of %lld tokens is full: --max-context N gives more\n",
                (long long)engine_context(e));
    if (code == 0 && options_bool(o, "stats")) {
        buf line;
        buf_init(&line, 4096);
        answer_stats(&a, &line);
        fprintf(stderr, "%s\n", line.data ? line.data : "");
        buf_free(&line);
    }
    answer_free(&a);
    return code;
}

int cmd_run(const options *o, sp_error *err)
{
    buf prompt;
    engine *e = NULL;
    struct token_list ids = {0};
    buf_init(&prompt, PROMPT_MAX);
    int code = read_prompt(o, &prompt, err);
    if (code == 0)
        code = cli_engine(o, NULL, &e, err);
    if (code == 0)
        code = encode(e, o, &prompt, &ids, err);
    if (code == 0)
        code = answer(e, o, &ids, err);
    engine_close(e);
    token_list_free(&ids);
    buf_free(&prompt);
    return code;
}
