/* config.json and generation_config.json: the same bytes as either. */
#include "format/config.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct model_config config;
    struct generation_config generation;
    json_t *j = fuzz_json(data, n);
    if (!j)
        return 0;
    sp_error err = {0};
    int code = config_from_json(j, &config, &err);
    fuzz_check_error(code, &err);
    fuzz_check(code < 0 || (config.arch && config.vocab > 0 && config.layers > 0 &&
                            config.layers <= CONFIG_LAYERS_MOST && config.kv_heads > 0 &&
                            config.heads % config.kv_heads == 0 && config.head_dim > 0),
               "what is accepted is within its limits");
    for (int64_t i = 0; code == 0 && i < config.layers; i++)
        fuzz_sink += config_is_moe(&config, i);
    err = (sp_error){0};
    fuzz_check_error(generation_config_from_json(j, &generation, &err), &err);
    json_decref(j);
    return 0;
}
