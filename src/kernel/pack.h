/* Packed weights: the layouts that the matrix kernels like. Every dtype of a file is brought into one
 * of a few classes with its exact values; the layout is the same for every instruction set.
 *
 * A matrix [rows = outputs, cols = inputs] is cut into tiles of 16 rows (the last one padded with rows
 * of zeros); a tile holds all cols, so that one output row lives in one SIMD lane and no horizontal sum
 * is ever needed. Inside a tile the columns come in groups of `group` = 32 or 16; K-quants also have
 * super-groups of 256 columns.
 *
 * Quantized classes store unsigned integers u; the weight is
 *     w = scale[row, group] * (u - zero) + min[row, group]
 * with `zero` a constant of the class (0 where there is a minimum).
 *   one-level scales (Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL): scale and min are the file's f16 d and m, one each
 *     per row and group of 32;
 *   two-level scales (K-quants, IQ4_XS): scale = d[row, super] * sc[row, group] and
 *     min = -dmin[row, super] * m[row, group], with f16 d, dmin and 8-bit sc (signed for Q3_K,
 *     Q6_K and IQ4_XS, else unsigned), m, exactly as in the file.
 *
 * Bytes of a tile, all parts one after the other, for each super-group (two-level: 256 columns; one-
 * level: 32 columns = one group):
 *   [d: 16 x f16] [dmin: 16 x f16, if two-level with min]  or, one-level, [d: 16 x f16] [m: 16 x f16, if min]
 *   two-level: [sc: n_groups x 16 x u8/i8] [m: n_groups x 16 x u8, if min]
 *   [quants of each group, in column order]
 * Quants of a "quad line" = 16 rows x 4 consecutive columns = 64 values, row-major in fours:
 * value (r, k..k+3) are bytes 4r..4r+3. Per pair of quad lines (8 columns):
 *   4-bit classes: 64 bytes; low nibbles are the first quad line, high nibbles the second;
 *   plus 1 or 2 bit planes for 5 and 6 bits: for every quad line one 64-bit little-endian word a plane,
 *     bit i belongs to byte i of the line; the words of a group follow its nibbles
 *     (plane of bit 4: lines 0, 1, ...; then the plane of bit 5);
 *   8-bit class: 64 bytes a quad line, u = q + 128;
 *   IQ4: nibbles like the 4-bit classes, each the place of u = value + 128 in a book of 16 (pack_iq4_codes).
 * Padding columns do not exist: cols is a multiple of the dtype's block.
 *
 * 16-bit and float classes: F16 and BF16: pairs, value (r, k), (r, k+1) at 2r, 2r+1 of a line of 32
 * 16-bit numbers; an odd last column is padded by zero. F32: [cols][16 rows]. */
#ifndef SP_KERNEL_PACK_H
#define SP_KERNEL_PACK_H

#include "format/dtype.h"

enum pack_class { PACK_Q4, PACK_IQ4, PACK_Q5, PACK_Q6, PACK_Q8, PACK_F16, PACK_BF16, PACK_F32 };

#define PACK_ROWS 16 /* rows of a tile */
/* Packed weights are kept on disk (model/packed_file.h): to be raised whenever a tile's bytes change for any dtype.
 * tests/unit/kernel/test_pack.c knows the bytes of each. */
#define PACK_LAYOUT 1

struct packed {
    enum pack_class cls;
    int64_t rows, cols;
    int64_t tiles;     /* ceil(rows / 16) */
    size_t tile_bytes; /* multiple of 64 */
    int group;         /* 16 or 32; 1 for the float classes */
    int super;         /* columns that share d: 256 two-level, 32 one-level; 1 for float classes */
    int zero;          /* subtracted from u */
    bool has_min, two_level, signed_sc;
    size_t super_bytes;                        /* bytes of a super-group inside a tile */
    size_t off_min, off_sc, off_m, off_quants; /* inside a super-group; d is at 0 */
    size_t group_bytes;                        /* bytes of one group's quants */
    enum dtype source;
    const uint8_t *data; /* 64-byte aligned, [tiles][tile_bytes]; not owned */
};

/* Fills all but `data`. SP_EUNSUPPORTED for dtypes that hold no weights, SP_EINVAL for a cols that is no
 * multiple of the block. Size of the packed form: tiles * tile_bytes. */
int pack_plan(enum dtype t, int64_t rows, int64_t cols, struct packed *out, sp_error *err);

/* Source rows: row r of the packed matrix is row (map ? map[r] : r) of src. */
struct pack_source {
    const uint8_t *src;
    size_t row_bytes;
    const int32_t *map; /* [rows] or NULL */
};

/* Packs tiles [begin, end) into dst (the whole matrix's memory). Different ranges may be packed by
 * different threads. Allocates nothing. */
void pack_tiles(const struct packed *p, const struct pack_source *s, int64_t begin, int64_t end,
                uint8_t *dst);

/* The oracle: the float32 values of row r, out[cols], equal bit for bit to dtype_to_f32 of the source. */
void pack_row_f32(const struct packed *p, int64_t r, float *out);

#endif
