/* The table of settings: the one place that names them. Flags, environment, config file, --help,
 * `sampan config show` and the settings page all come from here. */
#include "base/options.h"

#define VERB_TALK (VERB_RUN | VERB_CHAT)
#define VERB_MODEL (VERB_TALK | VERB_SERVE | VERB_EVAL | VERB_BENCH)
#define NO_RANGE 0, 0

static const struct option_spec table[] = {
    /* The model and how it runs */
    {"model", OPT_LIST, NULL, NULL, NO_RANGE, VERB_MODEL, "NAME|PATH",
     "model of the store, a file or an HF-style folder; serve takes several"},
    {"alias", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "NAME",
     "another name that the first model answers to; may be given several times"},
    {"compute", OPT_CHOICE, "fast", "f32|fast", NO_RANGE,
     VERB_TALK | VERB_SERVE | VERB_EVAL | VERB_BENCH, NULL,
     "f32 is exact; fast uses int8 activations for quantized weights"},
    {"threads", OPT_INTS, "0", NULL, 0, 1023, VERB_TALK | VERB_SERVE | VERB_EVAL | VERB_BENCH, "N",
     "compute threads; 0 is one for each performance core that this process may use (within "
     "affinity and cgroup; not efficiency cores and SMT siblings, which rarely help; a virtual "
     "machine's CPUs all count; `bench machine` shows it); bench takes several: 1,2,4"},
    {"pin", OPT_CHOICE, "auto", "auto|on|off", NO_RANGE, VERB_MODEL, NULL,
     "keep each compute thread on a core of its own; auto does where there are several NUMA nodes"},
    {"max-context", OPT_INT, "4096", NULL, 0, 16777216,
     VERB_TALK | VERB_SERVE | VERB_EVAL | VERB_BENCH, "N",
     "tokens of prompt and answer together; 0 is the model's own limit"},
    {"max-seqs", OPT_INT, "16", NULL, 1, 4096, VERB_SERVE, "N", "requests running at once"},
    {"max-queue", OPT_INT, "256", NULL, 0, 1000000, VERB_SERVE, "N",
     "requests waiting; more are refused"},
    {"kv-memory", OPT_BYTES, NULL, NULL, NO_RANGE, VERB_TALK | VERB_SERVE | VERB_EVAL | VERB_BENCH,
     "BYTES", "memory for the KV cache, like 512M or 2G; unset: as much as the contexts need"},
    {"kv-type", OPT_CHOICE, "auto", "auto|f16|bf16|f32", NO_RANGE, VERB_MODEL | VERB_SHOW, NULL,
     "how keys and values are kept; auto is f16, and f32 with --compute f32"},
    {"prefix-cache", OPT_CHOICE, "on", "on|off", NO_RANGE, VERB_SERVE, NULL,
     "keep the keys and values of prompts and answers while there is room, for the next prompt that "
     "begins alike"},
    {"prefix-store", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE, "DIR",
     "folder that keeps the prefix cache on disk, as large as the KV cache at most, so that a restart "
     "begins warm; prompts can be read from it: keep it to yourself"},
    {"packed-cache", OPT_STRING, "on", NULL, NO_RANGE,
     VERB_MODEL | VERB_LIST | VERB_SHOW | VERB_RM | VERB_STORE, "on|off|DIR",
     "keep a model's packed weights on disk for the next start: in the store or the user's cache, or "
     "in a folder of yours"},
    {"allow-special", OPT_BOOL, "false", NULL, NO_RANGE, VERB_TALK | VERB_SERVE, NULL,
     "read control tokens in messages as such"},

    /* Sampling: unset means the model's own generation_config */
    {"max-tokens", OPT_INT, NULL, NULL, 1, 16777216, VERB_TALK | VERB_EVAL, "N",
     "longest answer in tokens; for eval, tokens to score"},
    {"temperature", OPT_FLOAT, NULL, NULL, 0, 100, VERB_TALK, "T",
     "0 takes the likeliest token each time; the model's own if unset"},
    {"top-k", OPT_INT, NULL, NULL, 0, INT32_MAX, VERB_TALK, "K",
     "keep the K likeliest tokens; 0 is off; the model's own if unset"},
    {"top-p", OPT_FLOAT, NULL, NULL, 0, 1, VERB_TALK, "P",
     "keep the likeliest tokens up to this probability; 1 is off; the model's own if unset"},
    {"min-p", OPT_FLOAT, NULL, NULL, 0, 1, VERB_TALK, "P",
     "drop tokens below this share of the likeliest one's probability; 0 is off"},
    {"seed", OPT_INT, NULL, NULL, NO_RANGE, VERB_TALK, "N",
     "the same seed draws the same tokens; random if unset"},
    {"repetition-penalty", OPT_FLOAT, NULL, NULL, 0.01, 100, VERB_TALK, "X",
     "over prompt and answer; 1 is off; the model's own if unset"},
    {"presence-penalty", OPT_FLOAT, NULL, NULL, -2, 2, VERB_TALK, "X",
     "once for each token that the answer has; 0 is off"},
    {"frequency-penalty", OPT_FLOAT, NULL, NULL, -2, 2, VERB_TALK, "X",
     "for each time that the answer has the token; 0 is off"},
    {"stop", OPT_LIST, NULL, NULL, NO_RANGE, VERB_TALK, "TEXT",
     "end the answer before this text; may be given several times"},

    /* One answer, a talk */
    {"system", OPT_STRING, NULL, NULL, NO_RANGE, VERB_TALK, "TEXT", "the system message"},
    {"raw", OPT_BOOL, "false", NULL, NO_RANGE, VERB_RUN, NULL,
     "give the prompt to the model as it is, without its chat template"},
    {"stats", OPT_BOOL, "false", NULL, NO_RANGE, VERB_TALK, NULL,
     "tell tokens, times and speed after an answer, on stderr"},

    /* The server */
    {"host", OPT_STRING, "127.0.0.1", NULL, NO_RANGE, VERB_SERVE | VERB_HEALTHCHECK, "H",
     "address to listen on; others than loopback need --api-key or --no-auth"},
    {"port", OPT_INT, "8080", NULL, 0, 65535, VERB_SERVE | VERB_HEALTHCHECK, "N",
     "port to listen on; 0 is any free one"},
    {"next-port", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "when the port is busy, try the next ones and say so"},
    {"api-key", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "KEY",
     "key that requests must carry; may be given several times; SAMPAN_API_KEY keeps it out of "
     "process lists"},
    {"no-auth", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "listen off loopback without a key"},

    {"root-path", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE, "/PATH",
     "where a proxy shows this server; paths that begin with it are taken too"},
    {"trusted-proxy", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "ADDRESS[/BITS]",
     "proxy whose X-Forwarded-For says who the client is, in logs; may be given several times"},
    {"drain-seconds", OPT_INT, "30", NULL, 0, 86400, VERB_SERVE, "N",
     "what running requests get after SIGTERM or Ctrl-C before they are cut; a second one cuts them at once"},
    {"log-prompts", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "write what requests hold into the log, the first 4096 bytes of each; without it no text of theirs gets there"},
    {"metrics-open", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "answer /metrics without a key, too"},
    {"metrics-alias", OPT_CHOICE, NULL, "vllm", NO_RANGE, VERB_SERVE, NULL,
     "tell /metrics under vLLM's names beside our own, for dashboards made for it"},

    /* The store */
    {"source", OPT_CHOICE, NULL, "hf|ms|pip", NO_RANGE, VERB_PULL, NULL,
     "of a catalogue model's sources take only this: Hugging Face, ModelScope or Python packages"},
    {"revision", OPT_STRING, NULL, NULL, NO_RANGE, VERB_PULL, "REV",
     "branch, tag or commit of the repository; the commit that was got stands in `list --json`"},
    {"endpoint", OPT_LIST, NULL, NULL, NO_RANGE, VERB_PULL, "URL",
     "the hub's address, or mirrors to try in order; HF_ENDPOINT or MODELSCOPE_ENDPOINT if unset"},
    {"connections", OPT_INT, "4", NULL, 1, 16, VERB_PULL, "N",
     "ranges of a big file that are fetched side by side"},
    {"timeout", OPT_INT, "30", NULL, 1, 3600, VERB_PULL, "SECONDS",
     "a line that brings nothing for so long is given up and opened again"},
    {"offline", OPT_BOOL, "false", NULL, NO_RANGE, VERB_PULL, NULL,
     "use what is on this machine and open no connection; HF_HUB_OFFLINE=1 says the same"},
    {"name", OPT_STRING, NULL, NULL, NO_RANGE, VERB_PULL | VERB_STORE, "NAME",
     "the model's name in the store"},
    {"quiet", OPT_BOOL, "false", NULL, NO_RANGE, VERB_PULL | VERB_STORE, NULL,
     "no progress, errors only"},
    {"force", OPT_BOOL, "false", NULL, NO_RANGE, VERB_PULL | VERB_STORE, NULL,
     "get it again, even if it is here; write over a bundle that is there"},
    {"yes", OPT_BOOL, "false", NULL, NO_RANGE, VERB_RM, NULL, "don't ask"},

    /* Measuring */
    {"file", OPT_STRING, NULL, NULL, NO_RANGE, VERB_EVAL, "PATH", "the text to measure on"},
    {"reference", OPT_STRING, NULL, NULL, NO_RANGE, VERB_EVAL, "NAME|PATH",
     "for kl: the model to compare with; the same model in f32 if unset"},
    {"context", OPT_INT, NULL, NULL, 2, 16777216, VERB_EVAL | VERB_SHOW, "N",
     "tokens of context: the window that eval scores in, what show counts memory for"},
    {"skip", OPT_INT, NULL, NULL, 0, 16777216, VERB_EVAL, "N",
     "first tokens of each window that are read and not scored; llama-perplexity skips half"},
    {"prompt", OPT_INTS, "512", NULL, 0, 16777216, VERB_BENCH, "N",
     "tokens of prompt to time; 0 leaves it out; lists as in 512,4096 or 512-8192*2"},
    {"gen", OPT_INTS, "128", NULL, 0, 16777216, VERB_BENCH, "N",
     "tokens of answer to time; 0 leaves it out; lists too"},
    {"depth", OPT_INTS, "0", NULL, 0, 16777216, VERB_BENCH, "N",
     "tokens that are in the context before the timed ones; lists too"},
    {"batch", OPT_INTS, "1", NULL, 1, 1024, VERB_BENCH, "N",
     "sequences that decode at once; lists too"},
    {"format", OPT_CHOICE, "table", "table|markdown|csv", NO_RANGE, VERB_BENCH, NULL,
     "what the results look like; --json for programs"},
    {"chart", OPT_BOOL, "false", NULL, NO_RANGE, VERB_BENCH, NULL,
     "draw the results as bars after the table"},
    {"html", OPT_STRING, NULL, NULL, NO_RANGE, VERB_BENCH, "FILE",
     "write a report with charts to this file as well; it needs nothing else to be seen"},
    {"reps", OPT_INT, "3", NULL, 1, 1000, VERB_BENCH, "N", "times each test is run"},
    {"json", OPT_BOOL, "false", NULL, NO_RANGE,
     VERB_PULL | VERB_STORE | VERB_LIST | VERB_SHOW | VERB_EVAL | VERB_BENCH | VERB_CONFIG, NULL,
     "print JSON instead of text"},

    /* Everywhere */
    {"store", OPT_STRING, NULL, NULL, NO_RANGE, VERB_ALL, "DIR",
     "folder of the models; ~/.local/share/sampan if unset"},
    {"config", OPT_STRING, NULL, NULL, NO_RANGE, VERB_ALL, "FILE",
     "settings file; ~/.config/sampan/config.yaml if unset"},
    {"log-level", OPT_CHOICE, "info", "debug|info|warn|error|off", NO_RANGE, VERB_ALL, NULL,
     "the least that is logged"},
    {"log-format", OPT_CHOICE, "auto", "auto|text|json", NO_RANGE, VERB_ALL, NULL,
     "auto is text on a terminal and JSON otherwise"},
    {"color", OPT_CHOICE, "auto", "auto|always|never", NO_RANGE, VERB_ALL, NULL,
     "colours; auto is on a terminal, unless NO_COLOR is set"},
    {"help", OPT_BOOL, "false", NULL, NO_RANGE, VERB_ALL, NULL, "this text"},
};

const struct option_spec *options_table(size_t *n)
{
    *n = sizeof table / sizeof table[0];
    return table;
}
