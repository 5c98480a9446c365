/* What must hold of an engine's pages at any time, checked in full. */
#ifndef SP_TESTS_PAGES_CHECK_H
#define SP_TESTS_PAGES_CHECK_H

#include "engine/engine_int.h"

static void check_idle(const struct pages *p)
{
    int32_t n = 0, before = -1;
    for (int32_t i = p->oldest; i >= 0; before = i, i = p->page[i].newer, n++) {
        assert_int_equal(p->page[i].holders, 0);
        assert_true(p->page[i].kept);
        assert_int_equal(p->page[i].older, before);
    }
    assert_int_equal(before, p->newest);
    assert_int_equal(n, p->n_idle);
}

/* Each kept page is in its bucket, and its parent is kept and held at least as often. */
static void check_kept(const struct pages *p)
{
    int32_t kept = 0, listed = 0;
    for (int32_t i = 0; i < p->total; i++)
        if (p->page[i].kept) {
            const struct page *is = &p->page[i];
            kept++;
            assert_true(is->parent < 0 || p->page[is->parent].kept);
            assert_true(is->parent < 0 || p->page[is->parent].holders >= is->holders);
            assert_int_equal(
                prefix_find(p, is->parent, p->tokens + (size_t)i * KV_PAGE, is->tenant), i);
        }
    for (uint64_t b = 0; b <= p->bucket_mask; b++)
        for (int32_t i = p->bucket[b]; i >= 0; i = p->page[i].same_bucket)
            listed++;
    assert_int_equal(kept, listed);
}

/* holders [total]: how often each page should be held. */
static void check_pages(const struct pages *p, const int32_t *holders)
{
    int32_t held = 0;
    for (int32_t i = 0; i < p->total; i++) {
        assert_int_equal(p->page[i].holders, holders[i]);
        held += holders[i] > 0;
    }
    for (int32_t i = 0; i < p->n_free; i++) {
        assert_int_equal(p->page[p->free[i]].holders, 0);
        assert_false(p->page[p->free[i]].kept);
    }
    assert_int_equal(held + p->n_free + p->n_idle, p->total);
    check_idle(p);
    check_kept(p);
}

#endif
