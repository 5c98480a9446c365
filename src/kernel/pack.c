#include "kernel/pack.h"

#include <string.h>
#include "kernel/pack_int.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed weights are little-endian");

#define MAX_BLOCK 256 /* values in the largest block of any dtype */

/* One block of a file, taken apart: the numbers are those of pack.h. */
struct raw_block {
    uint16_t d, min;       /* f16 bits */
    uint8_t sc[16], m[16]; /* two-level only */
    uint8_t u[MAX_BLOCK];
};

typedef void unpack_fn(const uint8_t *restrict block, struct raw_block *restrict out);

struct pack_format {
    enum pack_class cls;
    int group, super, zero;
    bool has_min, two_level, signed_sc;
    unpack_fn *unpack; /* NULL: a float class, copied as it is */
};

static inline uint16_t load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void store32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void store64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

/* --- the blocks of files (ggml-common.h), to unsigned integers in column order --- */

static inline void nibbles32(const uint8_t *restrict qs, uint8_t *restrict u)
{
    for (int i = 0; i < 16; i++) {
        u[i] = qs[i] & 15;
        u[16 + i] = (uint8_t)(qs[i] >> 4);
    }
}

/* 16 in byte j of the result where bit j of `bits` (8 of them) is set. */
static inline uint64_t spread_bit4(uint64_t bits)
{
    /* of eight copies, byte j keeps bit j alone, which + 0x7f carries to the top bit */
    uint64_t copies = (bits * 0x0101010101010101u) & 0x8040201008040201u;
    return ((copies + 0x7f7f7f7f7f7f7f7fu) >> 3) & 0x1010101010101010u;
}

/* 32 nibbles and their fifth bits: as Q5_0 and Q5_1 hold them. */
static inline void fives32(const uint8_t *restrict qs, uint32_t high, uint8_t *restrict u)
{
    const uint64_t low = 0x0f0f0f0f0f0f0f0fu;
    uint64_t a = load64(qs), b = load64(qs + 8);
    store64(u, (a & low) | spread_bit4(high & 255));
    store64(u + 8, (b & low) | spread_bit4(high >> 8 & 255));
    store64(u + 16, (a >> 4 & low) | spread_bit4(high >> 16 & 255));
    store64(u + 24, (b >> 4 & low) | spread_bit4(high >> 24));
}

static void unpack_q4_0(const uint8_t *restrict b, struct raw_block *restrict out)
{
    out->d = load16(b);
    nibbles32(b + 2, out->u);
}

static void unpack_q4_1(const uint8_t *restrict b, struct raw_block *restrict out)
{
    out->d = load16(b);
    out->min = load16(b + 2);
    nibbles32(b + 4, out->u);
}

static void unpack_q5_0(const uint8_t *restrict b, struct raw_block *restrict out)
{
    out->d = load16(b);
    fives32(b + 6, load32(b + 2), out->u);
}

static void unpack_q5_1(const uint8_t *restrict b, struct raw_block *restrict out)
{
    out->d = load16(b);
    out->min = load16(b + 2);
    fives32(b + 8, load32(b + 4), out->u);
}

static void unpack_q8_0(const uint8_t *restrict b, struct raw_block *restrict out)
{
    out->d = load16(b);
    for (int i = 0; i < 32; i++)
        out->u[i] = b[2 + i] ^ 0x80;
}

static void unpack_q2_k(const uint8_t *restrict b, struct raw_block *restrict out)
{
    const uint8_t *qs = b + 16;
    for (int i = 0; i < 16; i++) {
        out->sc[i] = b[i] & 15;
        out->m[i] = (uint8_t)(b[i] >> 4);
    }
    for (int half = 0; half < 2; half++)
        for (int t = 0; t < 4; t++)
            for (int i = 0; i < 32; i++)
                out->u[128 * half + 32 * t + i] = (qs[32 * half + i] >> (2 * t)) & 3;
    out->d = load16(b + 80);
    out->min = load16(b + 82);
}

static void unpack_q3_k(const uint8_t *restrict b, struct raw_block *restrict out)
{
    const uint8_t *hmask = b, *qs = b + 32, *scales = b + 96;
    for (int half = 0; half < 2; half++)
        for (int t = 0; t < 4; t++)
            for (int i = 0; i < 32; i++) {
                int low = (qs[32 * half + i] >> (2 * t)) & 3;
                int high = (hmask[i] >> (4 * half + t)) & 1;
                out->u[128 * half + 32 * t + i] = (uint8_t)(low | high << 2);
            }
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
        int high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
        out->sc[j] = (uint8_t)((low | high << 4) - 32);
    }
    out->d = load16(b + 108);
}

/* The twelve bytes of eight 6-bit scales and eight 6-bit minimums of Q4_K and Q5_K. */
static inline void unpack_scales_k(const uint8_t *s, struct raw_block *out)
{
    for (int j = 0; j < 4; j++) {
        out->sc[j] = s[j] & 63;
        out->m[j] = s[j + 4] & 63;
        out->sc[j + 4] = (uint8_t)((s[j + 8] & 15) | (s[j] >> 6) << 4);
        out->m[j + 4] = (uint8_t)((s[j + 8] >> 4) | (s[j + 4] >> 6) << 4);
    }
}

static inline void nibbles256(const uint8_t *restrict qs, uint8_t *restrict u)
{
    for (int c = 0; c < 4; c++)
        for (int i = 0; i < 32; i++) {
            u[64 * c + i] = qs[32 * c + i] & 15;
            u[64 * c + 32 + i] = (uint8_t)(qs[32 * c + i] >> 4);
        }
}

static void unpack_q4_k(const uint8_t *restrict b, struct raw_block *restrict out)
{
    out->d = load16(b);
    out->min = load16(b + 2);
    unpack_scales_k(b + 4, out);
    nibbles256(b + 16, out->u);
}

static void unpack_q5_k(const uint8_t *restrict b, struct raw_block *restrict out)
{
    const uint8_t *qh = b + 16;
    out->d = load16(b);
    out->min = load16(b + 2);
    unpack_scales_k(b + 4, out);
    nibbles256(b + 48, out->u);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            out->u[32 * g + i] |= (uint8_t)(((qh[i] >> g) & 1) << 4);
}

static void unpack_q6_k(const uint8_t *restrict b, struct raw_block *restrict out)
{
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = b + 64 * half, *qh = b + 128 + 32 * half;
        uint8_t *u = out->u + 128 * half;
        for (int i = 0; i < 32; i++) {
            u[i] = (uint8_t)((ql[i] & 15) | ((qh[i] & 3) << 4));
            u[32 + i] = (uint8_t)((ql[32 + i] & 15) | (((qh[i] >> 2) & 3) << 4));
            u[64 + i] = (uint8_t)((ql[i] >> 4) | (((qh[i] >> 4) & 3) << 4));
            u[96 + i] = (uint8_t)((ql[32 + i] >> 4) | ((qh[i] >> 6) << 4));
        }
    }
    memcpy(out->sc, b + 192, 16);
    out->d = load16(b + 208);
}

static void unpack_iq4_nl(const uint8_t *restrict b, struct raw_block *restrict out)
{
    out->d = load16(b);
    nibbles32(b + 2, out->u);
}

static void unpack_iq4_xs(const uint8_t *restrict b, struct raw_block *restrict out)
{
    uint32_t high = load16(b + 2);
    for (int j = 0; j < 8; j++) {
        uint32_t low = (uint32_t)b[4 + j / 2] >> (4 * (j % 2)) & 15;
        out->sc[j] = (uint8_t)((low | (high >> (2 * j) & 3) << 4) - 32);
        nibbles32(b + 8 + 16 * j, out->u + 32 * j);
    }
    out->d = load16(b);
}

const uint8_t pack_iq4_codes[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                    129, 141, 153, 166, 181, 197, 217, 241};

static const struct pack_format formats[DT_COUNT] = {
    [DT_F32] = {PACK_F32, 1, 1, 0, false, false, false, NULL},
    [DT_F16] = {PACK_F16, 1, 1, 0, false, false, false, NULL},
    [DT_BF16] = {PACK_BF16, 1, 1, 0, false, false, false, NULL},
    [DT_Q4_0] = {PACK_Q4, 32, 32, 8, false, false, false, unpack_q4_0},
    [DT_Q4_1] = {PACK_Q4, 32, 32, 0, true, false, false, unpack_q4_1},
    [DT_Q5_0] = {PACK_Q5, 32, 32, 16, false, false, false, unpack_q5_0},
    [DT_Q5_1] = {PACK_Q5, 32, 32, 0, true, false, false, unpack_q5_1},
    [DT_Q8_0] = {PACK_Q8, 32, 32, 128, false, false, false, unpack_q8_0},
    [DT_Q2_K] = {PACK_Q4, 16, 256, 0, true, true, false, unpack_q2_k},
    [DT_Q3_K] = {PACK_Q4, 16, 256, 4, false, true, true, unpack_q3_k},
    [DT_Q4_K] = {PACK_Q4, 32, 256, 0, true, true, false, unpack_q4_k},
    [DT_Q5_K] = {PACK_Q5, 32, 256, 0, true, true, false, unpack_q5_k},
    [DT_Q6_K] = {PACK_Q6, 16, 256, 32, false, true, true, unpack_q6_k},
    [DT_IQ4_NL] = {PACK_IQ4, 32, 32, 128, false, false, false, unpack_iq4_nl},
    [DT_IQ4_XS] = {PACK_IQ4, 32, 256, 128, false, true, true, unpack_iq4_xs},
};

/* Bytes of one group's quants: 4-bit nibbles and bit planes, or whole bytes, for 16 rows. */
static size_t quants_bytes(enum pack_class cls, int group)
{
    size_t bits = cls <= PACK_IQ4 ? 4 : cls == PACK_Q5 ? 5 : cls == PACK_Q6 ? 6 : 8;
    return (size_t)group * PACK_ROWS * bits / 8;
}

/* The sizes of a tile's parts, once format and cols are known; false when a size overflows. */
static bool plan_sizes(struct packed *p)
{
    size_t units, bytes;
    if (p->group == 1) {
        p->group_bytes = p->super_bytes = 64;
        units = p->cls == PACK_F32 ? (size_t)p->cols : ((size_t)p->cols + 1) / 2;
    } else {
        size_t groups = (size_t)(p->super / p->group);
        size_t scales = p->two_level ? groups * PACK_ROWS : 0;
        p->off_min = 2 * PACK_ROWS;
        p->off_sc = p->off_min + (p->has_min ? 2 * PACK_ROWS : 0);
        p->off_m = p->off_sc + scales;
        p->off_quants = p->off_m + (p->has_min ? scales : 0);
        p->group_bytes = quants_bytes(p->cls, p->group);
        p->super_bytes = p->off_quants + groups * p->group_bytes;
        units = (size_t)(p->cols / p->super);
    }
    if (__builtin_mul_overflow(units, p->super_bytes, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)63, &bytes))
        return false;
    p->tile_bytes = bytes / 64 * 64;
    return !__builtin_mul_overflow(p->tile_bytes, (size_t)p->tiles, &bytes);
}

int pack_plan(enum dtype t, int64_t rows, int64_t cols, struct packed *out, sp_error *err)
{
    if ((unsigned)t >= DT_COUNT || formats[t].group == 0) {
        const char *name = (unsigned)t < DT_COUNT ? dtype_get(t)->name : "an unknown dtype";
        return sp_fail(err, SP_EUNSUPPORTED,
                       "weights: %s is not a format of weight matrices: convert the model", name);
    }
    const struct pack_format *f = &formats[t];
    if (rows < 1 || cols < 1 || rows > INT64_MAX - PACK_ROWS)
        return sp_fail(err, SP_EINVAL,
                       "weights: a matrix of %lld x %lld: rows and columns must be positive",
                       (long long)rows, (long long)cols);
    if (cols % f->super != 0)
        return sp_fail(err, SP_EINVAL,
                       "weights: %lld columns of %s: must be a multiple of its block of %d",
                       (long long)cols, dtype_get(t)->name, f->super);
    *out = (struct packed){
        .cls = f->cls,
        .rows = rows,
        .cols = cols,
        .tiles = (rows + PACK_ROWS - 1) / PACK_ROWS,
        .group = f->group,
        .super = f->super,
        .zero = f->zero,
        .has_min = f->has_min,
        .two_level = f->two_level,
        .signed_sc = f->signed_sc,
        .source = t,
    };
    if (!plan_sizes(out))
        return sp_fail(err, SP_EINVAL, "weights: a matrix of %lld x %lld is too large",
                       (long long)rows, (long long)cols);
    return 0;
}

/* --- packing --- */

/* Bits above the nibbles of 16 rows, on their way to the planes: byte r of entry [b][k] has bit 4 + b of
 * row r's columns 8 k .. 8 k + 7 of a group, lowest first. */
typedef uint8_t high_bits[2][4][PACK_ROWS];

/* Row r of one group of 4, 5 or 6 bits: u[group] to nibbles and to the bits for `planes` planes, eight
 * columns (two quad lines) at a time. */
static inline void put_nibbles(const uint8_t *u, int group, int planes, int r, uint8_t *dst,
                               high_bits bits)
{
    const uint64_t low = 0x0f0f0f0f0f0f0f0fu, ones = 0x0101010101010101u;
    for (int k = 0; k < group / 8; k++) {
        uint64_t w = load64(u + 8 * k);
        uint64_t n = w & low;
        store32(dst + 64 * k + 4 * r, (uint32_t)(n | n >> 28));
        for (int b = 0; b < planes; b++) /* the product gathers one bit of each byte at the top */
            bits[b][k][r] = (uint8_t)((((w >> (4 + b)) & ones) * 0x0102040810204080u) >> 56);
    }
}

/* The low nibbles of 8 bytes, side by side. */
static inline uint64_t join_nibbles(uint64_t x)
{
    x &= 0x0f0f0f0f0f0f0f0fu;
    x = (x | x >> 4) & 0x00ff00ff00ff00ffu;
    x = (x | x >> 8) & 0x0000ffff0000ffffu;
    return (x | x >> 16) & 0xffffffffu;
}

/* The bit planes of one group, once all rows have left their bits. */
static inline void put_planes(high_bits bits, int group, int planes, uint8_t *dst)
{
    for (int b = 0; b < planes; b++) {
        uint8_t *word = dst + 8 * group + 2 * group * b;
        for (int k = 0; k < group / 8; k++, word += 16) {
            uint64_t top = load64(bits[b][k]), bottom = load64(bits[b][k] + 8);
            store64(word, join_nibbles(top) | join_nibbles(bottom) << 32);
            store64(word + 8, join_nibbles(top >> 4) | join_nibbles(bottom >> 4) << 32);
        }
    }
}

static inline void put_bytes(const uint8_t *u, int group, int r, uint8_t *dst)
{
    for (int k = 0; k < group / 4; k++)
        store32(dst + 64 * k + 4 * r, load32(u + 4 * k));
}

static int planes_of(enum pack_class cls)
{
    return cls == PACK_Q5 ? 1 : cls == PACK_Q6 ? 2 : 0;
}

/* bits: one entry a group of the super-group. */
static void put_quants(const struct packed *p, const uint8_t *u, int r, uint8_t *dst,
                       high_bits *bits)
{
    int groups = p->super / p->group;
    for (int g = 0; g < groups; g++, dst += p->group_bytes, u += p->group) {
        switch (p->cls) {
        case PACK_Q4:
        case PACK_IQ4:
            if (p->group == 32)
                put_nibbles(u, 32, 0, r, dst, bits[g]);
            else
                put_nibbles(u, 16, 0, r, dst, bits[g]);
            break;
        case PACK_Q5:
            put_nibbles(u, 32, 1, r, dst, bits[g]);
            break;
        case PACK_Q6:
            put_nibbles(u, 16, 2, r, dst, bits[g]);
            break;
        default:
            put_bytes(u, 32, r, dst);
            break;
        }
    }
}

/* The scales of row r of one super-group. */
static void put_scales(const struct packed *p, const struct raw_block *b, int r, uint8_t *super)
{
    int groups = p->super / p->group;
    store16(super + 2 * r, b->d);
    if (p->has_min)
        store16(super + p->off_min + 2 * r, b->min);
    if (!p->two_level)
        return;
    for (int g = 0; g < groups; g++)
        super[p->off_sc + (size_t)(g * PACK_ROWS + r)] = b->sc[g];
    for (int g = 0; p->has_min && g < groups; g++)
        super[p->off_m + (size_t)(g * PACK_ROWS + r)] = b->m[g];
}

/* Asks for what the next tile will read at the same place, rows usually lying one after the other: sixteen
 * short streams are more than the hardware sees by itself. The address need not exist. */
static inline void prefetch_next_tile(const uint8_t *at, size_t row_bytes)
{
    __builtin_prefetch((const void *)((uintptr_t)at + PACK_ROWS * row_bytes));
}

/* row: the n source rows of the tile. */
static void pack_quant_tile(const struct packed *p, const uint8_t *const *row, int n, uint8_t *tile)
{
    const struct pack_format *f = &formats[p->source];
    size_t block_bytes = (size_t)dtype_get(p->source)->bytes;
    int groups = p->super / p->group, planes = planes_of(p->cls);
    int64_t supers = p->cols / p->super;
    size_t row_bytes = (size_t)supers * block_bytes;
    struct raw_block b;
    high_bits bits[16];
    memset(bits, 0, sizeof bits);
    for (int64_t s = 0; s < supers; s++) {
        uint8_t *super = tile + (size_t)s * p->super_bytes, *quants = super + p->off_quants;
        if (n < PACK_ROWS)
            memset(super, 0, p->super_bytes);
        for (int r = 0; r < n; r++) {
            const uint8_t *block = row[r] + (size_t)s * block_bytes;
            prefetch_next_tile(block, row_bytes);
            f->unpack(block, &b);
            put_scales(p, &b, r, super);
            put_quants(p, b.u, r, quants, bits);
        }
        for (int g = 0; planes > 0 && g < groups; g++)
            put_planes(bits[g], p->group, planes, quants + (size_t)g * p->group_bytes);
    }
    size_t used = (size_t)supers * p->super_bytes;
    memset(tile + used, 0, p->tile_bytes - used);
}

/* A float tile: lines of 16 x 4 bytes (one float32 or a pair of 16-bit numbers), 64 lines at a time so
 * that all rows' stores meet in the nearest cache. */
static void pack_float_tile(const struct packed *p, const uint8_t *const *row, int n, uint8_t *tile)
{
    int64_t lines = p->cls == PACK_F32 ? p->cols : p->cols / 2;
    for (int64_t begin = 0; begin < lines; begin += 64) {
        int64_t end = begin + 64 < lines ? begin + 64 : lines;
        if (n < PACK_ROWS)
            memset(tile + 64 * begin, 0, 64 * (size_t)(end - begin));
        for (int r = 0; r < n; r++)
            for (int64_t k = begin; k < end; k++)
                store32(tile + 64 * k + 4 * r, load32(row[r] + 4 * k));
    }
    if (p->cls != PACK_F32 && p->cols % 2 != 0) {
        memset(tile + 64 * lines, 0, 64);
        for (int r = 0; r < n; r++)
            store16(tile + 64 * lines + 4 * r, load16(row[r] + 4 * lines));
    }
}

void pack_tiles(const struct packed *p, const struct pack_source *s, int64_t begin, int64_t end,
                uint8_t *dst)
{
    for (int64_t t = begin; t < end; t++) {
        const uint8_t *row[PACK_ROWS];
        int n = 0;
        for (int64_t r = t * PACK_ROWS; r < p->rows && n < PACK_ROWS; r++)
            row[n++] = s->src + (size_t)(s->map ? s->map[r] : r) * s->row_bytes;
        uint8_t *tile = dst + (size_t)t * p->tile_bytes;
        if (formats[p->source].unpack)
            pack_quant_tile(p, row, n, tile);
        else
            pack_float_tile(p, row, n, tile);
    }
}

/* --- reading back --- */

struct pack_scale pack_group_scale(const struct packed *p, const uint8_t *tile, int64_t g, int r)
{
    int groups = p->super / p->group;
    const uint8_t *super = tile + (size_t)(g / groups) * p->super_bytes;
    struct pack_scale s = {f16_to_f32(load16(super + 2 * r)), 0};
    if (p->has_min)
        s.min = f16_to_f32(load16(super + p->off_min + 2 * r));
    if (p->two_level) {
        size_t at = (size_t)((int)(g % groups) * PACK_ROWS + r);
        int sc = super[p->off_sc + at];
        s.scale *= (float)(p->signed_sc && sc > 127 ? sc - 256 : sc);
        if (p->has_min)
            s.min = -s.min * (float)super[p->off_m + at];
    }
    return s;
}

void pack_group_values(const struct packed *p, const uint8_t *tile, int64_t g, int r, uint8_t *u)
{
    int groups = p->super / p->group;
    const uint8_t *q = tile + (size_t)(g / groups) * p->super_bytes + p->off_quants +
                       (size_t)(g % groups) * p->group_bytes;
    if (p->cls == PACK_Q8) {
        for (int k = 0; k < p->group; k++)
            u[k] = q[64 * (k / 4) + 4 * r + k % 4];
        return;
    }
    int planes = planes_of(p->cls);
    for (int k = 0; k < p->group; k++) {
        int line = k / 4, byte = 4 * r + k % 4;
        int v = q[64 * (line / 2) + byte] >> (4 * (line % 2)) & 15;
        for (int b = 0; b < planes; b++) {
            const uint8_t *word = q + 8 * p->group + 2 * p->group * b + 8 * line;
            v |= (word[byte / 8] >> (byte % 8) & 1) << (4 + b);
        }
        u[k] = p->cls == PACK_IQ4 ? pack_iq4_codes[v] : (uint8_t)v;
    }
}

static void float_row(const struct packed *p, const uint8_t *tile, int r, float *out)
{
    for (int64_t k = 0; k < p->cols; k++) {
        if (p->cls == PACK_F32) {
            memcpy(&out[k], tile + 64 * k + 4 * r, sizeof out[k]);
        } else {
            uint16_t h = load16(tile + 64 * (k / 2) + 4 * r + 2 * (k % 2));
            out[k] = p->cls == PACK_F16 ? f16_to_f32(h) : bf16_to_f32(h);
        }
    }
}

void pack_row_f32(const struct packed *p, int64_t row, float *out)
{
    const uint8_t *tile = p->data + (size_t)(row / PACK_ROWS) * p->tile_bytes;
    int r = (int)(row % PACK_ROWS);
    if (p->group == 1) {
        float_row(p, tile, r, out);
        return;
    }
    uint8_t u[32];
    for (int64_t g = 0; g < p->cols / p->group; g++) {
        struct pack_scale s = pack_group_scale(p, tile, g, r);
        pack_group_values(p, tile, g, r, u);
        for (int k = 0; k < p->group; k++) {
            float v = s.scale * (float)(u[k] - p->zero);
            out[g * p->group + k] = p->has_min ? v + s.min : v;
        }
    }
}
