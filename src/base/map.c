#include "base/map.h"

#include <pthread.h>
#include <string.h>
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

#define EMPTY UINT32_MAX
#define GONE (UINT32_MAX - 1)
#define ENTRIES_MAX (UINT32_MAX - 2)
#define FIRST_SLOTS 16
#define DEAD UINT64_MAX /* offset of a removed entry */

struct entry {
    int64_t value;
    uint64_t offset; /* of the key in `keys`, or DEAD */
    uint32_t n;      /* bytes of the key */
    uint32_t hash;
};

/* Open addressing: slots hold indices into `entries`, which stays in insertion order. Invariants: at
 * most 3/4 of the slots are not EMPTY; entries_n <= that; every live entry is in exactly one slot. */
struct map {
    uint32_t *slots;
    size_t slots_n, taken; /* a power of two; slots that are not EMPTY */
    struct entry *entries;
    size_t entries_n, entries_cap, live;
    char *keys;
    size_t keys_n, keys_cap;
};

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void draw_seed(void)
{
    seed[0] = rng_seed();
    seed[1] = rng_seed();
}

/* Folded to 32 bits. */
static uint32_t hash_of(const void *key, size_t n)
{
    uint64_t h = hash_bytes(seed, key, n);
    return (uint32_t)(h ^ h >> 32);
}

/* The slot of key, or where it would go (first GONE on the way, else the EMPTY that ended it). */
static size_t find(const map *m, const void *key, size_t n, uint32_t hash, bool *found)
{
    size_t mask = m->slots_n - 1, i = hash & mask, place = SIZE_MAX;
    *found = false;
    for (;; i = (i + 1) & mask) {
        uint32_t at = m->slots[i];
        if (at == EMPTY)
            return place != SIZE_MAX ? place : i;
        if (at == GONE) {
            if (place == SIZE_MAX)
                place = i;
            continue;
        }
        const struct entry *e = &m->entries[at];
        if (e->hash == hash && e->n == n && (n == 0 || memcmp(m->keys + e->offset, key, n) == 0)) {
            *found = true;
            return i;
        }
    }
}

/* New slots for the live entries; removed entries and their keys are squeezed out. */
static int rehash(map *m, size_t slots_n)
{
    uint32_t *slots = sp_realloc_array(NULL, slots_n, sizeof *slots);
    if (!slots)
        return SP_ENOMEM;
    memset(slots, 0xff, slots_n * sizeof *slots); /* EMPTY */
    size_t to = 0, keys_n = 0;
    for (size_t i = 0; i < m->entries_n; i++) {
        struct entry e = m->entries[i];
        if (e.offset == DEAD)
            continue;
        if (e.n)
            memmove(m->keys + keys_n, m->keys + e.offset, e.n);
        e.offset = keys_n;
        keys_n += e.n;
        size_t s = e.hash & (slots_n - 1);
        while (slots[s] != EMPTY)
            s = (s + 1) & (slots_n - 1);
        slots[s] = (uint32_t)to;
        m->entries[to++] = e;
    }
    sp_free(m->slots);
    m->slots = slots;
    m->slots_n = slots_n;
    m->taken = m->entries_n = to;
    m->keys_n = keys_n;
    return 0;
}

static size_t slots_for(size_t entries)
{
    size_t n = FIRST_SLOTS;
    while (n < ((size_t)1 << 33) && n / 4 * 3 < entries)
        n *= 2;
    return n;
}

map *map_new(size_t expected)
{
    (void)pthread_once(&seed_once, draw_seed);
    map *m = sp_calloc(1, sizeof *m);
    if (!m)
        return NULL;
    if (rehash(m, slots_for(expected < ENTRIES_MAX ? expected : ENTRIES_MAX)) != 0) {
        sp_free(m);
        return NULL;
    }
    return m;
}

void map_free(map *m)
{
    if (!m)
        return;
    sp_free(m->slots);
    sp_free(m->entries);
    sp_free(m->keys);
    sp_free(m);
}

size_t map_count(const map *m)
{
    return m->live;
}

/* Room for one more entry with a key of n bytes; changes nothing that can be seen. */
static int make_room(map *m, size_t n)
{
    if (m->taken + 1 > m->slots_n / 4 * 3) {
        size_t wanted = slots_for(m->live + m->live / 2 + 1);
        int rc = rehash(m, wanted > m->slots_n ? wanted : m->slots_n);
        if (rc)
            return rc;
    }
    if (m->entries_n == m->entries_cap) {
        size_t cap = m->entries_cap ? m->entries_cap * 2 : FIRST_SLOTS;
        struct entry *entries = sp_realloc_array(m->entries, cap, sizeof *entries);
        if (!entries)
            return SP_ENOMEM;
        m->entries = entries;
        m->entries_cap = cap;
    }
    if (n > m->keys_cap - m->keys_n) {
        size_t cap = m->keys_cap < SIZE_MAX / 2 ? m->keys_cap * 2 : SIZE_MAX;
        if (cap < 256)
            cap = 256;
        if (cap - m->keys_n < n)
            cap = m->keys_n + n;
        char *keys = sp_realloc(m->keys, cap);
        if (!keys)
            return SP_ENOMEM;
        m->keys = keys;
        m->keys_cap = cap;
    }
    return 0;
}

int map_set(map *m, const void *key, size_t n, int64_t value)
{
    uint32_t hash = hash_of(key, n);
    bool found = false;
    size_t s = find(m, key, n, hash, &found);
    if (found) {
        m->entries[m->slots[s]].value = value;
        return 0;
    }
    if (n > UINT32_MAX || m->live >= ENTRIES_MAX)
        return SP_ENOMEM;
    int rc = make_room(m, n);
    if (rc)
        return rc;
    s = find(m, key, n, hash, &found); /* rehash may have moved it */
    if (m->slots[s] == EMPTY)
        m->taken++;
    m->slots[s] = (uint32_t)m->entries_n;
    m->entries[m->entries_n++] =
        (struct entry){.value = value, .offset = m->keys_n, .n = (uint32_t)n, .hash = hash};
    if (n)
        memcpy(m->keys + m->keys_n, key, n);
    m->keys_n += n;
    m->live++;
    return 0;
}

bool map_get(const map *m, const void *key, size_t n, int64_t *value)
{
    bool found = false;
    size_t s = find(m, key, n, hash_of(key, n), &found);
    if (found && value)
        *value = m->entries[m->slots[s]].value;
    return found;
}

bool map_remove(map *m, const void *key, size_t n)
{
    bool found = false;
    size_t s = find(m, key, n, hash_of(key, n), &found);
    if (!found)
        return false;
    m->entries[m->slots[s]].offset = DEAD;
    m->slots[s] = GONE;
    m->live--;
    return true;
}

bool map_next(const map *m, size_t *cursor, const void **key, size_t *n, int64_t *value)
{
    while (*cursor < m->entries_n) {
        const struct entry *e = &m->entries[(*cursor)++];
        if (e->offset == DEAD)
            continue;
        if (key)
            *key = m->keys ? m->keys + e->offset : "";
        if (n)
            *n = e->n;
        if (value)
            *value = e->value;
        return true;
    }
    return false;
}
