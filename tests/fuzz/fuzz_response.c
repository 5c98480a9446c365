/* What a server that is measured sends: its head, chunks and events, whole and byte by byte with the same result. */
#include "bench/response_int.h"
#include "fuzz.h"

struct reading {
    struct response r;
    struct events e;
    enum response_part part;
    size_t used;
    int code; /* of the events */
    buf seen;
};

static void event(void *arg, const char *data, size_t n)
{
    struct reading *x = arg;
    fuzz_check(data[n] == '\0', "an event's data ends with a NUL");
    (void)buf_add(&x->seen, data, n);
    (void)buf_putc(&x->seen, '\n');
}

static void body(void *arg, const char *p, size_t n)
{
    struct reading *x = arg;
    fuzz_check(x->r.status >= 200 && x->r.status < 1000, "a body has a final status");
    if (x->code == 0)
        x->code = events_feed(&x->e, p, n, event, x);
}

static void read_in(struct reading *x, const char *p, size_t n, size_t step)
{
    memset(x, 0, sizeof *x);
    response_init(&x->r);
    events_init(&x->e);
    buf_init(&x->seen, (size_t)1 << 24);
    while (x->used < n && x->part == RESPONSE_MORE) {
        size_t len = step < n - x->used ? step : n - x->used, used = 0;
        x->part = response_feed(&x->r, p + x->used, len, body, x, &used);
        fuzz_check(used <= len && (used == len || x->part != RESPONSE_MORE),
                   "what it takes it had");
        x->used += used;
    }
    if (x->part == RESPONSE_MORE)
        x->part = response_end(&x->r);
    fuzz_check((x->part == RESPONSE_BAD) == (x->r.why != NULL), "what is bad has a reason");
}

static void forget(struct reading *x)
{
    response_free(&x->r);
    events_free(&x->e);
    buf_free(&x->seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct reading whole, slow;
    read_in(&whole, (const char *)data, n, n ? n : 1);
    read_in(&slow, (const char *)data, n, 1);
    if (!fuzz_state.failing) {
        fuzz_check(whole.part == slow.part && whole.r.status == slow.r.status &&
                       whole.code == slow.code,
                   "it is the same byte by byte");
        fuzz_check(whole.part == RESPONSE_BAD || whole.used == slow.used, "and as long");
        fuzz_check(
            whole.seen.len == slow.seen.len &&
                (!whole.seen.len || memcmp(whole.seen.data, slow.seen.data, slow.seen.len) == 0),
            "and so are the events");
    }
    forget(&whole);
    forget(&slow);
    return 0;
}
