/* Between the making of a log line and its writing. */
#ifndef SP_BASE_LOG_INT_H
#define SP_BASE_LOG_INT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/log.h"

#define LOG_MESSAGE_MAX 2048 /* a longer one is cut and ends in "..." */
#define LOG_LINE_MAX                                                                               \
    (6 * LOG_MESSAGE_MAX + 256 + LOG_FIELDS_MAX) /* JSON writes one byte as six at worst */

/* Puts a line in the queue, or counts it as lost. False: there is no writer. */
bool log_queue_add(const char *line, size_t n);
void log_write_all(const char *text, size_t n); /* to stderr, at once */

#endif
