/* What the tokenizer tests share: the fixtures of tests/data/text, and a writer of small GGUF files. */
#ifndef TOKENIZER_FIXTURE_H
#define TOKENIZER_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text/tokenizer.h"

static inline json_t *fixture_json(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/text/%s", TEST_DATA, name);
    json_error_t error;
    json_t *json = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!json)
        fail_msg("%s: %s", path, error.text);
    return json;
}

static inline tokenizer *fixture_load(const json_t *json, const json_t *config)
{
    tokenizer *t = NULL;
    sp_error err = {0};
    if (tokenizer_load_json(json, config, &t, &err) < 0)
        fail_msg("%s", err.message);
    return t;
}

static inline tokenizer *fixture_tokenizer(const char *name)
{
    json_t *json = fixture_json(name);
    tokenizer *t = fixture_load(json, NULL);
    json_decref(json);
    return t;
}

static inline struct token_list fixture_encode_spans(const tokenizer *t, str text,
                                                     struct encode_opts opts)
{
    struct token_list ids = {0};
    sp_error err = {0};
    if (tokenizer_encode(t, text.p, text.n, &opts, &ids, &err) < 0)
        fail_msg("%s", err.message);
    return ids;
}

static inline struct token_list fixture_encode(const tokenizer *t, str text,
                                               enum special_mode special)
{
    return fixture_encode_spans(t, text, (struct encode_opts){.special = special});
}

/* Compares with a JSON array of ids and frees the list. */
static inline void fixture_same(struct token_list ids, const json_t *want, const char *what)
{
    bool same = ids.n == json_array_size(want);
    for (size_t i = 0; same && i < ids.n; i++)
        same = ids.ids[i] == json_integer_value(json_array_get(want, i));
    if (!same) {
        char *text = json_dumps(want, JSON_COMPACT | JSON_ENCODE_ANY);
        printf("ours:");
        for (size_t i = 0; i < ids.n; i++)
            printf(" %d", (int)ids.ids[i]);
        printf("\nwant: %s\n", text);
        free(text);
        fail_msg("%s: other ids", what);
    }
    token_list_free(&ids);
}

/* The ids of all strings of strings.json as golden[key] has them; null: as golden.all. */
static inline void fixture_golden(const tokenizer *t, const json_t *golden, const char *key,
                                  struct encode_opts opts)
{
    json_t *strings = fixture_json("strings.json");
    const json_t *list = json_object_get(golden, key);
    size_t n = json_array_size(list);
    assert_true(n > 0 && n <= json_array_size(strings));
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(strings, i), *want = json_array_get(list, i);
        if (json_is_null(want))
            want = json_array_get(json_object_get(golden, "all"), i);
        str text = {json_string_value(s), json_string_length(s)};
        fixture_same(fixture_encode_spans(t, text, opts), want, json_string_value(s));
    }
    json_decref(strings);
}

/* ---- GGUF ---- */

static inline void gguf_put(buf *b, const void *p, size_t n)
{
    assert_int_equal(buf_add(b, p, n), 0);
}

static inline void gguf_put_u32(buf *b, uint32_t v)
{
    gguf_put(b, &v, sizeof v);
}

static inline void gguf_put_u64(buf *b, uint64_t v)
{
    gguf_put(b, &v, sizeof v);
}

static inline void gguf_put_text(buf *b, const char *s, size_t n)
{
    gguf_put_u64(b, n);
    gguf_put(b, s, n);
}

/* A file in the making: keys and values after the header. */
struct gguf_draft {
    buf body;
    uint64_t keys;
};

static inline void draft_key(struct gguf_draft *d, const char *key, uint32_t type)
{
    gguf_put_text(&d->body, key, strlen(key));
    gguf_put_u32(&d->body, type);
    d->keys++;
}

static inline void draft_text(struct gguf_draft *d, const char *key, const char *value)
{
    draft_key(d, key, GGUF_STRING);
    gguf_put_text(&d->body, value, strlen(value));
}

static inline void draft_u32(struct gguf_draft *d, const char *key, uint32_t value)
{
    draft_key(d, key, GGUF_U32);
    gguf_put_u32(&d->body, value);
}

static inline void draft_bool(struct gguf_draft *d, const char *key, bool value)
{
    draft_key(d, key, GGUF_BOOL);
    gguf_put(&d->body, value ? "\1" : "\0", 1);
}

static inline void draft_array(struct gguf_draft *d, const char *key, uint32_t type, uint64_t n)
{
    draft_key(d, key, GGUF_ARRAY);
    gguf_put_u32(&d->body, type);
    gguf_put_u64(&d->body, n);
}

/* Writes the file, opens it, loads its tokenizer and removes it. */
static inline int draft_load(struct gguf_draft *d, tokenizer **t, sp_error *err)
{
    char path[] = "/tmp/sampan-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    buf file;
    buf_init(&file, SIZE_MAX / 2);
    gguf_put(&file, "GGUF", 4);
    gguf_put_u32(&file, 3);
    gguf_put_u64(&file, 0);
    gguf_put_u64(&file, d->keys);
    gguf_put(&file, d->body.data, d->body.len);
    assert_int_equal(write(fd, file.data, file.len), (ssize_t)file.len);
    close(fd);
    buf_free(&file);
    gguf *g = NULL;
    *t = NULL;
    int rc = gguf_open(path, &g, err);
    unlink(path);
    if (rc == 0)
        rc = tokenizer_load_gguf(g, t, err);
    gguf_close(g);
    return rc;
}

#endif
