/* Shared by the readers of model configurations. */
#ifndef SP_FORMAT_CONFIG_INT_H
#define SP_FORMAT_CONFIG_INT_H

#include "format/config.h"

/* Ranges and divisibility of everything in *c. */
int config_check(const struct model_config *c, sp_error *err);

#endif
