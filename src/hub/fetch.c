/* One file over HTTP(S): its segments side by side, each on a line of its own, retried where lines break.
 * Everything runs in the calling thread, in one multi handle of libcurl. */
#include "hub/fetch_int.h"
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/sha256.h"

#define ATTEMPTS 5 /* in a row without a new byte */
#define RESTARTS 3 /* times that the file may change under us */
#define LINES_MAX 16
#define SAVE_SECONDS 2.0
#define TIMEOUT_SECONDS 30.0
#define SKIP_MAX ((size_t)1 << 16)
#define STOPPED "stopped: what came is kept, and the same command goes on from there"

enum verdict { LINE_FINE, LINE_BAD, FILE_CHANGED, FILE_FATAL };

struct download;
struct line {
    struct download *d;
    struct http_request q;
    struct segment *at; /* the segment that bytes go to */
    uint64_t pos;       /* where in the file the next byte goes */
    uint64_t asked_end; /* one past the last byte asked for; UINT64_MAX: to the end */
    size_t skipped;
    double heard; /* clock_seconds of the last byte, or of the request */
    bool busy, checked;
    bool ranged; /* a Range was asked for */
    bool stream; /* the whole file comes: go on into the next segment */
    bool enough; /* cut by us: the segment is full */
    enum verdict verdict;
};

struct download {
    struct fetch *f;
    struct progress p;
    struct line lines[LINES_MAX];
    CURLM *multi;
    int limit;       /* lines at once, now */
    bool proved;     /* the server has answered a range with that range */
    bool whole_only; /* it refuses ranges */
    bool fatal;
    int failures, restarts;
    uint64_t best;             /* the most that had come */
    double not_before;         /* when the next line may be opened */
    char direct[HTTP_URL_MAX]; /* where the hub sends us; "" not known or not good any more */
    sp_error last;
};

static const char *what_of(const struct download *d)
{
    return d->f->url;
}

/* ---- what an answer means, before its first byte is taken ---- */

static enum verdict bad(struct line *l, enum verdict v, const char *why)
{
    sp_fail(&l->d->last, v == FILE_FATAL ? SP_EFORMAT : SP_ENETWORK, "%.200s: %s", what_of(l->d),
            why);
    return v;
}

static void release_others(struct download *d, const struct line *keep)
{
    for (int i = 0; i < LINES_MAX; i++) {
        struct line *l = &d->lines[i];
        if (l == keep || !l->busy)
            continue;
        curl_multi_remove_handle(d->multi, l->q.curl);
        http_end(&l->q);
        l->busy = false;
        l->at->taken = false;
    }
}

/* The same bytes as before? An ETag that the file came under decides. */
static bool tag_fits(struct download *d, const struct http_reply *r)
{
    if (d->p.etag[0] && r->etag[0] && strcmp(d->p.etag, r->etag) != 0)
        return false;
    if (!d->p.etag[0])
        snprintf(d->p.etag, sizeof d->p.etag, "%s", r->etag);
    return true;
}

/* A length that only the answer tells. */
static bool room_for(struct line *l, uint64_t size)
{
    struct download *d = l->d;
    uint64_t left = d->f->file->bytes ? UINT64_MAX : file_space_free(d->p.part);
    if (size <= left)
        return true;
    sp_fail(&d->last, SP_ENOSPACE,
            "%.200s: the file has %.0f MB, and %.0f MB are free: make room or "
            "set --store",
            what_of(d), (double)size / 1e6, (double)left / 1e6);
    return false;
}

static enum verdict check_ranged(struct line *l)
{
    struct download *d = l->d;
    const struct http_reply *r = &l->q.reply;
    if (!r->has_range)
        return bad(l, LINE_BAD, "answers a range without saying which (no Content-Range)");
    if (r->range_first != l->pos || r->range_last < r->range_first ||
        (l->asked_end != UINT64_MAX && r->range_last >= l->asked_end))
        return bad(l, LINE_BAD, "answers with another range than was asked for");
    if (!tag_fits(d, r) || (d->p.size && r->range_total && r->range_total != d->p.size))
        return FILE_CHANGED;
    if (d->p.size == 0 && r->range_total == 0)
        return bad(l, FILE_FATAL, "the server does not tell how long the file is");
    if (d->p.size == 0) { /* the first answer tells the length: now it can be divided */
        if (!room_for(l, r->range_total) || progress_divide(&d->p, r->range_total, &d->last) < 0)
            return FILE_FATAL;
        l->at = &d->p.segments[0];
        l->at->taken = true;
    }
    d->proved = l->ranged;
    return LINE_FINE;
}

static enum verdict check_stream(struct line *l)
{
    struct download *d = l->d;
    curl_off_t length = -1;
    curl_easy_getinfo(l->q.curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    bool changed = d->p.etag[0] && l->q.reply.etag[0] && strcmp(d->p.etag, l->q.reply.etag) != 0;
    uint64_t listed = d->f->file->bytes, size = length > 0 ? (uint64_t)length : listed;
    if (listed && size != listed)
        return bad(l, FILE_FATAL,
                   "the server announces another length than the hub's list: the file "
                   "changed just now or the mirror is old: try again later");
    if (length == 0)
        return bad(l, FILE_FATAL, "the server sends an empty file");
    if (size == 0 && !l->q.reply.chunked && !d->f->file->sha256[0])
        return bad(l, FILE_FATAL,
                   "the server tells neither the file's length nor its sum: it could not be known "
                   "for whole");
    if (progress_done(&d->p) > 0)
        pull_note(d->f->tracker->opts, "%s: %s: starting over", what_of(d),
                  changed ? "the file changed" : "the server sends the whole file again");
    release_others(d, l);
    if (!room_for(l, size) || progress_reset(&d->p, size, &d->last) < 0)
        return FILE_FATAL;
    tag_fits(d, &l->q.reply);
    d->whole_only = l->ranged && !changed;
    l->stream = true;
    l->pos = 0;
    l->at = &d->p.segments[0];
    l->at->taken = true;
    return LINE_FINE;
}

static enum verdict check_answer(struct line *l)
{
    struct download *d = l->d;
    const struct http_reply *r = &l->q.reply;
    const struct remote_file *file = d->f->file;
    long status = http_status(&l->q);
    l->checked = true;
    if (status != 200 && status != 206)
        return LINE_BAD; /* finish() reads the status */
    if (r->linked_size && file->bytes && r->linked_size != file->bytes)
        return bad(l, FILE_FATAL,
                   "the hub's list and its file tell different lengths: try again "
                   "later");
    if (r->linked_sum[0] && file->sha256[0] && strcasecmp(r->linked_sum, file->sha256) != 0)
        return bad(l, FILE_FATAL,
                   "the hub's list and its file tell different sums (sha256): the file "
                   "changed just now: pull again");
    if (r->linked_sum[0] && !d->p.sum[0])
        snprintf(d->p.sum, sizeof d->p.sum, "%s", r->linked_sum);
    if (r->commit[0])
        snprintf(d->f->commit, sizeof d->f->commit, "%s", r->commit);
    if (status == 206 && !l->ranged)
        return bad(l, LINE_BAD, "answers with a part where the whole was asked for");
    return status == 206 ? check_ranged(l) : check_stream(l);
}

/* ---- bytes ---- */

static bool write_all(int fd, const char *data, size_t n, uint64_t at, uint64_t *written)
{
    for (*written = 0; *written < n;) {
        ssize_t k = pwrite(fd, data + *written, n - *written, (off_t)(at + *written));
        if (k <= 0)
            return false;
        *written += (uint64_t)k;
    }
    return true;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct line *l = arg;
    struct download *d = l->d;
    size_t left = size * n;
    l->heard = clock_seconds();
    if (!l->checked && http_redirects(http_status(&l->q)))
        return (l->skipped += left) < SKIP_MAX ? left : 0; /* the text beside a redirect */
    if (!l->checked)
        l->verdict = check_answer(l);
    if (l->verdict != LINE_FINE)
        return 0;
    while (left > 0) {
        uint64_t room = l->at->end - l->pos, written;
        size_t k = left < room ? left : (size_t)room;
        if (room == 0 && l->stream && l->at + 1 < d->p.segments + d->p.n) {
            l->at->taken = false;
            l->at++;
            l->at->taken = true;
            continue;
        }
        if (room == 0) {
            l->enough = l->asked_end != l->at->end && !l->stream;
            if (!l->enough)
                l->verdict = bad(l, FILE_FATAL, "more bytes come than the file has");
            return 0;
        }
        bool fine = write_all(d->p.fd, data, k, l->pos, &written);
        l->pos += written;
        l->at->done = l->pos - l->at->start;
        if (!fine) {
            sp_fail(&d->last, SP_ENOSPACE,
                    "%.200s: writing failed (%s): is the disk full? What came "
                    "is kept",
                    d->p.part, strerror(errno));
            l->verdict = FILE_FATAL;
            return 0;
        }
        data += k;
        left -= k;
    }
    return size * n;
}

/* ---- opening and ending lines ---- */

static int add_range(struct download *d, struct line *l)
{
    const struct segment *s = l->at;
    char text[400];
    bool alone = d->p.n == 1 && s->done == 0 && d->p.size > 0;
    l->pos = s->start + s->done;
    l->ranged = !d->whole_only && !alone;
    l->asked_end = s->end;
    if (!l->ranged)
        return 0;
    if (s->end == UINT64_MAX)
        snprintf(text, sizeof text, "Range: bytes=%" PRIu64 "-", l->pos);
    else
        snprintf(text, sizeof text, "Range: bytes=%" PRIu64 "-%" PRIu64, l->pos, s->end - 1);
    int code = http_add_header(&l->q, text, &d->last);
    /* A weak ETag may not stand in If-Range (RFC 9110, 13.1.5). */
    if (code == 0 && d->p.etag[0] == '"' && progress_done(&d->p) > 0) {
        snprintf(text, sizeof text, "If-Range: %s", d->p.etag);
        code = http_add_header(&l->q, text, &d->last);
    }
    return code;
}

/* Sends (or after a redirect sends again) the request for l's segment. */
static int open_line(struct download *d, struct line *l, const char *url)
{
    int code = http_begin(&l->q, url, d->f->site, &d->last);
    if (code == 0)
        code = add_range(d, l);
    if (code < 0)
        return code;
    l->checked = l->stream = l->enough = false;
    l->skipped = 0;
    l->heard = clock_seconds();
    l->verdict = LINE_FINE;
    http_ready(&l->q);
    curl_easy_setopt(l->q.curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(l->q.curl, CURLOPT_WRITEDATA, l);
    curl_easy_setopt(l->q.curl, CURLOPT_PRIVATE, l);
    if (curl_multi_add_handle(d->multi, l->q.curl) != CURLM_OK)
        return sp_fail(&d->last, SP_ENOMEM, "out of memory");
    l->busy = true;
    l->at->taken = true;
    return 0;
}

static int busy_lines(const struct download *d)
{
    int n = 0;
    for (int i = 0; i < LINES_MAX; i++)
        n += d->lines[i].busy;
    return n;
}

/* One line until the server has shown that it takes ranges, then as many as are allowed. */
static int open_lines(struct download *d)
{
    int limit = d->proved && !d->whole_only ? d->limit : 1, code = 0;
    for (size_t i = 0; i < d->p.n && code == 0 && busy_lines(d) < limit; i++) {
        struct segment *s = &d->p.segments[i];
        if (s->taken || s->done == s->end - s->start || clock_seconds() < d->not_before)
            continue;
        struct line *l = d->lines;
        while (l->busy)
            l++;
        http_end(&l->q);
        *l = (struct line){.d = d, .at = s};
        code = open_line(d, l, d->direct[0] ? d->direct : d->f->url);
    }
    return code;
}

static int give_up(struct download *d, int code)
{
    d->fatal = true;
    return code;
}

/* A line broke. Trouble that hits several lines at once counts once. */
static int failed(struct download *d, double wait)
{
    double now = clock_seconds();
    uint64_t done = progress_done(&d->p);
    d->direct[0] = '\0';
    if (now < d->not_before)
        return 0;
    d->failures = done > d->best ? 1 : d->failures + 1;
    d->best = done > d->best ? done : d->best;
    if (d->failures >= ATTEMPTS) {
        sp_fail_within(&d->last, d->last.code, "given up after %d tries", ATTEMPTS);
        return give_up(d, d->last.code);
    }
    if (wait > HTTP_WAIT_MAX) {
        sp_fail_within(&d->last, d->last.code, "the server asks to wait %.0f s: pull again then",
                       wait);
        return give_up(d, d->last.code);
    }
    pull_note(d->f->tracker->opts, "%s: trying again", d->last.message);
    d->not_before = now + (wait > 0 ? wait : 0.25 * (1 << d->failures));
    return 0;
}

/* The file is another one than that which came so far. */
static int start_anew(struct download *d)
{
    release_others(d, NULL);
    if (++d->restarts > RESTARTS) {
        sp_fail(&d->last, SP_ENETWORK, "%.200s: the file keeps changing: try again later",
                what_of(d));
        return give_up(d, SP_ENETWORK);
    }
    pull_note(d->f->tracker->opts, "%s: the file changed since: starting over", what_of(d));
    d->best = 0;
    d->direct[0] = '\0';
    int code = progress_reset(&d->p, d->f->file->bytes, &d->last);
    return code < 0 ? give_up(d, code) : 0;
}

static int range_refused(struct download *d)
{
    if (progress_done(&d->p) > 0)
        return start_anew(d); /* what lies here is no beginning of what lies there */
    sp_fail(&d->last, SP_ENETWORK, "%.200s: the server refuses the range (416)", what_of(d));
    if (d->whole_only)
        return give_up(d, SP_ENETWORK);
    d->whole_only = true;
    return 0;
}

/* A line ended by the server's word. */
static int refused(struct download *d, struct line *l, long status)
{
    if (status == 416)
        return range_refused(d);
    int code = http_fail(&l->q, d->f->site, what_of(d), &d->last);
    double wait = l->q.reply.retry_after;
    if (status == 429 || status == 503)
        d->limit = 1;
    /* The address that a hub sends us to is good for a while only; the hub gives a new one. */
    bool stale = d->direct[0] && !l->q.at_home && (status == 401 || status == 403 || status == 404);
    return http_passes(status) || stale ? failed(d, wait) : give_up(d, code);
}

static int redirected(struct download *d, struct line *l)
{
    char next[HTTP_URL_MAX];
    int code = http_redirect(&l->q, d->f->site, next, sizeof next, &d->last);
    if (code < 0)
        return give_up(d, code);
    l->busy = false;
    code = open_line(d, l, next);
    if (code == 0 && !l->q.at_home)
        snprintf(d->direct, sizeof d->direct, "%s", next);
    return code < 0 ? give_up(d, code) : 0;
}

static bool line_complete(const struct line *l, CURLcode rc)
{
    const struct segment *s = l->at;
    if (l->enough)
        return true;
    if (l->stream)
        return rc == CURLE_OK;
    return s->done == s->end - s->start;
}

/* The end of a stream whose length nobody told is where chunked coding ends it. */
static int end_stream(struct download *d, struct line *l)
{
    if (d->p.size == 0 && l->pos > 0) {
        d->p.size = l->pos;
        d->p.segments[0].end = l->pos;
    }
    if (progress_whole(&d->p))
        return 0;
    sp_fail(&d->last, SP_ENETWORK, "%.200s: the line was cut early", what_of(d));
    return failed(d, 0);
}

static int ended(struct download *d, struct line *l, CURLcode rc)
{
    long status = http_status(&l->q);
    curl_multi_remove_handle(d->multi, l->q.curl);
    l->busy = false;
    l->at->taken = false;
    if (rc == CURLE_OK && http_redirects(status))
        return redirected(d, l);
    if (status >= 300)
        return refused(d, l, status);
    if (rc == CURLE_OK && !l->checked) /* an answer without a byte */
        l->verdict = check_answer(l);
    l->at->taken = false;
    if (l->verdict == FILE_FATAL)
        return give_up(d, d->last.code);
    if (l->verdict == FILE_CHANGED)
        return start_anew(d);
    if (l->verdict == LINE_BAD)
        return failed(d, 0);
    if (line_complete(l, rc))
        return l->stream ? end_stream(d, l) : 0;
    sp_fail(&d->last, SP_ENETWORK, "%.200s: %s", what_of(d),
            rc == CURLE_OK || rc == CURLE_PARTIAL_FILE ? "the line was cut early"
            : rc == CURLE_OPERATION_TIMEDOUT           ? "nothing came for a while"
                                                       : curl_easy_strerror(rc));
    if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_UNSUPPORTED_PROTOCOL ||
        rc == CURLE_SSL_CACERT_BADFILE)
        return give_up(d, SP_ENETWORK);
    return failed(d, 0);
}

/* libcurl's own low-speed rule averages over seconds and so comes late. */
static int end_stalled(struct download *d)
{
    double limit = d->f->site->timeout > 0 ? (double)d->f->site->timeout : TIMEOUT_SECONDS;
    int code = 0;
    for (int i = 0; i < LINES_MAX && code == 0; i++) {
        struct line *l = &d->lines[i];
        if (!l->busy || clock_seconds() - l->heard < limit)
            continue;
        curl_multi_remove_handle(d->multi, l->q.curl);
        l->busy = false;
        l->at->taken = false;
        sp_fail(&d->last, SP_ENETWORK, "%.200s: nothing came for %.0f s", what_of(d), limit);
        code = failed(d, 0);
    }
    return code;
}

static int turn(struct download *d)
{
    int running, left, code = open_lines(d);
    CURLMsg *m;
    if (code < 0)
        return code;
    curl_multi_perform(d->multi, &running);
    while (code == 0 && (m = curl_multi_info_read(d->multi, &left)) != NULL) {
        struct line *l = NULL;
        CURLcode rc = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&l);
        code = ended(d, l, rc);
    }
    if (code == 0)
        code = end_stalled(d);
    if (code == 0 && clock_seconds() - d->p.saved > SAVE_SECONDS)
        code = progress_save(&d->p, &d->last);
    if (code == 0 && tracker_tell(d->f->tracker, progress_done(&d->p), d->p.size))
        code = sp_fail(&d->last, SP_ECANCELLED, STOPPED);
    if (code == 0 && !progress_whole(&d->p))
        curl_multi_poll(d->multi, NULL, 0, 50, NULL);
    return code;
}

static int transfer(struct download *d)
{
    int code = 0;
    http_init();
    d->multi = curl_multi_init();
    if (!d->multi)
        return sp_fail(&d->last, SP_ENOMEM, "out of memory");
    d->best = progress_done(&d->p);
    d->p.saved = clock_seconds();
    while (code == 0 && !progress_whole(&d->p))
        code = turn(d);
    release_others(d, NULL);
    for (int i = 0; i < LINES_MAX; i++)
        http_end(&d->lines[i].q);
    curl_multi_cleanup(d->multi);
    if (code < 0)
        progress_save(&d->p, NULL);
    return code;
}

/* ---- the check at the end ---- */

/* Git's name of a file's content. */
static int blob_sum(const char *path, char out[41], sp_error *err)
{
    char block[1 << 14], head[40];
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    size_t got;
    FILE *f = fopen(path, "rb");
    if (!f)
        return sp_fail(err, SP_EIO, "%.200s: can't be read", path);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int n = snprintf(head, sizeof head, "blob %lld", (long long)file_size(path));
    bool ok = c && EVP_DigestInit_ex(c, EVP_sha1(), NULL) == 1 &&
              EVP_DigestUpdate(c, head, (size_t)n + 1) == 1;
    while (ok && (got = fread(block, 1, sizeof block, f)) > 0)
        ok = EVP_DigestUpdate(c, block, got) == 1;
    ok = ok && !ferror(f) && EVP_DigestFinal_ex(c, sum, &len) == 1 && len == 20;
    for (unsigned i = 0; ok && i < len; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", sum[i]);
    EVP_MD_CTX_free(c);
    fclose(f);
    return ok ? 0 : sp_fail(err, SP_EIO, "%.200s: can't be read", path);
}

int fetch_check(const struct remote_file *file, const char *path, const char *what, sp_error *err)
{
    char sum[65] = "";
    const char *want = file->sha256[0] ? file->sha256 : file->blob;
    int64_t size = file_size(path);
    if (file->bytes && (uint64_t)size != file->bytes)
        return sp_fail(err, SP_ECHECKSUM, "%.200s: %lld bytes came, %llu were announced", what,
                       (long long)size, (unsigned long long)file->bytes);
    if (!*want)
        return 0;
    int code = file->sha256[0] ? sha256_file(path, sum, err) : blob_sum(path, sum, err);
    if (code == 0 && strcasecmp(sum, want) != 0)
        code = sp_fail(err, SP_ECHECKSUM, "%.150s: %s is %s, expected %s: damaged, or another file",
                       what, file->sha256[0] ? "sha256" : "git's sha1", sum, want);
    return code;
}

static int finish(struct download *d, sp_error *err)
{
    struct remote_file want = *d->f->file;
    if (!want.sha256[0] && strlen(d->p.sum) == 64)
        snprintf(want.sha256, sizeof want.sha256, "%s", d->p.sum);
    int code = fetch_check(&want, d->p.part, d->f->url, err);
    if (code == SP_ECHECKSUM) {
        unlink(d->p.part);
        progress_unlink(&d->p);
        return sp_fail(err, code, "%.400s; deleted: pull again", err ? err->message : "");
    }
    if (code == 0 && fdatasync(d->p.fd) != 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", d->p.part, strerror(errno));
    if (code == 0 && rename(d->p.part, d->f->path) != 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", d->f->path, strerror(errno));
    if (code == 0)
        progress_unlink(&d->p);
    return code;
}

int fetch_file(struct fetch *f, sp_error *err)
{
    struct download *d = sp_calloc(1, sizeof *d);
    if (!d)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    d->f = f;
    d->limit = f->connections < 1 ? 1 : f->connections < LINES_MAX ? f->connections : LINES_MAX;
    int code = progress_open(&d->p, f->path, f->file,
                             f->site->endpoint[0] ? f->site->endpoint : f->url, &d->last);
    if (code > 0) {
        uint64_t done = progress_done(&d->p);
        f->tracker->resumed += done;
        if (done > 0)
            pull_note(f->tracker->opts, "going on with %s: %.0f of %.0f MB are here",
                      path_base(f->path), (double)done / 1e6, (double)d->p.size / 1e6);
        code = 0;
    }
    if (code == 0)
        code = transfer(d);
    if (code == 0)
        code = finish(d, &d->last);
    if (code < 0 && err)
        *err = d->last;
    progress_close(&d->p);
    sp_free(d);
    return code;
}
