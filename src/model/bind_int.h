/* Private to binding: what bind.c offers to the blocks that have files of their own. */
#ifndef SP_MODEL_BIND_INT_H
#define SP_MODEL_BIND_INT_H

#include "model/model_int.h"

/* Rows of a tensor that are a matrix or vector of ours. */
struct part {
    enum tensor_role role;
    int64_t rows;
    int64_t of;         /* rows of the tensor */
    const int32_t *map; /* [rows]: where they are; NULL: rows == of, in order */
};

struct binder {
    model *m;
    bool gguf;
    const char *prefix; /* of the text model's names in a file that has others, too; "" */
    struct part q, k, v, gate, up;
    sp_error *err;
};

/* NULL: it is not there. name: what was looked for. */
const struct tensor_view *bind_find(const struct binder *b, enum tensor_role role, int64_t layer,
                                    bool bias, char name[160]);
int bind_missing(const struct binder *b, const char *name);
/* Checks that t is a matrix of weights [rows, cols] and plans its packing. */
int bind_view(const struct binder *b, const struct tensor_view *t, int64_t rows, int64_t cols,
              struct linear *l);
/* The matrix of a role, found by name. */
int bind_linear(const struct binder *b, enum tensor_role role, int64_t layer, int64_t rows,
                int64_t cols, bool bias, struct linear *l);

/* bind_parts.c: says where q, k, v, gate and up are, as layer 0 has them. */
int bind_parts(struct binder *b);

/* bind_moe.c: the experts of a layer; *out is the arena's. */
int bind_moe(const struct binder *b, int64_t layer, struct moe **out);
void bind_each_expert(struct moe *e, int64_t experts, void (*visit)(void *arg, struct linear *l),
                      void *arg);

#endif
