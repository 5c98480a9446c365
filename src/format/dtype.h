/* The dtype table: every number format that a weights file may hold, with its block shape and its
 * reference unpacking to float32. A block is `block` consecutive values of one row in `bytes` bytes.
 * Sources: safetensors format description; GGUF block layouts as ggml defines them (ggml-common.h).
 * Pure functions, safe from any thread. */
#ifndef SP_FORMAT_DTYPE_H
#define SP_FORMAT_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include "base/base.h"

enum dtype {
    DT_F32,
    DT_F16,
    DT_BF16,
    DT_F64,
    DT_I8,
    DT_I16,
    DT_I32,
    DT_I64,
    DT_U8,
    DT_BOOL,
    DT_F8_E4M3,
    DT_F8_E5M2,
    DT_Q4_0,
    DT_Q4_1,
    DT_Q5_0,
    DT_Q5_1,
    DT_Q8_0,
    DT_Q2_K,
    DT_Q3_K,
    DT_Q4_K,
    DT_Q5_K,
    DT_Q6_K,
    DT_IQ4_NL,
    DT_IQ4_XS,
    DT_COUNT
};

struct dtype_info {
    const char *name;    /* "Q4_K" */
    int block;           /* values in a block; 1 for plain types */
    int bytes;           /* bytes of a block */
    int gguf_type;       /* ggml type number; -1: not in GGUF */
    const char *st_name; /* safetensors name; NULL: not in safetensors */
};

const struct dtype_info *dtype_get(enum dtype t);
int dtype_from_gguf(uint32_t type, enum dtype *out); /* SP_EUNSUPPORTED for others */
int dtype_from_safetensors(str name, enum dtype *out);

/* Bytes of n values in one row; SP_EINVAL when n is not a multiple of the block or it overflows. */
int dtype_row_bytes(enum dtype t, int64_t n, size_t *bytes);

/* The code book of IQ4_NL and IQ4_XS: what a nibble stands for (ggml-common.h: kvalues_iq4nl). */
extern const int8_t dtype_iq4_values[16];

/* Unpacks n values (a multiple of the block) at src, unaligned allowed, to out[n]: the exact value
 * that the file means, in float32. Types that hold weights only: F32 F16 BF16 and all Q and IQ types. */
void dtype_to_f32(enum dtype t, const void *src, int64_t n, float *out);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* round to nearest even */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f); /* round to nearest even */

#endif
