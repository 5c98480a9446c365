/* A bundle from another machine, imported into a store. */
#include <sys/mman.h>
#include <unistd.h>
#include "base/file.h"
#include "fuzz.h"
#include "hub/hub.h"

static hub *h;
static int fd;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char dir[] = "/tmp/sampan-fuzz-XXXXXX";
    (void)argc;
    (void)argv;
    fd = memfd_create("bundle", 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fuzz_check(fd >= 0 && mkdtemp(dir) && hub_open(dir, &h, NULL) == 0, "a store is made");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct pull_opts opts = {.force = true};
    struct stored_model *models = NULL;
    size_t count = 0;
    uint64_t freed;
    char *at = NULL;
    sp_error err = {0};
    fuzz_check(ftruncate(fd, 0) == 0 && pwrite(fd, data, n, 0) == (ssize_t)n,
               "the bundle is written");
    int code = hub_import(h, path, &opts, &at, &err);
    fuzz_check_error(code, &err);
    fuzz_check(code < 0 || (at && strncmp(at, hub_store(h), strlen(hub_store(h))) == 0 &&
                            !strstr(at, "..")),
               "a model lies in the store");
    sp_free(at);
    if (code == 0 && hub_list(h, &models, &count, NULL) == 0) {
        for (size_t i = 0; i < count; i++)
            (void)hub_remove(h, models[i].name, &freed, NULL);
        stored_models_free(models, count);
    }
    return 0;
}
