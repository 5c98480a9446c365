#include "format/tensor.h"

#include <stdio.h>

int64_t tensor_count(const struct tensor_view *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->shape[i];
    return n;
}

const char *tensor_shape_text(const struct tensor_view *t, char out[96])
{
    size_t at = (size_t)snprintf(out, 96, "[");
    for (int i = 0; i < t->n_dims; i++)
        at += (size_t)snprintf(out + at, 96 - at, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    snprintf(out + at, 96 - at, "]");
    return out;
}
