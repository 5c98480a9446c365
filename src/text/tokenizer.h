/* Byte-level BPE as GPT-2, Qwen, Llama 3 and DeepSeek use it, and SentencePiece's BPE with byte tokens as
 * Llama 2, Mistral and Gemma do; from a Hugging Face tokenizer.json, GGUF metadata, a SentencePiece
 * tokenizer.model or tiktoken's ranks. Ids equal those of Hugging Face's `tokenizers`, llama.cpp,
 * SentencePiece and tiktoken. Immutable once loaded; any thread may encode at the same time. */
#ifndef SP_TEXT_TOKENIZER_H
#define SP_TEXT_TOKENIZER_H

#include "format/checkpoint.h"

typedef struct tokenizer tokenizer;

int tokenizer_load(const checkpoint *c, tokenizer **out, sp_error *err);
/* config: tokenizer_config.json or NULL (names eos and bos tokens, add_bos_token). */
int tokenizer_load_json(const json_t *tokenizer_json, const json_t *config, tokenizer **out,
                        sp_error *err);
int tokenizer_load_gguf(const gguf *g, tokenizer **out, sp_error *err);
/* A tokenizer.model of SentencePiece; config (or NULL) adds tokens (added_tokens_decoder). */
int tokenizer_load_spm(const char *data, size_t n, const json_t *config, tokenizer **out,
                       sp_error *err);
/* tiktoken's file: on each line a token in base64 and its rank. Its pattern and special tokens are not
 * in the file: they are those of the original Qwen (qwen.tiktoken) or of Llama 3 (tokenizer.model). */
enum tiktoken_family { TIKTOKEN_QWEN, TIKTOKEN_LLAMA3 };
int tokenizer_load_tiktoken(const char *data, size_t n, enum tiktoken_family family,
                            const json_t *config, tokenizer **out, sp_error *err);
void tokenizer_free(tokenizer *t);

/* A growing list of ids; the caller's, freed with token_list_free. */
struct token_list {
    int32_t *ids;
    size_t n, cap;
};
int token_list_add(struct token_list *l, int32_t id); /* 0 or SP_ENOMEM */
void token_list_free(struct token_list *l);

/* Part of a text that comes from the program or the model's template, not from a user: bytes
 * [begin, end). Only wholly inside such a part is an added token ("<|im_end|>") read as that token;
 * everywhere else the same characters are ordinary text. */
struct text_span {
    size_t begin, end;
};

enum special_mode {
    SPECIAL_NONE,  /* all is ordinary text */
    SPECIAL_SPANS, /* added tokens inside `spans` only */
    SPECIAL_ALL    /* the whole text is trusted: what Hugging Face does */
};

struct encode_opts {
    enum special_mode special;
    const struct text_span *spans; /* ascending, not overlapping */
    size_t n_spans;
    /* Put the BOS token first if the model wants one (post-processor, add_bos_token). */
    bool add_bos;
};

/* Appends the ids of text (UTF-8; invalid bytes become U+FFFD as Hugging Face's Python does) to *out. */
int tokenizer_encode(const tokenizer *t, const char *text, size_t n, const struct encode_opts *opts,
                     struct token_list *out, sp_error *err);

size_t tokenizer_vocab(const tokenizer *t); /* highest id + 1 */
/* The bytes that a token stands for (not always whole characters); n = 0 for an unknown id. */
str tokenizer_bytes(const tokenizer *t, int32_t id);
bool tokenizer_is_special(const tokenizer *t, int32_t id); /* added token marked special */
bool tokenizer_is_added(const tokenizer *t, int32_t id);
/* The added token with this content, else the token that stands for these bytes (" the", not "Ġthe");
 * -1: none. */
int32_t tokenizer_find(const tokenizer *t, const char *added_or_piece);
int32_t tokenizer_bos(const tokenizer *t); /* -1: none */
int32_t tokenizer_eos(const tokenizer *t);
/* Ids at which generation ends: eos, and the end-of-turn tokens that the file names (GGUF eot_token_id;
 * <|im_end|>, <|eot_id|>, <|endoftext|>, <|end|>, <end_of_turn> where they are special tokens). */
size_t tokenizer_ends(const tokenizer *t, const int32_t **ids);
str tokenizer_bos_text(const tokenizer *t); /* "" when there is none: for templates */
str tokenizer_eos_text(const tokenizer *t);

/* Text of ids; special tokens left out when skip_special. Invalid UTF-8 becomes U+FFFD. */
int tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n, bool skip_special, buf *out,
                     sp_error *err);

#endif
