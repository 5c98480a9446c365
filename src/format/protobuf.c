#include "format/protobuf.h"

#include <string.h>

struct proto_reader proto_open(str message)
{
    const uint8_t *p = (const uint8_t *)message.p;
    return (struct proto_reader){.p = p, .end = p + message.n};
}

/* At most ten bytes of seven bits, the lowest first. */
static bool read_varint(struct proto_reader *r, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        uint8_t byte = *r->p++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return shift < 63 || byte <= 1;
        }
    }
    return false;
}

static bool read_fixed(struct proto_reader *r, size_t n, uint64_t *out)
{
    if ((size_t)(r->end - r->p) < n)
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)r->p[i] << 8 * i;
    r->p += n;
    return true;
}

static bool read_field(struct proto_reader *r, struct proto_field *f)
{
    uint64_t tag;
    if (!read_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return false;
    f->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case PROTO_VARINT:
        f->wire = PROTO_VARINT;
        return read_varint(r, &f->value);
    case PROTO_FIXED64:
        f->wire = PROTO_FIXED64;
        return read_fixed(r, 8, &f->value);
    case PROTO_FIXED32:
        f->wire = PROTO_FIXED32;
        return read_fixed(r, 4, &f->value);
    case PROTO_BYTES:
        f->wire = PROTO_BYTES;
        if (!read_varint(r, &f->value) || f->value > (uint64_t)(r->end - r->p))
            return false;
        f->bytes = (str){(const char *)r->p, (size_t)f->value};
        r->p += f->value;
        return true;
    default:
        return false; /* groups, which nobody writes any more */
    }
}

bool proto_next(struct proto_reader *r, struct proto_field *f)
{
    *f = (struct proto_field){0};
    if (r->bad || r->p == r->end)
        return false;
    r->bad = !read_field(r, f);
    return !r->bad;
}

float proto_float(const struct proto_field *f)
{
    uint32_t bits = (uint32_t)f->value;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
