/* The tokenizer's inside: how the parts of src/text that make up the tokenizer share it. */
#ifndef SP_TEXT_TOKENIZER_INT_H
#define SP_TEXT_TOKENIZER_INT_H

#include "base/base.h"
#include "text/tokenizer.h"

/* ---- Vocabulary: id -> bytes, and back for the tokens of the BPE model. ---- */

enum token_flags {
    TOKEN_KNOWN = 1 << 0,
    TOKEN_MODEL = 1 << 1,   /* a token of the BPE model: merges may make it */
    TOKEN_ADDED = 1 << 2,   /* matched in trusted text before anything else */
    TOKEN_SPECIAL = 1 << 3, /* added, and left out by skip_special */
    TOKEN_BYTE = 1 << 4,    /* "<0x0A>": one byte, for characters that the vocabulary lacks */
};

#define VOCAB_MAX (1u << 24) /* ids, far above any model's; keeps a hostile file's claims small */
#define TOKEN_BYTES_MAX (1u << 16)

struct vocab_token {
    uint32_t at; /* in bytes */
    uint32_t n;
};

struct vocab {
    struct vocab_token *tokens; /* [n] */
    uint8_t *flags;             /* [n], enum token_flags */
    size_t n, cap;              /* n: highest id + 1 */
    uint8_t *bytes;
    size_t n_bytes, bytes_cap;
    uint32_t *slots; /* [mask + 1], id + 1; 0: empty */
    uint32_t mask;
    uint64_t seed;
};

int vocab_reserve(struct vocab *v, size_t ids, size_t bytes); /* 0 or SP_ENOMEM */
/* Sets a token; SP_EFORMAT for an id over VOCAB_MAX, a token over TOKEN_BYTES_MAX. */
int vocab_put(struct vocab *v, size_t id, const void *p, size_t n, unsigned flags, sp_error *err);
int vocab_index(struct vocab *v); /* makes vocab_find work; after the last TOKEN_MODEL was put */
int32_t vocab_find(const struct vocab *v, const void *p, size_t n); /* a TOKEN_MODEL's id, or -1 */
str vocab_bytes(const struct vocab *v, int32_t id);
void vocab_free(struct vocab *v);

/* GPT-2's alphabet, in which vocabularies write bytes as printable characters ("Ġ" for a space).
 * Appends the bytes that s means to out[s.n]; false when s holds a character outside the alphabet. */
bool alphabet_decode(str s, uint8_t *out, size_t *n);

/* ---- Merges: (left, right) -> rank, joined token. ---- */

struct merge {
    uint32_t left, right; /* left UINT32_MAX: an empty slot */
    uint32_t rank, joined;
};

struct merges {
    struct merge *slots; /* [mask + 1] */
    uint32_t mask;
    size_t n;
    uint64_t seed;
};

#define MERGES_MAX (1u << 24)
#define MERGED_BYTES_MAX 512 /* of a token that merges make */

int merges_init(struct merges *m, size_t expected);   /* 0 or SP_ENOMEM; it grows by itself */
int merges_put(struct merges *m, struct merge merge); /* a later one wins; 0 or SP_ENOMEM */
const struct merge *merges_find(const struct merges *m, uint32_t left, uint32_t right);
void merges_free(struct merges *m);

/* ---- Pre-tokenizers: cut text into the words that BPE works in. ---- */

enum pretok_kind {
    PRETOK_QWEN2,       /* Qwen 2, 2.5 and 3 */
    PRETOK_LLAMA3,      /* the same with digits in groups of three */
    PRETOK_GPT2,        /* GPT-2; ByteLevel's own */
    PRETOK_DIGITS_EACH, /* every digit on its own */
    PRETOK_DIGITS_RUN,  /* runs of digits on their own */
    PRETOK_NUMBERS3,    /* \p{N}{1,3} on their own: DeepSeek V3's first step */
    PRETOK_HAN_KANA,    /* runs of Han and kana on their own: its second */
    PRETOK_DEEPSEEK3,   /* its third */
    PRETOK_TEKKEN,      /* Mistral's Tekken: words change where small letters meet capitals */
    PRETOK_O200K,       /* the same with contractions and digits in threes: GPT-4o, Llama 4 */
    PRETOK_SPACES,      /* before every space: Metaspace */
    PRETOK_LINES,       /* runs of newlines on their own */
    PRETOK_REGEX        /* any other pattern, by PCRE2 */
};
#define PRETOK_MAX_STEPS 8

/* Patterns that both tokenizer.json and a pre-tokenizer name of GGUF stand for. */
#define PATTERN_NUMBERS3 "\\p{N}{1,3}"
#define PATTERN_HAN_KANA "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define PATTERN_DEEPSEEK3                                                                          \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                                       \
    "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"                          \
    "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
#define PATTERN_CAPITALS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define PATTERN_SMALL "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PATTERN_CASED(end, digits)                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?" PATTERN_CAPITALS "*" PATTERN_SMALL "+" end                            \
    "|[^\\r\\n\\p{L}\\p{N}]?" PATTERN_CAPITALS "+" PATTERN_SMALL "*" end "|" digits                \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PATTERN_TEKKEN PATTERN_CASED("", "\\p{N}")
#define PATTERN_O200K PATTERN_CASED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "\\p{N}{1,3}")

struct pretok_step {
    enum pretok_kind kind;
    void *regex;    /* pcre2_code of PRETOK_REGEX */
    bool only_hits; /* what the pattern doesn't match is thrown away */
};

/* Known patterns become their scanners, others are compiled. */
int pretok_compile(const char *pattern, bool literal, struct pretok_step *out, sp_error *err);
void pretok_free(struct pretok_step *s);
/* Length of the first piece of the n > 0 bytes of valid UTF-8 at p, for all kinds but PRETOK_REGEX. */
size_t pretok_next(enum pretok_kind kind, const char *p, size_t n);

/* A PRETOK_REGEX in use by one thread. */
struct pretok_run {
    void *match, *context; /* pcre2_match_data, pcre2_match_context */
    bool found;            /* the next hit is known: [begin, end) */
    size_t begin, end;
};
void pretok_run_free(struct pretok_run *r);
/* Next piece at or after pos < n of the text [p, p + n): its end, and whether the pattern matched it. */
int pretok_regex_next(const struct pretok_step *s, struct pretok_run *r, str text, size_t pos,
                      size_t *end, bool *hit, sp_error *err);

/* ---- Added tokens. ---- */

struct added_token {
    const char *p; /* content, for `normalized` ones after normalizing; the set's (sp_malloc) */
    uint32_t n;
    int32_t id;
    bool lstrip, rstrip, single_word, normalized;
};

/* Sorted by content, without duplicates. */
struct added_set {
    struct added_token *tokens;
    size_t n, cap;
    bool first[256]; /* bytes that a token starts with */
};

#define ADDED_BYTES_MAX 1024 /* of one token: bounds the work at each place of a text */

int added_put(struct added_set *s, str content, const struct added_token *flags, sp_error *err);
void added_sort(
    struct added_set *s); /* after the last added_put; of equal contents the first stays */
void added_free(struct added_set *s);
/* Trust: a byte for each byte of the text, 0 untrusted, neighbouring spans with different numbers;
 * NULL: all is trusted. */
struct added_text {
    const char *p;
    const uint8_t *trust;
    size_t n;
};
/* Leftmost, then longest, token in text at or after pos. NULL: none. */
const struct added_token *added_find(const struct added_set *s, const struct added_text *text,
                                     size_t pos, size_t *at);
/* What a found token covers, [*begin, *end), with the white space that it strips, no further left
 * than `from`; false when it should be a single word and isn't. */
bool added_extent(const struct added_token *token, const struct added_text *text, size_t from,
                  size_t *begin, size_t *end);

/* ---- Normalizing: text is copied only when it changes. ---- */

/* U+2581, as which SentencePiece's vocabularies write a space. In Sampan it is a space wherever such a
 * vocabulary is at work: in its tokens, which then are the bytes that they stand for, and in text. */
#define SPACE_MARK "\xe2\x96\x81"

struct changed_text {
    char *p;
    uint8_t *trust; /* NULL if none was given */
    size_t n, cap;
};
int changed_text_reserve(struct changed_text *t, size_t extra, bool trust); /* 0 or SP_ENOMEM */
void changed_text_free(struct changed_text *t);

bool nfc_needed(const char *p, size_t n); /* false: the text surely is in NFC already */
/* Replaces *out by the NFC, as Hugging Face's, of valid UTF-8. A piece that changed is trusted only if
 * all of it was, by one span. 0 or SP_ENOMEM. */
int nfc_apply(const struct added_text *text, struct changed_text *out);

bool fold_needed(const char *p, size_t n); /* whether SPACE_MARK is in it */
/* Replaces *out by the text with a space for each SPACE_MARK (fold), and one before it (prefix). */
int fold_apply(const struct added_text *text, bool prefix, bool fold, struct changed_text *out);
/* The same for a token of n bytes at most TOKEN_BYTES_MAX; returns the new length. */
size_t fold_token(str s, char *out);

/* ---- The tokenizer. ---- */

/* Where a space goes before a text that has none there. */
enum prefix_mode { PREFIX_NEVER, PREFIX_FIRST /* at the whole text's start */, PREFIX_ALWAYS };

/* What a decoded text loses at its start. */
enum strip_mode { STRIP_NONE, STRIP_SPACE /* one */, STRIP_TOKEN /* all of its first token */ };

struct tokenizer {
    struct vocab vocab;
    struct merges merges;
    /* Words begin as characters of the vocabulary (SentencePiece), not as bytes (GPT-2). */
    bool by_character;
    int32_t byte_ids[256]; /* of a byte; by_character: the byte token for it. -1: none */
    int32_t unk; /* for what the vocabulary lacks; -1: it vanishes, as in Hugging Face's */
    bool fuse_unk;
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool nfc;
    bool prepend;                      /* normalizer: a space before every text */
    bool fold;                         /* normalizer: SPACE_MARK is a space */
    bool metaspace;                    /* pre-tokenizer: SPACE_MARK is a space, and: */
    enum prefix_mode metaspace_prefix; /* a space before a text that begins with none */
    struct pretok_step steps[PRETOK_MAX_STEPS];
    size_t n_steps;
    /* by_character: bit a << 8 | b tells that a token holds these two bytes side by side. Elsewhere no
     * merge can reach across, so a text may be cut there first. NULL: it may not. */
    uint8_t *inside;
    struct added_set raw, normalized; /* matched before and after normalizing */
    enum strip_mode strip;
    int32_t bos, eos;
    bool add_bos;
    int32_t ends[8];
    size_t n_ends;
};

tokenizer *tokenizer_new(void);
/* Last part of loading: indexes, ends, checks. */
int tokenizer_finish(tokenizer *t, sp_error *err);
/* Puts one added token into vocabulary and matcher. */
int tokenizer_put_added(tokenizer *t, str content, const struct added_token *flags, bool special,
                        sp_error *err);
/* Puts a token of the BPE model as its file writes it: in GPT-2's alphabet, or (by_character, set before)
 * with SPACE_MARK for spaces. What text can't become is known, and no token of the model. */
int tokenizer_put_piece(tokenizer *t, size_t id, str s, sp_error *err);
/* The byte of "<0x0A>"; false: s is no such token. */
bool byte_piece(str s, uint8_t *byte);
int tokenizer_put_byte(tokenizer *t, size_t id, uint8_t byte, sp_error *err);

/* SentencePiece's types of tokens, which GGUF has taken over. */
enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER, /* matched as it stands */
    PIECE_UNUSED,
    PIECE_BYTE
};
/* Puts a token by its type. */
int tokenizer_put_typed(tokenizer *t, size_t id, str s, int64_t type, sp_error *err);
/* Ranks tokens by score, the highest first, equal ones alike, and makes the merges: what SentencePiece's
 * BPE does. scores: [vocab.n]; after vocab_index. */
int tokenizer_score_merges(tokenizer *t, const float *scores, sp_error *err);
/* Sets how text gets spaces at its start; first_only: not again after every added token. */
void tokenizer_set_prefix(tokenizer *t, bool prefix, bool first_only);
/* tokenizer_config.json: bos_token, eos_token, add_bos_token. */
int tokenizer_read_config(tokenizer *t, const json_t *config, sp_error *err);
/* Puts the merge of two tokens, written as for tokenizer_put_piece, at this rank. What would join to a
 * special token is left out: text never becomes one by merging. */
int tokenizer_put_merge(tokenizer *t, str left, str right, uint32_t rank, sp_error *err);
/* Makes the merges of a vocabulary without a list of them: any two tokens that join to a token do, the
 * lowest rank first. ranks: [vocab.n], UINT32_MAX for tokens that nothing joins to. */
int tokenizer_make_merges(tokenizer *t, const uint32_t *ranks, sp_error *err);
int tokenizer_add_step(tokenizer *t, struct pretok_step step, sp_error *err);

/* ---- BPE on one word. ---- */

struct bpe_symbol {
    int32_t id;
    int32_t prev, next; /* -1: none */
};
struct bpe_pair {
    uint32_t rank, at;
    uint32_t joined;
};
struct bpe_cached {
    const char *p;
    uint32_t n, epoch;
    uint32_t first, count; /* ids in the output list */
};

struct bpe_work {
    struct bpe_symbol *symbols;
    size_t symbols_cap;
    struct bpe_pair *heap;
    size_t heap_n, heap_cap;
    struct bpe_cached *cache;
    size_t cache_mask;
    uint32_t epoch;
};
int bpe_work_init(struct bpe_work *w, size_t text_bytes); /* 0 or SP_ENOMEM */
/* Texts met before are about to move or change: what is remembered of them is forgotten. */
void bpe_work_forget(struct bpe_work *w);
void bpe_work_free(struct bpe_work *w);
/* Appends the ids of a word of n > 0 bytes, which has to stay where it is. 0 or SP_ENOMEM. */
int bpe_word(const tokenizer *t, struct bpe_work *w, const char *p, size_t n,
             struct token_list *out);

#endif
