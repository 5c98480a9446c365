/* The table of settings: the one place that names them. Flags, environment, config file, --help,
 * `sampan config show` and the settings page all come from here. */
#include "base/options.h"

#define VERB_TALK (VERB_RUN | VERB_CHAT)
#define VERB_MODEL (VERB_TALK | VERB_SERVE | VERB_EVAL | VERB_BENCH)
#define NO_RANGE 0, 0

static const struct option_spec table[] = {
    /* The model and how it runs */
    {"model", OPT_LIST, NULL, NULL, NO_RANGE, VERB_MODEL | VERB_BENCH_SERVE, "NAME|PATH",
     "model of the store, a file or an HF-style folder; serve takes several, with a name of yours as in "
     "NAME=MODEL; bench serve: what the "
     "server calls it, for all or one for each --server; its first one if unset"},
    {"alias", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "NAME",
     "another name that the first model answers to; may be given several times"},
    {"all-models", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "serve every model of the store, too, each loaded when it is first asked for"},
    {"load", OPT_CHOICE, "start", "start|demand", NO_RANGE, VERB_SERVE, NULL,
     "when the models of --model are loaded: before the server is ready, or when they are first asked for"},
    {"idle-unload", OPT_FLOAT, "0", NULL, 0, 1e9, VERB_SERVE, "SECONDS",
     "unload a model that nobody used for so long; 0 is never"},
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
    {"max-queue-tokens", OPT_INT, "0", NULL, 0, 1e15, VERB_SERVE, "N",
     "tokens of the prompts that wait, together; more are refused; 0 is no limit"},
    {"queue-timeout", OPT_FLOAT, "0", NULL, 0, 1e9, VERB_SERVE, "SECONDS",
     "how long a request may wait before it runs; 0 is no limit"},
    {"request-timeout", OPT_FLOAT, "0", NULL, 0, 1e9, VERB_SERVE, "SECONDS",
     "how long a request may take in all; 0 is no limit"},
    {"step-tokens", OPT_INT, "256", NULL, 1, 65536, VERB_SERVE, "N",
     "tokens that a step computes at most: one of each answer, then prompts; more is faster in all, fewer is a "
     "steadier stream; at least max-seqs"},
    {"memory", OPT_BYTES, NULL, NULL, NO_RANGE, VERB_SERVE, "BYTES",
     "memory for weights, KV cache and steps, of all models together; where all are loaded at start they share it, the KV cache gets "
     "what the rest leaves; for others room is made by unloading what was used least lately; unset: what is free"},
    {"plan", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "tell what memory the models would take, and end"},
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
     "keep a model's packed weights on disk for the next start: in the store or the user's cache, "
     "or "
     "in a folder of yours"},
    {"speculate", OPT_CHOICE, "ngram", "ngram|off", NO_RANGE, VERB_TALK | VERB_SERVE, NULL,
     "guess the next tokens from the text so far and verify them together; it changes speed, never text"},
    {"draft-max", OPT_INT, "12", NULL, 1, 16, VERB_TALK | VERB_SERVE, "N",
     "most tokens that are guessed at once for a request; what pays is found while it runs"},
    {"allow-special", OPT_BOOL, "false", NULL, NO_RANGE, VERB_TALK | VERB_SERVE, NULL,
     "read control tokens in messages as such"},

    /* Sampling: unset means the model's own generation_config */
    {"max-tokens", OPT_INT, NULL, NULL, 1, 16777216, VERB_TALK | VERB_EVAL | VERB_BENCH_SERVE, "N",
     "longest answer in tokens; for eval, tokens to score; for bench serve 64 if unset"},
    {"temperature", OPT_FLOAT, NULL, NULL, 0, 100, VERB_TALK | VERB_BENCH_SERVE, "T",
     "0 takes the likeliest token each time; the model's own if unset, for bench serve 0"},
    {"top-k", OPT_INT, NULL, NULL, 0, INT32_MAX, VERB_TALK, "K",
     "keep the K likeliest tokens; 0 is off; the model's own if unset"},
    {"top-p", OPT_FLOAT, NULL, NULL, 0, 1, VERB_TALK, "P",
     "keep the likeliest tokens up to this probability; 1 is off; the model's own if unset"},
    {"min-p", OPT_FLOAT, NULL, NULL, 0, 1, VERB_TALK, "P",
     "drop tokens below this share of the likeliest one's probability; 0 is off"},
    {"seed", OPT_INT, NULL, NULL, NO_RANGE, VERB_TALK | VERB_BENCH_SERVE, "N",
     "the same seed draws the same tokens (bench serve: makes the same prompts and arrivals); "
     "random "
     "if unset"},
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
     "address to listen on; others than loopback need a history, in which accounts and keys are kept, or --api-key, "
     "--keys or --no-auth"},
    {"port", OPT_INT, "8080", NULL, 0, 65535, VERB_SERVE | VERB_HEALTHCHECK, "N",
     "port to listen on; 0 is any free one"},
    {"next-port", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "when the port is busy, try the next ones and say so"},
    {"api-key", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "KEY",
     "key that requests must carry; may be given several times; SAMPAN_API_KEY keeps it out of "
     "process lists"},
    {"keys", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE | VERB_KEY, "FILE",
     "file of API keys with their limits, which `sampan key` makes; it holds hashes, no secrets"},
    {"allow-model", OPT_LIST, NULL, NULL, NO_RANGE, VERB_KEY, "NAME",
     "a name that the key may ask for, with the other names of the same model; may be given several times; unset: all"},
    {"requests-per-minute", OPT_INT, NULL, NULL, 1, 1e12, VERB_KEY, "N",
     "the key's requests in a minute; unset: no limit"},
    {"tokens-per-minute", OPT_INT, NULL, NULL, 1, 1e12, VERB_KEY, "N",
     "the key's tokens in a minute, of prompts and answers; unset: no limit"},
    {"concurrent", OPT_INT, NULL, NULL, 1, 1e12, VERB_KEY, "N",
     "the key's requests at the same time; unset: no limit"},
    {"page", OPT_BOOL, "false", NULL, NO_RANGE, VERB_KEY, NULL,
     "the key may use the page's API (/api/), too, where there are accounts"},
    {"admin-key", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE, "KEY",
     "key that opens /admin/ (and nothing else); without it there is no /admin/"},
    {"cors-origin", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "ORIGIN",
     "site whose pages may use the server, like https://chat.example.org; * is any; may be given several times"},
    {"allowed-host", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "NAME",
     "name that requests may have in Host; * is any; may be given several times; on loopback the default is "
     "loopback's own names, elsewhere any"},
    {"tls-cert", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE | VERB_HEALTHCHECK, "FILE",
     "certificate (PEM, with its chain): the server speaks HTTPS; /admin/reload reads it again; healthcheck asks "
     "by HTTPS: off loopback the server must show a certificate that this one vouches for"},
    {"tls-key", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE, "FILE",
     "private key of --tls-cert (PEM)"},
    {"max-body", OPT_BYTES, "32M", NULL, NO_RANGE, VERB_SERVE, "BYTES",
     "largest body of a request, 1K to 256M"},
    {"max-upload", OPT_BYTES, NULL, NULL, NO_RANGE, VERB_SERVE, "BYTES",
     "largest file that the page takes into a prompt, 1K to --max-body; 20M if unset"},
    {"max-unsent", OPT_BYTES, "256M", NULL, NO_RANGE, VERB_SERVE, "BYTES",
     "text of all files that somebody has uploaded for prompts and not sent yet, from 1K; they are 200 at most, and go "
     "a day after they came"},
    {"max-header", OPT_BYTES, "64K", NULL, NO_RANGE, VERB_SERVE, "BYTES",
     "largest head of a request, 1K to 64K"},
    {"header-timeout", OPT_INT, "15", NULL, 1, 3600, VERB_SERVE, "SECONDS",
     "time for a request's head, from its first byte to its last"},
    {"body-timeout", OPT_INT, "600", NULL, 1, 86400, VERB_SERVE, "SECONDS",
     "time for a request's body"},
    {"keep-alive", OPT_INT, "300", NULL, 1, 86400, VERB_SERVE, "SECONDS",
     "how long a connection may wait for its next request"},
    {"max-connections", OPT_INT, "4096", NULL, 1, 1000000, VERB_SERVE, "N",
     "connections at once; one more takes the place of the one that has been idle for longest"},
    {"no-auth", OPT_BOOL, "false", NULL, NO_RANGE, VERB_SERVE, NULL,
     "listen off loopback without asking for a key, and without an account for the page"},

    {"history", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE | VERB_DB | VERB_USER, "FILE|off",
     "file that keeps the chats of the page, accounts and keys; history.db in the store's folder if unset; off keeps none"},
    {"keep-deleted", OPT_INT, "30", NULL, 0, 36500, VERB_SERVE, "DAYS",
     "a chat that was deleted on the page can be restored for so long, then it is removed; 0 keeps it until somebody "
     "removes it"},
    {"ui-dir", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE, "DIR",
     "serve the page from this folder instead of the one that is built in, for work on it"},
    {"root-path", OPT_STRING, NULL, NULL, NO_RANGE, VERB_SERVE, "/PATH",
     "where a proxy shows this server; paths that begin with it are taken too"},
    {"trusted-proxy", OPT_LIST, NULL, NULL, NO_RANGE, VERB_SERVE, "ADDRESS[/BITS]",
     "proxy whose X-Forwarded-For says who the client is, in logs and against guessing of passwords, and whose "
     "X-Forwarded-Proto whether it speaks HTTPS; may be given several times"},
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
    {"yes", OPT_BOOL, "false", NULL, NO_RANGE, VERB_RM | VERB_USER, NULL, "don't ask"},

    /* The history */
    {"chat", OPT_STRING, NULL, NULL, NO_RANGE, VERB_DB, "ID", "export only this chat"},
    {"user", OPT_STRING, NULL, NULL, NO_RANGE, VERB_DB, "NAME",
     "whose chats are exported, or get what is imported; the first account's if unset"},
    {"as", OPT_CHOICE, NULL, "jsonl|md", NO_RANGE, VERB_DB, NULL,
     "what an export is: lines of JSON, which can be imported, or Markdown; by the file's name if unset"},

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
    {"format", OPT_CHOICE, "table", "table|markdown|csv", NO_RANGE, VERB_BENCH | VERB_BENCH_SERVE,
     NULL, "what the results look like; --json for programs"},
    {"chart", OPT_BOOL, "false", NULL, NO_RANGE, VERB_BENCH, NULL,
     "draw the results as bars after the table"},
    {"html", OPT_STRING, NULL, NULL, NO_RANGE, VERB_BENCH | VERB_BENCH_SERVE, "FILE",
     "write a report with charts to this file as well; it needs nothing else to be seen"},
    {"reps", OPT_INT, "3", NULL, 1, 1000, VERB_BENCH, "N", "times each test is run"},
    {"json", OPT_BOOL, "false", NULL, NO_RANGE,
     VERB_PULL | VERB_STORE | VERB_LIST | VERB_SHOW | VERB_EVAL | VERB_BENCH | VERB_BENCH_SERVE |
         VERB_CONFIG | VERB_KEY | VERB_SERVE | VERB_DB | VERB_USER,
     NULL, "print JSON instead of text"},

    /* Load for servers */
    {"server", OPT_LIST, NULL, NULL, NO_RANGE, VERB_BENCH_SERVE, "NAME=URL",
     "a server with OpenAI's API; may be given several times; http://127.0.0.1:8080 if unset"},
    {"key", OPT_LIST, NULL, NULL, NO_RANGE, VERB_BENCH_SERVE, "KEY",
     "what requests carry, for all servers or one for each; SAMPAN_KEY keeps it out of process "
     "lists"},
    {"api", OPT_CHOICE, "completions", "completions|chat", NO_RANGE, VERB_BENCH_SERVE, NULL,
     "which endpoint is asked; answers are streamed"},
    {"concurrency", OPT_INTS, NULL, NULL, 0, 65536, VERB_BENCH_SERVE, "N",
     "requests at once: each of N clients asks again when it has its answer (default 1); with "
     "--rate "
     "the most at once, 0 is no limit (default); several levels as in 1,4,16 or 1-32*2"},
    {"rate", OPT_STRING, NULL, NULL, NO_RANGE, VERB_BENCH_SERVE, "R",
     "requests arrive at so many a second whatever the server does; several levels as in 0.5,1,2"},
    {"burstiness", OPT_FLOAT, "1", NULL, 0.01, 10000, VERB_BENCH_SERVE, "B",
     "shape of the gamma distribution of the gaps between arrivals: 1 is a Poisson process, less "
     "comes in bursts, more comes evenly"},
    {"ramp-to", OPT_FLOAT, NULL, NULL, 0.000001, 1000000, VERB_BENCH_SERVE, "R",
     "the rate that --rate rises or falls to in the course of a run"},
    {"ramp", OPT_CHOICE, "linear", "linear|exponential", NO_RANGE, VERB_BENCH_SERVE, NULL,
     "how it goes there"},
    {"requests", OPT_INT, NULL, NULL, 1, 10000000, VERB_BENCH_SERVE, "N",
     "requests of a run; if unset and without --seconds 4 for each one at once, at least 16"},
    {"seconds", OPT_FLOAT, NULL, NULL, 0.1, 1000000, VERB_BENCH_SERVE, "S",
     "send no request after so long; those under way are still answered"},
    {"warmups", OPT_INT, "1", NULL, 0, 100000, VERB_BENCH_SERVE, "N",
     "requests to each server before, which count nowhere; one that fails ends it all"},
    {"rounds", OPT_INT, NULL, NULL, 1, 1000, VERB_BENCH_SERVE, "N",
     "times that each server is measured at each level, in turn with the others; 1 if unset, with "
     "several servers 6, the least for a 95% interval"},
    {"answer-timeout", OPT_FLOAT, "600", NULL, 0.1, 1000000, VERB_BENCH_SERVE, "SECONDS",
     "an answer that is not whole by then is an error"},
    {"words", OPT_INT, "128", NULL, 1, 1000000, VERB_BENCH_SERVE, "N",
     "random words of a prompt: no server has seen it before"},
    {"prefix-words", OPT_INT, "0", NULL, 0, 1000000, VERB_BENCH_SERVE, "N",
     "random words before, the same for all requests of a run"},
    {"turns", OPT_INT, "1", NULL, 1, 1000, VERB_BENCH_SERVE, "N",
     "questions of a conversation, each after the answer to the one before"},
    {"data", OPT_STRING, NULL, NULL, NO_RANGE, VERB_BENCH_SERVE, "FILE",
     "prompts from a file instead: JSON in ShareGPT's form, or a line for each {\"prompt\": ...}, "
     "{\"turns\": [...]} or {\"messages\": [...]}, with \"max_tokens\" if it has its own"},
    {"stop-at-eos", OPT_BOOL, "false", NULL, NO_RANGE, VERB_BENCH_SERVE, NULL,
     "let answers end where the model ends them; else they are asked to have exactly --max-tokens, so "
     "that all servers do the same work (ignore_eos, an extension that not all know)"},
    {"extra-body", OPT_STRING, NULL, NULL, NO_RANGE, VERB_BENCH_SERVE, "JSON",
     "an object whose members go into each request"},
    {"goodput", OPT_STRING, NULL, NULL, NO_RANGE, VERB_BENCH_SERVE, "NAME:MS",
     "limits of ttft, tpot and e2el, as in ttft:500,tpot:50,e2el:5000: tells how many requests a "
     "second "
     "keep all of them"},
    {"percentiles", OPT_STRING, "90,99", NULL, NO_RANGE, VERB_BENCH_SERVE, "P",
     "which to tell; the last is what comparisons take"},
    {"details", OPT_BOOL, "false", NULL, NO_RANGE, VERB_BENCH_SERVE, NULL,
     "with --json: also each request's times and tokens"},
    {"insecure", OPT_BOOL, "false", NULL, NO_RANGE, VERB_BENCH_SERVE | VERB_HEALTHCHECK, NULL,
     "take any TLS certificate"},

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
