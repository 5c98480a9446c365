/* A keyed hash for tables in memory: who doesn't know the key can't choose what falls together. Pure. */
#ifndef SP_BASE_HASH_H
#define SP_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012). Words are read in the machine's own
 * byte order: the value is for this machine only. */
uint64_t hash_bytes(const uint64_t key[2], const void *data, size_t n);

#endif
