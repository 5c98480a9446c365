/* Decode speed with and without speculation, in pairs, one right after the other, the order changing; the texts must be
 * the same.
 *
 *     bench_speculate MODEL TASKS.json [-p pairs] [-t temperature] [-s sequences] [-k kind] [-m draft_max]
 *                     [-j threads]
 *
 * MODEL is a GGUF file or a folder; TASKS.json is speculation.json beside this file. Each task is a message, answered
 * by `sequences` requests at once. Tokens/s: of all of them, from the first token to the last; beside their ratio that
 * of the process's CPU time, which other programs disturb less (with one thread: more spin while they wait). Prints a
 * Markdown table; exits with 1 where a text differs. */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "engine/engine.h"

#define PAIRS_MOST 101
#define SEQUENCES_MOST 64

struct opts {
    const char *model, *tasks, *kind;
    int pairs, sequences, draft_max, threads;
    double temperature;
};

struct answer {
    struct crowd *crowd;
    uint64_t hash; /* FNV-1a of the tokens */
    int64_t tokens;
};

/* Requests that run together. */
struct crowd {
    pthread_mutex_t lock;
    pthread_cond_t over;
    int running;
    bool failed;
    double first, last, cpu_first, cpu_last;
    struct answer answers[SEQUENCES_MOST];
    int64_t tokens;
};

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_event(const struct engine_event *ev)
{
    struct answer *a = ev->user;
    struct crowd *c = a->crowd;
    if (ev->kind == EVENT_TOKEN) {
        a->hash = (a->hash ^ (uint64_t)(uint32_t)ev->token) * 0x100000001B3u;
        a->tokens++;
        c->tokens++;
        c->last = clock_seconds();
        c->cpu_last = cpu_seconds();
        if (c->tokens == 1) {
            c->first = c->last;
            c->cpu_first = c->cpu_last;
        }
    }
    if (ev->kind != EVENT_DONE)
        return;
    pthread_mutex_lock(&c->lock);
    c->running--;
    c->failed |= ev->reason == FINISH_ERROR;
    pthread_cond_signal(&c->over);
    pthread_mutex_unlock(&c->lock);
}

static int run_once(engine *e, const struct token_list *ids, const struct opts *o,
                    int64_t max_tokens, int speculate, struct crowd *c, sp_error *err)
{
    int code = 0;
    *c = (struct crowd){.lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER};
    for (int i = 0; i < o->sequences && code == 0; i++) {
        struct engine_request r = engine_request_default(e);
        uint64_t id;
        c->answers[i] = (struct answer){.crowd = c, .hash = 0xCBF29CE484222325u};
        r.prompt = ids->ids, r.n_prompt = ids->n;
        r.max_tokens = max_tokens;
        r.sampling.temperature = (float)o->temperature;
        r.sampling.seed = (uint64_t)i + 1;
        r.speculate = speculate;
        r.sink = on_event, r.user = &c->answers[i];
        pthread_mutex_lock(&c->lock);
        c->running++;
        pthread_mutex_unlock(&c->lock);
        code = engine_submit(e, &r, &id, err);
        if (code == 0)
            continue;
        pthread_mutex_lock(&c->lock);
        c->running--;
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_lock(&c->lock);
    while (c->running > 0)
        pthread_cond_wait(&c->over, &c->lock);
    pthread_mutex_unlock(&c->lock);
    return code == 0 && c->failed ? sp_fail(err, SP_EINTERNAL, "a request failed") : code;
}

static double rate_of(const struct crowd *c)
{
    return c->last > c->first ? (double)(c->tokens - 1) / (c->last - c->first) : 0;
}

static bool same(const struct crowd *a, const struct crowd *b, int n)
{
    for (int i = 0; i < n; i++)
        if (a->answers[i].hash != b->answers[i].hash ||
            a->answers[i].tokens != b->answers[i].tokens)
            return false;
    return true;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static int encode(engine *e, const char *prompt, struct token_list *ids, sp_error *err)
{
    struct chat_opts co = {.add_generation_prompt = true};
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", prompt);
    if (!engine_chat(e))
        return sp_fail(err, SP_EUSAGE, "the model has no chat template");
    int code = chat_encode(engine_chat(e), messages, &co, ids, err);
    json_decref(messages);
    return code;
}

/* One line of the table. */
static int run_task(engine *e, const struct opts *o, const json_t *task, sp_error *err)
{
    static struct crowd with, without;
    double on[PAIRS_MOST], off[PAIRS_MOST], ratio[PAIRS_MOST], cpu[PAIRS_MOST];
    struct token_list ids = {0};
    struct engine_stats before, after;
    int64_t most = json_integer_value(json_object_get(task, "max_tokens"));
    const char *name = json_string_value(json_object_get(task, "name"));
    int code = encode(e, json_string_value(json_object_get(task, "prompt")), &ids, err);
    engine_get_stats(e, &before);
    for (int i = 0; i < o->pairs && code == 0; i++) {
        for (int k = 0; k < 2 && code == 0; k++)
            code = (i + k) % 2 ? run_once(e, &ids, o, most, -1, &with, err)
                               : run_once(e, &ids, o, most, 0, &without, err);
        if (code == 0 && !same(&with, &without, o->sequences))
            code = sp_fail(err, SP_EINTERNAL, "%s: the text differs with speculation", name);
        on[i] = rate_of(&with);
        off[i] = rate_of(&without);
        ratio[i] = on[i] / off[i];
        cpu[i] = (without.cpu_last - without.cpu_first) / (with.cpu_last - with.cpu_first);
    }
    token_list_free(&ids);
    if (code < 0)
        return code;
    engine_get_stats(e, &after);
    uint64_t guesses = after.draft_tokens - before.draft_tokens;
    uint64_t right = after.accepted_tokens - before.accepted_tokens;
    double middle = median(ratio, o->pairs);
    printf("| %s | %lld | %.1f | %.1f | %.2f (%.2f to %.2f) | %.2f | %.0f%% | %.0f%% |\n", name,
           (long long)with.tokens, median(off, o->pairs), median(on, o->pairs), middle, ratio[0],
           ratio[o->pairs - 1], median(cpu, o->pairs),
           guesses ? 100.0 * (double)right / (double)guesses : 0.0,
           100.0 * (double)right / (double)(with.tokens * o->pairs));
    (void)fflush(stdout);
    return 0;
}

static int run(const struct opts *o, sp_error *err)
{
    engine *e = NULL;
    json_error_t je;
    struct engine_opts eo = engine_opts_default();
    json_t *all = json_load_file(o->tasks, 0, &je), *task;
    size_t i;
    if (!all)
        return sp_fail(err, SP_EFORMAT, "%s: %s", o->tasks, je.text);
    eo.draft_max = o->draft_max;
    eo.max_seqs = o->sequences;
    eo.threads = o->threads;
    int code = engine_open(o->model, &eo, &e, err);
    printf("| answer | tokens | off, tokens/s | on, tokens/s | ratio (least to most) | by CPU time "
           "| guesses right | tokens guessed |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
    json_array_foreach(json_object_get(all, "tasks"), i, task)
    {
        const char *kind = json_string_value(json_object_get(task, "kind"));
        if (code == 0 && (!o->kind || strcmp(o->kind, kind) == 0))
            code = run_task(e, o, task, err);
    }
    json_decref(all);
    engine_close(e);
    return code;
}

int main(int argc, char **argv)
{
    struct opts o = {.pairs = 5, .sequences = 1, .draft_max = engine_opts_default().draft_max};
    sp_error err;
    for (int c; (c = getopt(argc, argv, "p:t:s:k:m:j:")) != -1;) {
        if (c == 'p')
            o.pairs = (int)strtol(optarg, NULL, 10);
        else if (c == 't')
            o.temperature = strtod(optarg, NULL);
        else if (c == 's')
            o.sequences = (int)strtol(optarg, NULL, 10);
        else if (c == 'k')
            o.kind = optarg;
        else if (c == 'm')
            o.draft_max = (int)strtol(optarg, NULL, 10);
        else if (c == 'j')
            o.threads = (int)strtol(optarg, NULL, 10);
        else
            return 2;
    }
    if (optind != argc - 2 || o.pairs < 1 || o.pairs > PAIRS_MOST || o.sequences < 1 ||
        o.sequences > SEQUENCES_MOST) {
        (void)fprintf(stderr, "usage: bench_speculate MODEL TASKS.json [-p pairs] [-t temperature] "
                              "[-s sequences] [-k quote|chat] [-m draft_max] [-j threads]\n");
        return 2;
    }
    o.model = argv[optind];
    o.tasks = argv[optind + 1];
    if (run(&o, &err) < 0) {
        (void)fprintf(stderr, "bench_speculate: %s\n", err.message);
        return 1;
    }
    return 0;
}
