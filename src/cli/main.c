/* The program: a table of verbs. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "cli/cli_int.h"
#include "kb/documents.h"

const char *cli_program = "sampan";

struct verb {
    const char *name;
    enum option_verb bit;
    int (*run)(const options *o, sp_error *err);
    const char *args;
    const char *help;
    const char *examples;
};

static const struct verb verbs[] = {
    {"pull", VERB_PULL, cmd_pull, "[NAME|hf:ORG/NAME|ms:ORG/NAME|URL|PATH]", "get a model",
     "  sampan pull                                  # the catalogue, with what fits this machine\n"
     "  sampan pull qwen2.5-coder-0.5b\n"
     "  sampan pull hf:Qwen/Qwen2.5-0.5B-Instruct\n"
     "  sampan pull ms:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M     # a quantization\n"
     "  sampan pull hf:Qwen/Qwen3-0.6B-GGUF:*.gguf --revision main   # a pattern, a revision\n"
     "  sampan pull hf:Qwen/Qwen3-0.6B --endpoint https://hf-mirror.com\n"},
    {"list", VERB_LIST, cmd_list, "", "the models on this machine",
     "  sampan list\n  sampan list --json\n"},
    {"show", VERB_SHOW, cmd_show, "MODEL", "what a model is and needs",
     "  sampan show qwen2.5-coder-0.5b\n  sampan show --json ./model.gguf --context 8192\n"},
    {"rm", VERB_RM, cmd_rm, "MODEL", "delete a model from this machine",
     "  sampan rm qwen2.5-coder-0.5b --yes\n"},
    {"store", VERB_STORE, cmd_store,
     "export NAME [FILE] | import FILE | verify [NAME] | clear-cache [NAME]",
     "move models between machines, check them",
     "  sampan store export qwen2.5-coder-0.5b /media/usb/qwen.tar\n"
     "  sampan store import /media/usb/qwen.tar --name qwen\n"
     "  sampan store verify                # every model's files against their sums\n"},
    {"run", VERB_RUN, cmd_run, "[PROMPT]", "one answer to one prompt",
     "  sampan run --model qwen2.5-coder-0.5b \"Write a haiku about rivers\"\n"
     "  echo \"用一句话介绍长江\" | sampan run --model qwen2.5-coder-0.5b\n"
     "  sampan run --model qwen2.5-coder-0.5b --raw --max-tokens 32 \"def fib(n):\"\n"},
    {"chat", VERB_CHAT, cmd_chat, "", "talk with a model",
     "  sampan chat --model qwen2.5-coder-0.5b\n"
     "  sampan chat --model qwen2.5-coder-0.5b --system \"You answer in one sentence.\"\n"},
    {"serve", VERB_SERVE, cmd_serve, "", "OpenAI's API on a port",
     "  sampan serve --model qwen2.5-coder-0.5b\n"
     "  sampan serve --model ./model.gguf --alias gpt-local --port 9000 --max-context 8192\n"
     "  sampan serve --model qwen2.5-coder-0.5b --host 0.0.0.0 --api-key SECRET\n"},
    {"key", VERB_KEY, cmd_key, "new NAME | list | revoke NAME", "keys of a server for many",
     "  sampan key new alice --keys keys.json --requests-per-minute 60 --concurrent 4\n"
     "  sampan key new ci --keys keys.json --allow-model qwen2.5-coder-0.5b --tokens-per-minute "
     "20000\n"
     "  sampan key list --keys keys.json\n"
     "  sampan key revoke alice --keys keys.json        # then reload the server\n"
     "  sampan serve --model qwen2.5-coder-0.5b --host 0.0.0.0 --keys keys.json\n"},
    {"user", VERB_USER, cmd_user, "add NAME | list | passwd NAME | remove NAME",
     "who may sign in on the page",
     "  sampan user add alice                        # asks for a password\n"
     "  sampan user list\n"
     "  sampan user passwd alice                     # another one, when it was forgotten\n"
     "  sampan user remove alice\n"
     "  echo \"$PASSWORD\" | sampan user add alice --history other.db\n"},
    {"db", VERB_DB, cmd_db, "check | backup FILE | export [FILE] | import FILE",
     "look after the chats that the page keeps",
     "  sampan db check                              # is the file sound; 1 if it is not\n"
     "  sampan db backup /media/usb/history.db       # a copy, also while a server writes\n"
     "  sampan db export chats.jsonl                 # all chats; .md for Markdown\n"
     "  sampan db export --chat c_ID --as md         # one, to standard output\n"
     "  sampan db import conversations.json          # Sampan's, OpenAI's or Open WebUI's export\n"
     "  sampan db export --user alice chats.jsonl    # one account's; the first account's if "
     "unset\n"
     "  sampan db check --history other.db --json\n"},
    {"eval", VERB_EVAL, cmd_eval, "perplexity|kl", "measure quality",
     "  sampan eval perplexity --model qwen2.5-coder-0.5b --file text.txt --context 512 --json\n"
     "  sampan eval kl --model qwen2.5-coder-0.5b --file text.txt   # fast against f32\n"},
    {"bench", VERB_BENCH, cmd_bench, "machine|model", "measure speed",
     "  sampan bench machine                         # what memory and cores can do at best\n"
     "  sampan bench model --model qwen2.5-coder-0.5b --prompt 512,4096 --gen 128 --reps 5\n"
     "  sampan bench model --model A.gguf --model B.gguf --depth 0,8192 --batch 1-16*2 --chart\n"
     "  sampan bench model --prompt 0 --gen 64 --threads 1-4 --html report.html\n"
     "  sampan bench serve --help                    # servers under load: options of its own\n"},
    {"bench serve", VERB_BENCH_SERVE, cmd_bench_serve, "",
     "measure servers with OpenAI's API under load",
     "  sampan bench serve --concurrency 1,4,16 --requests 64 --html report.html\n"
     "  sampan bench serve --server http://127.0.0.1:8080 --rate 2 --seconds 60 --goodput "
     "ttft:500,tpot:50\n"
     "  sampan bench serve --server ours=http://127.0.0.1:8080 --server "
     "llama=http://127.0.0.1:8081 "
     "--concurrency 16\n"
     "  sampan bench serve --api chat --turns 4 --prefix-words 800 --concurrency 8 --json\n"
     "  sampan bench serve --api chat --data sharegpt.json --rate 0.5 --ramp-to 4 --requests "
     "200\n"},
    {"healthcheck", VERB_HEALTHCHECK, cmd_healthcheck, "", "does the server here take requests",
     "  sampan healthcheck --port 9000    # 0: it does; 1: it loads, ends or is not there\n"
     "  sampan healthcheck --tls-cert cert.pem    # as the server has it: then by HTTPS\n"},
    {"config", VERB_CONFIG, cmd_config, "show", "settings and where they come from",
     "  sampan config show\n  sampan config show --json\n"},
};

static void print_usage(FILE *to)
{
    fprintf(to,
            "Sampan %s: get a language model, talk to it, serve it.\n\n"
            "usage: sampan VERB [options]\n\n",
            SAMPAN_VERSION);
    for (size_t i = 0; i < SP_COUNT(verbs); i++)
        fprintf(to, "  %-12s %s\n", verbs[i].name, verbs[i].help);
    fprintf(to, "\n`sampan VERB --help` tells more. A first try:\n\n"
                "  sampan pull qwen2.5-coder-0.5b\n"
                "  sampan chat --model qwen2.5-coder-0.5b\n");
}

static int print_verb_help(const struct verb *v)
{
    buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "sampan %s: %s\n\nusage: sampan %s %s [options]\n\nexamples:\n%s\noptions:\n",
               v->name, v->help, v->name, v->args, v->examples);
    options_help(v->bit, &b);
    int failed = b.failed || fwrite(b.data, 1, b.len, stdout) != b.len;
    buf_free(&b);
    return failed ? 1 : 0;
}

/* The verb that argv begins with, of two words where there is such a one; *n of them. */
static const struct verb *find_verb(int argc, char **argv, int *n)
{
    const struct verb *found = NULL;
    for (size_t i = 0; i < SP_COUNT(verbs); i++) {
        const char *name = verbs[i].name, *space = strchr(name, ' ');
        size_t first = space ? (size_t)(space - name) : strlen(name);
        bool same = strlen(argv[0]) == first && memcmp(argv[0], name, first) == 0;
        if (!same || (space && (argc < 2 || strcmp(argv[1], space + 1) != 0)))
            continue;
        found = &verbs[i];
        *n = space ? 2 : 1;
    }
    return found;
}

static int unknown_verb(const char *name)
{
    const char *best = verbs[0].name;
    size_t distance = (size_t)-1;
    for (size_t i = 0; i < SP_COUNT(verbs); i++) {
        size_t d = str_distance(str_of(name), str_of(verbs[i].name));
        if (d < distance) {
            distance = d;
            best = verbs[i].name;
        }
    }
    fprintf(stderr,
            "sampan: unknown verb '%.64s': did you mean '%s'? `sampan --help` lists them all\n",
            name, best);
    return 2;
}

/* What this process was called with, for cli_options_again. */
static struct {
    const struct verb *verb;
    int argc;
    char **argv;
} called;

int cli_options_again(options **out, sp_error *err)
{
    return options_parse(called.verb->bit, called.argc, called.argv, out, err);
}

void cli_set_up_log(const options *o)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", "off"};
    static const char *const formats[] = {"auto", "text", "json"};
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_AUTO;
    const char *want = options_str(o, "log-level");
    for (size_t i = 0; want && i < SP_COUNT(levels); i++)
        if (strcmp(want, levels[i]) == 0)
            level = (enum log_level)i;
    want = options_str(o, "log-format");
    for (size_t i = 0; want && i < SP_COUNT(formats); i++)
        if (strcmp(want, formats[i]) == 0)
            format = (enum log_format)i;
    log_setup(level, format);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file over its limit: the write fails, and says why */
    if (argc > 1 && strcmp(argv[1], DOCUMENT_VERB) == 0)
        document_parser_main(argc, argv); /* the server starts it; it is no verb of people */
    if (argc > 0)
        cli_program = argv[0];
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("sampan %s\n", SAMPAN_VERSION);
        return 0;
    }
    int words = 0;
    const struct verb *v = find_verb(argc - 1, argv + 1, &words);
    if (!v)
        return unknown_verb(argv[1]);
    argc -= 1 + words;
    argv += 1 + words;
    if (wants_help(argc, argv))
        return print_verb_help(v);

    sp_error err = {0};
    options *o = NULL;
    called.verb = v;
    called.argc = argc;
    called.argv = argv;
    int code = cli_options_again(&o, &err);
    if (code == 0) {
        cli_set_up_log(o);
        code = v->run(o, &err);
    }
    options_free(o);
    if (fflush(stdout) != 0 && code == 0)
        code = sp_fail(&err, SP_EIO, "standard output: writing failed: is the disk full?");
    if (code < 0)
        fprintf(stderr, "sampan: %s\n", err.message);
    if (code == SP_EUSAGE)
        fprintf(stderr, "`sampan %s --help` lists the options\n", v->name);
    return code == 0 ? 0 : code == SP_EUSAGE ? 2 : 1;
}
