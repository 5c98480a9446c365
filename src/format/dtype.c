#include "format/dtype.h"

#include <string.h>

static const struct dtype_info table[DT_COUNT] = {
    [DT_F32] = {"F32", 1, 4, 0, "F32"},
    [DT_F16] = {"F16", 1, 2, 1, "F16"},
    [DT_BF16] = {"BF16", 1, 2, 30, "BF16"},
    [DT_F64] = {"F64", 1, 8, 28, "F64"},
    [DT_I8] = {"I8", 1, 1, 24, "I8"},
    [DT_I16] = {"I16", 1, 2, 25, "I16"},
    [DT_I32] = {"I32", 1, 4, 26, "I32"},
    [DT_I64] = {"I64", 1, 8, 27, "I64"},
    [DT_U8] = {"U8", 1, 1, -1, "U8"},
    [DT_BOOL] = {"BOOL", 1, 1, -1, "BOOL"},
    [DT_F8_E4M3] = {"F8_E4M3", 1, 1, -1, "F8_E4M3"},
    [DT_F8_E5M2] = {"F8_E5M2", 1, 1, -1, "F8_E5M2"},
    [DT_Q4_0] = {"Q4_0", 32, 18, 2, NULL},
    [DT_Q4_1] = {"Q4_1", 32, 20, 3, NULL},
    [DT_Q5_0] = {"Q5_0", 32, 22, 6, NULL},
    [DT_Q5_1] = {"Q5_1", 32, 24, 7, NULL},
    [DT_Q8_0] = {"Q8_0", 32, 34, 8, NULL},
    [DT_Q2_K] = {"Q2_K", 256, 84, 10, NULL},
    [DT_Q3_K] = {"Q3_K", 256, 110, 11, NULL},
    [DT_Q4_K] = {"Q4_K", 256, 144, 12, NULL},
    [DT_Q5_K] = {"Q5_K", 256, 176, 13, NULL},
    [DT_Q6_K] = {"Q6_K", 256, 210, 14, NULL},
    [DT_IQ4_NL] = {"IQ4_NL", 32, 18, 20, NULL},
    [DT_IQ4_XS] = {"IQ4_XS", 256, 136, 23, NULL},
};

const struct dtype_info *dtype_get(enum dtype t)
{
    return &table[t];
}

int dtype_from_gguf(uint32_t type, enum dtype *out)
{
    for (int i = 0; i < DT_COUNT; i++)
        if (table[i].gguf_type >= 0 && (uint32_t)table[i].gguf_type == type) {
            *out = (enum dtype)i;
            return 0;
        }
    return SP_EUNSUPPORTED;
}

int dtype_from_safetensors(str name, enum dtype *out)
{
    for (int i = 0; i < DT_COUNT; i++)
        if (table[i].st_name && str_eqz(name, table[i].st_name)) {
            *out = (enum dtype)i;
            return 0;
        }
    return SP_EUNSUPPORTED;
}

int dtype_row_bytes(enum dtype t, int64_t n, size_t *bytes)
{
    const struct dtype_info *d = &table[t];
    if (n < 0 || n % d->block != 0)
        return SP_EINVAL;
    uint64_t blocks = (uint64_t)(n / d->block);
    if (blocks > SIZE_MAX / 2 / (uint64_t)d->bytes)
        return SP_EINVAL;
    *bytes = (size_t)blocks * (size_t)d->bytes;
    return 0;
}

/* ---- 16-bit floats ---- */

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | (mantissa << 13));
    if (exponent != 0)
        return float_of(sign | ((exponent + 112) << 23) | (mantissa << 13));
    /* Subnormal: mantissa * 2^-24, exact in float32. */
    float v = (float)mantissa * 0x1p-24f;
    return sign ? -v : v;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = (u >> 16) & 0x8000, rest = u & 0x7fffffff;
    if (rest > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | ((rest >> 13) & 0x3ff));
    if (rest >= 0x477ff000) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00);
    if (rest < 0x38800000) {
        /* Subnormal or zero: adding 0.5 lets the hardware round to a multiple of 2^-24. */
        float rounded = float_of(rest) + 0.5f;
        return (uint16_t)(sign | (bits_of(rounded) - 0x3f000000));
    }
    uint32_t odd = (rest >> 13) & 1;
    return (uint16_t)(sign | ((rest - 0x38000000 + 0xfff + odd) >> 13));
}

float bf16_to_f32(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/* ---- unpacking one block ---- */

static float f16_at(const uint8_t *p)
{
    return f16_to_f32((uint16_t)(p[0] | (p[1] << 8)));
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
}

/* Q4_0: w = d (q - 8);  Q4_1: w = d q + m. Low nibbles are values 0..15, high ones 16..31. */
static void unpack_q4(const uint8_t *b, bool has_min, float *out)
{
    float d = f16_at(b), m = has_min ? f16_at(b + 2) : 0.0f;
    const uint8_t *q = b + (has_min ? 4 : 2);
    for (int i = 0; i < 16; i++) {
        int lo = q[i] & 15, hi = q[i] >> 4;
        out[i] = has_min ? d * (float)lo + m : d * (float)(lo - 8);
        out[i + 16] = has_min ? d * (float)hi + m : d * (float)(hi - 8);
    }
}

/* As Q4, with the fifth bits of all 32 values in one word. */
static void unpack_q5(const uint8_t *b, bool has_min, float *out)
{
    float d = f16_at(b), m = has_min ? f16_at(b + 2) : 0.0f;
    const uint8_t *q = b + (has_min ? 8 : 6);
    uint32_t high = u32_at(q - 4);
    for (int i = 0; i < 16; i++) {
        int lo = (q[i] & 15) | (int)(((high >> i) & 1) << 4);
        int hi = (q[i] >> 4) | (int)(((high >> (i + 16)) & 1) << 4);
        out[i] = has_min ? d * (float)lo + m : d * (float)(lo - 16);
        out[i + 16] = has_min ? d * (float)hi + m : d * (float)(hi - 16);
    }
}

static void unpack_q8_0(const uint8_t *b, float *out)
{
    float d = f16_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)b[2 + i];
}

/* 16 sub-blocks of 16: w = d sc q - dmin m, sc and m four bits each. */
static void unpack_q2_k(const uint8_t *b, float *out)
{
    const uint8_t *scales = b, *q = b + 16;
    float d = f16_at(b + 80), dmin = f16_at(b + 82);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, shift = (i % 128) / 32 * 2, sub = i / 16;
        int v = (q[half * 32 + i % 32] >> shift) & 3;
        out[i] = d * (float)(scales[sub] & 15) * (float)v - dmin * (float)(scales[sub] >> 4);
    }
}

/* 16 sub-blocks of 16: w = d (sc - 32) q, q from two low bits and a mask of high ones (set: no -4). */
static void unpack_q3_k(const uint8_t *b, float *out)
{
    const uint8_t *mask = b, *q = b + 32, *s = b + 96;
    float d = f16_at(b + 108);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, row = (i % 128) / 32, sub = i / 16;
        int lo = sub < 8 ? s[sub] & 15 : s[sub - 8] >> 4;
        int sc = (lo | (((s[8 + sub % 4] >> (2 * (sub / 4))) & 3) << 4)) - 32;
        int v = (q[half * 32 + i % 32] >> (2 * row)) & 3;
        int high = (mask[i % 32] >> (half * 4 + row)) & 1;
        out[i] = d * (float)sc * (float)(v - (high ? 0 : 4));
    }
}

/* The 6-bit scale and minimum of sub-block j out of the 12 bytes that Q4_K and Q5_K share. */
static void k_scale(const uint8_t *s, int j, int *sc, int *m)
{
    if (j < 4) {
        *sc = s[j] & 63;
        *m = s[j + 4] & 63;
    } else {
        *sc = (s[j + 4] & 15) | ((s[j - 4] >> 6) << 4);
        *m = (s[j + 4] >> 4) | ((s[j] >> 6) << 4);
    }
}

/* 8 sub-blocks of 32: w = d sc q - dmin m. Q5_K has the fifth bits in 32 bytes before the nibbles. */
static void unpack_q45_k(const uint8_t *b, bool five, float *out)
{
    float d = f16_at(b), dmin = f16_at(b + 2);
    const uint8_t *high = b + 16, *q = b + (five ? 48 : 16);
    for (int j = 0; j < 8; j++) {
        int sc, m;
        k_scale(b + 4, j, &sc, &m);
        float scale = d * (float)sc, min = dmin * (float)m;
        for (int i = 0; i < 32; i++) {
            int v = j % 2 ? q[j / 2 * 32 + i] >> 4 : q[j / 2 * 32 + i] & 15;
            if (five)
                v |= ((high[i] >> j) & 1) << 4;
            out[j * 32 + i] = scale * (float)v - min;
        }
    }
}

/* 16 sub-blocks of 16: w = d sc (q - 32), sc a signed byte, q from four low and two high bits. */
static void unpack_q6_k(const uint8_t *b, float *out)
{
    const uint8_t *low = b, *high = b + 128, *sc = b + 192;
    float d = f16_at(b + 208);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, quarter = (i % 128) / 32, k = i % 32;
        int byte = low[half * 64 + (quarter % 2) * 32 + k];
        int v = (quarter < 2 ? byte & 15 : byte >> 4) |
                (((high[half * 32 + k] >> (2 * quarter)) & 3) << 4);
        out[i] = d * (float)(int8_t)sc[i / 16] * (float)(v - 32);
    }
}

const int8_t dtype_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

static void unpack_iq4(const uint8_t *q, float scale, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = scale * (float)dtype_iq4_values[q[i] & 15];
        out[i + 16] = scale * (float)dtype_iq4_values[q[i] >> 4];
    }
}

/* 8 sub-blocks of 32: w = d (sc - 32) code, sc from four low bits and two high ones. */
static void unpack_iq4_xs(const uint8_t *b, float *out)
{
    float d = f16_at(b);
    int high = b[2] | (b[3] << 8);
    for (int j = 0; j < 8; j++) {
        int sc = ((b[4 + j / 2] >> (4 * (j % 2))) & 15) | (((high >> (2 * j)) & 3) << 4);
        unpack_iq4(b + 8 + 16 * j, d * (float)(sc - 32), out + 32 * j);
    }
}

static void unpack_block(enum dtype t, const uint8_t *b, float *out)
{
    switch (t) {
    case DT_Q4_0:
    case DT_Q4_1:
        unpack_q4(b, t == DT_Q4_1, out);
        break;
    case DT_Q5_0:
    case DT_Q5_1:
        unpack_q5(b, t == DT_Q5_1, out);
        break;
    case DT_Q8_0:
        unpack_q8_0(b, out);
        break;
    case DT_Q2_K:
        unpack_q2_k(b, out);
        break;
    case DT_Q3_K:
        unpack_q3_k(b, out);
        break;
    case DT_Q4_K:
    case DT_Q5_K:
        unpack_q45_k(b, t == DT_Q5_K, out);
        break;
    case DT_Q6_K:
        unpack_q6_k(b, out);
        break;
    case DT_IQ4_NL:
        unpack_iq4(b + 2, f16_at(b), out);
        break;
    case DT_IQ4_XS:
        unpack_iq4_xs(b, out);
        break;
    default: /* plain types have no blocks */
        break;
    }
}

void dtype_to_f32(enum dtype t, const void *src, int64_t n, float *out)
{
    const uint8_t *p = src;
    const struct dtype_info *d = &table[t];
    if (t == DT_F32) {
        memcpy(out, p, (size_t)n * sizeof *out);
    } else if (t == DT_F16 || t == DT_BF16) {
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = (uint16_t)(p[2 * i] | (p[2 * i + 1] << 8));
            out[i] = t == DT_F16 ? f16_to_f32(h) : bf16_to_f32(h);
        }
    } else {
        for (int64_t i = 0; i < n; i += d->block, p += d->bytes)
            unpack_block(t, p, out + i);
    }
}
