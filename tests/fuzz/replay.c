/* A fuzz target without libFuzzer, for every build and the sanitizers' tiers: every input of its corpus is read as it
 * is, from right before a guard page, and then with each allocation failing in turn. Then a reader may succeed all the
 * same, fail as it does anyway, or fail with SP_ENOMEM, and nothing leaks. Only our own allocations fail: jansson 2.14
 * does not survive a failing one of its own (lex_save ignores it and lex_scan_string writes past the shorter copy).
 *
 *     replay_TARGET FOLDER
 */
#include <dirent.h>
#include "../guard_page.h"
#include "base/file.h"
#include "fuzz.h"

#define FAILURES_MOST                                                                              \
    1500 /* of one input: beyond it not every allocation, but some in all its parts */

struct fuzz_state fuzz_state;

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

static void run(const struct guard_page *g)
{
    fuzz_state.n = 0;
    (void)LLVMFuzzerTestOneInput(g->data, g->n);
}

static size_t replay(const char *path)
{
    char *text = NULL;
    size_t n = 0, failures = 0;
    struct guard_page g;
    fuzz_check(file_read(path, (size_t)1 << 20, &text, &n, NULL) == 0, path);
    fuzz_check(guard_page_make(&g, text, n) == 0, "a guard page is made");
    sp_free(text);
    fprintf(stderr, "%s\n", path); /* the last line of a crash */
    sp_alloc_fail_nth(0);
    fuzz_state.failing = false;
    run(&g);
    long count = sp_alloc_count();
    long stride = count / FAILURES_MOST + 1;
    fuzz_state.failing = true;
    fuzz_state.n_sound = fuzz_state.n;
    memcpy(fuzz_state.sound, fuzz_state.codes, sizeof fuzz_state.sound);
    for (long nth = 1; nth <= count; nth += nth < 300 ? 1 : stride, failures++) {
        sp_alloc_fail_nth(nth);
        run(&g);
    }
    sp_alloc_fail_nth(0);
    fuzz_state.failing = false;
    run(&g);
    guard_page_free(&g);
    return failures;
}

int main(int argc, char **argv)
{
    size_t inputs = 0, failures = 0;
    struct dirent *e;
    fuzz_check(argc == 2, "the corpus is named");
    DIR *d = opendir(argv[1]);
    fuzz_check(d != NULL, "the corpus is there");
    (void)LLVMFuzzerInitialize(&argc, &argv);
    while ((e = readdir(d)) != NULL) {
        char *path = e->d_name[0] == '.' ? NULL : path_join(argv[1], e->d_name);
        if (path) {
            failures += replay(path);
            inputs++;
        }
        sp_free(path);
    }
    closedir(d);
    fuzz_check(inputs > 0, "the corpus has inputs");
    printf("%zu inputs, %zu times with a failing allocation\n", inputs, failures);
    return 0;
}
