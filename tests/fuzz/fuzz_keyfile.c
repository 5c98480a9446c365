/* The file of API keys; what is read takes another key and gives it back. */
#include <sys/mman.h>
#include <unistd.h>
#include "fuzz.h"
#include "server/keyfile.h"

static int fd;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fd = memfd_create("keys.json", 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    fuzz_check(fd >= 0, "the file is made");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct key_entry more = {.name = "one.more", .concurrent = 1};
    struct keyfile f;
    char secret[KEY_SECRET_MAX];
    sp_error err = {0};
    fuzz_check(ftruncate(fd, 0) == 0 && pwrite(fd, data, n, 0) == (ssize_t)n,
               "the file is written");
    int code = keyfile_read(path, &f, &err);
    fuzz_check_error(code, &err);
    if (code < 0)
        return 0;
    for (size_t i = 0; i < f.n; i++)
        fuzz_check(f.entries[i].name[0] && strlen(f.entries[i].hash) == 64 &&
                       f.entries[i].requests_per_minute >= 0 && f.entries[i].concurrent >= 0,
                   "what is accepted is within its limits");
    err = (sp_error){0};
    code = keyfile_add(&f, &more, secret, &err);
    fuzz_check_error(code, &err);
    fuzz_check(code < 0 || (keyfile_remove(&f, more.name) && !keyfile_remove(&f, more.name)),
               "a key that was added is there, once");
    keyfile_free(&f);
    return 0;
}
