#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include "base/log.h"

static int kept = -1; /* the real stderr */

static void catch_stderr(int fd)
{
    kept = dup(STDERR_FILENO);
    assert_true(kept >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
}

static void release_stderr(void)
{
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
}

static void catch_in_file(void)
{
    catch_stderr(
        open(in_scratch("log"), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
}

/* What was written since catch_in_file; the caller's. */
/* noinline: gcc 12 at -O3 takes its local for a dangling one. */
__attribute__((noinline)) static char *caught(void)
{
    char *text = NULL;
    release_stderr();
    assert_int_equal(file_read(in_scratch("log"), 1 << 24, &text, NULL, NULL), 0);
    return text;
}

static void json_off_a_terminal(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_AUTO);
    catch_in_file();
    log_info("engine", "ready in %d ms", 12);
    char *text = caught();
    int year = 0, at = 0;
    assert_int_equal(sscanf(text, "{\"ts\":\"%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ\",%n", &year, &at),
                     1);
    assert_true(year >= 2024 && at > 0);
    assert_string_equal(text + at,
                        "\"level\":\"info\",\"room\":\"engine\",\"msg\":\"ready in 12 ms\"}\n");
    sp_free(text);
}

static void json_is_escaped(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_JSON);
    catch_in_file();
    log_warn("hub", "\"\\\n\r\t\b\f\x01\x7f\xff \xe4\xb8\xad\xc2\x85\xe4\xb8");
    char *text = caught();
    assert_non_null(
        strstr(text, "\"msg\":\"\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u007f\\ufffd \xe4\xb8\xad\\u0085"
                     "\\ufffd\\ufffd\"}\n"));
    sp_free(text);
}

static void fields_follow_the_message(void **state)
{
    const struct log_field f[] = {
        {.name = "id", .kind = FIELD_TEXT, .text = "a\"b"},
        {.name = "none", .kind = FIELD_NONE},
        {.name = "null", .kind = FIELD_TEXT},
        {.name = "n", .kind = FIELD_INTEGER, .integer = -7},
        {.name = "s", .kind = FIELD_SECONDS, .seconds = 0.25},
    };
    (void)state;
    log_setup(LOG_INFO, LOG_JSON);
    catch_in_file();
    log_fields(LOG_INFO, "server", "POST / 200", f, 5);
    log_fields(LOG_DEBUG, "server", "not said", f, 5);
    char *text = caught();
    assert_non_null(
        strstr(text, "\"msg\":\"POST / 200\",\"id\":\"a\\\"b\",\"n\":-7,\"s\":0.250000}\n"));
    assert_null(strstr(text, "not said"));
    sp_free(text);
    log_setup(LOG_INFO, LOG_TEXT);
    catch_in_file();
    log_fields(LOG_INFO, "server", "POST / 200", f, 5);
    text = caught();
    assert_non_null(strstr(text, " info  server: POST / 200 id=a\"b n=-7 s=0.250000\n"));
    sp_free(text);
}

static void a_field_too_long_is_left_out(void **state)
{
    static char big[LOG_FIELDS_MAX], half[LOG_FIELDS_MAX / 2];
    const struct log_field f[] = {{.name = "big", .kind = FIELD_TEXT, .text = big},
                                  {.name = "half", .kind = FIELD_TEXT, .text = half},
                                  {.name = "n", .kind = FIELD_INTEGER, .integer = 1}};
    (void)state;
    memset(big, '\n', sizeof big - 1); /* two bytes each, written */
    memset(half, 'x', sizeof half - 1);
    log_setup(LOG_INFO, LOG_JSON);
    catch_in_file();
    log_fields(LOG_INFO, "server", "m", f, 3);
    char *text = caught();
    assert_null(strstr(text, "\"big\""));
    assert_non_null(strstr(text, "\"half\":\"xxx"));
    assert_non_null(strstr(text, "xxx\",\"n\":1,\"cut\":true}\n"));
    sp_free(text);
}

static void text_form(void **state)
{
    (void)state;
    log_setup(LOG_DEBUG, LOG_TEXT);
    catch_in_file();
    log_debug("base", "one\ntwo \x1b[31m\xff");
    log_error("server", "three");
    char *text = caught();
    assert_int_equal(text[2], ':');
    assert_int_equal(text[5], ':');
    assert_string_equal(strchr(text, ' '), strstr(text, " debug base: one?two ?[31m?\n"));
    assert_non_null(strstr(text, " error server: three\n"));
    assert_null(strchr(text, '\x1b')); /* no colours in a file */
    sp_free(text);
}

static void levels_filter(void **state)
{
    (void)state;
    log_setup(LOG_WARN, LOG_JSON);
    assert_int_equal(log_get_level(), LOG_WARN);
    catch_in_file();
    log_debug("x", "a");
    log_info("x", "b");
    log_warn("x", "c");
    log_error("x", "d");
    log_setup(LOG_OFF, LOG_JSON);
    log_error("x", "e");
    log_write(LOG_OFF, "x", "f");
    char *text = caught();
    assert_null(strstr(text, "\"a\""));
    assert_null(strstr(text, "\"b\""));
    assert_non_null(strstr(text, "\"warn\",\"room\":\"x\",\"msg\":\"c\""));
    assert_non_null(strstr(text, "\"error\",\"room\":\"x\",\"msg\":\"d\""));
    assert_null(strstr(text, "\"e\"}"));
    assert_null(strstr(text, "\"f\"}"));
    sp_free(text);
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
        n++;
    return n;
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    char big[9001];
    for (size_t i = 0; i < 9000; i += 3)
        memcpy(big + i, "\xe4\xb8\xad", 4);
    log_setup(LOG_INFO, LOG_JSON);
    catch_in_file();
    log_info("x", "%s", big);
    memset(big, 1, 9000); /* each byte becomes six */
    log_info("x", "%s", big);
    char *text = caught();
    assert_int_equal(count(text, "...\"}\n"), 2);
    assert_true(utf8_valid(text, strlen(text)));
    assert_null(strstr(text, "\\ufffd"));
    assert_int_equal(count(text, "\\u0001...\"}\n"), 1);
    sp_free(text);
}

static void errno_is_kept(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_AUTO);
    catch_in_file();
    errno = 77;
    log_info("x", "y");
    int after = errno;
    sp_free(caught());
    assert_int_equal(after, 77);
}

static void *chatter(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("x", "thread %d says a line of some length number %d", *(int *)arg, i);
    return NULL;
}

static void lines_stay_whole(void **state)
{
    (void)state;
    pthread_t threads[4];
    int ids[4];
    log_setup(LOG_INFO, LOG_JSON);
    catch_in_file();
    for (int i = 0; i < 4; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, &ids[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    char *text = caught();
    int lines = 0;
    for (char *line = text; *line; lines++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_memory_equal(line, "{\"ts\":\"", 7);
        assert_memory_equal(end - 2, "\"}", 2);
        line = end + 1;
    }
    assert_int_equal(lines, 800);
    sp_free(text);
}

#define FLOOD 5000 /* lines: more than a pipe and the queue hold */

struct drain {
    int fd;
    char *text; /* [n] */
    size_t n;
};

static void *read_all(void *arg)
{
    struct drain *d = arg;
    ssize_t n;
    while ((n = read(d->fd, d->text + d->n, ((size_t)1 << 20) - 1 - d->n)) > 0)
        d->n += (size_t)n;
    return NULL;
}

/* Every line is written, in order, or counted where it is missing. */
static void check_flood(const char *text)
{
    long next = 0, lost;
    assert_non_null(strstr(text, "lines of the log were lost"));
    for (const char *at = text; (at = strstr(at, "\"msg\":\"")); at++) {
        if (sscanf(at, "\"msg\":\"%ld lines of the log were lost", &lost) == 1 &&
            strncmp(strchr(at + 7, ' '), " lines", 6) == 0) {
            assert_true(lost > 0);
            next += lost;
            continue;
        }
        assert_int_equal(strtol(at + strlen("\"msg\":\"line"), NULL, 10), next);
        next++;
    }
    assert_int_equal(next, FLOOD);
}

/* Nobody reads the pipe while lines come; then somebody does. */
static void a_full_pipe_stops_nobody(void **state)
{
    int ends[2];
    pthread_t thread;
    sp_error err;
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct drain d = {.fd = ends[0], .text = sp_calloc(1, (size_t)1 << 20)};
    assert_non_null(d.text);
    log_setup(LOG_INFO, LOG_JSON);
    catch_stderr(ends[1]);
    assert_int_equal(log_writer_start(&err), 0);
    for (int i = 0; i < FLOOD; i++)
        log_info("x", "line%d and some more that makes a pipe full after not too many of them", i);
    assert_int_equal(pthread_create(&thread, NULL, read_all, &d), 0);
    log_writer_stop();
    release_stderr();
    (void)pthread_join(thread, NULL);
    (void)close(ends[0]);
    check_flood(d.text);
    sp_free(d.text);
}

/* One line as a terminal gets it. */
static void read_terminal(char text[256])
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[128];
    if (master < 0 || grantpt(master) || unlockpt(master) || ptsname_r(master, name, sizeof name))
        skip();
    int slave = open(name, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        skip();
    catch_stderr(slave);
    log_warn("hub", "slow");
    ssize_t n = read(master, text, 255);
    release_stderr();
    (void)close(master);
    assert_true(n > 0);
    text[n] = '\0';
}

static void terminals_get_colours(void **state)
{
    (void)state;
    char text[256];
    log_setup(LOG_INFO, LOG_AUTO);
    (void)unsetenv("NO_COLOR");
    read_terminal(text);
    assert_non_null(strstr(text, " \x1b[33mwarn \x1b[0m hub: slow"));
    (void)setenv("NO_COLOR", "1", 1);
    read_terminal(text);
    assert_non_null(strstr(text, " warn  hub: slow"));
    assert_null(strchr(text, '\x1b'));
    (void)unsetenv("NO_COLOR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_off_a_terminal),
        cmocka_unit_test(json_is_escaped),
        cmocka_unit_test(fields_follow_the_message),
        cmocka_unit_test(a_field_too_long_is_left_out),
        cmocka_unit_test(text_form),
        cmocka_unit_test(levels_filter),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(errno_is_kept),
        cmocka_unit_test(lines_stay_whole),
        cmocka_unit_test(a_full_pipe_stops_nobody),
        cmocka_unit_test(terminals_get_colours),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
