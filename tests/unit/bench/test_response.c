/* Responses and events are the same however their bytes are cut. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "../../guard_page.h"
#include "bench/response_int.h"

struct seen {
    struct response r;
    enum response_part part;
    buf body;
    size_t used;
};

static void take(void *arg, const char *p, size_t n)
{
    struct seen *s = arg;
    assert_true(s->r.status >= 200);
    (void)buf_add(&s->body, p, n);
}

/* Feeds p in pieces that end at `cut` and then every `step` bytes; each piece lies before a guard page. */
static void feed(struct seen *s, const char *p, size_t n, size_t cut, size_t step)
{
    memset(s, 0, sizeof *s);
    response_init(&s->r);
    buf_init(&s->body, 1 << 20);
    for (size_t at = 0; at < n && s->part == RESPONSE_MORE;) {
        size_t len = at < cut ? cut - at : step, used = 0;
        len = len < n - at ? len : n - at;
        struct guard_page g = {0};
        assert_int_equal(guard_page_make(&g, p + at, len), 0);
        s->part = response_feed(&s->r, (const char *)g.data, len, take, s, &used);
        guard_page_free(&g);
        assert_true(used <= len && (used == len || s->part != RESPONSE_MORE));
        s->used += used;
        at += used;
    }
}

static void forget(struct seen *s)
{
    response_free(&s->r);
    buf_free(&s->body);
}

struct good {
    const char *text, *body;
    int status;
    bool stream, keep;
    const char *rest; /* of the text, of a next message */
};

static const struct good good[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, false, true, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1", "hello", 200, false, true,
     "HTTP/1.1"},
    {"HTTP/1.1 404\r\nCONTENT-length:\t0 \r\n\r\n", "", 404, false, true, ""},
    {"HTTP/1.1 204 None\r\n\r\n", "", 204, false, true, ""},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, false, false, ""},
    {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, false,
     true, ""},
    {"HTTP/1.1 200 OK\r\nConnection: te, close\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, false,
     false, ""},
    {"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", 200,
     false, true, ""},
    {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
     "Transfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5;a=b\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n"
     "0\r\n\r\n",
     "wikipedia in\r\n\r\nchunks.", 200, true, true, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1 \r\nx\r\n000\r\nTrailer: "
     "y\r\n\r\nrest",
     "x", 200, false, true, "rest"},
    {"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n", "ok", 200, false, true, ""},
    {"HTTP/1.1 200 OK\r\nContent-Type: text/event-streams\r\nContent-Length: 1\r\n\r\nx", "x", 200,
     false, true, ""},
};

static void however_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        const struct good *g = &good[i];
        size_t n = strlen(g->text);
        for (size_t cut = 0; cut <= n; cut++) {
            for (size_t step = 1; step <= n; step += n - 1) {
                struct seen s;
                feed(&s, g->text, n, cut, step);
                assert_int_equal(s.part, RESPONSE_DONE);
                assert_int_equal(s.r.status, g->status);
                assert_int_equal(s.r.event_stream, g->stream);
                assert_int_equal(s.r.keep_alive, g->keep);
                assert_string_equal(s.body.data ? s.body.data : "", g->body);
                assert_string_equal(g->text + s.used, g->rest);
                assert_int_equal(response_end(&s.r), RESPONSE_DONE);
                forget(&s);
            }
        }
    }
}

static void to_the_end_of_the_connection(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\n\r\nall of it";
    struct seen s;
    (void)state;
    for (size_t step = 1; step < sizeof text; step++) {
        feed(&s, text, sizeof text - 1, 0, step);
        assert_int_equal(s.part, RESPONSE_MORE);
        assert_string_equal(s.body.data, "all of it");
        assert_int_equal(response_end(&s.r), RESPONSE_DONE);
        assert_false(s.r.keep_alive);
        forget(&s);
    }
}

static void what_is_not_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        size_t n = strlen(good[i].text) - strlen(good[i].rest);
        for (size_t part = 0; part < n; part++) {
            struct seen s;
            feed(&s, good[i].text, part, 0, 7);
            assert_int_equal(s.part, RESPONSE_MORE);
            assert_int_equal(response_end(&s.r), RESPONSE_BAD);
            assert_non_null(s.r.why);
            forget(&s);
        }
    }
}

static void what_is_no_http(void **state)
{
    static const char *const bad[] = {
        "SSH-2.0-OpenSSH_9\r\n",
        "HTTP/2 200 OK\r\n",
        "HTTP/1.1 2x0 OK\r\n",
        "HTTP/1.1 099 Odd\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1234567890abcdef0\r\n"};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        for (size_t step = 1; step <= strlen(bad[i]); step++) {
            struct seen s;
            feed(&s, bad[i], strlen(bad[i]), 0, step);
            assert_int_equal(s.part, RESPONSE_BAD);
            assert_non_null(s.r.why);
            assert_int_equal(response_end(&s.r), RESPONSE_BAD);
            forget(&s);
        }
    }
}

static void heads_are_bounded(void **state)
{
    struct seen s;
    size_t n = RESPONSE_LINE_MAX + 100;
    char *text = sp_malloc(n + 1);
    (void)state;
    memset(text, 'a', n);
    text[n] = '\0';
    feed(&s, text, n, 0, 4096);
    assert_int_equal(s.part, RESPONSE_BAD);
    forget(&s);
    sp_free(text);
    buf b;
    buf_init(&b, 1 << 20);
    (void)buf_puts(&b, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i <= RESPONSE_LINES_MOST; i++)
        (void)buf_puts(&b, "X: y\r\n");
    feed(&s, b.data, b.len, 0, 4096);
    assert_int_equal(s.part, RESPONSE_BAD);
    forget(&s);
    buf_free(&b);
}

/* ---- events ---- */

static void note(void *arg, const char *data, size_t n)
{
    assert_int_equal(strlen(data), n);
    (void)buf_printf(arg, "[%s]", data);
}

static void events_in_pieces(const char *text, size_t n, size_t cut, size_t step, buf *out)
{
    struct events e;
    events_init(&e);
    for (size_t at = 0; at < n;) {
        size_t len = at < cut ? cut - at : step;
        struct guard_page g = {0};
        len = len < n - at ? len : n - at;
        assert_int_equal(guard_page_make(&g, text + at, len), 0);
        assert_int_equal(events_feed(&e, (const char *)g.data, len, note, out), 0);
        guard_page_free(&g);
        at += len;
    }
    events_free(&e);
}

static void lines_of_events(void **state)
{
    /* The examples of the HTML standard and their neighbours: what is dispatched stands behind. */
    static const char *const cases[][2] = {
        {"data: YHOO\ndata: +2\ndata: 10\n\n", "[YHOO\n+2\n10]"},
        {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
         "event\n",
         "[first event][second event]"},
        {"data\n\ndata\ndata\n\ndata:", "[][\n]"},
        {"data:test\n\ndata: test\n\n", "[test][test]"},
        {"\xef\xbb\xbf"
         "data: a\r\n\r\ndata: b\r\rdata: c\r\n\n",
         "[a][b][c]"},
        {"event: error\ndata: {\"x\": 1}\r\n\r\n: ping\r\n\r\ndata: [DONE]\n\n",
         "[{\"x\": 1}][[DONE]]"},
        {"dat: no\ndatax: no\nretry: 10\n\n", ""},
        {"data: \xe6\xb0\xb4\n\n", "[\xe6\xb0\xb4]"},
    };
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        size_t n = strlen(cases[i][0]);
        for (size_t cut = 0; cut <= n; cut++) {
            for (size_t step = 1; step <= n; step++) {
                buf out;
                buf_init(&out, 4096);
                events_in_pieces(cases[i][0], n, cut, step, &out);
                assert_string_equal(out.data ? out.data : "", cases[i][1]);
                buf_free(&out);
            }
        }
    }
}

static void events_are_bounded(void **state)
{
    struct events e;
    size_t n = (size_t)1 << 20;
    char *text = sp_malloc(n);
    int code = 0;
    (void)state;
    events_init(&e);
    memset(text, 'a', n);
    memcpy(text, "data: ", 6);
    for (int i = 0; i < 32 && code == 0; i++)
        code = events_feed(&e, text, n, note, NULL);
    assert_int_equal(code, SP_EFULL);
    assert_int_equal(events_feed(&e, "\n\n", 2, note, NULL), SP_EFULL); /* and stays so */
    events_free(&e);
    sp_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(however_it_is_cut),  cmocka_unit_test(to_the_end_of_the_connection),
        cmocka_unit_test(what_is_not_whole),  cmocka_unit_test(what_is_no_http),
        cmocka_unit_test(heads_are_bounded),  cmocka_unit_test(lines_of_events),
        cmocka_unit_test(events_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
