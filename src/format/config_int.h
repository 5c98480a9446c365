/* Shared by the readers of model configurations and the families' own files. */
#ifndef SP_FORMAT_CONFIG_INT_H
#define SP_FORMAT_CONFIG_INT_H

#include "format/config.h"

/* Ranges and divisibility of everything in *c. */
int config_check(const struct model_config *c, sp_error *err);
/* A bit for each layer. */
void config_set_layer(uint8_t *bits, int64_t layer);

/* config.json: the getters leave *out alone when the key is missing or null. */
int config_int(const json_t *j, const char *key, int64_t *out, sp_error *err);
int config_float(const json_t *j, const char *key, double *out, sp_error *err);
int config_bool(const json_t *j, const char *key, bool *out, sp_error *err);
/* "config.json: KEY must be WANT". */
int config_wrong(const char *key, const char *want, sp_error *err);
/* rope_scaling of transformers 4 (with "type" or "rope_type"), or rope_parameters of 5. */
int config_rope_scaling(const json_t *s, const struct model_config *c, struct rope_config *r,
                        sp_error *err);
/* `part` of the dimensions of a head. */
int64_t config_part(int64_t dim, double part);
/* layer_types says which layers slide. */
int config_layer_types(const json_t *j, struct model_config *c, sp_error *err);

/* The families' own files. */
extern const char *const gemma3_names[ROLE_COUNT];
extern const char *const internlm2_names[ROLE_COUNT];
extern const char *const qwen_names[ROLE_COUNT];
void gemma3_defaults(struct model_config *c);
int gemma3_from_json(const json_t *j, struct model_config *c, sp_error *err);
int gemma3_from_gguf(const gguf *g, struct model_config *c, sp_error *err);
int internlm2_from_json(const json_t *j, struct model_config *c, sp_error *err);
int qwen_from_json(const json_t *j, struct model_config *c, sp_error *err);
int qwen_from_gguf(const gguf *g, struct model_config *c, sp_error *err);
void smollm3_defaults(struct model_config *c);
int smollm3_from_json(const json_t *j, struct model_config *c, sp_error *err);
int smollm3_from_gguf(const gguf *g, struct model_config *c, sp_error *err);

#endif
