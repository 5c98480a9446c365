#include "format/checkpoint.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX ((size_t)4 << 20)
#define TOKENIZER_MAX ((size_t)256 << 20)

struct checkpoint {
    char *path; /* the GGUF file or the folder */
    gguf *gguf;
    safetensors *tensors;
    struct model_config config;
    struct generation_config generation;
};

static int read_json(const char *dir, const char *file, size_t max, json_t **out, sp_error *err)
{
    json_error_t je;
    char *text = NULL, *path = path_join(dir, file);
    size_t n = 0;
    if (!path)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int code = file_exists(path) ? file_read(path, max, &text, &n, err)
                                 : sp_fail(err, SP_ENOTFOUND, "%.200s: not there", path);
    if (code == 0) {
        *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
        if (!*out)
            code = sp_fail(err, SP_EFORMAT, "%.200s: line %d: %s", path, je.line, je.text);
    }
    sp_free(text);
    sp_free(path);
    return code;
}

static int open_gguf(checkpoint *c, const char *path, sp_error *err)
{
    int64_t eos;
    c->path = sp_strdup(path);
    int code = c->path ? gguf_open(path, &c->gguf, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0) {
        code = config_from_gguf(c->gguf, &c->config, err);
        if (code < 0)
            sp_fail_within(err, code, "%.200s", path_base(path));
    }
    if (code < 0)
        return code;
    if (!c->config.name[0])
        snprintf(c->config.name, sizeof c->config.name, "%s", path_base(path));
    c->generation =
        (struct generation_config){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
    if (gguf_get_int(c->gguf, "tokenizer.ggml.eos_token_id", &eos) == 0 && eos >= 0 &&
        eos <= INT32_MAX)
        c->generation.eos[c->generation.n_eos++] = (int32_t)eos;
    return 0;
}

static int open_folder(checkpoint *c, const char *dir, sp_error *err)
{
    json_t *config = NULL, *generation = NULL;
    int code = read_json(dir, "config.json", CONFIG_MAX, &config, err);
    if (code == 0) {
        code = config_from_json(config, &c->config, err);
        if (code < 0)
            sp_fail_within(err, code, "%.200s", dir);
    }
    if (code == 0)
        code = safetensors_open(dir, &c->tensors, err);
    if (code == 0) {
        sp_error missing;
        int rc = read_json(dir, "generation_config.json", CONFIG_MAX, &generation, &missing);
        if (rc == SP_ENOTFOUND)
            code = generation_config_from_json(config, &c->generation, err);
        else if (rc < 0)
            code = sp_fail(err, rc, "%s", missing.message);
        else
            code = generation_config_from_json(generation, &c->generation, err);
    }
    c->path = sp_strdup(dir);
    if (code == 0 && !c->path)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && !c->config.name[0])
        snprintf(c->config.name, sizeof c->config.name, "%s", path_base(dir));
    json_decref(config);
    json_decref(generation);
    return code;
}

/* *file: the only .gguf file of a folder, or the first of the only split one; NULL when there is none. */
static int only_gguf(const char *dir, char **file, sp_error *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int code = 0;
    *file = NULL;
    while (code == 0 && d && (e = readdir(d)) != NULL) {
        if (!str_ends(str_of(e->d_name), ".gguf") || gguf_is_later_part(e->d_name))
            continue;
        if (*file) {
            code = sp_fail(err, SP_EUSAGE,
                           "%.200s: several GGUF files are in this folder: name one", dir);
            break;
        }
        *file = path_join(dir, e->d_name);
        if (!*file)
            code = sp_fail(err, SP_ENOMEM, "out of memory");
    }
    if (d)
        closedir(d);
    return code;
}

static int open_dir(checkpoint *c, const char *dir, sp_error *err)
{
    char *file = path_join(dir, "config.json");
    if (!file)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    bool folder = file_exists(file);
    sp_free(file);
    if (folder)
        return open_folder(c, dir, err);
    int code = only_gguf(dir, &file, err);
    if (code == 0 && !file)
        code = sp_fail(err, SP_ENOTFOUND,
                       "%.200s: no model in this folder: neither config.json nor a GGUF file", dir);
    if (code == 0)
        code = open_gguf(c, file, err);
    sp_free(file);
    return code;
}

static bool is_gguf(const char *path)
{
    char magic[4] = {0};
    FILE *f = fopen(path, "rb");
    bool yes = f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "GGUF", 4) == 0;
    if (f)
        fclose(f);
    return yes;
}

int checkpoint_open(const char *path, checkpoint **out, sp_error *err)
{
    checkpoint *c = sp_calloc(1, sizeof *c);
    int code;
    if (!c)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    if (file_is_dir(path))
        code = open_dir(c, path, err);
    else if (!file_exists(path))
        code = sp_fail(err, SP_ENOTFOUND, "%.200s: no such file or folder", path);
    else if (is_gguf(path))
        code = open_gguf(c, path, err);
    else if (str_ends(str_of(path), ".safetensors"))
        code = sp_fail(err, SP_EUSAGE,
                       "%.200s: give the folder that holds it, with config.json and tokenizer.json",
                       path);
    else
        code = sp_fail(err, SP_EFORMAT, "%.200s: not a GGUF file", path);
    if (code < 0) {
        checkpoint_close(c);
        return code;
    }
    *out = c;
    return 0;
}

void checkpoint_close(checkpoint *c)
{
    if (!c)
        return;
    gguf_close(c->gguf);
    safetensors_close(c->tensors);
    sp_free(c->path);
    sp_free(c);
}

const char *checkpoint_path(const checkpoint *c)
{
    return c->path;
}

const gguf *checkpoint_gguf(const checkpoint *c)
{
    return c->gguf;
}

const struct model_config *checkpoint_config(const checkpoint *c)
{
    return &c->config;
}

const struct generation_config *checkpoint_generation(const checkpoint *c)
{
    return &c->generation;
}

size_t checkpoint_tensor_count(const checkpoint *c)
{
    return c->gguf ? gguf_tensor_count(c->gguf) : safetensors_count(c->tensors);
}

const struct tensor_view *checkpoint_tensor_at(const checkpoint *c, size_t i)
{
    return c->gguf ? gguf_tensor_at(c->gguf, i) : safetensors_at(c->tensors, i);
}

const struct tensor_view *checkpoint_find(const checkpoint *c, const char *name)
{
    return c->gguf ? gguf_tensor_find(c->gguf, name) : safetensors_find(c->tensors, name);
}

int64_t checkpoint_parameters(const checkpoint *c)
{
    int64_t n = 0;
    for (size_t i = 0; i < checkpoint_tensor_count(c); i++)
        n += tensor_count(checkpoint_tensor_at(c, i));
    return n;
}

uint64_t checkpoint_tensor_bytes(const checkpoint *c)
{
    uint64_t n = 0;
    for (size_t i = 0; i < checkpoint_tensor_count(c); i++)
        n += checkpoint_tensor_at(c, i)->bytes;
    return n;
}

const char *checkpoint_format_text(const checkpoint *c, char out[64])
{
    size_t bytes[DT_COUNT] = {0};
    int best = 0;
    for (size_t i = 0; i < checkpoint_tensor_count(c); i++) {
        const struct tensor_view *t = checkpoint_tensor_at(c, i);
        bytes[t->dtype] += t->bytes;
    }
    for (int i = 1; i < DT_COUNT; i++)
        if (bytes[i] > bytes[best])
            best = i;
    snprintf(out, 64, "%s %s", c->gguf ? "GGUF" : "safetensors", dtype_get((enum dtype)best)->name);
    return out;
}

int checkpoint_json(const checkpoint *c, const char *file, json_t **out, sp_error *err)
{
    if (c->gguf)
        return sp_fail(err, SP_ENOTFOUND, "%.200s: a GGUF file has no %s", c->path, file);
    return read_json(c->path, file, TOKENIZER_MAX, out, err);
}
