/* HTTP by libcurl, one request at a time or many in a multi handle. Redirects are followed here and not in
 * libcurl, so that each hop is checked: a token goes to the hub's own origin only, and no hop leaves TLS. */
#include "hub/http_int.h"
#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "base/clock.h"

#define CONNECT_SECONDS 15
#define TEXT_ATTEMPTS 3

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

void http_init(void)
{
    pthread_once(&curl_once, init_curl);
}

static bool url_part(const char *url, CURLUPart part, char *out, size_t room)
{
    CURLU *u = curl_url();
    char *text = NULL;
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
              curl_url_get(u, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK;
    snprintf(out, room, "%s", ok ? text : "");
    curl_free(text);
    curl_url_cleanup(u);
    return ok;
}

bool http_same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    char x[300], y[300];
    for (size_t i = 0; i < SP_COUNT(parts); i++)
        if (!url_part(a, parts[i], x, sizeof x) || !url_part(b, parts[i], y, sizeof y) ||
            strcasecmp(x, y) != 0)
            return false;
    return true;
}

static bool loopback(const char *host)
{
    unsigned a, b, c, d;
    char end;
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return sscanf(host, "%u.%u.%u.%u%c", &a, &b, &c, &d, &end) == 4 && a == 127;
}

int http_check_url(const char *url, const char *from, bool plain, sp_error *err)
{
    char scheme[16], host[300] = "", before[16] = "";
    if (!url_part(url, CURLUPART_SCHEME, scheme, sizeof scheme))
        return sp_fail(err, SP_EINVAL, "%.200s: no address of the form https://HOST/PATH", url);
    if (from)
        url_part(from, CURLUPART_SCHEME, before, sizeof before);
    bool named = url_part(url, CURLUPART_HOST, host, sizeof host) && host[0];
    if (strcmp(scheme, "https") == 0 && named)
        return 0;
    if (strcmp(scheme, "http") != 0 || !named)
        return sp_fail(err, SP_ENETWORK, "%.200s: %s%.16s:// is not followed, only https:// is",
                       url, from ? "redirected there, and " : "", scheme);
    if (strcmp(before, "https") == 0)
        return sp_fail(err, SP_ENETWORK,
                       "%.200s: redirected from https:// to http://, where anyone on the way can "
                       "change the file: not followed",
                       url);
    if (!plain && !loopback(host))
        return sp_fail(err, SP_ENETWORK,
                       "%.200s: http:// is taken from this machine itself only: use https://", url);
    return 0;
}

/* "Name: value\r\n" -> value, without white space around it, when the name fits. */
static bool header(const char *line, size_t n, const char *name, char *out, size_t room)
{
    size_t k = strlen(name);
    if (n <= k || strncasecmp(line, name, k) != 0 || line[k] != ':')
        return false;
    const char *p = line + k + 1, *end = line + n;
    while (p < end && isspace((unsigned char)*p))
        p++;
    while (end > p && isspace((unsigned char)end[-1]))
        end--;
    if ((size_t)(end - p) >= room)
        return false;
    snprintf(out, room, "%.*s", (int)(end - p), p);
    return true;
}

/* The hub's own sum, which stands in quotes. */
static void unquote(char *s)
{
    size_t n = strlen(s);
    if (n >= 2 && s[0] == '"' && s[n - 1] == '"') {
        memmove(s, s + 1, n - 2);
        s[n - 2] = '\0';
    }
}

/* Retry-After: seconds or a date (RFC 9110, 10.2.3). RateLimit: "api";r=0;t=55 (Hugging Face). */
static void read_wait(struct http_reply *r, const char *line, size_t n)
{
    char value[128];
    if (header(line, n, "Retry-After", value, sizeof value)) {
        time_t at = isdigit((unsigned char)value[0]) ? -1 : curl_getdate(value, NULL);
        double seconds = at >= 0 ? difftime(at, time(NULL)) : strtod(value, NULL);
        r->retry_after = seconds > 0 ? seconds : 0;
    } else if (header(line, n, "RateLimit", value, sizeof value)) {
        const char *t = strstr(value, ";t=");
        if (t && strstr(value, ";r=0") && r->retry_after <= 0)
            r->retry_after = strtod(t + 3, NULL);
    }
}

static void read_range(struct http_reply *r, const char *value)
{
    char total[32] = "";
    r->has_range = sscanf(value, "bytes %" SCNu64 "-%" SCNu64 "/%31s", &r->range_first,
                          &r->range_last, total) == 3;
    r->range_total = strtoull(total, NULL, 10); /* 0 for "*" */
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct http_request *q = arg;
    struct http_reply *r = &q->reply;
    char value[300];
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) {
        r->etag[0] = r->error_code[0] = '\0';
        r->has_range = r->chunked = false;
        r->retry_after = 0;
    }
    header(line, n, "ETag", r->etag, sizeof r->etag);
    header(line, n, "X-Error-Code", r->error_code, sizeof r->error_code);
    if (header(line, n, "Content-Range", value, sizeof value))
        read_range(r, value);
    if (header(line, n, "Transfer-Encoding", value, sizeof value))
        r->chunked = strcasecmp(value, "chunked") == 0;
    read_wait(r, line, n);
    /* What the hub says of a file counts from the hub only, not from where it sends us. */
    if (q->at_home && header(line, n, "X-Linked-Etag", value, sizeof value)) {
        unquote(value);
        if (strlen(value) == 64)
            snprintf(r->linked_sum, sizeof r->linked_sum, "%.64s", value);
    }
    if (q->at_home && header(line, n, "X-Linked-Size", value, sizeof value))
        r->linked_size = strtoull(value, NULL, 10);
    if (q->at_home)
        header(line, n, "X-Repo-Commit", r->commit, sizeof r->commit);
    return size * n;
}

static int add_header(struct http_request *q, const char *line)
{
    struct curl_slist *grown = curl_slist_append(q->headers, line);
    if (!grown)
        return SP_ENOMEM;
    q->headers = grown;
    return 0;
}

/* The token, only where it belongs; libcurl is given no cookie engine and no .netrc. */
static int add_token(struct http_request *q, const struct http_site *site)
{
    char line[700];
    if (!site || !site->token[0] || !q->at_home)
        return 0;
    snprintf(line, sizeof line, "Authorization: Bearer %s", site->token);
    int code = add_header(q, line);
    if (code == 0 && site->cookie) {
        snprintf(line, sizeof line, "Cookie: m_session_id=%s", site->token);
        code = add_header(q, line);
    }
    return code;
}

static void set_options(struct http_request *q, const struct http_site *site)
{
    CURL *c = q->curl;
    const char *ca = getenv("SSL_CERT_FILE");
    curl_easy_setopt(c, CURLOPT_URL, q->url);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, site && site->timeout > 0 ? site->timeout : 30L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "sampan/" SAMPAN_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    /* Ranges side by side want lines of their own, which HTTP/2 would fold into one. */
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (ca && *ca)
        curl_easy_setopt(c, CURLOPT_CAINFO, ca);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, q);
}

int http_begin(struct http_request *q, const char *url, const struct http_site *site, sp_error *err)
{
    http_init();
    http_end(q);
    if (strlen(url) >= sizeof q->url)
        return sp_fail(err, SP_EINVAL, "%.200s...: the address is too long", url);
    snprintf(q->url, sizeof q->url, "%s", url);
    q->at_home = site && site->endpoint[0] && http_same_origin(url, site->endpoint);
    q->curl = curl_easy_init();
    if (!q->curl || add_token(q, site) < 0)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    set_options(q, site);
    return 0;
}

int http_add_header(struct http_request *q, const char *line, sp_error *err)
{
    return add_header(q, line) < 0 ? sp_fail(err, SP_ENOMEM, "out of memory") : 0;
}

void http_ready(struct http_request *q)
{
    curl_easy_setopt(q->curl, CURLOPT_HTTPHEADER, q->headers);
}

void http_end(struct http_request *q)
{
    curl_easy_cleanup(q->curl);
    curl_slist_free_all(q->headers);
    q->curl = NULL;
    q->headers = NULL;
}

int http_redirect(struct http_request *q, const struct http_site *site, char *next, size_t room,
                  sp_error *err)
{
    const char *to = NULL;
    curl_easy_getinfo(q->curl, CURLINFO_REDIRECT_URL, &to);
    if (!to)
        return sp_fail(err, SP_ENETWORK, "%.200s: a redirect (%ld) without an address", q->url,
                       http_status(q));
    if (++q->hops > HTTP_REDIRECTS)
        return sp_fail(err, SP_ENETWORK,
                       "%.200s: more than %d redirects: the server sends us in a circle", q->url,
                       HTTP_REDIRECTS);
    int code = http_check_url(to, q->url, site && site->plain, err);
    if (code == 0 && strlen(to) >= room)
        code = sp_fail(err, SP_EINVAL, "%.200s...: the address is too long", to);
    if (code == 0)
        snprintf(next, room, "%s", to);
    return code;
}

long http_status(const struct http_request *q)
{
    long status = 0;
    if (q->curl)
        curl_easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

bool http_redirects(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool http_passes(long status)
{
    return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

/* 401 and 403: which of the reasons it can be, and the page that helps. */
static int refused(const struct http_request *q, const struct http_site *site, const char *what,
                   sp_error *err)
{
    long status = http_status(q);
    const char *var = site && site->token_name ? site->token_name : NULL;
    if (!var || !q->at_home)
        return sp_fail(err, SP_ENETWORK, "%.200s: the server refuses access (%ld)", what, status);
    if (strcmp(q->reply.error_code, "GatedRepo") == 0)
        return sp_fail(err, SP_ENETWORK,
                       "%.100s: the model is gated (%ld): open %.160s, accept its terms there, and "
                       "set %s to a token of that account",
                       what, status, site->page, var);
    if (site->token[0])
        return sp_fail(err, SP_ENETWORK,
                       "%.100s: the hub refuses access (%ld) with the token of %s: see whether "
                       "%.160s opens for its account",
                       what, status, var, site->page);
    return sp_fail(
        err, SP_ENETWORK,
        "%.100s: the hub refuses access (%ld): there is no such model, or it is private or "
        "gated: see %.160s, and set %s to a token that may read it",
        what, status, site->page, var);
}

int http_fail(const struct http_request *q, const struct http_site *site, const char *what,
              sp_error *err)
{
    long status = http_status(q);
    const char *code = q->reply.error_code;
    if (status == 401 || status == 403)
        return refused(q, site, what, err);
    if (status == 404 && strcmp(code, "RevisionNotFound") == 0)
        return sp_fail(err, SP_ENOTFOUND,
                       "%.200s: no such revision there (404): check the part "
                       "after '@'",
                       what);
    if (status == 404 || status == 410)
        return sp_fail(err, SP_ENOTFOUND,
                       "%.200s: no such file or repository there (%ld): check the name and the "
                       "revision",
                       what, status);
    if (http_passes(status))
        return sp_fail(err, SP_ENETWORK, "%.200s: the server answers with status %ld%s", what,
                       status, status == 429 ? " (too many requests)" : "");
    return sp_fail(err, SP_ENETWORK, "%.200s: the server answers with status %ld, which is no file",
                   what, status);
}

/* ---- a small answer as text ---- */

struct text_sink {
    buf b;
    const struct pull_opts *o;
};

static size_t on_text(char *data, size_t size, size_t n, void *arg)
{
    struct text_sink *s = arg;
    return buf_add(&s->b, data, size * n) < 0 ? 0 : size * n;
}

static int on_tick(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total,
                   curl_off_t up_now)
{
    const struct text_sink *s = arg;
    (void)total, (void)now, (void)up_total, (void)up_now;
    return s->o->cancelled ? s->o->cancelled(s->o->arg) : 0;
}

/* One request with its redirects. 0, or negative with *again set where another try may help. */
static int get_text(struct http_request *q, const char *url, const struct http_site *site,
                    struct text_sink *s, bool *again, sp_error *err)
{
    char at[HTTP_URL_MAX];
    CURLcode rc = CURLE_OK;
    q->hops = 0;
    *again = false;
    snprintf(at, sizeof at, "%s", url);
    for (;;) {
        buf_clear(&s->b);
        int code = http_begin(q, at, site, err);
        if (code < 0)
            return code;
        http_ready(q);
        curl_easy_setopt(q->curl, CURLOPT_WRITEFUNCTION, on_text);
        curl_easy_setopt(q->curl, CURLOPT_WRITEDATA, s);
        curl_easy_setopt(q->curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(q->curl, CURLOPT_XFERINFOFUNCTION, on_tick);
        curl_easy_setopt(q->curl, CURLOPT_XFERINFODATA, s);
        rc = curl_easy_perform(q->curl);
        if (rc != CURLE_OK || !http_redirects(http_status(q)))
            break;
        if ((code = http_redirect(q, site, at, sizeof at, err)) < 0)
            return code;
    }
    long status = http_status(q);
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return sp_fail(err, SP_ECANCELLED, "stopped");
    if (s->b.failed)
        return sp_fail(err, SP_EFULL, "%.200s: the answer is larger than %zu MB: not read", url,
                       s->b.max >> 20);
    *again = rc != CURLE_OK || http_passes(status);
    if (rc != CURLE_OK)
        return sp_fail(err, SP_ENETWORK, "%.200s: %s", url, curl_easy_strerror(rc));
    return status == 200 ? 0 : http_fail(q, site, url, err);
}

int http_pause(const struct pull_opts *o, double seconds, sp_error *err)
{
    for (double end = clock_seconds() + seconds; clock_seconds() < end; clock_sleep(0.05))
        if (o->cancelled && o->cancelled(o->arg))
            return sp_fail(err, SP_ECANCELLED, "stopped");
    return 0;
}

int http_text(const char *url, const struct http_site *site, const struct pull_opts *o, size_t max,
              char **data, size_t *n, sp_error *err)
{
    struct text_sink s = {.o = o};
    struct http_request q = {0};
    bool again = true;
    int code = -1;
    buf_init(&s.b, max);
    for (int tries = 1; again; tries++) {
        code = get_text(&q, url, site, &s, &again, err);
        if (tries == TEXT_ATTEMPTS || q.reply.retry_after > HTTP_WAIT_MAX)
            again = false;
        if (again) {
            pull_note(o, "%s: trying again", err ? err->message : url);
            double wait = q.reply.retry_after > 0 ? q.reply.retry_after : 0.25 * (1 << tries);
            int stopped = http_pause(o, wait, err);
            if (stopped < 0) {
                code = stopped;
                again = false;
            }
        }
    }
    http_end(&q);
    if (code == 0) {
        *n = s.b.len;
        *data = buf_steal(&s.b);
        code = *data ? 0 : sp_fail(err, SP_EFORMAT, "%.200s: an empty answer", url);
    }
    buf_free(&s.b);
    return code;
}

/* ---- which source answers first ---- */

static size_t no_more(char *data, size_t size, size_t n, void *arg)
{
    (void)data, (void)arg, (void)size, (void)n;
    return 0; /* that it answers is enough */
}

static int race_turn(CURLM *multi, struct http_request *runners, size_t n, char why[][160])
{
    int running, left;
    CURLMsg *m;
    curl_multi_perform(multi, &running);
    while ((m = curl_multi_info_read(multi, &left)) != NULL)
        for (size_t i = 0; i < n; i++) {
            if (m->msg != CURLMSG_DONE || m->easy_handle != runners[i].curl)
                continue;
            long status = http_status(&runners[i]);
            if (status == 200 || status == 206 || http_redirects(status))
                return (int)i;
            if (status >= 400)
                snprintf(why[i], 160, "answers with status %ld", status);
            else
                snprintf(why[i], 160, "%s", curl_easy_strerror(m->data.result));
        }
    return running == 0 ? -2 : -1;
}

int http_race(const char *const *urls, const struct http_site *sites, size_t n, double seconds,
              const struct pull_opts *o, char why[][160])
{
    struct http_request runners[HTTP_RUNNERS] = {0};
    http_init();
    CURLM *multi = curl_multi_init();
    int winner = -1;
    if (!multi || n > SP_COUNT(runners))
        return -1;
    for (size_t i = 0; i < n; i++) {
        snprintf(why[i], 160, "did not answer within %.0f s", seconds);
        if (http_begin(&runners[i], urls[i], &sites[i], NULL) < 0)
            continue;
        http_ready(&runners[i]);
        curl_easy_setopt(runners[i].curl, CURLOPT_RANGE, "0-0");
        curl_easy_setopt(runners[i].curl, CURLOPT_WRITEFUNCTION, no_more);
        curl_multi_add_handle(multi, runners[i].curl);
    }
    double end = clock_seconds() + seconds;
    while (winner == -1 && clock_seconds() < end && !(o->cancelled && o->cancelled(o->arg))) {
        winner = race_turn(multi, runners, n, why);
        if (winner == -1)
            curl_multi_poll(multi, NULL, 0, 50, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        if (runners[i].curl)
            curl_multi_remove_handle(multi, runners[i].curl);
        http_end(&runners[i]);
    }
    curl_multi_cleanup(multi);
    return winner < 0 ? -1 : winner;
}
