/* A hub's answer to the question what a repository holds, and what is picked of it. The first byte says which hub and
 * what the person asked for. http_text, which would ask the hub, is replaced at link time (CMakeLists.txt). */
#include "fuzz.h"
#include "hub/hub_int.h"

static const uint8_t *answer;
static size_t n_answer;

int __wrap_http_text(const char *url, const struct http_site *site, const struct pull_opts *o,
                     size_t max, char **data, size_t *n, sp_error *err);

int __wrap_http_text(const char *url, const struct http_site *site, const struct pull_opts *o,
                     size_t max, char **data, size_t *n, sp_error *err)
{
    (void)site;
    (void)o;
    if (n_answer > max)
        return sp_fail(err, SP_EFULL, "%.100s: too long", url);
    *data = sp_strndup((const char *)answer, n_answer);
    *n = n_answer;
    return *data ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

static void check_files(const struct file_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct remote_file *f = &l->files[i];
        fuzz_check(f->name[0] && source_file_ok(f->name), "a file's name stays in its folder");
        fuzz_check(f->name[0] != '/' && !strstr(f->name, ".."), "and in no other");
        fuzz_check(strlen(f->sha256) == 0 || strlen(f->sha256) == 64, "a sum is whole or none");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const wanted[] = {"", "Q4_K_M", "*.gguf", "model.gguf"};
    struct http_site site = {.endpoint = "https://hub.example"};
    struct pull_opts opts = {0};
    struct file_list all = {0}, picked = {0};
    struct source s = {.repo = "org/name"};
    sp_error err = {0};
    if (n == 0)
        return 0;
    s.kind = data[0] & 1 ? SOURCE_MS : SOURCE_HF;
    (void)snprintf(s.file, sizeof s.file, "%s", wanted[data[0] / 2 % SP_COUNT(wanted)]);
    answer = data + 1;
    n_answer = n - 1;
    int code = source_list(&s, &site, &opts, &all, &err);
    fuzz_check_error(code, &err);
    if (code == 0) {
        check_files(&all);
        code = select_files(&s, &all, &opts, &picked, &err);
        fuzz_check_error(code, &err);
        check_files(&picked);
    }
    file_list_free(&all);
    file_list_free(&picked);
    return 0;
}
