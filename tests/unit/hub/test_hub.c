/* Reading sources, choosing files, the catalogue's figures, and what is kept of an unfinished file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "hub/fetch_int.h"
#include "hub/hub_int.h"

/* ---- sources ---- */

static void test_sources(void **state)
{
    struct source s;
    sp_error err = {0};
    (void)state;
    assert_int_equal(source_parse("hf:Qwen/Qwen3-0.6B-GGUF:Q8_0@v1", &s, &err), 0);
    assert_int_equal(s.kind, SOURCE_HF);
    assert_string_equal(s.repo, "Qwen/Qwen3-0.6B-GGUF");
    assert_string_equal(s.file, "Q8_0");
    assert_string_equal(s.revision, "v1");
    assert_int_equal(source_parse("ms:a/b", &s, &err), 0);
    assert_string_equal(source_revision(&s), "master");
    assert_int_equal(source_parse("hf:a/b", &s, &err), 0);
    assert_string_equal(source_revision(&s), "main");
    static const char *const bad[] = {
        "hf:",          "hf:a",        "hf:a/b/c",         "hf:/b",    "hf:a/",
        "hf:a/b:/x",    "hf:a/b:../x", "hf:a/b@../x",      "hf:a b/c", "hf:a/b:x#y",
        "hf:a/b@x?y=z", "ms:a/..",     "pip:x==1:2-1:.bin"};
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        assert_true(source_parse(bad[i], &s, &err) < 0);
    char long_spec[700];
    memset(long_spec, 'x', sizeof long_spec);
    memcpy(long_spec, "hf:a/", 5);
    long_spec[sizeof long_spec - 1] = '\0';
    assert_int_equal(source_parse(long_spec, &s, &err), SP_EINVAL);
}

static void name_of(const char *spec, const char *want)
{
    struct source s;
    char name[128];
    sp_error err = {0};
    assert_int_equal(source_parse(spec, &s, &err), 0);
    assert_int_equal(source_name(&s, name, sizeof name, &err), 0);
    assert_string_equal(name, want);
}

static void test_names(void **state)
{
    (void)state;
    name_of("hf:Qwen/Qwen3-0.6B", "qwen3-0.6b");
    name_of("hf:Qwen/Qwen3-0.6B-GGUF:Q8_0", "qwen3-0.6b-gguf-q8_0");
    name_of("hf:a/b:sub/Model-Q4_K_M.gguf@main", "model-q4_k_m");
    name_of("ms:a/Big:*.gguf", "big");
    name_of("https://h/x/Some%20Model.gguf?download=true", "some-20model");
}

/* What somebody may ask for who must not name paths of this machine. */
static void test_names_of_what_is_elsewhere(void **state)
{
    char name[STORE_NAME_MAX];
    sp_error err = {0};
    (void)state;
    assert_int_equal(hub_spec_name("smollm2-135m", NULL, name, &err), 0);
    assert_string_equal(name, "smollm2-135m");
    assert_int_equal(hub_spec_name("hf:a/Boat-GGUF:Q8_0", NULL, name, &err), 0);
    assert_string_equal(name, "boat-gguf-q8_0");
    assert_int_equal(hub_spec_name("https://h/x/Boat.gguf", "mine", name, &err), 0);
    assert_string_equal(name, "mine");
    assert_int_equal(hub_spec_name("/proc/self/exe", NULL, name, &err), SP_EUSAGE);
    assert_int_equal(hub_spec_name("/proc", "mine", name, &err), SP_EUSAGE);
    assert_int_equal(hub_spec_name("no such model", NULL, name, &err), SP_ENOTFOUND);
    assert_int_equal(hub_spec_name("hf:a/b", "../x", name, &err), SP_EINVAL);
    assert_int_equal(hub_spec_name("hf:a/b", "", name, &err), SP_EINVAL);
    assert_true(hub_spec_name("hf:../b", NULL, name, &err) < 0);
}

static void test_addresses(void **state)
{
    struct source s;
    struct http_site site = {.endpoint = "https://hub"};
    char url[300];
    sp_error err = {0};
    (void)state;
    assert_int_equal(source_parse("hf:a/b", &s, &err), 0);
    assert_int_equal(source_file_url(&s, &site, "x/y.gguf", "", url, sizeof url, &err), 0);
    assert_string_equal(url, "https://hub/a/b/resolve/main/x/y.gguf");
    assert_int_equal(source_parse("ms:a/b@v1", &s, &err), 0);
    assert_int_equal(source_file_url(&s, &site, "y.gguf", "", url, sizeof url, &err), 0);
    assert_string_equal(url, "https://hub/api/v1/models/a/b/repo?Revision=v1&FilePath=y.gguf");
    assert_int_equal(source_file_url(&s, &site, "y.gguf", "", url, 20, &err), SP_EINVAL);

    assert_int_equal(http_check_url("https://a/b", "https://c", false, &err), 0);
    assert_int_equal(http_check_url("https://a/b", "http://127.0.0.1", false, &err), 0);
    assert_int_equal(http_check_url("http://127.0.0.1:8/b", NULL, false, &err), 0);
    assert_int_equal(http_check_url("http://[::1]:8/b", NULL, false, &err), 0);
    assert_int_equal(http_check_url("http://localhost/b", NULL, false, &err), 0);
    assert_int_equal(http_check_url("http://a/b", NULL, true, &err), 0);
    assert_true(http_check_url("http://a/b", NULL, false, &err) < 0);
    assert_true(http_check_url("http://127.0.0.1.evil/b", NULL, false, &err) < 0);
    assert_true(http_check_url("http://127.0.0.1/b", "https://a", true, &err) < 0);
    assert_true(http_check_url("file:///etc/passwd", NULL, true, &err) < 0);
    assert_true(http_check_url("https://", NULL, true, &err) < 0);
    assert_true(http_same_origin("https://a/x", "https://A:443/y"));
    assert_false(http_same_origin("https://a/x", "https://a:444/x"));
    assert_false(http_same_origin("https://a/x", "http://a/x"));
    assert_false(http_same_origin("https://a.evil/x", "https://a/x"));
    assert_false(http_same_origin("https://a@evil/x", "https://a/x"));
}

static void test_safe_names(void **state)
{
    (void)state;
    static const char *const good[] = {"model.gguf", "Q4/model.gguf", "a-b_c+1.json"};
    static const char *const bad[] = {"",     "/x",  "../x", "a/../b",     ".x",
                                      "a/.x", "x/",  "a b",  "a\nb",       "a\\b",
                                      "a?b",  "a#b", "a%2e", "sampan.json"};
    for (size_t i = 0; i < SP_COUNT(good); i++)
        assert_true(source_file_ok(good[i]));
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        assert_false(source_file_ok(bad[i]));
}

/* ---- choosing ---- */

static void on_note(void *arg, const char *line)
{
    (void)line;
    ++*(int *)arg;
}

/* Chooses by `what` among names (bytes are 1 each) and compares with `want`, both divided by spaces. */
static int choose(const char *what, const char *names, const char *want)
{
    struct file_list all = {0}, got = {0};
    struct source s = {.kind = SOURCE_HF, .repo = "a/b"};
    char copy[1024], joined[1024] = "", *rest = copy, *name;
    int notes = 0;
    struct pull_opts o = {.on_note = on_note, .arg = &notes};
    sp_error err = {0};
    snprintf(s.file, sizeof s.file, "%s", what);
    snprintf(copy, sizeof copy, "%s", names);
    while ((name = strsep(&rest, " ")) != NULL) {
        struct remote_file f = {.bytes = 1};
        snprintf(f.name, sizeof f.name, "%s", name);
        assert_int_equal(file_list_add(&all, &f, &err), 0);
    }
    int code = select_files(&s, &all, &o, &got, &err);
    for (size_t i = 0; i < got.n; i++)
        snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s%s", i ? " " : "",
                 got.files[i].name);
    if (want)
        assert_string_equal(joined, want);
    file_list_free(&all);
    file_list_free(&got);
    return code;
}

static void test_choosing(void **state)
{
    (void)state;
    const char *repo = "config.json README.md model.safetensors pytorch_model.bin onnx/model.onnx";
    assert_int_equal(choose("", repo, "config.json model.safetensors"), 0);
    assert_int_equal(choose("",
                            "config.json model-00001-of-00002.safetensors "
                            "model-00002-of-00002.safetensors model.safetensors.index.json "
                            "consolidated.safetensors",
                            "config.json model-00001-of-00002.safetensors "
                            "model-00002-of-00002.safetensors model.safetensors.index.json"),
                     0);
    const char *quants = "m-Q4_K_M.gguf m-IQ4_K_M.gguf m-Q4_K.gguf m-Q8_0.gguf";
    assert_int_equal(choose("", quants, "m-Q4_K_M.gguf"), 0);
    assert_int_equal(choose("q4_k", quants, "m-Q4_K.gguf"), 0);
    assert_int_equal(choose("Q8_0", quants, "m-Q8_0.gguf"), 0);
    assert_int_equal(choose("*Q8*", quants, "m-Q8_0.gguf"), 0);
    assert_int_equal(choose("*", quants, ""), SP_EUSAGE);
    assert_int_equal(choose("Q9", quants, ""), SP_ENOTFOUND);
    assert_int_equal(choose("Q4_K_M",
                            "x-q4_k_m.gguf x-q4_k_m-00001-of-00002.gguf "
                            "x-q4_k_m-00002-of-00002.gguf",
                            "x-q4_k_m.gguf"),
                     0);
    assert_int_equal(choose("q4_k_m", "x-q4_k_m-00002-of-00002.gguf x-q4_k_m-00001-of-00002.gguf",
                            "x-q4_k_m-00002-of-00002.gguf x-q4_k_m-00001-of-00002.gguf"),
                     0);
    assert_int_equal(
        choose("q4_k_m", "x-q4_k_m-00001-of-00003.gguf x-q4_k_m-00002-of-00003.gguf", NULL),
        SP_EFORMAT);
    assert_int_equal(choose("", "README.md", ""), SP_ENOTFOUND);
    assert_int_equal(choose("", "config.json pytorch_model.bin", ""), SP_EUNSUPPORTED);
}

/* ---- the catalogue ---- */

/* Weights of a decoder without biases and norms, which are less than a hundredth of it. */
static double parameters(const struct catalogue_entry *e, bool tied)
{
    double h = e->hidden, kv = (double)e->kv_heads * e->head_dim;
    double layer = 2 * h * h + 2 * h * kv + 3 * h * (double)e->ffn;
    return e->layers * layer + (tied ? 1 : 2) * h * e->vocab;
}

static void test_catalogue(void **state)
{
    size_t n;
    const struct catalogue_entry *all = catalogue_all(&n);
    sp_error err = {0};
    int starters = 0;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        const struct catalogue_entry *e = &all[i];
        struct source s;
        assert_int_equal(store_name_check(e->name, &err), 0);
        assert_ptr_equal(catalogue_find(e->name), e);
        assert_true(!e->sha256 || strlen(e->sha256) == 64);
        assert_true(e->title && e->family && e->license && e->languages && e->chat &&
                    e->sources[0]);
        for (size_t k = 0; k < SP_COUNT(e->sources) && e->sources[k]; k++)
            assert_int_equal(source_parse(e->sources[k], &s, &err), 0);
        starters += e->starter;
        /* The size, the shape and the number of parameters of a row must tell the same model. */
        double named = strtod(e->parameters, NULL) * 1e9;
        double tied = parameters(e, true), untied = parameters(e, false);
        assert_true((named > 0.88 * tied && named < 1.12 * tied) ||
                    (named > 0.88 * untied && named < 1.12 * untied));
        double bits = (double)e->bytes * 8 / named;
        assert_true(bits > 4.4 && bits < (strcmp(e->quantization, "Q8_0") == 0 ? 9.2 : 8.1));
    }
    assert_int_equal(starters, 1);
    assert_null(catalogue_find("nosuch"));
    assert_string_equal(catalogue_best(UINT64_MAX)->name, "qwen3-8b");
    assert_string_equal(catalogue_best(1500u * 1000 * 1000)->name, "qwen3-0.6b");
    assert_string_equal(catalogue_best(0)->name, "smollm2-135m");
}

static void test_memory(void **state)
{
    const struct catalogue_entry *e = catalogue_find("qwen2.5-coder-0.5b");
    (void)state;
    /* One more token of context: keys and values of 24 layers, 2 heads of 64, 2 bytes each. */
    assert_int_equal(catalogue_memory(e, 4097) - catalogue_memory(e, 4096), 24 * 2 * 2 * 64 * 2);
}

/* ---- unfinished files ---- */

static void test_progress(void **state)
{
    char folder[] = "/tmp/sampan-progress-XXXXXX";
    struct progress p = {0};
    struct remote_file f = {.bytes = (uint64_t)20 << 20};
    sp_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(folder));
    char *path = path_join(folder, "x.gguf");
    memset(f.sha256, 'a', 64);
    assert_int_equal(progress_open(&p, path, &f, "https://a", &err), 0);
    assert_int_equal(p.n, 5);
    assert_int_equal(p.segments[4].end, f.bytes);
    char block[1000] = {1};
    assert_int_equal(pwrite(p.fd, block, sizeof block, (off_t)p.segments[2].start), sizeof block);
    p.segments[2].done = sizeof block;
    assert_int_equal(progress_save(&p, &err), 0);
    progress_close(&p);
    /* The same file again, even from another mirror: it goes on. */
    assert_int_equal(progress_open(&p, path, &f, "https://mirror", &err), 1);
    assert_int_equal(progress_done(&p), sizeof block);
    assert_int_equal(p.segments[2].done, sizeof block);
    progress_close(&p);
    /* Another sum: nothing of it counts. */
    f.sha256[0] = 'b';
    assert_int_equal(progress_open(&p, path, &f, "https://a", &err), 0);
    assert_int_equal(progress_done(&p), 0);
    assert_int_equal(file_size(p.part), 0);
    progress_close(&p);
    assert_int_equal(file_remove_tree(folder, &err), 0);
    sp_free(path);
}

static void test_progress_of_huge_files(void **state)
{
    static const uint64_t sizes[] = {1, (uint64_t)4 << 20, ((uint64_t)4 << 20) + 1,
                                     (uint64_t)5 << 30, (uint64_t)700 << 30};
    sp_error err = {0};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(sizes); i++) {
        struct progress p = {.fd = -1};
        assert_int_equal(progress_divide(&p, sizes[i], &err), 0);
        assert_in_range(p.n, 1, SEGMENTS_MAX);
        assert_int_equal(p.segments[0].start, 0);
        for (size_t k = 1; k < p.n; k++)
            assert_int_equal(p.segments[k].start, p.segments[k - 1].end);
        assert_int_equal(p.segments[p.n - 1].end, sizes[i]);
        progress_close(&p);
    }
}

/* ---- out of memory ---- */

static void test_failing_allocations(void **state)
{
    sp_error err = {0};
    (void)state;
    for (long n = 1; n < 200; n++) {
        hub *h = NULL;
        struct stored_model *m = NULL;
        size_t count = 0;
        char *path = NULL;
        sp_alloc_fail_nth(n);
        int code = hub_open("/nosuch/store", &h, &err);
        if (code == 0)
            code = hub_list(h, &m, &count, &err);
        stored_models_free(m, count);
        int found = code == 0 ? hub_resolve(h, "qwen3-0.6b", &path, &err) : code;
        sp_alloc_fail_nth(0);
        hub_close(h);
        assert_null(path);
        assert_true(found < 0);
        if (code == 0 && found == SP_ENOTFOUND)
            return;
    }
    fail_msg("allocations never stop failing");
}

/* A bundle is read with every allocation failing in turn: the model is there whole, or not at all. */
static void test_import_without_memory(void **state)
{
    char folder[] = "/tmp/sampan-import-XXXXXX";
    struct pull_opts o = {.spec = TEST_DATA "/models/qwen2-gguf/model.gguf", .force = true};
    hub *h = NULL;
    sp_error err = {0};
    char *path = NULL;
    bool done = false;
    (void)state;
    assert_non_null(mkdtemp(folder));
    char *bundle = path_join(folder, "b.tar");
    assert_int_equal(hub_open(folder, &h, &err), 0);
    assert_int_equal(hub_pull(h, &o, &path, &err), 0);
    sp_free(path);
    assert_int_equal(hub_export(h, "model", bundle, &o, &err), 0);
    o.name = "copy";
    for (long n = 1; n < 2000 && !done; n++) {
        struct stored_model *m = NULL;
        size_t count = 0;
        path = NULL;
        sp_alloc_fail_nth(n);
        int code = hub_import(h, bundle, &o, &path, &err);
        done = sp_alloc_count() < n;
        sp_alloc_fail_nth(0);
        sp_free(path);
        assert_int_equal(hub_list(h, &m, &count, &err), 0);
        stored_models_free(m, count);
        assert_true(code == 0 || !done);
        if (count == 2) {
            struct verify_opts vo = {0};
            struct verify_result r;
            uint64_t freed;
            assert_int_equal(hub_verify(h, "copy", &vo, &r, &err), 0);
            assert_int_equal(r.bad, 0);
            assert_int_equal(hub_remove(h, "copy", &freed, &err), 0);
        } else {
            assert_true(code < 0 && count == 1);
        }
    }
    assert_true(done);
    hub_close(h);
    assert_int_equal(file_remove_tree(folder, &err), 0);
    sp_free(bundle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_of_what_is_elsewhere),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_safe_names),
        cmocka_unit_test(test_choosing),
        cmocka_unit_test(test_catalogue),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_progress_of_huge_files),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_import_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
