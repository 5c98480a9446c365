#include "scratch.h"

#include "base/options.h"

#define ARGS(...) ((char *[]){__VA_ARGS__, NULL})
#define NO_ARGS ((char *[]){NULL})

static sp_error err;

static int count(char **argv)
{
    int n = 0;
    while (argv[n])
        n++;
    return n;
}

static options *parse(enum option_verb verb, char **argv)
{
    options *o = NULL;
    int rc = options_parse(verb, count(argv), argv, &o, &err);
    if (rc)
        fail_msg("%s", err.message);
    return o;
}

static void refuse(enum option_verb verb, char **argv, const char *message)
{
    options *o = NULL;
    assert_int_equal(options_parse(verb, count(argv), argv, &o, &err), SP_EUSAGE);
    assert_null(o);
    assert_string_equal(err.message, message);
}

/* Every test starts without settings from outside. */
static int clean(void **state)
{
    (void)state;
    return clearenv() || setenv("HOME", scratch, 1);
}

static void defaults(void **state)
{
    (void)state;
    options *o = parse(VERB_SERVE, NO_ARGS);
    const char *const *items = NULL;
    assert_int_equal(options_int(o, "port"), 8080);
    assert_string_equal(options_str(o, "host"), "127.0.0.1");
    assert_int_equal(options_int(o, "threads"), 0);
    assert_int_equal(options_int(o, "max-context"), 4096);
    assert_int_equal(options_int(o, "max-seqs"), 16);
    assert_string_equal(options_str(o, "compute"), "fast");
    assert_false(options_bool(o, "no-auth"));
    assert_true(options_has(o, "port"));
    static const char *const unset[] = {"max-tokens", "temperature", "top-k", "top-p",
                                        "seed",       "kv-memory",   "model", "system"};
    for (size_t i = 0; i < SP_COUNT(unset); i++)
        assert_false(options_has(o, unset[i]));
    assert_null(options_str(o, "system"));
    assert_int_equal(options_list(o, "model", &items), 0);
    const char *where = NULL;
    assert_int_equal(options_origin(o, "port", &where), ORIGIN_DEFAULT);
    assert_string_equal(where, "default");
    assert_int_equal(options_args(o, &items), 0);
    options_free(o);
    options_free(NULL);
}

static void flags(void **state)
{
    (void)state;
    options *o = parse(VERB_RUN, ARGS("--model", "m.gguf", "--temperature=0.7", "--top-k", "40",
                                      "one", "--seed", "-5", "--raw", "--kv-memory=1.5G", "--stop",
                                      "a", "--stop=b,c", "--compute=f32", "--system=", "two",
                                      "--no-stats", "--", "--three", "-"));
    const char *const *items = NULL;
    assert_int_equal(options_list(o, "model", &items), 1);
    assert_string_equal(items[0], "m.gguf");
    assert_true(options_float(o, "temperature") > 0.69 && options_float(o, "temperature") < 0.71);
    assert_int_equal(options_int(o, "top-k"), 40);
    assert_int_equal(options_int(o, "seed"), -5);
    assert_true(options_bool(o, "raw"));
    assert_false(options_bool(o, "stats"));
    assert_true(options_bytes(o, "kv-memory") == 1610612736);
    assert_string_equal(options_str(o, "compute"), "f32");
    assert_true(options_has(o, "system"));
    assert_string_equal(options_str(o, "system"), "");
    assert_int_equal(options_list(o, "stop", &items), 2);
    assert_string_equal(items[0], "a");
    assert_string_equal(items[1], "b,c"); /* commas divide in the environment only */
    assert_int_equal(options_args(o, &items), 4);
    assert_string_equal(items[0], "one");
    assert_string_equal(items[1], "two");
    assert_string_equal(items[2], "--three");
    assert_string_equal(items[3], "-");
    const char *where = NULL;
    assert_int_equal(options_origin(o, "top-k", &where), ORIGIN_FLAG);
    assert_string_equal(where, "--top-k");
    options_free(o);
}

static void bools(void **state)
{
    (void)state;
    static const struct {
        const char *arg;
        bool want;
    } cases[] = {{"--no-auth", true},
                 {"--no-no-auth", false},
                 {"--no-auth=false", false},
                 {"--no-auth=YES", true},
                 {"--no-auth=0", false}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        char arg[32];
        (void)snprintf(arg, sizeof arg, "%s", cases[i].arg);
        options *o = parse(VERB_SERVE, ARGS(arg));
        assert_int_equal(options_bool(o, "no-auth"), cases[i].want);
        options_free(o);
    }
    refuse(VERB_SERVE, ARGS("--no-auth=maybe"),
           "--no-auth=maybe: neither true nor false: give one of them");
    refuse(VERB_SERVE, ARGS("--no-next-port=1"),
           "--no-next-port=1: --no-next-port takes no value: leave it out");
    refuse(VERB_SERVE, ARGS("--no-port"),
           "unknown option --no-port: `sampan serve --help` lists what there is");
    options *o = parse(VERB_SERVE, ARGS("--next-port", "--no-next-port")); /* the last one counts */
    assert_false(options_bool(o, "next-port"));
    options_free(o);
    o = parse(VERB_SERVE, ARGS("-h"));
    assert_true(options_bool(o, "help"));
    options_free(o);
}

static void unknown_options_get_suggestions(void **state)
{
    (void)state;
    refuse(VERB_RUN, ARGS("--mdoel", "x"), "unknown option --mdoel: did you mean --model?");
    refuse(VERB_SERVE, ARGS("--max_seqs=4"), "unknown option --max_seqs: did you mean --max-seqs?");
    refuse(VERB_RUN, ARGS("--quantum"),
           "unknown option --quantum: `sampan run --help` lists what there is");
    refuse(VERB_RUN, ARGS("-m", "x"),
           "unknown option -m: options start with --: put -- before text that starts "
           "with a dash");
    refuse(VERB_RUN, ARGS("--port", "80"),
           "--port: `sampan run` does not take it: it belongs to serve, healthcheck");
    refuse(VERB_LIST, ARGS("--stop=x"),
           "--stop: `sampan list` does not take it: it belongs to run, chat");
    char longest[4000];
    memset(longest, 'x', sizeof longest - 1);
    memcpy(longest, "--", 2);
    longest[sizeof longest - 1] = '\0';
    options *o = NULL;
    assert_int_equal(options_parse(VERB_RUN, 1, ARGS(longest), &o, &err), SP_EUSAGE);
    assert_true(str_ends(str_of(err.message), "lists what there is"));
}

static void bad_values_are_refused(void **state)
{
    (void)state;
    refuse(VERB_SERVE, ARGS("--port=70000"), "--port=70000: out of range: use 0 to 65535");
    refuse(VERB_SERVE, ARGS("--port", "-1"), "--port=-1: out of range: use 0 to 65535");
    refuse(VERB_SERVE, ARGS("--port", "80a"), "--port=80a: not a whole number: give one");
    refuse(VERB_SERVE, ARGS("--port="), "--port=: not a whole number: give one");
    refuse(VERB_SERVE, ARGS("--port"), "--port: its value is missing: write --port=N");
    refuse(VERB_SERVE, ARGS("--host", "--port=1"), "--host: its value is missing: write --host=H");
    refuse(VERB_SERVE, ARGS("--compute=f16"), "--compute=f16: no such choice: use f32|fast");
    refuse(VERB_SERVE, ARGS("--compute=f32|fast"),
           "--compute=f32|fast: no such choice: use f32|fast");
    refuse(VERB_SERVE, ARGS("--compute"),
           "--compute: its value is missing: write --compute=f32|fast");
    refuse(VERB_SERVE, ARGS("--kv-memory=lots"),
           "--kv-memory=lots: not a size: give bytes, or a number with K, M, G or T");
    refuse(VERB_RUN, ARGS("--temperature=nan"), "--temperature=nan: not a number: give one");
    refuse(VERB_RUN, ARGS("--temperature=1e999"), "--temperature=1e999: not a number: give one");
    refuse(VERB_RUN, ARGS("--top-p=1.5"), "--top-p=1.5: out of range: use 0 to 1");
    refuse(VERB_RUN, ARGS("--presence-penalty=-2.5"),
           "--presence-penalty=-2.5: out of range: use -2 to 2");
    refuse(VERB_RUN, ARGS("--seed=99999999999999999999"),
           "--seed=99999999999999999999: not a whole number: give one");
}

static void environment(void **state)
{
    (void)state;
    const char *const *items = NULL;
    const char *where = NULL;
    (void)setenv("SAMPAN_MAX_SEQS", "4", 1);
    (void)setenv("SAMPAN_API_KEY", "one,,two", 1);
    (void)setenv("SAMPAN_HOST", "", 1); /* empty: unset */
    (void)setenv("SAMPAN_PORT", "9000", 1);
    (void)setenv("SAMPAN_TEMPERATURE", "0.5", 1); /* another verb's: read, and of no effect here */
    options *o = parse(VERB_SERVE, ARGS("--port=9001"));
    assert_int_equal(options_int(o, "max-seqs"), 4);
    assert_int_equal(options_origin(o, "max-seqs", &where), ORIGIN_ENV);
    assert_string_equal(where, "SAMPAN_MAX_SEQS");
    assert_int_equal(options_list(o, "api-key", &items), 2);
    assert_string_equal(items[1], "two");
    assert_string_equal(options_str(o, "host"), "127.0.0.1");
    assert_int_equal(options_int(o, "port"), 9001);
    options_free(o);
    o = parse(VERB_SERVE, ARGS("--api-key=flag")); /* a list is replaced as a whole */
    assert_int_equal(options_list(o, "api-key", &items), 1);
    options_free(o);
    (void)setenv("SAMPAN_PORT", "tcp://10.0.0.1:80", 1);
    refuse(VERB_SERVE, NO_ARGS, "SAMPAN_PORT=tcp://10.0.0.1:80: not a whole number: give one");
}

static void misspelt_variables_are_refused(void **state)
{
    (void)state;
    (void)setenv("SAMPAN_ISA", "ref", 1);
    (void)setenv("SAMPAN_HOME", "/x", 1);
    (void)setenv("SAMPAN_", "x", 1);
    (void)setenv("SAMPAN_SERVICE_HOST", "10.0.0.1", 1);
    options_free(parse(VERB_SERVE, NO_ARGS));
    (void)setenv("SAMPAN_MAXSEQS", "3", 1);
    refuse(VERB_SERVE, NO_ARGS, "unknown setting SAMPAN_MAXSEQS: did you mean SAMPAN_MAX_SEQS?");
}

static void file_gives_values(void **state)
{
    (void)state;
    const char *const *items = NULL;
    const char *where = NULL;
    const char *path = put_file("c.yaml", "# a comment\n"
                                          "port: 9100\n"
                                          "model: one.gguf\n"
                                          "api-key:\n  - k1\n  - 'k2, with comma'\n"
                                          "no-auth: yes\n"
                                          "system: \"\\u4e2d\\nx\"\n"
                                          "temperature: 0.25\n"
                                          "kv-memory: 2G\n");
    (void)setenv("SAMPAN_CONFIG", path, 1);
    (void)setenv("SAMPAN_KV_MEMORY", "1G", 1);
    options *o = parse(VERB_SERVE, ARGS("--host=::1"));
    assert_int_equal(options_int(o, "port"), 9100);
    assert_int_equal(options_origin(o, "port", &where), ORIGIN_FILE);
    char want[600];
    (void)snprintf(want, sizeof want, "%s:2", path);
    assert_string_equal(where, want);
    assert_int_equal(options_list(o, "model", &items), 1);
    assert_string_equal(items[0], "one.gguf");
    assert_int_equal(options_list(o, "api-key", &items), 2);
    assert_string_equal(items[1], "k2, with comma");
    assert_true(options_bool(o, "no-auth"));
    assert_string_equal(options_str(o, "system"), "\xe4\xb8\xad\nx");
    assert_true(options_bytes(o, "kv-memory") == 1 << 30); /* the environment is stronger */
    assert_string_equal(options_str(o, "host"), "::1");
    options_free(o);
    (void)setenv("SAMPAN_CONFIG", "/nowhere", 1);
    char flag[600];
    (void)snprintf(flag, sizeof flag, "--config=%s", path);
    o = parse(VERB_SERVE, ARGS(flag));
    assert_int_equal(options_int(o, "port"), 9100);
    options_free(o);
}

static void file_is_found(void **state)
{
    (void)state;
    (void)put_file(".config/sampan/config.yaml", "port: 1\n");
    options *o = parse(VERB_SERVE, NO_ARGS);
    assert_int_equal(options_int(o, "port"), 1);
    options_free(o);
    (void)put_file("xdg/sampan/config.yaml", "port: 2\n");
    (void)setenv("XDG_CONFIG_HOME", in_scratch("xdg"), 1);
    o = parse(VERB_SERVE, NO_ARGS);
    assert_int_equal(options_int(o, "port"), 2);
    options_free(o);
    (void)setenv("XDG_CONFIG_HOME", "relative", 1); /* the standard says to ignore it */
    o = parse(VERB_SERVE, NO_ARGS);
    assert_int_equal(options_int(o, "port"), 1);
    options_free(o);
    assert_int_equal(file_remove_tree(in_scratch(".config"), NULL), 0);
    (void)clearenv(); /* no home at all */
    options_free(parse(VERB_SERVE, NO_ARGS));
    options *none = NULL;
    assert_int_equal(options_parse(VERB_SERVE, 2, ARGS("--config", "/no/such/file"), &none, &err),
                     SP_ENOTFOUND);
    assert_non_null(strstr(err.message, "/no/such/file"));
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message; /* after the path */
    } cases[] = {
        {"port: 1\nmax-seq: 3\n", ":2: unknown setting max-seq: did you mean max-seqs?"},
        {"quantum: 3\n", ":1: unknown setting quantum: `sampan config show` lists what there is"},
        {"config: x\n", ":1: unknown setting config: `sampan config show` lists what there is"},
        {"\nport: 70000\n", ":2: port: 70000: out of range: use 0 to 65535"},
        {"port:\n", ":1: port: has no value: give one or delete the line"},
        {"port: 1\nport: 2\n", ":2: port: is there twice: delete one"},
        {"port: [1, 2]\n", ":1: port: not a single value: write `port: value`"},
        {"port: {a: 1}\n", ":1: port: not a single value: write `port: value`"},
        {"model: {a: 1}\n", ":1: model: not a value or list: write `model: value`"},
        {"model: [[a]]\n", ":1: model: not a list of plain values: write `model: value`"},
        {"- port\n", ":1: not a mapping: write `name: value` lines"},
        {"port\n", ":1: not a mapping: write `name: value` lines"},
        {"[a]: 1\n", ":1: not a name: write `name: value` lines"},
        {"port: *x\n", ":1: port: not a single value: write `port: value`"},
        {"---\nport: 1\n---\nport: 2\n", ":3: a second document: keep one"},
        {"system: \"a\\0b\"\n", ":1: system: : holds a NUL byte: leave it out"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const char *path = put_file("bad.yaml", cases[i].text);
        char want[700];
        (void)snprintf(want, sizeof want, "%s%s", path, cases[i].message);
        (void)setenv("SAMPAN_CONFIG", path, 1);
        refuse(VERB_RUN, NO_ARGS, want);
    }
    static const char *const broken[] = {"port: 'x\n", "a: b: c\n", "\tport: 1\n", "port: \xff\n",
                                         "{port: 1\n"};
    for (size_t i = 0; i < SP_COUNT(broken); i++) {
        options *o = NULL;
        (void)setenv("SAMPAN_CONFIG", put_file("bad.yaml", broken[i]), 1);
        assert_int_equal(options_parse(VERB_RUN, 0, NO_ARGS, &o, &err), SP_EUSAGE);
        assert_non_null(strstr(err.message, "bad.yaml:"));
    }
    static const char *const empty[] = {"", "# nothing\n", "---\n", "~\n", "{}\n"};
    for (size_t i = 0; i < SP_COUNT(empty); i++) {
        (void)setenv("SAMPAN_CONFIG", put_file("empty.yaml", empty[i]), 1);
        options_free(parse(VERB_RUN, NO_ARGS));
    }
}

static void several_whole_numbers(void **state)
{
    (void)state;
    int64_t v[OPTIONS_INTS_MOST];
    options *o = parse(VERB_BENCH, ARGS("--prompt", "512,4096", "--batch=1-8*2", "--threads", "2"));
    assert_int_equal(options_ints(o, "prompt", v), 2);
    assert_true(v[0] == 512 && v[1] == 4096);
    assert_int_equal(options_int(o, "prompt"), 512);
    assert_int_equal(options_ints(o, "batch", v), 4);
    assert_int_equal(v[3], 8);
    assert_int_equal(options_ints(o, "depth", v), 1);
    assert_int_equal(v[0], 0);
    assert_string_equal(options_str(o, "prompt"), "512,4096");
    buf b;
    buf_init(&b, 1 << 20);
    options_show(o, true, &b);
    assert_non_null(strstr(b.data, "{\"name\": \"prompt\", \"value\": \"512,4096\""));
    assert_non_null(strstr(b.data, "{\"name\": \"threads\", \"value\": 2,"));
    buf_free(&b);
    options_free(o);
    refuse(VERB_BENCH, ARGS("--threads", "1,2000"),
           "--threads=1,2000: 2000 is out of range: use 0 to 1023");
    refuse(VERB_BENCH, ARGS("--prompt", "many"),
           "--prompt=many: no list of whole numbers: use forms like 2 or 1,2,4 or 512-4096*2");
}

static void table_is_sound(void **state)
{
    (void)state;
    size_t n = 0;
    const struct option_spec *t = options_table(&n);
    assert_true(n > 30);
    for (size_t i = 0; i < n; i++) {
        assert_true(t[i].verbs != 0 && (t[i].verbs & ~(unsigned)VERB_ALL) == 0);
        assert_true(strlen(t[i].name) < 40 && t[i].help && !str_ends(str_of(t[i].help), "."));
        assert_true((t[i].type == OPT_CHOICE) == (t[i].choices != NULL));
        bool wants_arg = t[i].type != OPT_BOOL && t[i].type != OPT_CHOICE;
        assert_true((t[i].arg != NULL) == wants_arg);
        assert_true(t[i].type != OPT_BOOL || strcmp(t[i].value, "false") == 0);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(t[i].name, t[j].name);
    }
}

static void help_lists_what_a_verb_takes(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 1 << 20);
    options_help(VERB_RUN, &b);
    assert_false(b.failed);
    assert_non_null(strstr(b.data, "  --max-tokens N "));
    assert_non_null(strstr(b.data, "  --compute f32|fast "));
    assert_non_null(strstr(b.data, "--log-level debug|info"));
    assert_non_null(strstr(b.data, "(default 4096)"));
    assert_null(strstr(b.data, "--port"));
    for (char *line = b.data; line; line = strchr(line + 1, '\n'))
        assert_true(strcspn(line + 1, "\n") <= 100);
    buf_free(&b);
}

static void show_tells_origins(void **state)
{
    (void)state;
    (void)setenv("SAMPAN_API_KEY", "secret1,secret2", 1);
    (void)setenv("SAMPAN_ADMIN_KEY", "secret3", 1);
    (void)setenv("SAMPAN_SYSTEM", "two\nlines \"q\"", 1);
    (void)setenv("SAMPAN_CONFIG", put_file("s.yaml", "top-p: 0.1\nkv-memory: 1K\nmodel: [a, b]\n"),
                 1);
    options *o = parse(VERB_CONFIG, ARGS("--json"));
    buf text, json;
    buf_init(&text, 1 << 20);
    buf_init(&json, 1 << 20);
    options_show(o, false, &text);
    options_show(o, true, &json);
    assert_false(text.failed || json.failed);
    assert_null(strstr(text.data, "secret"));
    assert_null(strstr(json.data, "secret"));
    assert_non_null(strstr(
        text.data, "api-key              ***, ***                  environment SAMPAN_API_KEY\n"));
    assert_non_null(strstr(text.data, "port                 8080                      default\n"));
    assert_non_null(strstr(text.data, "two\\nlines \"q\""));
    assert_non_null(strstr(text.data, "s.yaml:1\n"));
    assert_non_null(strstr(json.data,
                           "{\"name\": \"api-key\", \"value\": [\"***\", \"***\"], \"origin\": "
                           "\"environment\", \"where\": \"SAMPAN_API_KEY\"},\n"));
    assert_non_null(
        strstr(json.data, "{\"name\": \"top-p\", \"value\": 0.1, \"origin\": \"file\""));
    assert_non_null(strstr(json.data, "{\"name\": \"kv-memory\", \"value\": 1024,"));
    assert_non_null(strstr(json.data, "{\"name\": \"model\", \"value\": [\"a\", \"b\"],"));
    assert_non_null(strstr(json.data, "{\"name\": \"seed\", \"value\": null,"));
    assert_non_null(strstr(json.data, "\"value\": \"two\\nlines \\\"q\\\"\""));
    assert_non_null(
        strstr(json.data, "{\"name\": \"json\", \"value\": true, \"origin\": \"flag\""));
    buf_free(&text);
    buf_free(&json);
    options_free(o);
}

static int parse_all(void)
{
    options *o = NULL;
    int rc = options_parse(VERB_SERVE, 3, ARGS("--model=a", "--model=b", "--port=3"), &o, NULL);
    assert_int_equal(o == NULL, rc != 0);
    options_free(o);
    return rc;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    (void)setenv("SAMPAN_CONFIG", put_file("f.yaml", "alias: [a, b, c, d, e, f]\nhost: ::1\n"), 1);
    (void)setenv("SAMPAN_API_KEY", "a,b", 1);
    with_failing_allocations(parse_all);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, clean)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_whole_numbers),
        TEST(defaults),
        TEST(flags),
        TEST(bools),
        TEST(unknown_options_get_suggestions),
        TEST(bad_values_are_refused),
        TEST(environment),
        TEST(misspelt_variables_are_refused),
        TEST(file_gives_values),
        TEST(file_is_found),
        TEST(bad_files_are_refused),
        TEST(table_is_sound),
        TEST(help_lists_what_a_verb_takes),
        TEST(show_tells_origins),
        TEST(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
