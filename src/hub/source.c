/* Where a model comes from: reading what the person wrote, and what a hub's repository holds. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/file.h"
#include "hub/hub_int.h"

#define LIST_MAX ((size_t)16 << 20) /* bytes of a repository's listing */

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

static bool file_ok(const char *file)
{
    return file[0] != '/' && !strstr(file, "..") && !strpbrk(file, "\\?#%\"' ");
}

/* ORG/NAME[:FILE][@REV] */
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
    if (code == 0 && (!repo_ok(out->repo) || !file_ok(out->file) || !file_ok(out->revision)))
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

static const char *endpoint(const char *variable, const char *fallback)
{
    const char *e = getenv(variable);
    return e && *e ? e : fallback;
}

int source_file_url(const struct source *s, const char *file, char *out, size_t n, sp_error *err)
{
    int len = 0;
    if (s->kind == SOURCE_HF)
        len = snprintf(out, n, "%s/%s/resolve/%s/%s",
                       endpoint("HF_ENDPOINT", "https://huggingface.co"), s->repo,
                       s->revision[0] ? s->revision : "main", file);
    else if (s->kind == SOURCE_MS)
        len = snprintf(out, n, "%s/models/%s/resolve/%s/%s",
                       endpoint("MODELSCOPE_ENDPOINT", "https://modelscope.cn"), s->repo,
                       s->revision[0] ? s->revision : "master", file);
    else
        len = snprintf(out, n, "%s", s->url);
    if (len < 0 || (size_t)len >= n)
        return sp_fail(err, SP_EINVAL, "%.200s: the address is too long", file);
    return 0;
}

int source_name(const struct source *s, char *out, size_t n, sp_error *err)
{
    const char *from = s->kind == SOURCE_URL || s->kind == SOURCE_PATH ? path_base(s->url)
                       : s->file[0] && s->kind != SOURCE_PIP           ? path_base(s->file)
                                                                       : path_base(s->repo);
    size_t k = 0;
    for (; from[k] && from[k] != '?' && k + 1 < n; k++)
        out[k] = isalnum((unsigned char)from[k]) || strchr("-_.", from[k])
                     ? (char)tolower((unsigned char)from[k])
                     : '-';
    if (k > 5 && strncmp(out + k - 5, ".gguf", 5) == 0)
        k -= 5;
    out[k] = '\0';
    return store_name_check(out, err);
}

void file_list_free(struct file_list *l)
{
    sp_free(l->files);
    *l = (struct file_list){0};
}

static int list_add(struct file_list *l, const char *name, uint64_t bytes, const char *sha256,
                    sp_error *err)
{
    struct remote_file *grown = sp_realloc_array(l->files, l->n + 1, sizeof *grown);
    if (!grown)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    l->files = grown;
    struct remote_file *f = &l->files[l->n];
    *f = (struct remote_file){.bytes = bytes};
    snprintf(f->sha256, sizeof f->sha256, "%s", sha256 ? sha256 : "");
    l->n++;
    return put(f->name, sizeof f->name, name, strlen(name), name, err);
}

bool source_needs(const char *name)
{
    static const char *const exact[] = {"config.json",         "generation_config.json",
                                        "tokenizer.json",      "tokenizer_config.json",
                                        "chat_template.jinja", "model.safetensors.index.json"};
    for (size_t i = 0; i < SP_COUNT(exact); i++)
        if (strcmp(name, exact[i]) == 0)
            return true;
    return !strchr(name, '/') && str_ends(str_of(name), ".safetensors");
}

static bool contains_nocase(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

/* A repository of GGUF files: the Q4_K_M one, or the only one. */
static int pick_gguf(const struct source *s, const struct file_list *all, struct file_list *out,
                     sp_error *err)
{
    const struct remote_file *pick = NULL;
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        const struct remote_file *f = &all->files[i];
        if (!str_ends(str_of(f->name), ".gguf"))
            continue;
        n++;
        if (!pick || (contains_nocase(f->name, "q4_k_m") && !contains_nocase(f->name, "-of-")))
            pick = f;
    }
    if (!pick)
        return sp_fail(
            err, SP_ENOTFOUND,
            "%s: the repository holds neither safetensors with config.json nor GGUF files",
            s->repo);
    if (n > 1 && !contains_nocase(pick->name, "q4_k_m"))
        return sp_fail(err, SP_EUSAGE,
                       "%s: the repository holds %zu GGUF files: name one, for example %s:%s",
                       s->repo, n, s->repo, pick->name);
    return list_add(out, pick->name, pick->bytes, pick->sha256, err);
}

static int pick_files(const struct source *s, const struct file_list *all, struct file_list *out,
                      sp_error *err)
{
    bool config = false, tensors = false;
    int code = 0;
    for (size_t i = 0; i < all->n; i++) {
        config |= strcmp(all->files[i].name, "config.json") == 0;
        tensors |= source_needs(all->files[i].name) &&
                   str_ends(str_of(all->files[i].name), ".safetensors");
    }
    if (!config || !tensors)
        return pick_gguf(s, all, out, err);
    for (size_t i = 0; i < all->n && code == 0; i++)
        if (source_needs(all->files[i].name))
            code =
                list_add(out, all->files[i].name, all->files[i].bytes, all->files[i].sha256, err);
    return code;
}

/* Hugging Face: {"siblings": [{"rfilename", "size", "lfs": {"sha256"}}]} (with ?blobs=true);
 * ModelScope: {"Data": {"Files": [{"Path", "Size", "Sha256", "Type"}]}}. */
static int read_listing(const struct source *s, const json_t *j, struct file_list *all,
                        sp_error *err)
{
    bool hf = s->kind == SOURCE_HF;
    const json_t *list =
        hf ? json_object_get(j, "siblings") : json_object_get(json_object_get(j, "Data"), "Files");
    size_t i;
    const json_t *f;
    int code = json_is_array(list)
                   ? 0
                   : sp_fail(err, SP_EFORMAT, "%s: the hub's answer lists no files", s->repo);
    json_array_foreach((json_t *)(uintptr_t)list, i, f)
    {
        const char *name = json_string_value(json_object_get(f, hf ? "rfilename" : "Path"));
        json_int_t size = json_integer_value(json_object_get(f, hf ? "size" : "Size"));
        const char *sum =
            json_string_value(hf ? json_object_get(json_object_get(f, "lfs"), "sha256")
                                 : json_object_get(f, "Sha256"));
        if (code == 0 && name && file_ok(name))
            code = list_add(all, name, size > 0 ? (uint64_t)size : 0,
                            sum && strlen(sum) == 64 ? sum : NULL, err);
    }
    return code;
}

static int listing_url(const struct source *s, char *out, size_t n)
{
    if (s->kind == SOURCE_HF)
        return snprintf(out, n, "%s/api/models/%s/revision/%s?blobs=true",
                        endpoint("HF_ENDPOINT", "https://huggingface.co"), s->repo,
                        s->revision[0] ? s->revision : "main");
    return snprintf(out, n, "%s/api/v1/models/%s/repo/files?Revision=%s&Recursive=true",
                    endpoint("MODELSCOPE_ENDPOINT", "https://modelscope.cn"), s->repo,
                    s->revision[0] ? s->revision : "master");
}

int source_list_files(const struct source *s, const struct pull_opts *o, struct file_list *out,
                      sp_error *err)
{
    char url[1024], *text = NULL;
    struct file_list all = {0};
    size_t n = 0;
    json_error_t je;
    if (s->file[0])
        return list_add(out, s->file, 0, o->sha256, err);
    listing_url(s, url, sizeof url);
    int code = fetch_text(url, o, LIST_MAX, &text, &n, err);
    json_t *j = code == 0 ? json_loadb(text, n, 0, &je) : NULL;
    if (code == 0 && !j)
        code = sp_fail(err, SP_EFORMAT, "%s: the hub's answer is no JSON: %s", s->repo, je.text);
    if (code == 0)
        code = read_listing(s, j, &all, err);
    if (code == 0)
        code = pick_files(s, &all, out, err);
    file_list_free(&all);
    json_decref(j);
    sp_free(text);
    return code;
}
