/* Private to src/kernel: reading single groups out of a packed matrix, by the layout of pack.h. */
#ifndef SP_KERNEL_PACK_INT_H
#define SP_KERNEL_PACK_INT_H

#include "kernel/pack.h"

/* What the nibbles of PACK_IQ4 stand for: dtype_iq4_values + 128. */
extern const uint8_t pack_iq4_codes[16];

/* Scale and minimum of a group of one row: w = scale * (u - zero) + min. Both exact. */
struct pack_scale {
    float scale, min;
};

/* Row r of tile (0..15), group g of the whole row. */
struct pack_scale pack_group_scale(const struct packed *p, const uint8_t *tile, int64_t g, int r);
/* The group's unsigned integers, u[p->group], in column order. */
void pack_group_values(const struct packed *p, const uint8_t *tile, int64_t g, int r, uint8_t *u);

#endif
