/* Base in one line for the rooms above: errors, memory, strings. Bigger things have their own header. */
#ifndef SP_BASE_BASE_H
#define SP_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

#define SP_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
