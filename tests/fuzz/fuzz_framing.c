/* How messages are cut: a head, a chunk's line and a trailer, each as a whole and byte by byte with the same result. */
#include "fuzz.h"
#include "server/framing_int.h"

static void heads(const char *p, size_t n)
{
    struct http_head whole, slow;
    size_t scanned = 0, slowly = 0;
    enum framing f = framing_head(p, n, &scanned, &whole), g = FRAMING_MORE;
    for (size_t i = 1; i <= n && g == FRAMING_MORE; i++)
        g = framing_head(p, i, &slowly, &slow);
    fuzz_check(f == g, "a head is the same byte by byte");
    if (f == FRAMING_REFUSED)
        fuzz_check(whole.status >= 400 && whole.why && slow.status == whole.status,
                   "a refusal has a reason, always the same");
    if (f != FRAMING_DONE)
        return;
    fuzz_check(whole.bytes <= n && whole.bytes == slow.bytes, "a head ends where it ends");
    fuzz_check(whole.target.n > 0 && whole.target.p[0] == '/', "the target is a path");
    fuzz_check(whole.rest.n >= 13 && memcmp(whole.rest.p, " HTTP/1.", 8) == 0 &&
                   memcmp(whole.rest.p + whole.rest.n - 4, "\r\n\r\n", 4) == 0,
               "the rest is the version and the fields");
    fuzz_check(!(whole.chunked && whole.body), "a body has one length");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *p = (const char *)data;
    uint64_t size = 0;
    size_t used = 0;
    heads(p, n < 8192 ? n : 8192);
    if (framing_chunk(p, n, &size, &used) == FRAMING_DONE)
        fuzz_check(used <= n && used >= 3 && size < (uint64_t)1 << 60, "a chunk's line is bounded");
    used = 0;
    if (framing_trailer(p, n, &used) == FRAMING_DONE)
        fuzz_check(used <= n && used >= 2 && used <= TRAILER_MAX, "a trailer is bounded");
    return 0;
}
