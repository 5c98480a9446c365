/* The server in this process on a tiny model: plain sockets in, answers out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include "../tiny_model.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/server_int.h"

static char *dir;
static engine *e;
static server *s;
static pthread_t thread;
static int port;
static sem_t ready;

static void on_ready(void *arg, const char *host, int p)
{
    (void)arg;
    (void)host;
    port = p;
    sem_post(&ready);
}

static void *loop(void *arg)
{
    (void)arg;
    server_run(s, NULL);
    return NULL;
}

static const char *const names[] = {"tiny", "alias"};
static const struct server_model served = {
    .spec = "tiny", .names = names, .n_names = 2, .at_start = true};
static const char *const keys[] = {"secret"};

static int open_tiny(void *arg, const char *spec, struct engine_opts *with, engine **out,
                     sp_error *err)
{
    (void)arg;
    assert_string_equal(spec, "tiny");
    with->threads = 1;
    with->max_context = 0;
    with->max_seqs = 2;
    int code = engine_open(dir, with, &e, err);
    *out = e;
    return code;
}

static struct server_opts options(void)
{
    return (struct server_opts){.host = "127.0.0.1",
                                .models = &served,
                                .n_models = 1,
                                .open = open_tiny,
                                .on_ready = on_ready,
                                .api_keys = keys,
                                .n_api_keys = 1};
}

static int setup(void **state)
{
    (void)state;
    log_setup(LOG_OFF, LOG_TEXT);
    dir = tiny_model_make();
    if (!dir)
        return -1;
    struct server_opts so = options();
    sem_init(&ready, 0, 0);
    if (server_new(&so, &s, NULL) < 0 || pthread_create(&thread, NULL, loop, NULL) != 0)
        return -1;
    sem_wait(&ready);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    server_stop(s);
    pthread_join(thread, NULL);
    server_free(s);
    tiny_model_remove(dir);
    return 0;
}

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void send_request(int fd, const char *method, const char *path, const char *key,
                         const char *body)
{
    char head[512];
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s%sConnection: "
                     "close\r\nContent-Length: %zu\r\n\r\n",
                     method, path, key ? "Authorization: Bearer " : "", key ? key : "",
                     key ? "\r\n" : "", body ? strlen(body) : 0);
    assert_int_equal(write(fd, head, (size_t)n), n);
    if (body)
        assert_int_equal(write(fd, body, strlen(body)), (ssize_t)strlen(body));
}

static char answer[1 << 20];

/* The status; the whole answer, head and body, is in `answer`. */
static int ask(const char *method, const char *path, const char *key, const char *body)
{
    int fd = dial(), status = 0;
    size_t n = 0;
    ssize_t got;
    send_request(fd, method, path, key, body);
    while ((got = read(fd, answer + n, sizeof answer - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    answer[n] = '\0';
    assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
    return status;
}

static bool says(const char *words)
{
    return strstr(answer, words) != NULL;
}

static int chat(const char *more)
{
    char body[2048];
    snprintf(body, sizeof body,
             "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]%s}",
             more);
    return ask("POST", "/v1/chat/completions", "secret", body);
}

static int complete(const char *more)
{
    char body[2048];
    snprintf(body, sizeof body, "{\"model\":\"alias\"%s}", more);
    return ask("POST", "/v1/completions", "secret", body);
}

static void docs_in_the_form_built(void **state)
{
    (void)state;
    bool full = server_file_find("index.html") != NULL;
    assert_int_equal(ask("GET", "/docs", NULL, NULL), 200);
    assert_int_equal(says("\"docs/swagger-ui-bundle.js"), full);
    assert_int_equal(says("tools/swagger_ui.py"), !full);
    assert_int_equal(says("POST /v1/chat/completions"), !full);
    assert_int_equal(ask("GET", "/docs/swagger-ui.css", NULL, NULL), full ? 406 : 404);
    assert_int_equal(ask("GET", "/docs/openapi.yaml", NULL, NULL), 404);
    assert_int_equal(ask("GET", "/", NULL, NULL), 200);
    assert_true(says("POST /v1/chat/completions") && says("GET /v1/models/{model}"));
    assert_true(says("href=\"docs\"") && says("Content-Security-Policy: default-src 'none'"));
}

static void methods_that_are_not(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/tokenize", "secret", NULL), 405);
    assert_true(says("Allow: POST, OPTIONS\r\n"));
    assert_int_equal(ask("POST", "/health", NULL, "{}"), 405);
    assert_true(says("Allow: GET, HEAD, OPTIONS\r\n"));
    assert_int_equal(ask("OPTIONS", "/v1/models", NULL, NULL), 204);
    assert_true(says("Allow: GET, HEAD, OPTIONS\r\n") && !says("{"));
    assert_int_equal(ask("OPTIONS", "/nowhere", NULL, NULL), 404);
}

static void open_paths_and_keys(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/", NULL, NULL), 200);
    assert_true(says("text/html"));
    assert_int_equal(ask("GET", "/health", NULL, NULL), 200);
    assert_int_equal(ask("GET", "/livez", NULL, NULL), 200);
    assert_int_equal(ask("GET", "/readyz", NULL, NULL), 200);
    assert_int_equal(ask("GET", "/version", NULL, NULL), 200);
    assert_int_equal(ask("GET", "/v1/models", NULL, NULL), 401);
    assert_int_equal(ask("GET", "/v1/models", "wrong", NULL), 401);
    assert_int_equal(ask("GET", "/v1/models", "secret", NULL), 200);
    assert_true(says("\"tiny\"") && says("\"alias\""));
    assert_int_equal(ask("GET", "/v1/models/alias", "secret", NULL), 200);
    assert_int_equal(ask("GET", "/v1/models/none", "secret", NULL), 404);
    assert_int_equal(ask("GET", "/nothing", "secret", NULL), 404);
    assert_int_equal(ask("GET", "/v1/completions", "secret", NULL), 405);
}

static void chat_answers(void **state)
{
    (void)state;
    assert_int_equal(chat(",\"max_tokens\":5,\"temperature\":0"), 200);
    assert_true(says("\"chat.completion\"") && says("\"completion_tokens\""));
    assert_int_equal(
        chat(",\"max_completion_tokens\":5,\"n\":3,\"logprobs\":true,\"top_logprobs\":2,\"seed\":1,"
             "\"stop\":[\"zzz\"],"
             "\"logit_bias\":{\"65\":-100},\"presence_penalty\":1,\"frequency_penalty\":1,"
             "\"repetition_penalty\":1.1,"
             "\"top_k\":10,\"min_p\":0.01,\"ignore_eos\":true,\"user\":\"u\",\"unknown_field\":1"),
        200);
    assert_true(says("\"index\":2") && says("\"top_logprobs\""));
    assert_int_equal(chat(",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_"
                          "tokens\":8,\"ignore_eos\":true,\"logprobs\":true"),
                     200);
    assert_true(says("chat.completion.chunk") && says("[DONE]") && says("\"usage\":{") &&
                says("\"role\":\"assistant\""));
}

static void completions_answer(void **state)
{
    (void)state;
    assert_int_equal(complete(",\"prompt\":\"abc\",\"max_tokens\":4,\"temperature\":0"), 200);
    assert_true(says("\"text_completion\""));
    assert_int_equal(complete(",\"prompt\":[1,2,3,4],\"max_tokens\":1,\"echo\":true,\"logprobs\":1,"
                              "\"temperature\":0"),
                     200);
    assert_true(says("\"token_logprobs\":[null,"));
    assert_int_equal(
        complete(",\"prompt\":[[1,2],[3,4,5]],\"max_tokens\":0,\"echo\":true,\"logprobs\":2"), 200);
    assert_true(says("\"index\":1"));
    assert_int_equal(complete(",\"prompt\":[\"a\",\"b\"],\"max_tokens\":2,\"stream\":true,"
                              "\"logprobs\":0,\"ignore_eos\":true"),
                     200);
    assert_true(says("[DONE]"));
}

static void tokens_there_and_back(void **state)
{
    (void)state;
    assert_int_equal(ask("POST", "/tokenize", "secret", "{\"prompt\":\"ab\"}"), 200);
    assert_true(says("\"tokens\":[97,98]") && says("\"count\":2"));
    assert_int_equal(ask("POST", "/tokenize", "secret", "{\"content\":\"<|im_end|>\"}"), 200);
    assert_true(says("{\"tokens\":[257]}"));
    assert_int_equal(ask("POST", "/tokenize", "secret",
                         "{\"messages\":[{\"role\":\"user\",\"content\":\"<|im_end|>\"}]}"),
                     200);
    assert_true(says("[256,117,115,101,114,10,60,124,105,109,95,101,110,100,124,62,257,"));
    assert_int_equal(ask("POST", "/detokenize", "secret", "{\"tokens\":[97,98,257]}"), 200);
    assert_true(says("\"content\":\"ab<|im_end|>\""));
    assert_int_equal(ask("POST", "/detokenize", "secret", "{\"tokens\":[9999]}"), 400);
    assert_int_equal(ask("POST", "/detokenize", "secret", "{\"tokens\":\"x\"}"), 400);
    assert_int_equal(ask("POST", "/tokenize", "secret", "{\"prompt\":7}"), 400);
    assert_int_equal(ask("POST", "/tokenize", "secret", "{\"model\":\"none\",\"prompt\":\"\"}"),
                     404);
}

static void bad_requests_name_the_parameter(void **state)
{
    static const struct {
        const char *more, *param;
    } bad[] = {{",\"temperature\":-1", "temperature"},
               {",\"temperature\":\"x\"", "temperature"},
               {",\"top_p\":2", "top_p"},
               {",\"max_tokens\":0", "max_tokens"},
               {",\"max_tokens\":1.5", "max_tokens"},
               {",\"n\":0", "n"},
               {",\"stop\":7", "stop"},
               {",\"stop\":[\"\"]", "stop"},
               {",\"logit_bias\":{\"x\":1}", "logit_bias"},
               {",\"logit_bias\":[]", "logit_bias"},
               {",\"stream\":1", "stream"},
               {",\"stream_options\":{}", "stream_options"},
               {",\"tools\":[{}]", "tools"},
               {",\"response_format\":{\"type\":\"json_object\"}", "response_format"},
               {",\"top_logprobs\":3", "top_logprobs"},
               {",\"logprobs\":3", "logprobs"},
               {",\"seed\":\"a\"", "seed"},
               {",\"user\":7", "user"},
               {",\"min_tokens\":-1", "min_tokens"},
               {",\"min_tokens\":9,\"max_tokens\":8", "min_tokens"},
               {",\"return_progress\":true", "return_progress"},
               {",\"priority\":101", "priority"},
               {",\"prompt_logprobs\":0", "prompt_logprobs"},
               {",\"store\":true", "store"},
               {",\"chat_template_kwargs\":1", "chat_template_kwargs"}};
    char want[64];
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        assert_int_equal(chat(bad[i].more), 400);
        snprintf(want, sizeof want, "\"param\":\"%s\"", bad[i].param);
        if (!says(want))
            fail_msg("%s: %s", bad[i].more, answer);
    }
    assert_int_equal(ask("POST", "/v1/chat/completions", "secret", "{"), 400);
    assert_int_equal(ask("POST", "/v1/chat/completions", "secret", "[]"), 400);
    assert_int_equal(
        ask("POST", "/v1/chat/completions", "secret", "{\"model\":\"tiny\",\"messages\":[]}"), 400);
    assert_int_equal(ask("POST", "/v1/chat/completions", "secret",
                         "{\"model\":\"tiny\",\"messages\":[{\"content\":\"x\"}]}"),
                     400);
    assert_int_equal(ask("POST", "/v1/chat/completions", "secret",
                         "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":[{"
                         "\"type\":\"image_url\"}]}]}"),
                     400);
    assert_int_equal(ask("POST", "/v1/chat/completions", "secret", "{\"messages\":[]}"), 400);
    assert_int_equal(ask("POST", "/v1/chat/completions", "secret", "{\"model\":\"gpt\"}"), 404);
    assert_true(says("model_not_found"));
    assert_int_equal(complete(""), 400);
    assert_int_equal(complete(",\"prompt\":[]"), 400);
    assert_int_equal(complete(",\"prompt\":\"\""), 400);
    assert_int_equal(complete(",\"prompt\":[1,99999]"), 400);
    assert_int_equal(complete(",\"prompt\":\"a\",\"suffix\":\"b\""), 400);
    assert_int_equal(complete(",\"prompt\":\"a\",\"best_of\":3"), 400);
    assert_int_equal(complete(",\"prompt\":\"a\",\"max_tokens\":0"), 400);
}

static void a_prompt_too_long_names_both_numbers(void **state)
{
    char *body = sp_malloc(4000);
    (void)state;
    int n = snprintf(body, 4000, "{\"model\":\"tiny\",\"prompt\":\"");
    memset(body + n, 'a', 600);
    snprintf(body + n + 600, 100, "\"}");
    assert_int_equal(ask("POST", "/v1/completions", "secret", body), 400);
    assert_true(says("600") && says("512"));
    sp_free(body);
}

static void a_client_that_leaves_frees_its_place(void **state)
{
    struct engine_info info = {0};
    (void)state;
    for (int i = 0; i < 6; i++) {
        int fd = dial();
        send_request(
            fd, "POST", "/v1/completions", "secret",
            i % 2
                ? "{\"model\":\"tiny\",\"prompt\":\"abc\",\"max_tokens\":480,\"ignore_eos\":true,"
                  "\"stream\":true}"
                : "{\"model\":\"tiny\",\"prompt\":\"abc\",\"max_tokens\":480,\"ignore_eos\":true}");
        clock_sleep(0.02);
        close(fd);
    }
    for (int i = 0; i < 500; i++) {
        engine_get_info(e, &info);
        if (info.running + info.waiting == 0)
            break;
        clock_sleep(0.01);
    }
    assert_int_equal(info.running + info.waiting, 0);
    assert_int_equal(info.kv_pages_free, info.kv_pages);
}

static void *one_of_many(void *arg)
{
    int fd = dial();
    char text[4096];
    ssize_t got, n = 0;
    send_request(fd, "POST", "/v1/completions", "secret",
                 "{\"model\":\"tiny\",\"prompt\":\"abcdef\",\"max_tokens\":20,\"ignore_eos\":true,"
                 "\"temperature\":0}");
    while ((got = read(fd, text + n, sizeof text - 1 - (size_t)n)) > 0)
        n += got;
    close(fd);
    text[n] = '\0';
    *(bool *)arg = strstr(text, "\"completion_tokens\":20") != NULL;
    return NULL;
}

static void many_at_once(void **state)
{
    pthread_t threads[12];
    bool ok[12] = {false};
    (void)state;
    for (int i = 0; i < 12; i++)
        pthread_create(&threads[i], NULL, one_of_many, &ok[i]);
    for (int i = 0; i < 12; i++) {
        pthread_join(threads[i], NULL);
        assert_true(ok[i]);
    }
}

static void metrics_tell(void **state)
{
    (void)state;
    assert_int_equal(ask("GET", "/metrics", NULL, NULL), 401);
    assert_int_equal(complete(",\"prompt\":[1,2,3],\"max_tokens\":2,\"ignore_eos\":true"), 200);
    assert_int_equal(ask("GET", "/metrics", "secret", NULL), 200);
    assert_true(says("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_true(says("\n# TYPE sampan:time_to_first_token_seconds histogram\n"));
    assert_true(says("\nsampan:request_params_n_bucket{model_name=\"tiny\",le=\"+Inf\"} "));
    assert_true(says(
        "\nhttp_requests_total{handler=\"/v1/models/{name}\",method=\"GET\",status=\"2xx\"} "));
    assert_false(says("vllm:"));
}

static void what_cannot_start_says_why(void **state)
{
    struct server_opts o = options();
    server *other = NULL;
    sp_error err = {0};
    (void)state;
    o.port = port;
    assert_int_equal(server_new(&o, &other, &err), SP_EIO);
    o.next_port = true;
    assert_int_equal(server_new(&o, &other, &err), 0);
    server_free(other);
    o.host = "0.0.0.0";
    o.n_api_keys = 0;
    assert_int_equal(server_new(&o, &other, &err), SP_EUSAGE);
    assert_non_null(strstr(err.message, "--no-auth"));
    o.n_models = 0;
    assert_int_equal(server_new(&o, &other, &err), SP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_paths_and_keys),
        cmocka_unit_test(docs_in_the_form_built),
        cmocka_unit_test(methods_that_are_not),
        cmocka_unit_test(chat_answers),
        cmocka_unit_test(completions_answer),
        cmocka_unit_test(tokens_there_and_back),
        cmocka_unit_test(bad_requests_name_the_parameter),
        cmocka_unit_test(a_prompt_too_long_names_both_numbers),
        cmocka_unit_test(a_client_that_leaves_frees_its_place),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(metrics_tell),
        cmocka_unit_test(what_cannot_start_says_why),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
