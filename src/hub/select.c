/* Which files of a repository or folder running a model needs. */
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/file.h"
#include "hub/hub_int.h"

#define GGUF_DEFAULT "Q4_K_M"

static bool is_gguf(const char *name)
{
    const char *base = path_base(name);
    return str_ends(str_of(name), ".gguf") && strncasecmp(base, "mmproj", 6) != 0 &&
           !strcasestr(base, "imatrix");
}

static bool is_tensors(const char *name)
{
    return !strchr(name, '/') && str_ends(str_of(name), ".safetensors");
}

bool select_needed(const char *name)
{
    static const char *const exact[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer.model",
                                        "tokenizer_config.json",
                                        "chat_template.jinja",
                                        "vocab.json",
                                        "merges.txt",
                                        "added_tokens.json",
                                        "chat_template.json",
                                        "model.safetensors.index.json",
                                        "special_tokens_map.json",
                                        "LICENSE"};
    for (size_t i = 0; i < SP_COUNT(exact); i++)
        if (strcmp(name, exact[i]) == 0)
            return true;
    return !strchr(name, '/') && (is_tensors(name) || str_ends(str_of(name), ".tiktoken"));
}

unsigned select_part(const char *name, unsigned *number, size_t *stem)
{
    const char *dot = strrchr(name, '.');
    unsigned total = 0;
    if (!dot || dot - name < 15 || sscanf(dot - 15, "-%5u-of-%5u", number, &total) != 2)
        return 0;
    *stem = (size_t)(dot - 15 - name);
    return total;
}

/* Published weights are model.safetensors or model-0000N-of-0000M.safetensors; other names beside those
 * (consolidated, adapters, other precisions) are the same again or something else. */
static bool usual_tensors(const char *name, bool *whole)
{
    unsigned number;
    size_t stem;
    *whole = strcmp(name, "model.safetensors") == 0;
    return *whole || (is_tensors(name) && select_part(name, &number, &stem) > 0 &&
                      strncmp(name, "model-", 6) == 0);
}

static int select_folder(const struct file_list *all, struct file_list *out, sp_error *err)
{
    bool usual = false, single = false, whole;
    int code = 0;
    for (size_t i = 0; i < all->n; i++)
        if (usual_tensors(all->files[i].name, &whole)) {
            usual = true;
            single |= whole;
        }
    for (size_t i = 0; i < all->n && code == 0; i++) {
        const char *name = all->files[i].name;
        bool take = select_needed(name);
        if (take && usual && is_tensors(name))
            take = usual_tensors(name, &whole) && whole == single;
        if (take && single && strcmp(name, "model.safetensors.index.json") == 0)
            take = false;
        if (take)
            code = file_list_add(out, &all->files[i], err);
    }
    return code;
}

/* Whether "Q4_K_M" stands in "qwen2.5-0.5b-instruct-q4_k_m.gguf" as a word of its own. */
static bool has_quantization(const char *name, const char *tag)
{
    size_t n = strlen(tag);
    for (const char *p = name; (p = strcasestr(p, tag)) != NULL; p++) {
        char after = p[n];
        if ((p == name || !isalnum((unsigned char)p[-1])) && !isalnum((unsigned char)after) &&
            after != '_')
            return true;
    }
    return false;
}

static bool matches(const char *name, const char *what)
{
    if (strpbrk(what, "*?["))
        return fnmatch(what, name, 0) == 0 || fnmatch(what, path_base(name), 0) == 0;
    return strcmp(name, what) == 0;
}

/* The parts of one split model count as one; its first part stands for it. */
static bool stands_for_model(const char *name)
{
    unsigned number = 0;
    size_t stem;
    return select_part(name, &number, &stem) == 0 || number == 1;
}

static bool wanted_gguf(const char *name, const char *what, bool quantization)
{
    return is_gguf(name) &&
           (!*what || (quantization ? has_quantization(name, what) : matches(name, what)));
}

static uint64_t set_bytes(const struct file_list *all, const char *first)
{
    unsigned number;
    size_t stem = 0, other = 0;
    uint64_t sum = 0;
    unsigned total = select_part(first, &number, &stem);
    for (size_t i = 0; i < all->n; i++) {
        const char *name = all->files[i].name;
        if (total ? select_part(name, &number, &other) == total && other == stem &&
                        strncmp(name, first, stem) == 0
                  : strcmp(name, first) == 0)
            sum += all->files[i].bytes;
    }
    return sum;
}

/* A GGUF file with the other parts of its set, all of which must be there. */
static int take_set(const struct source *s, const struct file_list *all, const char *first,
                    struct file_list *out, sp_error *err)
{
    unsigned number = 0, got = 0;
    size_t stem = 0, other = 0;
    unsigned total = select_part(first, &number, &stem);
    int code = 0;
    for (size_t i = 0; i < all->n && code == 0; i++) {
        const char *name = all->files[i].name;
        if (total ? select_part(name, &number, &other) == total && other == stem &&
                        strncmp(name, first, stem) == 0
                  : strcmp(name, first) == 0) {
            code = file_list_add(out, &all->files[i], err);
            got++;
        }
    }
    if (code == 0 && total && got != total)
        code = sp_fail(err, SP_EFORMAT, "%s: %.150s has %u parts, of which the repository holds %u",
                       s->repo, first, total, got);
    return code;
}

static void tell_choice(const struct source *s, const struct file_list *all, const char *what,
                        bool quantization, const struct pull_opts *o)
{
    for (size_t i = 0; i < all->n; i++)
        if (wanted_gguf(all->files[i].name, what, quantization) &&
            stands_for_model(all->files[i].name))
            pull_note(o, "  %s:%s:%s  (%.0f MB)", s->kind == SOURCE_HF ? "hf" : "ms", s->repo,
                      all->files[i].name, (double)set_bytes(all, all->files[i].name) / 1e6);
}

/* How many models the wish means, and the first of them. A model that is there whole and split, too, in one
 * quantization counts once. */
static size_t count_sets(const struct file_list *all, const char *what, bool quantization,
                         const char **first)
{
    size_t n = 0, whole = 0;
    const char *one = NULL;
    unsigned number;
    size_t stem;
    for (size_t i = 0; i < all->n; i++) {
        const char *name = all->files[i].name;
        if (!wanted_gguf(name, what, quantization) || !stands_for_model(name))
            continue;
        if (n++ == 0)
            *first = name;
        if (select_part(name, &number, &stem) == 0 && whole++ == 0)
            one = name;
    }
    if (quantization && n > 1 && whole == 1) {
        *first = one;
        return 1;
    }
    return n;
}

static int select_gguf(const struct source *s, const struct file_list *all,
                       const struct pull_opts *o, struct file_list *out, sp_error *err)
{
    const char *first = NULL, *what = s->file;
    bool quantization = false;
    size_t n = count_sets(all, what, false, &first);
    if (n == 0 && *what && !strpbrk(what, "*?[/")) {
        quantization = true;
        n = count_sets(all, what, true, &first);
    } else if (n > 1 && !*what && count_sets(all, GGUF_DEFAULT, true, &first) == 1) {
        n = 1;
    }
    if (n > 1) {
        pull_note(o, "%s holds %zu that fit:", s->repo, n);
        tell_choice(s, all, what, quantization, o);
        return sp_fail(err, SP_EUSAGE, "%s: %zu files fit '%s': name one of those above", s->repo,
                       n, *what ? what : "*.gguf");
    }
    if (n == 1)
        return take_set(s, all, first, out, err);
    if (count_sets(all, "", false, &first) > 0) {
        tell_choice(s, all, "", false, o);
        return sp_fail(err, SP_ENOTFOUND,
                       "%s: no file or quantization '%s' there: name one of those "
                       "above",
                       s->repo, what);
    }
    return sp_fail(err, SP_ENOTFOUND,
                   "%s: no file '%s' at revision %s: look at the repository's list of files",
                   s->repo, what, source_revision(s));
}

static int no_model(const struct source *s, const struct file_list *all, sp_error *err)
{
    for (size_t i = 0; i < all->n; i++)
        if (str_ends(str_of(all->files[i].name), ".bin") ||
            str_ends(str_of(all->files[i].name), ".pth") ||
            str_ends(str_of(all->files[i].name), ".pt"))
            return sp_fail(
                err, SP_EUNSUPPORTED,
                "%s: its weights are Python pickles (%.100s), which can run code and are "
                "not loaded: look for safetensors or GGUF of this model",
                s->repo, all->files[i].name);
    return sp_fail(err, SP_ENOTFOUND,
                   "%s: the repository holds neither safetensors with config.json nor GGUF files "
                   "(%zu files)",
                   s->repo, all->n);
}

/* Exact names and patterns of other files than GGUF. */
static int select_named(const struct source *s, const struct file_list *all, struct file_list *out,
                        sp_error *err)
{
    int code = 0;
    bool tensors = false;
    for (size_t i = 0; i < all->n; i++)
        tensors |= is_tensors(all->files[i].name) && matches(all->files[i].name, s->file);
    for (size_t i = 0; i < all->n && code == 0 && tensors; i++) {
        const char *name = all->files[i].name;
        if (is_tensors(name) ? matches(name, s->file) : select_needed(name))
            code = file_list_add(out, &all->files[i], err);
    }
    return code;
}

/* Files go into one folder by their last name. */
static int no_twins(const struct file_list *l, const char *repo, sp_error *err)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(path_base(l->files[i].name), path_base(l->files[k].name)) == 0)
                return sp_fail(err, SP_EUNSUPPORTED, "%s: two files have the name %.100s", repo,
                               path_base(l->files[i].name));
    return 0;
}

int select_files(const struct source *s, const struct file_list *all, const struct pull_opts *o,
                 struct file_list *out, sp_error *err)
{
    bool config = false, tensors = false, quantized = false;
    int code = 0;
    for (size_t i = 0; i < all->n; i++) {
        config |= strcmp(all->files[i].name, "config.json") == 0;
        tensors |= is_tensors(all->files[i].name);
        quantized |= is_gguf(all->files[i].name);
    }
    if (!s->file[0] && config && tensors)
        code = select_folder(all, out, err);
    else if (!s->file[0] && !quantized)
        code = no_model(s, all, err);
    else if (s->file[0])
        code = select_named(s, all, out, err);
    if (code == 0 && out->n == 0)
        code = select_gguf(s, all, o, out, err);
    if (code == 0)
        code = no_twins(out, s->repo, err);
    snprintf(out->commit, sizeof out->commit, "%s", all->commit);
    out->pinned = all->pinned;
    return code;
}
