/* Attention: right against a plain softmax in double precision, the same bits in every table, for a row
 * alone and among others, in one go and span by span, and whatever lies in unused slots. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel_test.h"

#define MAX_ROWS 96
#define MAX_KEYS 5056
#define MAX_PAGES (MAX_KEYS / KV_PAGE)
#define POOL_PAGES 83 /* a prime above MAX_PAGES */

struct shape {
    int kv_heads, group, head_dim;
    enum kv_type type;
    int64_t window;
    int keys; /* positions filled */
};

struct fixture {
    struct shape shape;
    struct kv_layer kv;
    uint8_t *pool;
    size_t pool_bytes;
    int32_t pages[MAX_PAGES];
    float *k, *v; /* [keys, kv_heads * head_dim], as they are read back */
    float *q;     /* [MAX_ROWS, kv_heads * group * head_dim] */
    float *out;
    float *scratch;
};

static float *new_floats(size_t n)
{
    float *p = sp_malloc(n * sizeof(float));
    assert_non_null(p);
    return p;
}

static float rounded(float x, enum kv_type type)
{
    return type == KV_F16    ? f16_to_f32(f32_to_f16(x))
           : type == KV_BF16 ? bf16_to_f32(f32_to_bf16(x))
                             : x;
}

/* Unused bytes of the pool are all ones: NaN in either type. */
static void setup(struct fixture *f, struct shape s, uint64_t seed)
{
    size_t width = (size_t)(s.kv_heads * s.head_dim), q_width = width * (size_t)s.group;
    size_t head = (size_t)s.head_dim * KV_PAGE * 2 * kv_value_bytes(s.type);
    int n_pages = (s.keys + KV_PAGE - 1) / KV_PAGE;
    assert_true(n_pages <= MAX_PAGES);
    *f = (struct fixture){.shape = s};
    f->pool_bytes = head * (size_t)s.kv_heads * POOL_PAGES;
    f->pool = sp_alloc_aligned(64, f->pool_bytes);
    assert_non_null(f->pool);
    memset(f->pool, 0xff, f->pool_bytes);
    f->kv =
        (struct kv_layer){f->pool, head * (size_t)s.kv_heads, head, s.type, s.kv_heads, s.head_dim};
    for (int i = 0; i < MAX_PAGES; i++) /* pages in no order */
        f->pages[i] = (i * 7 + 3) % POOL_PAGES;
    f->k = new_floats(width * (size_t)s.keys);
    f->v = new_floats(width * (size_t)s.keys);
    f->q = new_floats(q_width * MAX_ROWS);
    f->out = new_floats(q_width * MAX_ROWS);
    f->scratch = new_floats(attention_scratch(s.group, s.head_dim));
    random_floats(&seed, f->q, q_width * MAX_ROWS);
    for (size_t i = 0; i < width * (size_t)s.keys; i++) {
        f->k[i] = rounded(random_float(&seed) * 3.0f, s.type);
        f->v[i] = rounded(random_float(&seed), s.type);
    }
    for (int p = 0; p < s.keys; p++)
        kernel_get(ISA_REF)->kv_write(&f->kv, f->pages[p / KV_PAGE], p % KV_PAGE,
                                      f->k + (size_t)p * width, f->v + (size_t)p * width);
}

static void teardown(struct fixture *f)
{
    sp_free(f->pool);
    sp_free(f->k);
    sp_free(f->v);
    sp_free(f->q);
    sp_free(f->out);
    sp_free(f->scratch);
}

/* Rows `first`.. of f->q at positions pos[rows], one KV head, to the same rows of f->out. */
static struct attention_args args_of(const struct fixture *f, int head, const int32_t *pos,
                                     int64_t first, int64_t rows)
{
    const struct shape *s = &f->shape;
    int64_t ld = s->kv_heads * s->group * s->head_dim;
    int64_t at = first * ld + (int64_t)head * s->group * s->head_dim;
    return (struct attention_args){
        .kv = &f->kv,
        .pages = f->pages,
        .pos = pos,
        .q = f->q + at,
        .ldq = ld,
        .out = f->out + at,
        .ldo = ld,
        .rows = rows,
        .kv_head = head,
        .group = s->group,
        .scale = 1.0f / sqrtf((float)s->head_dim),
        .window = s->window,
        .scratch = f->scratch,
    };
}

/* All KV heads. */
static void attend(struct fixture *f, const struct kernel_ops *k, const int32_t *pos, int64_t first,
                   int64_t rows)
{
    for (int h = 0; h < f->shape.kv_heads; h++) {
        struct attention_args a = args_of(f, h, pos, first, rows);
        k->attention(&a);
    }
}

/* The formula, in double, for one row: out [heads * head_dim]. */
static void naive(const struct fixture *f, int64_t row, int pos, double *out)
{
    const struct shape *s = &f->shape;
    int hd = s->head_dim, heads = s->kv_heads * s->group, width = s->kv_heads * hd;
    int first = s->window > 0 && pos >= s->window ? (int)(pos - s->window + 1) : 0;
    for (int h = 0; h < heads; h++) {
        const float *q = f->q + (row * heads + h) * hd;
        const float *k = f->k + (h / s->group) * hd, *v = f->v + (h / s->group) * hd;
        double p[MAX_KEYS], max = -INFINITY, sum = 0;
        for (int i = first; i <= pos; i++) {
            p[i] = 0;
            for (int d = 0; d < hd; d++)
                p[i] += (double)q[d] * (double)k[(size_t)i * (size_t)width + (size_t)d];
            p[i] /= sqrt((double)hd);
            max = p[i] > max ? p[i] : max;
        }
        for (int i = first; i <= pos; i++)
            sum += p[i] = exp(p[i] - max);
        for (int d = 0; d < hd; d++) {
            double acc = 0;
            for (int i = first; i <= pos; i++)
                acc += p[i] * (double)v[(size_t)i * (size_t)width + (size_t)d];
            out[h * hd + d] = acc / sum;
        }
    }
}

static const struct shape shapes[] = {
    {2, 7, 64, KV_F16, 0, 300},   {2, 7, 64, KV_F32, 0, 200},    {3, 3, 64, KV_F16, 0, 130},
    {2, 4, 128, KV_F16, 0, 129},  {1, 8, 128, KV_F32, 100, 400}, {4, 1, 80, KV_F16, 0, 192},
    {1, 5, 96, KV_F16, 64, 300},  {1, 2, 96, KV_F32, 1, 70},     {1, 6, 8, KV_F16, 0, 65},
    {1, 3, 20, KV_F16, 33, 300},  {1, 1, 20, KV_F32, 0, 64},     {1, 50, 16, KV_F16, 0, 90},
    {2, 16, 40, KV_F16, 0, 70},   {1, 4, 256, KV_F16, 50, 200},  {2, 7, 64, KV_BF16, 0, 300},
    {1, 5, 20, KV_BF16, 33, 150}, {1, 8, 128, KV_BF16, 0, 129},
};

/* Around the ends of spans; windows that begin in one span and end in another. */
static const struct shape long_shapes[] = {
    {2, 7, 64, KV_F16, 0, KV_SPAN - 1},
    {2, 7, 64, KV_F16, 0, KV_SPAN},
    {2, 7, 64, KV_F16, 0, KV_SPAN + 1},
    {1, 3, 64, KV_F32, 0, 2 * KV_SPAN},
    {1, 2, 32, KV_BF16, 0, 5000},
    {1, 5, 20, KV_F16, 700, 2 * KV_SPAN + 300},
    {1, 1, 64, KV_F32, KV_SPAN, 3 * KV_SPAN},
    {1, 50, 8, KV_F16, 1, KV_SPAN + 1},
};

static void check_formula(const struct shape *s, size_t n)
{
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    for (size_t i = 0; i < n; i++) {
        struct fixture f;
        setup(&f, s[i], 100 + i);
        int width = s[i].kv_heads * s[i].group * s[i].head_dim;
        int last = s[i].keys - 1;
        int32_t pos[4] = {0, last / 2, last - 1, last};
        double *want = sp_malloc((size_t)width * sizeof(double));
        assert_non_null(want);
        for (int t = 0; t < n_tables; t++) {
            attend(&f, k[t], pos, 0, 4);
            for (int r = 0; r < 4; r++) {
                naive(&f, r, pos[r], want);
                for (int d = 0; d < width; d++)
                    if (!(fabs((double)f.out[r * width + d] - want[d]) < 3e-6))
                        fail_msg("shape %zu %s row %d value %d: %g, expected %g", i, k[t]->name, r,
                                 d, (double)f.out[r * width + d], want[d]);
            }
        }
        sp_free(want);
        teardown(&f);
    }
}

static void test_formula(void **state)
{
    (void)state;
    check_formula(shapes, SP_COUNT(shapes));
    check_formula(long_shapes, SP_COUNT(long_shapes));
}

/* A chunk of 70 consecutive rows at once, in pieces, and row by row, in every table: the same bits. */
static void test_chunks_and_tables_agree(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    for (size_t i = 0; i < SP_COUNT(shapes); i++) {
        struct fixture f;
        setup(&f, shapes[i], 200 + i);
        size_t width = (size_t)(shapes[i].kv_heads * shapes[i].group * shapes[i].head_dim);
        int rows = shapes[i].keys < 70 ? shapes[i].keys : 70;
        int32_t pos[70];
        for (int r = 0; r < rows; r++)
            pos[r] = shapes[i].keys - rows + r;
        float *want = new_floats(width * 70);
        attend(&f, k[0], pos, 0, rows);
        memcpy(want, f.out, width * (size_t)rows * sizeof(float));
        const int pieces[] = {70, 33, 7, 6, 3, 2, 1};
        for (int t = 0; t < n_tables; t++) {
            for (size_t c = t == 0 ? 6 : 0; c < SP_COUNT(pieces); c++) {
                memset(f.out, 0x55, width * MAX_ROWS * sizeof(float));
                for (int r = 0; r < rows; r += pieces[c])
                    attend(&f, k[t], pos + r, r, rows - r < pieces[c] ? rows - r : pieces[c]);
                assert_same_floats(f.out, want, width * (size_t)rows, k[t]->name);
            }
        }
        sp_free(want);
        teardown(&f);
    }
}

/* All rows of a chunk, span by span from the last to the first, then joined. */
static void attend_in_spans(struct fixture *f, const struct kernel_ops *k, const int32_t *pos,
                            int64_t rows)
{
    const struct shape *s = &f->shape;
    int32_t last = pos[0] > pos[rows - 1] ? pos[0] : pos[rows - 1];
    size_t part = (size_t)rows * (size_t)(s->group * (s->head_dim + 2)),
           spans = MAX_KEYS / KV_SPAN + 1;
    float *parts = new_floats(part * spans);
    for (int h = 0; h < s->kv_heads; h++) {
        struct attention_args a = args_of(f, h, pos, 0, rows);
        a.parts = parts;
        memset(parts, 0xff, part * spans * sizeof *parts);
        for (int64_t span = last / KV_SPAN; span >= 0; span--)
            k->attention_span(&a, span);
        k->attention_join(&a);
    }
    sp_free(parts);
}

/* Long contexts: rows on both sides of a span's end at once, in pieces, alone, and span by span: the bits
 * of the scalar table, row by row. */
static void test_spans_agree(void **state)
{
    (void)state;
    enum { ROWS = 11 };
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    for (size_t i = 0; i < SP_COUNT(long_shapes); i++) {
        struct fixture f;
        setup(&f, long_shapes[i], 600 + i);
        size_t n = (size_t)(f.shape.kv_heads * f.shape.group * f.shape.head_dim) * ROWS;
        int32_t pos[ROWS];
        for (int r = 0; r < ROWS; r++)
            pos[r] = f.shape.keys - ROWS + r;
        float *want = new_floats(n);
        for (int r = 0; r < ROWS; r++)
            attend(&f, k[0], pos + r, r, 1);
        memcpy(want, f.out, n * sizeof(float));
        for (int t = 0; t < n_tables; t++) {
            memset(f.out, 0x55, n * sizeof(float));
            attend(&f, k[t], pos, 0, ROWS);
            assert_same_floats(f.out, want, n, k[t]->name);
            memset(f.out, 0x55, n * sizeof(float));
            attend(&f, k[t], pos, 0, 4);
            attend(&f, k[t], pos + 4, 4, ROWS - 4);
            assert_same_floats(f.out, want, n, k[t]->name);
            memset(f.out, 0x55, n * sizeof(float));
            attend_in_spans(&f, k[t], pos, ROWS);
            assert_same_floats(f.out, want, n, k[t]->name);
        }
        sp_free(want);
        teardown(&f);
    }
}

/* Rows of one call at far apart and repeated positions; what the pool held before does not matter. */
static void test_any_positions_and_garbage(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 17;
    for (size_t i = 0; i < SP_COUNT(shapes) + SP_COUNT(long_shapes); i++) {
        struct fixture f;
        const struct shape s = i < SP_COUNT(shapes) ? shapes[i] : long_shapes[i - SP_COUNT(shapes)];
        setup(&f, s, 300 + i);
        size_t width = (size_t)(s.kv_heads * s.group * s.head_dim);
        enum { ROWS = 20 };
        int32_t pos[ROWS];
        for (int r = 0; r < ROWS; r++)
            pos[r] = (int32_t)(random_bits(&seed) % (uint64_t)s.keys);
        float *want = new_floats(width * ROWS);
        for (int r = 0; r < ROWS; r++)
            attend(&f, k[0], pos + r, r, 1);
        memcpy(want, f.out, width * ROWS * sizeof(float));
        for (size_t j = 0; j < width * ROWS; j++)
            assert_true(isfinite(want[j]));
        for (int t = 0; t < n_tables; t++) {
            attend(&f, k[t], pos, 0, ROWS);
            assert_same_floats(f.out, want, width * ROWS, k[t]->name);
        }
        sp_free(want);
        teardown(&f);
    }
}

/* Keys after a row's position may change at will: earlier rows do not move by a bit. */
static void test_future_keys_do_not_matter(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    const struct shape s = {2, 7, 64, KV_F16, 0, 128};
    struct fixture f;
    setup(&f, s, 400);
    size_t width = 2 * 7 * 64;
    int32_t pos[10];
    for (int r = 0; r < 10; r++)
        pos[r] = 70 + r;
    float *want = new_floats(width * 10), huge[2 * 64];
    for (int d = 0; d < 2 * 64; d++)
        huge[d] = d % 2 ? NAN : 60000.0f;
    for (int t = 0; t < n_tables; t++) {
        attend(&f, k[t], pos, 0, 10);
        memcpy(want, f.out, width * 10 * sizeof(float));
        for (int p = 80; p < 128; p++)
            k[t]->kv_write(&f.kv, f.pages[p / KV_PAGE], p % KV_PAGE, huge, huge);
        attend(&f, k[t], pos, 0, 10);
        assert_same_floats(f.out, want, width * 10, k[t]->name);
        k[t]->kv_write(&f.kv, f.pages[1], 79 % KV_PAGE, huge, huge); /* only the last row sees it */
        attend(&f, k[t], pos, 0, 10);
        assert_same_floats(f.out, want, width * 9, k[t]->name);
        assert_true(isnan(f.out[width * 9 + 1]));
        k[t]->kv_write(&f.kv, f.pages[1], 79 % KV_PAGE, f.k + 79 * 128, f.v + 79 * 128);
    }
    sp_free(want);
    teardown(&f);
}

/* Scores of hundreds: the softmax picks one key and nothing overflows. */
static void test_large_scores(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    const struct shape s = {1, 2, 64, KV_F32, 0, 200};
    struct fixture f;
    setup(&f, s, 500);
    float *want = new_floats(128);
    for (int d = 0; d < 128; d++)
        f.q[d] *= 3000.0f;
    int32_t pos = 199;
    attend(&f, k[0], &pos, 0, 1);
    memcpy(want, f.out, 128 * sizeof(float));
    double exact[128];
    naive(&f, 0, 199, exact);
    for (int d = 0; d < 128; d++)
        assert_true(fabs((double)want[d] - exact[d]) < 1e-3);
    for (int t = 1; t < n_tables; t++) {
        attend(&f, k[t], &pos, 0, 1);
        assert_same_floats(f.out, want, 128, k[t]->name);
    }
    sp_free(want);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_chunks_and_tables_agree),
        cmocka_unit_test(test_spans_agree),
        cmocka_unit_test(test_any_positions_and_garbage),
        cmocka_unit_test(test_future_keys_do_not_matter),
        cmocka_unit_test(test_large_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
