/* sampan.json of a model in the store, as `list`, `rm` and every verb that takes a model's name read it. */
#include <unistd.h>
#include "base/file.h"
#include "fuzz.h"
#include "hub/hub.h"

static hub *h;
static char *meta;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char dir[] = "/tmp/sampan-fuzz-XXXXXX";
    char folder[128];
    (void)argc;
    (void)argv;
    fuzz_check(mkdtemp(dir) != NULL, "a folder is made");
    (void)snprintf(folder, sizeof folder, "%s/models/m", dir);
    fuzz_check(file_mkdirs(folder, NULL) == 0 && hub_open(dir, &h, NULL) == 0, "a store is made");
    meta = path_join(folder, "sampan.json");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct stored_model *models = NULL;
    size_t count = 0;
    char *path = NULL;
    sp_error err = {0};
    FILE *f = fopen(meta, "wb");
    fuzz_check(f && fwrite(data, 1, n, f) == n && fclose(f) == 0, "sampan.json is written");
    int code = hub_list(h, &models, &count, &err);
    fuzz_check_error(code, &err);
    for (size_t i = 0; i < count; i++)
        fuzz_check(models[i].name && models[i].path, "a stored model has a name and a path");
    stored_models_free(models, count);
    err = (sp_error){0};
    fuzz_check_error(hub_resolve(h, "m", &path, &err), &err);
    sp_free(path);
    return 0;
}
