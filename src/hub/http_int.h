/* Requests of the hub: libcurl with our own rule for redirects and tokens (http.c). */
#ifndef SP_HUB_HTTP_INT_H
#define SP_HUB_HTTP_INT_H

#include <curl/curl.h>
#include "base/base.h"
#include "hub/hub_int.h"

#define HTTP_URL_MAX 4096
#define HTTP_REDIRECTS 10
#define HTTP_RUNNERS 8
#define HTTP_WAIT_MAX 60.0 /* seconds; a server that asks for more is left for later */

/* What an answer's head says. */
struct http_reply {
    char etag[256]; /* as it came, with its quotes */
    char
        error_code[40]; /* Hugging Face: GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound */
    char linked_sum[65]; /* from the hub: sha256 of the file behind its redirect; "" none */
    uint64_t linked_size;
    char commit[65];
    double retry_after; /* seconds; 0: not said */
    bool has_range, chunked;
    uint64_t range_first, range_last, range_total; /* total 0: not said */
};

/* All zero before the first http_begin; http_end frees what it holds and keeps the reply. */
struct http_request {
    CURL *curl;
    struct curl_slist *headers;
    struct http_reply reply;
    char url[HTTP_URL_MAX];
    bool at_home; /* at the hub's own origin */
    int hops;
};

void http_init(void);
bool http_same_origin(const char *a, const char *b);
/* Makes q a GET of url; add headers, then http_ready, then perform it. */
int http_begin(struct http_request *q, const char *url, const struct http_site *site,
               sp_error *err);
int http_add_header(struct http_request *q, const char *line, sp_error *err);
void http_ready(struct http_request *q);
void http_end(struct http_request *q);
long http_status(const struct http_request *q);
bool http_redirects(long status);
bool http_passes(long status); /* a trouble of the server that time may heal */
/* Where an answer of 301 to 308 sends us, checked. */
int http_redirect(struct http_request *q, const struct http_site *site, char *next, size_t room,
                  sp_error *err);
/* The error for an answer of 400 and more. what: the file, in words. */
int http_fail(const struct http_request *q, const struct http_site *site, const char *what,
              sp_error *err);
int http_pause(const struct pull_opts *o, double seconds, sp_error *err);

#endif
