/* The prefix cache: full pages, found by what stands in them and before them. */
#include <string.h>
#include "base/hash.h"
#include "engine/engine_int.h"

#define COPY_LEAST 8 /* positions of a page for which a copy is cheaper than computing them */

/* ---- the table ---- */

/* Chained: the hash of all pages before, or the tenant, is half of the key. */
static uint64_t hash_page(const struct pages *p, int32_t parent, const int32_t *tokens,
                          uint64_t tenant)
{
    const uint64_t key[2] = {p->seed, parent < 0 ? tenant : p->page[parent].hash};
    return hash_bytes(key, tokens, KV_PAGE * sizeof *tokens);
}

static int32_t *tokens_of(const struct pages *p, int32_t page)
{
    return p->tokens + (size_t)page * KV_PAGE;
}

/* Equal hashes prove nothing: the page before, the tenant and the tokens must be the same. */
static int32_t find(const struct pages *p, uint64_t hash, int32_t parent, const int32_t *tokens,
                    uint64_t tenant)
{
    int32_t page = p->bucket[hash & p->bucket_mask];
    while (page >= 0) {
        const struct page *is = &p->page[page];
        if (is->parent == parent && is->tenant == tenant &&
            memcmp(tokens_of(p, page), tokens, KV_PAGE * sizeof *tokens) == 0)
            break;
        page = is->same_bucket;
    }
    return page;
}

int32_t prefix_find(const struct pages *p, int32_t parent, const int32_t *tokens, uint64_t tenant)
{
    return find(p, hash_page(p, parent, tokens, tenant), parent, tokens, tenant);
}

int32_t prefix_keep(struct pages *p, int32_t page, int32_t parent, const int32_t *tokens,
                    uint64_t tenant)
{
    uint64_t hash = hash_page(p, parent, tokens, tenant);
    int32_t same = find(p, hash, parent, tokens, tenant);
    if (same >= 0) {
        pages_hold(p, same);
        pages_give(p, page);
        return same;
    }
    struct page *is = &p->page[page];
    int32_t *first = &p->bucket[hash & p->bucket_mask];
    is->kept = true;
    is->parent = parent;
    is->tenant = tenant;
    is->hash = hash;
    is->same_bucket = *first;
    *first = page;
    memcpy(tokens_of(p, page), tokens, KV_PAGE * sizeof *tokens);
    return page;
}

void prefix_forget(struct pages *p, int32_t page)
{
    int32_t *at = &p->bucket[p->page[page].hash & p->bucket_mask];
    while (*at != page)
        at = &p->page[*at].same_bucket;
    *at = p->page[page].same_bucket;
    p->page[page].kept = false;
}

/* ---- a request's part of it ---- */

static int32_t parent_of(const struct request *q, int64_t block)
{
    return block > 0 ? q->pages[block - 1] : -1;
}

/* Positions that q may have without computing them. Its last token is always computed: the next comes from its logits.
 * So is the token before which the time begins, and all of a prompt whose logits are asked for. */
static int64_t most_positions(const engine *e, const struct request *q)
{
    if (!e->opts.prefix_cache || request_wants_prompt(q))
        return 0;
    return (q->r.timed_from > 0 ? q->r.timed_from : (int64_t)q->tokens.n) - 1;
}

int64_t prefix_extend(engine *e, struct request *q)
{
    int64_t from = q->n_cached, most = most_positions(e, q) / KV_PAGE;
    if (from % KV_PAGE)
        return 0;
    for (int64_t block = from / KV_PAGE; block < most; block++) {
        int32_t page = prefix_find(&e->pages, parent_of(q, block), q->tokens.ids + block * KV_PAGE,
                                   q->r.tenant);
        if (page < 0)
            break;
        pages_hold(&e->pages, page);
        q->pages[q->n_pages++] = page;
        q->n_cached += KV_PAGE;
    }
    q->n_kept = (int32_t)(q->n_cached / KV_PAGE);
    return q->n_cached - from;
}

/* Where the page that q begins next ends for it. */
static int64_t page_end(const engine *e, const struct request *q)
{
    int64_t end = q->n_cached + KV_PAGE, most = most_positions(e, q);
    return end < most ? end : most;
}

/* Up to where that page of q has the same tokens as that of `other`, which stands behind the same pages. */
static int64_t common_end(const engine *e, const struct request *q, const struct request *other)
{
    int64_t at = q->n_cached, block = at / KV_PAGE, end = page_end(e, q);
    if (at % KV_PAGE || other == q || other->n_cached < at || other->r.tenant != q->r.tenant ||
        parent_of(other, block) != parent_of(q, block))
        return at;
    if (end > (int64_t)other->tokens.n)
        end = (int64_t)other->tokens.n;
    while (at < end && other->tokens.ids[at] == q->tokens.ids[at])
        at++;
    return at;
}

bool prefix_awaits(const engine *e, const struct request *q, const struct request *other)
{
    int64_t end = page_end(e, q);
    return end - q->n_cached >= COPY_LEAST && other->n_cached < end &&
           common_end(e, q, other) == end;
}

int64_t prefix_copy(engine *e, struct request *q)
{
    const struct request *from = NULL;
    int64_t at = q->n_cached, best = at + COPY_LEAST - 1;
    for (const struct request *other = e->running; other; other = other->next) {
        int64_t end = common_end(e, q, other);
        end = end < other->n_cached ? end : other->n_cached;
        if (end > best) {
            best = end;
            from = other;
        }
    }
    int32_t page = from ? pages_take(&e->pages) : -1;
    if (page < 0)
        return 0;
    kv_pool_copy(e->kv, from->pages[at / KV_PAGE], page);
    q->pages[q->n_pages++] = page;
    q->n_cached = best;
    return best - at;
}

void prefix_count(engine *e, struct request *q, int64_t found)
{
    if (q->preempted)
        return;
    q->n_prompt_cached += found;
    e->tally.prefix_hits += (uint64_t)found;
}

void prefix_record(engine *e, struct request *q)
{
    if (!e->opts.prefix_cache)
        return;
    for (; (q->n_kept + 1) * (int64_t)KV_PAGE <= q->n_cached; q->n_kept++) {
        int32_t page = q->pages[q->n_kept];
        q->pages[q->n_kept] = prefix_keep(&e->pages, page, parent_of(q, q->n_kept),
                                          q->tokens.ids + (size_t)q->n_kept * KV_PAGE, q->r.tenant);
        if (e->store && q->pages[q->n_kept] == page)
            prefix_store_add(e->store, page);
    }
}
