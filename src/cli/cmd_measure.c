/* eval: quality through the engine; config. */
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "cli/cli_int.h"
#include "eval/eval.h"

#define TEXT_MAX ((size_t)1 << 30) /* bytes of a text to measure on */

static void show_share(void *arg, int64_t done, int64_t total)
{
    char line[80];
    snprintf(line, sizeof line, "%s: %d%%", (const char *)arg,
             total ? (int)(100.0 * (double)done / (double)total) : 0);
    term_status(line);
}

static int perplexity(const options *o, const struct perplexity_opts *po, sp_error *err)
{
    engine *e = NULL;
    struct perplexity_result r;
    int code = cli_engine(o, NULL, &e, err);
    if (code == 0)
        code = eval_perplexity(e, po, &r, err);
    term_status(NULL);
    if (code == 0 && options_bool(o, "json"))
        cli_print_json(json_pack("{s:s,s:f,s:f,s:f,s:I,s:I,s:I,s:f,s:s}", "eval", "perplexity",
                                 "perplexity", r.perplexity, "mean_nll", r.mean_nll, "stderr_nll",
                                 r.stderr_nll, "tokens", (json_int_t)r.tokens, "windows",
                                 (json_int_t)r.windows, "context", (json_int_t)po->context,
                                 "seconds", r.seconds, "compute",
                                 cli_compute(o) == COMPUTE_F32 ? "f32" : "fast"));
    else if (code == 0)
        printf("perplexity %.4f (mean negative log-likelihood %.5f ± %.5f nats) over %lld tokens "
               "in %lld "
               "windows of %lld, %.1f s\n",
               r.perplexity, r.mean_nll, r.stderr_nll, (long long)r.tokens, (long long)r.windows,
               (long long)po->context, r.seconds);
    engine_close(e);
    return code;
}

static void print_kl(const options *o, const struct kl_result *r)
{
    if (options_bool(o, "json"))
        cli_print_json(json_pack("{s:s,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:I}", "eval", "kl",
                                 "mean", r->mean, "stderr", r->stderr_mean, "p50", r->p50, "p90",
                                 r->p90, "p99", r->p99, "max", r->max, "top1", r->top1,
                                 "perplexity_reference", r->perplexity_reference, "perplexity",
                                 r->perplexity_candidate, "tokens", (json_int_t)r->tokens));
    else
        printf("mean KL %.6f ± %.6f nats (median %.6f, 90%% %.6f, 99%% %.6f, max %.4f)\n"
               "same best token at %.2f%% of %lld positions\n"
               "perplexity %.4f, of the reference %.4f (ratio %.5f)\n",
               r->mean, r->stderr_mean, r->p50, r->p90, r->p99, r->max, 100 * r->top1,
               (long long)r->tokens, r->perplexity_candidate, r->perplexity_reference,
               r->perplexity_candidate / r->perplexity_reference);
}

/* The reference: --reference MODEL under f32, or the same model under f32. */
static int kl(const options *o, const struct perplexity_opts *po, sp_error *err)
{
    engine *reference = NULL, *candidate = NULL;
    struct kl_result r;
    int code = cli_engine_exact(o, options_str(o, "reference"), &reference, err);
    if (code == 0)
        code = cli_engine(o, NULL, &candidate, err);
    if (code == 0)
        code = eval_kl(reference, candidate, po, &r, err);
    term_status(NULL);
    if (code == 0)
        print_kl(o, &r);
    engine_close(candidate);
    engine_close(reference);
    return code;
}

int cmd_eval(const options *o, sp_error *err)
{
    const char *what = "", *file = options_str(o, "file");
    char *text = NULL;
    struct perplexity_opts po = {.progress = show_share};
    int code = cli_one_word(o, "eval", "perplexity or kl", &what, err);
    if (code == 0 && !file)
        code =
            sp_fail(err, SP_EUSAGE, "eval %s needs --file PATH, a UTF-8 text to measure on", what);
    if (code == 0)
        code = file_read(file, TEXT_MAX, &text, &po.n_text, err);
    po.text = text;
    po.context = options_has(o, "context") ? options_int(o, "context") : 512;
    po.skip = options_has(o, "skip") ? options_int(o, "skip") : 0;
    po.max_tokens = options_has(o, "max-tokens") ? options_int(o, "max-tokens") : 0;
    po.arg = (void *)(uintptr_t) "eval";
    if (code == 0 && strcmp(what, "perplexity") == 0)
        code = perplexity(o, &po, err);
    else if (code == 0 && strcmp(what, "kl") == 0)
        code = kl(o, &po, err);
    else if (code == 0)
        code = sp_fail(err, SP_EUSAGE, "eval: unknown measure '%s': there are perplexity and kl",
                       what);
    sp_free(text);
    return code;
}

int cmd_config(const options *o, sp_error *err)
{
    const char *what = "";
    buf out;
    int code = cli_one_word(o, "config", "show", &what, err);
    if (code == 0 && strcmp(what, "show") != 0)
        code = sp_fail(err, SP_EUSAGE, "config: unknown word '%s': there is show", what);
    if (code < 0)
        return code;
    buf_init(&out, 1 << 20);
    options_show(o, options_bool(o, "json"), &out);
    if (out.len)
        fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
    return 0;
}
