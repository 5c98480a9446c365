/* Vocabulary and merges: a few flat arrays and two hash tables with open addressing. The hash is seeded
 * at load, so that a file can't be made to collide. */
#include <string.h>

#include "base/rng.h"
#include "text/tokenizer_int.h"

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

static uint32_t hash_bytes(uint64_t seed, const uint8_t *p, size_t n)
{
    uint64_t h = seed ^ n * 0x9e3779b97f4a7c15u;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = mix(h ^ word);
    }
    uint64_t rest = 0;
    if (n > 0)
        memcpy(&rest, p, n);
    return (uint32_t)mix(h ^ rest);
}

/* The mask of a table of 2^k slots that is at most two thirds full. */
static uint32_t table_mask(size_t n)
{
    uint32_t size = 16;
    while ((uint64_t)size * 2 < (uint64_t)n * 3)
        size *= 2;
    return size - 1;
}

int vocab_reserve(struct vocab *v, size_t ids, size_t bytes)
{
    if (ids > v->cap) {
        struct vocab_token *tokens = sp_realloc_array(v->tokens, ids, sizeof *tokens);
        if (!tokens)
            return SP_ENOMEM;
        v->tokens = tokens;
        uint8_t *flags = sp_realloc(v->flags, ids);
        if (!flags)
            return SP_ENOMEM;
        v->flags = flags;
        memset(tokens + v->cap, 0, (ids - v->cap) * sizeof *tokens);
        memset(flags + v->cap, 0, ids - v->cap);
        v->cap = ids;
    }
    if (bytes > v->bytes_cap) {
        uint8_t *p = sp_realloc(v->bytes, bytes);
        if (!p)
            return SP_ENOMEM;
        v->bytes = p;
        v->bytes_cap = bytes;
    }
    return 0;
}

int vocab_put(struct vocab *v, size_t id, const void *p, size_t n, unsigned flags, sp_error *err)
{
    if (id >= VOCAB_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer: token id %zu: at most %u are taken", id,
                       VOCAB_MAX - 1);
    if (n > TOKEN_BYTES_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer: token %zu has %zu bytes: at most %u are taken",
                       id, n, TOKEN_BYTES_MAX);
    size_t bytes = v->n_bytes + n;
    if (bytes > UINT32_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer: its tokens have more than 4 GB");
    size_t ids = id < v->cap ? v->cap : id + 1 + v->cap / 2;
    if (vocab_reserve(v, ids, bytes <= v->bytes_cap ? 0 : bytes + bytes / 2) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory for %zu tokens", ids);
    if (n > 0)
        memcpy(v->bytes + v->n_bytes, p, n);
    v->tokens[id] = (struct vocab_token){(uint32_t)v->n_bytes, (uint32_t)n};
    v->flags[id] = (uint8_t)(v->flags[id] | flags);
    v->n_bytes = bytes;
    if (id >= v->n)
        v->n = id + 1;
    return 0;
}

int vocab_index(struct vocab *v)
{
    v->seed = rng_seed();
    v->mask = table_mask(v->n);
    sp_free(v->slots);
    v->slots = sp_calloc((size_t)v->mask + 1, sizeof *v->slots);
    if (!v->slots)
        return SP_ENOMEM;
    for (size_t id = 0; id < v->n; id++) {
        if (!(v->flags[id] & TOKEN_MODEL))
            continue;
        const struct vocab_token *t = &v->tokens[id];
        uint32_t i = hash_bytes(v->seed, v->bytes + t->at, t->n) & v->mask;
        while (v->slots[i])
            i = (i + 1) & v->mask;
        v->slots[i] = (uint32_t)id + 1;
    }
    return 0;
}

int32_t vocab_find(const struct vocab *v, const void *p, size_t n)
{
    uint32_t i = hash_bytes(v->seed, p, n) & v->mask;
    for (; v->slots[i]; i = (i + 1) & v->mask) {
        const struct vocab_token *t = &v->tokens[v->slots[i] - 1];
        if (t->n == n && (n == 0 || memcmp(v->bytes + t->at, p, n) == 0))
            return (int32_t)(v->slots[i] - 1);
    }
    return -1;
}

str vocab_bytes(const struct vocab *v, int32_t id)
{
    if (id < 0 || (size_t)id >= v->n || !(v->flags[id] & TOKEN_KNOWN))
        return (str){"", 0};
    return (str){(const char *)v->bytes + v->tokens[id].at, v->tokens[id].n};
}

void vocab_free(struct vocab *v)
{
    sp_free(v->tokens);
    sp_free(v->flags);
    sp_free(v->bytes);
    sp_free(v->slots);
    *v = (struct vocab){0};
}

/* The byte that a character of the alphabet stands for, or -1. Bytes that print as themselves in
 * Latin-1 are themselves; the other 68, in order, are U+0100 and up. */
static int alphabet_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
        return (int)cp;
    if (cp < 0x100 || cp >= 0x144)
        return -1;
    uint32_t k = cp - 0x100;
    if (k < 0x21)
        return (int)k; /* 00..20 */
    if (k < 0x43)
        return (int)(0x7f + k - 0x21); /* 7F..A0 */
    return 0xad;
}

bool alphabet_decode(str s, uint8_t *out, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t len = utf8_decode(s.p + i, s.n - i, &cp);
        int byte = len > 0 ? alphabet_byte(cp) : -1;
        if (byte < 0)
            return false;
        out[(*n)++] = (uint8_t)byte;
        i += len;
    }
    return true;
}

int merges_init(struct merges *m, size_t expected)
{
    m->seed = rng_seed();
    m->n = 0;
    m->mask = table_mask(expected);
    m->slots = sp_malloc(((size_t)m->mask + 1) * sizeof *m->slots);
    if (!m->slots)
        return SP_ENOMEM;
    memset(m->slots, 0xff, ((size_t)m->mask + 1) * sizeof *m->slots);
    return 0;
}

static uint32_t merge_slot(const struct merges *m, uint32_t left, uint32_t right)
{
    return (uint32_t)mix(((uint64_t)left << 32 | right) ^ m->seed) & m->mask;
}

static int merges_grow(struct merges *m)
{
    struct merges larger = {.seed = m->seed, .mask = m->mask * 2 + 1};
    larger.slots = sp_malloc(((size_t)larger.mask + 1) * sizeof *larger.slots);
    if (!larger.slots)
        return SP_ENOMEM;
    memset(larger.slots, 0xff, ((size_t)larger.mask + 1) * sizeof *larger.slots);
    for (size_t old = 0; old <= m->mask; old++) {
        if (m->slots[old].left == UINT32_MAX)
            continue;
        uint32_t i = merge_slot(&larger, m->slots[old].left, m->slots[old].right);
        while (larger.slots[i].left != UINT32_MAX)
            i = (i + 1) & larger.mask;
        larger.slots[i] = m->slots[old];
    }
    larger.n = m->n;
    sp_free(m->slots);
    *m = larger;
    return 0;
}

int merges_put(struct merges *m, struct merge merge)
{
    uint32_t i = merge_slot(m, merge.left, merge.right);
    for (; m->slots[i].left != UINT32_MAX; i = (i + 1) & m->mask)
        if (m->slots[i].left == merge.left && m->slots[i].right == merge.right)
            break;
    if (m->slots[i].left == UINT32_MAX)
        m->n++;
    m->slots[i] = merge;
    return (uint64_t)m->n * 3 > ((uint64_t)m->mask + 1) * 2 ? merges_grow(m) : 0;
}

const struct merge *merges_find(const struct merges *m, uint32_t left, uint32_t right)
{
    uint32_t i = merge_slot(m, left, right);
    for (; m->slots[i].left != UINT32_MAX; i = (i + 1) & m->mask)
        if (m->slots[i].left == left && m->slots[i].right == right)
            return &m->slots[i];
    return NULL;
}

void merges_free(struct merges *m)
{
    sp_free(m->slots);
    *m = (struct merges){0};
}
