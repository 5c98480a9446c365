/* Where a model comes from: reading what the person wrote, and the addresses that follow from it. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/file.h"
#include "hub/hub_int.h"

#define TOKEN_MAX ((size_t)4096) /* bytes of a token's file */

static int put(char *out, size_t room, const char *from, size_t n, const char *spec, sp_error *err)
{
    if (n >= room)
        return sp_fail(err, SP_EINVAL, "%.200s: a part of it is longer than %zu characters", spec,
                       room - 1);
    memcpy(out, from, n);
    out[n] = '\0';
    return 0;
}

static bool repo_ok(const char *repo)
{
    const char *slash = strchr(repo, '/');
    if (!slash || slash == repo || !slash[1] || strchr(slash + 1, '/'))
        return false;
    for (const char *p = repo; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("/-_.", *p))
            return false;
    return strstr(repo, "..") == NULL;
}

static bool no_escape(const char *file)
{
    for (const char *p = file; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return false;
    return file[0] != '/' && !strstr(file, "..") && !strpbrk(file, "\\#%\"'");
}

bool source_file_ok(const char *name)
{
    const char *base = path_base(name);
    return *base && base[0] != '.' && strlen(name) < 200 && no_escape(name) && !strchr(name, '?') &&
           strcmp(base, STORE_META) != 0;
}

/* ORG/NAME[:WHAT][@REV] */
static int parse_repo(const char *spec, const char *rest, struct source *out, sp_error *err)
{
    const char *at = strrchr(rest, '@');
    size_t n = at ? (size_t)(at - rest) : strlen(rest);
    const char *colon = memchr(rest, ':', n);
    size_t repo = colon ? (size_t)(colon - rest) : n;
    int code = put(out->repo, sizeof out->repo, rest, repo, spec, err);
    if (code == 0 && colon)
        code = put(out->file, sizeof out->file, colon + 1, n - repo - 1, spec, err);
    if (code == 0 && at)
        code = put(out->revision, sizeof out->revision, at + 1, strlen(at + 1), spec, err);
    if (code == 0 && (!repo_ok(out->repo) || !no_escape(out->file) || !no_escape(out->revision) ||
                      strchr(out->revision, '?')))
        code = sp_fail(err, SP_EUSAGE,
                       "%.200s: expected ORG/NAME[:FILE][@REVISION] after the hub's name", spec);
    return code;
}

/* NAME==VERSION:FROM-TO:SUFFIX */
static int parse_pip(const char *spec, const char *rest, struct source *out, sp_error *err)
{
    if (sscanf(rest, "%199[A-Za-z0-9._*-]==%79[0-9.]:%d-%d:%199[A-Za-z0-9.]", out->repo,
               out->revision, &out->from, &out->to, out->file) != 5 ||
        out->from < 1 || out->to < out->from || out->to > 999)
        return sp_fail(err, SP_EUSAGE, "%.200s: expected pip:NAME==VERSION:FROM-TO:SUFFIX", spec);
    return 0;
}

int source_parse(const char *spec, struct source *out, sp_error *err)
{
    *out = (struct source){0};
    if (strncmp(spec, "hf:", 3) == 0 || strncmp(spec, "ms:", 3) == 0) {
        out->kind = spec[0] == 'h' ? SOURCE_HF : SOURCE_MS;
        return parse_repo(spec, spec + 3, out, err);
    }
    if (strncmp(spec, "pip:", 4) == 0) {
        out->kind = SOURCE_PIP;
        return parse_pip(spec, spec + 4, out, err);
    }
    bool url = strncmp(spec, "https://", 8) == 0 || strncmp(spec, "http://", 7) == 0;
    if (!url && !file_exists(spec) && !file_is_dir(spec))
        return sp_fail(err, SP_ENOTFOUND,
                       "%.200s: no such model in the catalogue, and no such file: `sampan pull` "
                       "lists the catalogue; "
                       "hf:ORG/NAME and ms:ORG/NAME take any model of the hubs",
                       spec);
    out->kind = url ? SOURCE_URL : SOURCE_PATH;
    return put(out->url, sizeof out->url, spec, strlen(spec), spec, err);
}

int source_name(const struct source *s, char *out, size_t n, sp_error *err)
{
    char plain[400];
    bool repo = s->kind == SOURCE_HF || s->kind == SOURCE_MS;
    if (repo && s->file[0] && !str_ends(str_of(s->file), ".gguf"))
        snprintf(plain, sizeof plain, "%s-%s", path_base(s->repo), s->file); /* NAME-Q4_K_M */
    else if (repo && s->file[0] && !strpbrk(s->file, "*?["))
        snprintf(plain, sizeof plain, "%s", path_base(s->file));
    else if (s->kind == SOURCE_URL || s->kind == SOURCE_PATH)
        snprintf(plain, sizeof plain, "%.399s", path_base(s->url));
    else
        snprintf(plain, sizeof plain, "%s", path_base(s->repo));
    size_t k = 0;
    for (const char *p = plain; *p && *p != '?' && k + 1 < n; p++) {
        bool keep = isalnum((unsigned char)*p) || strchr("-_.", *p);
        if (keep)
            out[k++] = (char)tolower((unsigned char)*p);
        else if (k > 0 && out[k - 1] != '-')
            out[k++] = '-';
    }
    if (k > 5 && strncmp(out + k - 5, ".gguf", 5) == 0)
        k -= 5;
    while (k > 0 && out[k - 1] == '-')
        k--;
    out[k] = '\0';
    return store_name_check(out, err);
}

const char *source_revision(const struct source *s)
{
    return s->revision[0] ? s->revision : s->kind == SOURCE_MS ? "master" : "main";
}

/* ---- who is asked ---- */

static const char *first_env(const char *a, const char *b)
{
    const char *v = getenv(a);
    if (!(v && *v) && b)
        v = getenv(b);
    return v && *v ? v : NULL;
}

/* White space around it goes; a token with anything but printable ASCII inside would break a header. */
static int keep_token(const char *text, const char *from, char *out, size_t room, sp_error *err)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return sp_fail(err, SP_EINVAL,
                           "%.200s: holds no token: one line of letters is expected", from);
    return put(out, room, text, n, from, err);
}

/* HF_TOKEN_PATH, else HF_HOME/token, else the cache folder's huggingface/token: as huggingface_hub does. */
static char *token_file(void)
{
    const char *path = first_env("HF_TOKEN_PATH", NULL), *home = first_env("HF_HOME", NULL);
    const char *cache = first_env("XDG_CACHE_HOME", NULL), *user = first_env("HOME", NULL);
    if (path)
        return sp_strdup(path);
    if (home)
        return path_join(home, "token");
    if (cache)
        return path_join(cache, "huggingface/token");
    return user ? path_join(user, ".cache/huggingface/token") : NULL;
}

static int hf_token(char *out, size_t room, sp_error *err)
{
    const char *env = first_env("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN");
    char *path = NULL, *text = NULL;
    size_t n;
    int code = 0;
    if (env)
        return keep_token(env, "HF_TOKEN", out, room, err);
    path = token_file();
    if (path && file_exists(path) && file_read(path, TOKEN_MAX, &text, &n, NULL) == 0)
        code = keep_token(text, path, out, room, err);
    sp_free(text);
    sp_free(path);
    return code;
}

static int one_site(const struct source *s, const struct pull_opts *o, const char *at, size_t n,
                    struct http_site *out, sp_error *err)
{
    bool hf = s->kind == SOURCE_HF;
    *out = (struct http_site){.timeout = o->timeout, .cookie = !hf};
    while (n > 0 && at[n - 1] == '/')
        n--;
    int code = put(out->endpoint, sizeof out->endpoint, at, n, at, err);
    if (code == 0)
        code = http_check_url(out->endpoint, NULL, false, err);
    if (code < 0)
        return code;
    snprintf(out->page, sizeof out->page, "%s%s/%s", out->endpoint, hf ? "" : "/models", s->repo);
    out->token_name = hf ? "HF_TOKEN" : "MODELSCOPE_API_TOKEN";
    if (hf)
        return hf_token(out->token, sizeof out->token, err);
    const char *env = first_env("MODELSCOPE_API_TOKEN", NULL);
    return env ? keep_token(env, "MODELSCOPE_API_TOKEN", out->token, sizeof out->token, err) : 0;
}

int source_sites(const struct source *s, const struct pull_opts *o, struct http_site *out,
                 size_t *n, sp_error *err)
{
    bool hf = s->kind == SOURCE_HF;
    const char *list = first_env(hf ? "HF_ENDPOINT" : "MODELSCOPE_ENDPOINT", NULL);
    int code = 0;
    *n = 0;
    if (s->kind == SOURCE_URL) {
        out[(*n)++] =
            (struct http_site){.timeout = o->timeout, .plain = strncmp(s->url, "http://", 7) == 0};
        return 0;
    }
    for (size_t i = 0; i < o->n_endpoints && code == 0 && *n < SITES_MAX; i++)
        code = one_site(s, o, o->endpoints[i], strlen(o->endpoints[i]), &out[(*n)++], err);
    if (*n > 0)
        return code;
    if (!list)
        list = hf ? "https://huggingface.co" : "https://modelscope.cn";
    for (const char *p = list; *p && code == 0 && *n < SITES_MAX;) {
        size_t k = strcspn(p, ", ");
        if (k > 0)
            code = one_site(s, o, p, k, &out[(*n)++], err);
        p += k + strspn(p + k, ", ");
    }
    return code;
}

int source_file_url(const struct source *s, const struct http_site *site, const char *file,
                    const char *revision, char *out, size_t n, sp_error *err)
{
    const char *rev = revision && *revision ? revision : source_revision(s);
    int len = 0;
    if (s->kind == SOURCE_HF)
        len = snprintf(out, n, "%s/%s/resolve/%s/%s", site->endpoint, s->repo, rev, file);
    else if (s->kind == SOURCE_MS)
        len = snprintf(out, n, "%s/api/v1/models/%s/repo?Revision=%s&FilePath=%s", site->endpoint,
                       s->repo, rev, file);
    else
        len = snprintf(out, n, "%s", s->url);
    if (len < 0 || (size_t)len >= n)
        return sp_fail(err, SP_EINVAL, "%.200s: the address is too long", file);
    return 0;
}
