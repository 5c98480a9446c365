/* One file over HTTP(S) by libcurl: resumed where it stopped, retried on broken lines, checked at the end.
 * Beside PATH lie PATH.part (what came) and PATH.part.tag (the ETag it came under). */
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/sha256.h"
#include "hub/hub_int.h"

#define ATTEMPTS 5       /* in a row without a new byte */
#define STALL_SECONDS 30 /* without a byte */
#define CONNECT_SECONDS 15
#define REDIRECTS 10

struct transfer {
    const struct fetch *f;
    FILE *out;
    CURL *curl;
    uint64_t at;    /* bytes in the part file */
    uint64_t total; /* 0: unknown */
    char etag[256], linked[80];
    long status;
    bool checked, cancelled, write_failed;
    double retry_after;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* "Name: value\r\n" -> value without quotes and W/ when the name fits. */
static bool header_value(const char *line, size_t n, const char *name, char *out, size_t room)
{
    size_t k = strlen(name);
    if (n <= k || strncasecmp(line, name, k) != 0 || line[k] != ':')
        return false;
    const char *p = line + k + 1, *end = line + n;
    while (p < end && (*p == ' ' || *p == '"'))
        p++;
    while (end > p && strchr("\r\n \"", end[-1]))
        end--;
    snprintf(out, room, "%.*s", (int)(end - p), p);
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    char value[128];
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0)
        t->etag[0] = '\0';
    header_value(line, n, "ETag", t->etag, sizeof t->etag);
    header_value(line, n, "X-Linked-Etag", t->linked, sizeof t->linked);
    if (header_value(line, n, "Retry-After", value, sizeof value))
        t->retry_after = strtod(value, NULL);
    return size * n;
}

/* Before the first byte: does this answer go on where the part ends? */
static bool check_answer(struct transfer *t)
{
    curl_off_t length = -1;
    t->checked = true;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (t->status == 200 && t->at > 0) {
        pull_note(t->f->tracker->opts, "the server sends the whole file again: starting over");
        if (fflush(t->out) != 0 || ftruncate(fileno(t->out), 0) != 0)
            return false;
        rewind(t->out);
        t->at = 0;
    }
    if (t->status != 200 && t->status != 206)
        return false;
    t->total = length >= 0 ? t->at + (uint64_t)length : t->f->bytes;
    char *tag = NULL;
    buf b;
    buf_init(&b, 4096);
    buf_printf(&b, "%s.part.tag", t->f->path);
    tag = buf_steal(&b);
    if (tag && t->etag[0])
        file_write_atomic(tag, t->etag, strlen(t->etag), NULL);
    sp_free(tag);
    return true;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    if (!t->checked && !check_answer(t))
        return 0;
    if (fwrite(data, size, n, t->out) != n) {
        t->write_failed = true;
        return 0;
    }
    t->at += size * n;
    return size * n;
}

static int on_tick(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total,
                   curl_off_t up_now)
{
    struct transfer *t = arg;
    (void)total, (void)now, (void)up_total, (void)up_now;
    t->cancelled = tracker_tell(t->f->tracker, t->at, t->total) != 0;
    return t->cancelled;
}

static void common_options(CURL *c, const char *url)
{
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTS);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "sampan/" SAMPAN_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
}

static char *part_path(const char *path, const char *ending)
{
    buf b;
    buf_init(&b, 8192);
    buf_printf(&b, "%s%s", path, ending);
    return buf_steal(&b);
}

/* The ETag that the part came under, as an If-Range header; NULL: none. */
static struct curl_slist *if_range(const char *path)
{
    char *tag = part_path(path, ".part.tag"), *text = NULL, line[300];
    size_t n;
    struct curl_slist *list = NULL;
    if (tag && file_read(tag, 255, &text, &n, NULL) == 0 && n > 0) {
        snprintf(line, sizeof line, "If-Range: \"%s\"", text);
        list = curl_slist_append(NULL, line);
    }
    sp_free(text);
    sp_free(tag);
    return list;
}

static int http_error(const struct transfer *t, sp_error *err)
{
    const char *url = t->f->url;
    switch (t->status) {
    case 401:
    case 403:
        return sp_fail(err, SP_ENETWORK,
                       "%.200s: the server refuses access (%ld): open the model's page, accept its "
                       "terms there",
                       url, t->status);
    case 404:
        return sp_fail(err, SP_ENOTFOUND,
                       "%.200s: no such file there (404): check the name and the revision", url);
    default:
        return sp_fail(err, SP_ENETWORK,
                       "%.200s: the server answers with status %ld: try again later", url,
                       t->status);
    }
}

static bool worth_retrying(const struct transfer *t, CURLcode rc)
{
    if (t->status == 429 || t->status >= 500 || t->status == 416)
        return true;
    if (t->status >= 400)
        return false;
    return rc != CURLE_UNSUPPORTED_PROTOCOL && rc != CURLE_URL_MALFORMAT &&
           rc != CURLE_PEER_FAILED_VERIFICATION && rc != CURLE_TOO_MANY_REDIRECTS;
}

/* One connection's worth of bytes. 0: the file is whole; 1: try again; negative: give up. */
static int attempt(struct transfer *t, const char *part, sp_error *err)
{
    int64_t have = file_size(part);
    struct curl_slist *headers = NULL;
    t->out = fopen(part, "ab");
    if (!t->out)
        return sp_fail(err, SP_EIO, "%.200s: %s", part, strerror(errno));
    t->at = have > 0 ? (uint64_t)have : 0;
    t->checked = false;
    t->status = 0;
    t->curl = curl_easy_init();
    common_options(t->curl, t->f->url);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
    if (t->at > 0) {
        char range[40];
        snprintf(range, sizeof range, "%" PRIu64 "-", t->at);
        curl_easy_setopt(t->curl, CURLOPT_RANGE, range);
        headers = if_range(t->f->path);
        curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
    }
    CURLcode rc = curl_easy_perform(t->curl);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    curl_slist_free_all(headers);
    bool flushed = fclose(t->out) == 0;
    curl_easy_cleanup(t->curl);
    if (t->cancelled)
        return sp_fail(err, SP_ECANCELLED,
                       "stopped: what came is kept, and the same command goes on from there");
    if (t->write_failed || !flushed)
        return sp_fail(err, SP_ENOSPACE,
                       "%.200s: writing failed: is the disk full? What came is kept", part);
    if (rc == CURLE_OK && (t->status == 200 || t->status == 206) &&
        (!t->total || t->at == t->total))
        return 0;
    if (t->status == 416)
        unlink(part); /* what lies here is no beginning of what lies there */
    if (t->status >= 400)
        http_error(t, err);
    else
        sp_fail(err, SP_ENETWORK, "%.200s: %s", t->f->url,
                rc == CURLE_OK ? "the line was cut early" : curl_easy_strerror(rc));
    return worth_retrying(t, rc) ? 1 : err ? err->code : SP_ENETWORK;
}

static int wait_before_retry(struct transfer *t, int failures)
{
    double left = t->retry_after > 0 && t->retry_after < 60 ? t->retry_after
                                                            : (double)(1 << (failures - 1)) * 0.5;
    t->retry_after = 0;
    for (; left > 0; left -= 0.1) {
        clock_sleep(0.1);
        if (tracker_tell(t->f->tracker, t->at, t->total))
            return SP_ECANCELLED;
    }
    return 0;
}

static int get_part(struct transfer *t, const char *part, sp_error *err)
{
    sp_error last = {0};
    for (int failures = 0; failures < ATTEMPTS;) {
        uint64_t before = t->at;
        int code = attempt(t, part, &last);
        if (code <= 0) {
            if (code < 0 && err)
                *err = last;
            return code;
        }
        failures = t->at > before ? 1 : failures + 1;
        if (failures < ATTEMPTS) {
            pull_note(t->f->tracker->opts, "%s: trying again", last.message);
            if (wait_before_retry(t, failures) < 0)
                return sp_fail(
                    err, SP_ECANCELLED,
                    "stopped: what came is kept, and the same command goes on from there");
        }
    }
    if (err)
        *err = last;
    return sp_fail_within(err, last.code, "given up after %d tries", ATTEMPTS);
}

static int check_whole(const struct transfer *t, const char *part, sp_error *err)
{
    const char *want = t->f->sha256 && t->f->sha256[0] ? t->f->sha256
                       : strlen(t->linked) == 64       ? t->linked
                                                       : NULL;
    char sum[65];
    if (t->f->bytes && (uint64_t)file_size(part) != t->f->bytes)
        return sp_fail(err, SP_EFORMAT, "%.200s: %lld bytes came, %llu were announced", t->f->url,
                       (long long)file_size(part), (unsigned long long)t->f->bytes);
    if (!want)
        return 0;
    int code = sha256_file(part, sum, err);
    if (code == 0 && strcasecmp(sum, want) != 0) {
        unlink(part);
        return sp_fail(err, SP_ECHECKSUM,
                       "%.200s: sha256 is %s, expected %s: the file was damaged or is another one; "
                       "deleted: pull again",
                       t->f->url, sum, want);
    }
    return code;
}

int fetch_file(const struct fetch *f, sp_error *err)
{
    struct transfer t = {.f = f};
    char *part = part_path(f->path, ".part"), *tag = part_path(f->path, ".part.tag");
    pthread_once(&curl_once, init_curl);
    int code = part && tag ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    bool whole = code == 0 && f->bytes && file_size(part) == (int64_t)f->bytes;
    if (code == 0 && !whole)
        code = get_part(&t, part, err);
    if (code == 0)
        code = check_whole(&t, part, err);
    if (code == 0 && rename(part, f->path) != 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", f->path, strerror(errno));
    if (code == 0)
        unlink(tag);
    sp_free(part);
    sp_free(tag);
    return code;
}

struct text_sink {
    buf b;
};

static size_t on_text(char *data, size_t size, size_t n, void *arg)
{
    struct text_sink *s = arg;
    return buf_add(&s->b, data, size * n) < 0 ? 0 : size * n;
}

int fetch_text(const char *url, const struct pull_opts *o, size_t max, char **data, size_t *n,
               sp_error *err)
{
    struct text_sink s;
    long status = 0;
    (void)o;
    pthread_once(&curl_once, init_curl);
    buf_init(&s.b, max);
    CURL *c = curl_easy_init();
    if (!c)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    common_options(c, url);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_text);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &s);
    CURLcode rc = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    int code = 0;
    if (status == 404)
        code =
            sp_fail(err, SP_ENOTFOUND,
                    "%.200s: no such repository there (404): check the name and the revision", url);
    else if (status == 401 || status == 403)
        code = sp_fail(err, SP_ENETWORK,
                       "%.200s: the hub refuses access (%ld): the name is wrong, or the model's "
                       "terms must be accepted on its page",
                       url, status);
    else if (rc != CURLE_OK || status != 200)
        code = sp_fail(err, SP_ENETWORK, "%.200s: %s (status %ld)", url, curl_easy_strerror(rc),
                       status);
    if (code == 0) {
        *n = s.b.len;
        *data = buf_steal(&s.b);
        code = *data ? 0 : sp_fail(err, SP_ENOMEM, "%.200s: an empty or too large answer", url);
    }
    buf_free(&s.b);
    return code;
}

/* ---- which source answers first ---- */

struct runner {
    CURL *c;
    bool got_byte;
};

static size_t on_first(char *data, size_t size, size_t n, void *arg)
{
    struct runner *r = arg;
    long status = 0;
    (void)data;
    curl_easy_getinfo(r->c, CURLINFO_RESPONSE_CODE, &status);
    r->got_byte = status == 200 || status == 206;
    return size * n > 1 ? 0 : size * n; /* one byte is enough */
}

static int race_turn(CURLM *multi, struct runner *runners, size_t n, char why[][160])
{
    int running, left;
    CURLMsg *m;
    curl_multi_perform(multi, &running);
    for (size_t i = 0; i < n; i++)
        if (runners[i].got_byte)
            return (int)i;
    while ((m = curl_multi_info_read(multi, &left)) != NULL)
        for (size_t i = 0; i < n; i++) {
            long status = 0;
            if (m->msg != CURLMSG_DONE || m->easy_handle != runners[i].c)
                continue;
            curl_easy_getinfo(runners[i].c, CURLINFO_RESPONSE_CODE, &status);
            if (status >= 400)
                snprintf(why[i], 160, "answers with status %ld", status);
            else
                snprintf(why[i], 160, "%s", curl_easy_strerror(m->data.result));
        }
    return running == 0 ? -2 : -1;
}

int fetch_race(const char *const *urls, size_t n, double seconds, const struct pull_opts *o,
               char why[][160])
{
    struct runner runners[4] = {0};
    pthread_once(&curl_once, init_curl);
    CURLM *multi = curl_multi_init();
    int winner = -1;
    if (!multi || n > SP_COUNT(runners))
        return -1;
    for (size_t i = 0; i < n; i++) {
        snprintf(why[i], 160, "did not answer within %.0f s", seconds);
        runners[i].c = curl_easy_init();
        common_options(runners[i].c, urls[i]);
        curl_easy_setopt(runners[i].c, CURLOPT_RANGE, "0-0");
        curl_easy_setopt(runners[i].c, CURLOPT_WRITEFUNCTION, on_first);
        curl_easy_setopt(runners[i].c, CURLOPT_WRITEDATA, &runners[i]);
        curl_multi_add_handle(multi, runners[i].c);
    }
    double end = clock_seconds() + seconds;
    while (winner == -1 && clock_seconds() < end && !(o->cancelled && o->cancelled(o->arg))) {
        winner = race_turn(multi, runners, n, why);
        if (winner == -1)
            curl_multi_poll(multi, NULL, 0, 50, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        curl_multi_remove_handle(multi, runners[i].c);
        curl_easy_cleanup(runners[i].c);
    }
    curl_multi_cleanup(multi);
    return winner < 0 ? -1 : winner;
}
