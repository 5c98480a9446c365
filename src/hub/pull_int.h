/* One pull at work (pull.c, local.c). */
#ifndef SP_HUB_PULL_INT_H
#define SP_HUB_PULL_INT_H

#include "hub/hub_int.h"

struct job {
    hub *h;
    const struct pull_opts *o;
    const struct catalogue_entry *entry; /* NULL: not from the catalogue */
    char name[128];
    char source[1200]; /* the one that served, for sampan.json */
    char revision[80]; /* what was asked for; "" the default */
    char commit[65];   /* what it meant; "" not told */
    bool pinned;       /* files are asked for by the commit */
    char *folder;      /* partial/<name> */
};

/* local.c: a file or folder of this machine. */
int pull_path(struct job *j, const struct source *s, sp_error *err);

#endif
