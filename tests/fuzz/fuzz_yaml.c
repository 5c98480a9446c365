/* The settings file. */
#include <sys/mman.h>
#include <unistd.h>
#include "base/options.h"
#include "fuzz.h"

static int fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[64];
    (void)argc;
    (void)argv;
    fd = memfd_create("config.yaml", 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fuzz_check(fd >= 0 && setenv("SAMPAN_CONFIG", path, 1) == 0, "the settings file is made");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static char verb[] = "show", *argv[] = {verb, NULL};
    options *o = NULL;
    sp_error err = {0};
    fuzz_check(ftruncate(fd, 0) == 0 && pwrite(fd, data, n, 0) == (ssize_t)n,
               "the settings file is written");
    int code = options_parse(VERB_CONFIG, 1, argv, &o, &err);
    fuzz_check_error(code, &err);
    if (code == 0) {
        buf text;
        buf_init(&text, (size_t)16 << 20);
        options_show(o, true, &text);
        json_t *j = text.data ? fuzz_json(text.data, text.len) : NULL;
        fuzz_check(fuzz_state.failing || json_is_array(j), "config show --json prints JSON");
        json_decref(j);
        buf_free(&text);
    }
    options_free(o);
    return 0;
}
