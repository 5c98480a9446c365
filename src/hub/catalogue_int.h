/* The rows behind catalogue.c. */
#ifndef SP_HUB_CATALOGUE_INT_H
#define SP_HUB_CATALOGUE_INT_H

#include "base/base.h"
#include "hub/hub.h"

/* The last two fields of a row: starter, newest. */
#define PLAIN false, false
#define STARTER true, false
#define NEWEST false, true

extern const struct catalogue_entry catalogue_entries[];
extern const size_t catalogue_count;

#endif
