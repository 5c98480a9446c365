/* Encodes and decodes many documents with one tokenizer, for tests/reference/tokenizer_parity.py.
 *
 *     tokenize_file MODEL all|none DOCUMENTS RESULT
 *
 * MODEL: a .gguf file, a tokenizer.json, a .tiktoken file, or a SentencePiece or tiktoken .model.
 * DOCUMENTS: for each, a 32-bit length and that many bytes (numbers little-endian). RESULT: for each, the
 * number of ids, the ids, the length of the decoded text and the text. Exit 1 when a text decoded token
 * by token is not the same as decoded at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "text/detok.h"

static int load(const char *path, tokenizer **t, sp_error *err)
{
    if (str_ends(str_of(path), ".gguf")) {
        gguf *g = NULL;
        int rc = gguf_open(path, &g, err);
        double start = clock_seconds();
        if (rc == 0)
            rc = tokenizer_load_gguf(g, t, err);
        fprintf(stderr, "load %.1f ms\n", 1e3 * (clock_seconds() - start));
        gguf_close(g);
        return rc;
    }
    char *data = NULL;
    size_t n = 0;
    if (file_read(path, (size_t)1 << 30, &data, &n, err) < 0)
        return err->code;
    bool is_json = str_ends(str_of(path), ".json");
    json_t *json = is_json ? json_loadb(data, n, JSON_ALLOW_NUL, NULL) : NULL;
    double start = clock_seconds();
    int rc = is_json ? tokenizer_load_json(json, NULL, t, err)
             : n > 0 && data[0] == '\n'
                 ? tokenizer_load_spm(data, n, NULL, t, err)
                 : tokenizer_load_tiktoken(data, n,
                                           str_ends(str_of(path), ".tiktoken") ? TIKTOKEN_QWEN
                                                                               : TIKTOKEN_LLAMA3,
                                           NULL, t, err);
    sp_free(data);
    fprintf(stderr, "load %.1f ms (a JSON was parsed before)\n", 1e3 * (clock_seconds() - start));
    json_decref(json);
    return rc;
}

static int decode_by_token(const tokenizer *t, const struct token_list *ids, buf *out)
{
    struct detok d;
    detok_init(&d, t, false);
    d.at_start = true;
    int rc = 0;
    for (size_t i = 0; i < ids->n && rc == 0; i++)
        rc = detok_add(&d, ids->ids[i], out);
    return rc < 0 ? rc : detok_end(&d, out);
}

static void put(FILE *f, const void *p, size_t n, size_t size)
{
    uint32_t count = (uint32_t)n;
    if (fwrite(&count, sizeof count, 1, f) != 1 || fwrite(p, size, n, f) != n) {
        perror("tokenize_file");
        exit(1);
    }
}

static int document(const tokenizer *t, const struct encode_opts *opts, const char *p, size_t n,
                    FILE *out, double *seconds, sp_error *err)
{
    struct token_list ids = {0};
    buf whole, parts;
    buf_init(&whole, SIZE_MAX / 2);
    buf_init(&parts, SIZE_MAX / 2);
    double start = clock_seconds();
    int rc = tokenizer_encode(t, p, n, opts, &ids, err);
    *seconds += clock_seconds() - start;
    if (rc == 0)
        rc = tokenizer_decode(t, ids.ids, ids.n, false, &whole, err);
    if (rc == 0)
        rc = decode_by_token(t, &ids, &parts);
    if (rc == 0 &&
        (whole.len != parts.len || (whole.len && memcmp(whole.data, parts.data, whole.len))))
        rc = sp_fail(err, SP_EINTERNAL, "token by token it decodes to another text");
    if (rc == 0) {
        put(out, ids.ids, ids.n, sizeof *ids.ids);
        put(out, whole.data ? whole.data : "", whole.len, 1);
    }
    token_list_free(&ids);
    buf_free(&whole);
    buf_free(&parts);
    return rc;
}

int main(int argc, char **argv)
{
    tokenizer *t = NULL;
    sp_error err = {0};
    char *data = NULL;
    size_t size = 0;
    double seconds = 0;
    if (argc != 5) {
        fprintf(stderr, "usage: tokenize_file MODEL all|none DOCUMENTS RESULT\n");
        return 2;
    }
    struct encode_opts opts = {.special = strcmp(argv[2], "all") == 0 ? SPECIAL_ALL : SPECIAL_NONE};
    FILE *out = fopen(argv[4], "wb");
    int rc = out ? load(argv[1], &t, &err) : sp_fail(&err, SP_EIO, "%s: cannot write", argv[4]);
    if (rc == 0)
        rc = file_read(argv[3], (size_t)1 << 30, &data, &size, &err);
    for (size_t at = 0, n = 0; rc == 0 && at + 4 <= size; n++) {
        uint32_t len;
        memcpy(&len, data + at, 4);
        at += 4;
        if (len > size - at)
            break;
        rc = document(t, &opts, data + at, len, out, &seconds, &err);
        if (rc < 0)
            fprintf(stderr, "document %zu: ", n);
        at += len;
    }
    if (rc < 0)
        fprintf(stderr, "tokenize_file: %s\n", err.message);
    else
        fprintf(stderr, "encoded %.2f MB at %.1f MB/s\n", (double)size / 1e6,
                (double)size / 1e6 / seconds);
    if (out && fclose(out) != 0)
        rc = SP_EIO;
    sp_free(data);
    tokenizer_free(t);
    return rc < 0 ? 1 : 0;
}
