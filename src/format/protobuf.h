/* Reading protocol buffers' wire format, field by field (protobuf.dev: Encoding). Every length is checked
 * against what is left. Pure functions; what they return points into the message. */
#ifndef SP_FORMAT_PROTOBUF_H
#define SP_FORMAT_PROTOBUF_H

#include "base/base.h"

enum proto_wire { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_reader {
    const uint8_t *p, *end;
    bool bad; /* what followed the last field is no field */
};
struct proto_field {
    uint32_t number;
    enum proto_wire wire;
    uint64_t value; /* of a varint or fixed-size field */
    str bytes;      /* of PROTO_BYTES: a string, bytes, or a message */
};

struct proto_reader proto_open(str message);
/* The next field; false at the message's end or when it is malformed (r->bad). */
bool proto_next(struct proto_reader *r, struct proto_field *f);
float proto_float(const struct proto_field *f); /* of a FIXED32 */

#endif
