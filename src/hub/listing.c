/* What a repository holds, by the hubs' own APIs.
 *
 * Hugging Face: GET /api/models/ORG/NAME/revision/REV?blobs=true ->
 *   {"sha": commit, "siblings": [{"rfilename", "size", "blobId", "lfs": {"sha256", "size"}}]}
 * ModelScope: GET /api/v1/models/ORG/NAME/repo/files?Revision=REV&Recursive=True ->
 *   {"Code": 200, "Data": {"Files": [{"Path", "Type": "blob"|"tree", "Size", "Sha256"}],
 *                          "LatestCommitter": {"Id", "ShortId"}}}
 * (as huggingface_hub and modelscope_hub, the hubs' own clients, ask and read them). */
#include <stdio.h>
#include <string.h>
#include "hub/hub_int.h"

#define LIST_MAX ((size_t)16 << 20) /* bytes of a listing */
#define MODELSCOPE_CAP 3000         /* entries; ModelScope leaves out the rest without a word */

int file_list_add(struct file_list *l, const struct remote_file *f, sp_error *err)
{
    struct remote_file *grown = sp_realloc_array(l->files, l->n + 1, sizeof *grown);
    if (!grown)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    l->files = grown;
    l->files[l->n++] = *f;
    return 0;
}

void file_list_free(struct file_list *l)
{
    sp_free(l->files);
    *l = (struct file_list){0};
}

static bool is_hex(const char *s, size_t n)
{
    return s && strlen(s) == n && strspn(s, "0123456789abcdefABCDEF") == n;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* One entry; names that could leave the folder or an address are passed over with a word. */
static int read_file(const struct source *s, const json_t *j, const struct pull_opts *o,
                     struct file_list *all, sp_error *err)
{
    bool hf = s->kind == SOURCE_HF;
    const json_t *entry = json_object_get(j, hf ? "rfilename" : "Path");
    const char *name = json_string_value(entry), *type = text_of(j, "Type");
    struct remote_file f = {0};
    if (!hf && type && strcmp(type, "tree") == 0)
        return 0;
    if (!name || strlen(name) != json_string_length(entry) || !source_file_ok(name)) {
        if (name)
            pull_note(o, "%s: passed over a file with a name that is not safe: %.100s", s->repo,
                      name);
        return 0;
    }
    json_int_t size = json_integer_value(json_object_get(j, hf ? "size" : "Size"));
    const char *sum = hf ? text_of(json_object_get(j, "lfs"), "sha256") : text_of(j, "Sha256");
    const char *blob = hf ? text_of(j, "blobId") : NULL;
    snprintf(f.name, sizeof f.name, "%s", name);
    f.bytes = size > 0 ? (uint64_t)size : 0;
    if (is_hex(sum, 64))
        snprintf(f.sha256, sizeof f.sha256, "%s", sum);
    else if (is_hex(blob, 40) && !json_object_get(j, "lfs"))
        snprintf(f.blob, sizeof f.blob, "%s", blob);
    return file_list_add(all, &f, err);
}

static void read_commit(const struct source *s, const json_t *j, struct file_list *all)
{
    const json_t *latest = json_object_get(json_object_get(j, "Data"), "LatestCommitter");
    const char *full = s->kind == SOURCE_HF ? text_of(j, "sha") : text_of(latest, "Id");
    const char *small = text_of(latest, "ShortId");
    all->pinned = is_hex(full, 40) || is_hex(full, 64);
    if (all->pinned)
        snprintf(all->commit, sizeof all->commit, "%s", full);
    else if (small && strlen(small) < sizeof all->commit && is_hex(small, strlen(small)))
        snprintf(all->commit, sizeof all->commit, "%s", small);
}

static int read_listing(const struct source *s, const json_t *j, const struct pull_opts *o,
                        struct file_list *all, sp_error *err)
{
    const json_t *list = s->kind == SOURCE_HF
                             ? json_object_get(j, "siblings")
                             : json_object_get(json_object_get(j, "Data"), "Files");
    const char *message = text_of(j, "Message");
    int code = 0;
    if (!json_is_array(list))
        return sp_fail(err, SP_EFORMAT, "%s: the hub's answer lists no files%s%.100s", s->repo,
                       message ? ": " : "", message ? message : "");
    if (s->kind == SOURCE_MS && json_array_size(list) >= MODELSCOPE_CAP)
        return sp_fail(err, SP_EUNSUPPORTED,
                       "%s: the repository has more than %d files, which the hub does not list at "
                       "once: get it by git, and `sampan pull` its folder",
                       s->repo, MODELSCOPE_CAP);
    for (size_t i = 0; i < json_array_size(list) && code == 0; i++)
        code = read_file(s, json_array_get(list, i), o, all, err);
    read_commit(s, j, all);
    return code;
}

int source_list_url(const struct source *s, const struct http_site *site, char *out, size_t n,
                    sp_error *err)
{
    int len;
    if (s->kind == SOURCE_HF)
        len = snprintf(out, n, "%s/api/models/%s/revision/%s?blobs=true", site->endpoint, s->repo,
                       source_revision(s));
    else
        len = snprintf(out, n, "%s/api/v1/models/%s/repo/files?Revision=%s&Recursive=True",
                       site->endpoint, s->repo, source_revision(s));
    if (len < 0 || (size_t)len >= n)
        return sp_fail(err, SP_EINVAL, "%.200s: the address is too long", s->repo);
    return 0;
}

int source_list(const struct source *s, const struct http_site *site, const struct pull_opts *o,
                struct file_list *out, sp_error *err)
{
    char url[1200], *text = NULL;
    size_t n = 0;
    json_error_t je;
    int code = source_list_url(s, site, url, sizeof url, err);
    if (code == 0)
        code = http_text(url, site, o, LIST_MAX, &text, &n, err);
    json_t *j =
        code == 0 ? json_loadb(text, n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &je) : NULL;
    if (code == 0 && !j)
        code = sp_fail(err, SP_EFORMAT, "%.200s: the answer is no JSON: %.100s: is this a hub?",
                       url, je.text);
    if (code == 0)
        code = read_listing(s, j, o, out, err);
    json_decref(j);
    sp_free(text);
    return code;
}
