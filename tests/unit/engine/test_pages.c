/* KV pages: holders, what the prefix cache keeps and finds, who is evicted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/rng.h"
#include "pages_check.h"

static int32_t blocks[8][KV_PAGE]; /* eight contents of a page */

static void fill_blocks(void)
{
    for (int b = 0; b < 8; b++)
        for (int i = 0; i < KV_PAGE; i++)
            blocks[b][i] = i == KV_PAGE - 1 ? b : 5; /* they differ in the last token only */
}

/* A sequence of full pages, as a request has it. */
struct chain {
    int32_t page[8], content[8];
    int n;
    uint64_t tenant;
};

static void chain_add(struct pages *p, struct chain *c, int content)
{
    int32_t parent = c->n ? c->page[c->n - 1] : -1;
    int32_t page = pages_take(p);
    assert_true(page >= 0);
    c->content[c->n] = content;
    c->page[c->n++] = prefix_keep(p, page, parent, blocks[content], c->tenant);
}

static void chain_give(struct pages *p, struct chain *c)
{
    while (c->n > 0)
        pages_give(p, c->page[--c->n]);
}

static void free_pages_come_back(void **state)
{
    struct pages p = {0};
    int32_t holders[3] = {0};
    (void)state;
    assert_int_equal(pages_init(&p, 3), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pages_take(&p), i);
    assert_int_equal(pages_take(&p), -1);
    pages_give(&p, 1);
    assert_int_equal(pages_available(&p), 1);
    assert_int_equal(pages_take(&p), 1);
    for (int i = 0; i < 3; i++)
        pages_give(&p, i);
    check_pages(&p, holders);
    pages_done(&p);
}

static void the_longest_unused_goes_first_and_leaves_before_parents(void **state)
{
    struct pages p = {0};
    struct chain first = {0}, second = {0};
    int32_t a[3], b[2];
    (void)state;
    fill_blocks();
    assert_int_equal(pages_init(&p, 5), 0);
    for (int i = 0; i < 3; i++)
        chain_add(&p, &first, i);
    for (int i = 0; i < 2; i++)
        chain_add(&p, &second, 4 + i);
    memcpy(a, first.page, sizeof a);
    memcpy(b, second.page, sizeof b);
    chain_give(&p, &first);
    chain_give(&p, &second);
    assert_int_equal(pages_available(&p), 5);
    /* The first chain's root is used once more: now it is the last to go. */
    pages_hold(&p, a[0]);
    pages_give(&p, a[0]);
    const int32_t order[] = {a[2], a[1], b[1], b[0], a[0]};
    for (int i = 0; i < 5; i++)
        assert_int_equal(pages_take(&p), order[i]);
    assert_int_equal(p.evictions, 5);
    assert_int_equal(prefix_find(&p, -1, blocks[0], 0), -1);
    pages_done(&p);
}

/* All pages fall into one bucket: only what stands in a page and before it may count. */
static void colliding_hashes_find_the_right_page(void **state)
{
    struct pages p = {0};
    struct chain one = {0}, two = {.tenant = 7};
    (void)state;
    fill_blocks();
    assert_int_equal(pages_init(&p, 16), 0);
    p.bucket_mask = 0;
    for (int i = 0; i < 4; i++)
        chain_add(&p, &one, i);
    chain_add(&p, &two, 0);
    assert_int_not_equal(two.page[0], one.page[0]);
    assert_int_equal(prefix_find(&p, -1, blocks[0], 0), one.page[0]);
    assert_int_equal(prefix_find(&p, -1, blocks[0], 7), two.page[0]);
    assert_int_equal(prefix_find(&p, -1, blocks[0], 8), -1);
    assert_int_equal(prefix_find(&p, one.page[0], blocks[1], 0), one.page[1]);
    assert_int_equal(prefix_find(&p, one.page[0], blocks[0], 0), -1);
    assert_int_equal(prefix_find(&p, one.page[1], blocks[1], 0), -1);
    chain_give(&p, &two);
    while (pages_take(&p) >= 0) /* evicts the tenant's page, from the middle of the bucket */
        ;
    assert_int_equal(prefix_find(&p, -1, blocks[0], 7), -1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(prefix_find(&p, i ? one.page[i - 1] : -1, blocks[i], 0), one.page[i]);
    pages_done(&p);
}

static void the_same_page_computed_twice_is_kept_once(void **state)
{
    struct pages p = {0};
    struct chain one = {0}, two = {0};
    int32_t holders[8] = {0};
    (void)state;
    fill_blocks();
    assert_int_equal(pages_init(&p, 8), 0);
    for (int i = 0; i < 3; i++) {
        chain_add(&p, &one, i);
        chain_add(&p, &two, i);
        assert_int_equal(one.page[i], two.page[i]);
        holders[one.page[i]] = 2;
    }
    assert_int_equal(pages_available(&p), 5);
    check_pages(&p, holders);
    chain_give(&p, &one);
    chain_give(&p, &two);
    memset(holders, 0, sizeof holders);
    check_pages(&p, holders);
    pages_done(&p);
}

/* A chain of random contents: first what is found, then computed, while there are pages. */
static void grow_chain(struct pages *p, struct chain *c, uint64_t seed, uint64_t step)
{
    int n = 1 + (int)(rng_uniform(seed, step, 0) * 7);
    bool looking = true;
    c->tenant = (uint64_t)(rng_uniform(seed, step, 20) * 2);
    while (c->n < n) {
        int content = (int)(rng_uniform(seed, step, 1 + (uint64_t)c->n) * 3);
        int32_t parent = c->n ? c->page[c->n - 1] : -1;
        int32_t found = looking ? prefix_find(p, parent, blocks[content], c->tenant) : -1;
        looking = found >= 0;
        if (looking) {
            pages_hold(p, found);
            c->content[c->n] = content;
            c->page[c->n++] = found;
        } else if (pages_available(p) > 0) {
            chain_add(p, c, content);
        } else {
            return;
        }
    }
}

/* Two chains have the same page where, and only where, all contents up to there are the same. */
static void compare_chains(const struct chain *a, const struct chain *b)
{
    bool same = a->tenant == b->tenant;
    for (int i = 0; i < a->n && i < b->n; i++) {
        same = same && a->content[i] == b->content[i];
        assert_int_equal(a->page[i] == b->page[i], same);
    }
}

static void any_order_of_use_keeps_the_rules(void **state)
{
    enum { CHAINS = 6, PAGES = 24 };
    (void)state;
    fill_blocks();
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct pages p = {0};
        struct chain chains[CHAINS] = {0};
        assert_int_equal(pages_init(&p, PAGES), 0);
        if (seed % 2)
            p.bucket_mask = 0;
        for (uint64_t step = 0; step < 500; step++) {
            struct chain *c = &chains[(int)(rng_uniform(seed, step, 30) * CHAINS)];
            int32_t holders[PAGES] = {0};
            chain_give(&p, c);
            grow_chain(&p, c, seed, step);
            for (int i = 0; i < CHAINS; i++) {
                for (int k = 0; k < chains[i].n; k++)
                    holders[chains[i].page[k]]++;
                compare_chains(c, &chains[i]);
            }
            check_pages(&p, holders);
        }
        assert_true(p.evictions > 50);
        pages_done(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_pages_come_back),
        cmocka_unit_test(the_longest_unused_goes_first_and_leaves_before_parents),
        cmocka_unit_test(colliding_hashes_find_the_right_page),
        cmocka_unit_test(the_same_page_computed_twice_is_kept_once),
        cmocka_unit_test(any_order_of_use_keeps_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
