/* SmolLM3 (Hugging Face 2025): Llama where every fourth layer has no RoPE ("Rope to Nope and Back Again", Yang et
 * al. 2025). A window, where one is told, is on those layers. */
#include <string.h>
#include "format/config_int.h"

#define INTERVAL 4 /* one layer of so many has no RoPE; llama.cpp knows no other */

/* SmolLM3Config's, where they differ from what is common. */
void smollm3_defaults(struct model_config *c)
{
    c->tied = true;
    c->rope.theta = 2e6;
}

static void every_nth_without_rope(struct model_config *c, int64_t n)
{
    for (int64_t i = n - 1; i < c->layers && i < CONFIG_LAYERS_MOST; i += n)
        config_set_layer(c->no_rope, i);
}

/* Instead of what max_window_layers says, which is Qwen's. */
static void window_without_rope(struct model_config *c)
{
    memset(c->full, 0, sizeof c->full);
    for (int64_t i = 0; i < c->layers && i < CONFIG_LAYERS_MOST; i++)
        if (config_has_rope(c, i))
            config_set_layer(c->full, i);
}

/* no_rope_layers has a 1 for each layer with RoPE, in spite of its name, and may be longer than the model. */
static int read_list(const json_t *list, struct model_config *c, sp_error *err)
{
    if (!json_is_array(list) || (int64_t)json_array_size(list) < c->layers ||
        c->layers > CONFIG_LAYERS_MOST)
        return config_wrong("no_rope_layers", "a list as long as num_hidden_layers", err);
    for (int64_t i = 0; i < c->layers; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 1)
            return config_wrong("no_rope_layers", "a list of 0 and 1", err);
        if (json_integer_value(v) == 0)
            config_set_layer(c->no_rope, i);
    }
    return 0;
}

int smollm3_from_json(const json_t *j, struct model_config *c, sp_error *err)
{
    const json_t *list = json_object_get(j, "no_rope_layers");
    int64_t interval = INTERVAL;
    if (list && !json_is_null(list)) {
        int code = read_list(list, c, err);
        if (code < 0)
            return code;
    } else {
        int code = config_int(j, "no_rope_layer_interval", &interval, err);
        if (code < 0 || interval < 1)
            return code < 0 ? code : config_wrong("no_rope_layer_interval", "at least 1", err);
        every_nth_without_rope(c, interval);
    }
    if (!json_is_array(json_object_get(j, "layer_types")))
        window_without_rope(c);
    return 0;
}

int smollm3_from_gguf(const gguf *g, struct model_config *c, sp_error *err)
{
    (void)g;
    (void)err;
    every_nth_without_rope(c, INTERVAL);
    window_without_rope(c);
    return 0;
}
