/* Log lines to stderr: short coloured text on a terminal, one JSON object a line otherwise
 * ({"ts","level","room","msg",...}). Thread-safe; a line is written with one write(2); nothing is allocated.
 * Prompt text goes into a log line only where `serve --log-prompts` asks for it. */
#ifndef SP_BASE_LOG_H
#define SP_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON };

void log_setup(enum log_level level, enum log_format format);
enum log_level log_get_level(void);
void log_set_level(enum log_level level);
/* From start to stop a thread of its own writes the lines, and nobody who logs waits for whoever reads stderr: lines
 * that have no room are lost, and one line says how many. Stop writes what is left, for 2 s at most. SP_ENOMEM. */
int log_writer_start(sp_error *err);
void log_writer_stop(void);
/* room: the folder that speaks ("engine", "hub"). */
void log_write(enum log_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What programs want to find in a line, beside its message: "name":value in JSON, name=value in text. */
struct log_field {
    const char *name;
    enum log_field_kind { FIELD_NONE, FIELD_TEXT, FIELD_INTEGER, FIELD_SECONDS } kind;
    const char *text;
    int64_t integer;
    double seconds; /* written to the microsecond */
};
/* Bytes of all of them; one that has no room is left out, and "cut":true says so. */
#define LOG_FIELDS_MAX ((size_t)32 << 10)
/* FIELD_NONE is passed over. */
void log_fields(enum log_level level, const char *room, const char *msg,
                const struct log_field *fields, size_t n);

#define log_debug(room, ...) log_write(LOG_DEBUG, room, __VA_ARGS__)
#define log_info(room, ...) log_write(LOG_INFO, room, __VA_ARGS__)
#define log_warn(room, ...) log_write(LOG_WARN, room, __VA_ARGS__)
#define log_error(room, ...) log_write(LOG_ERROR, room, __VA_ARGS__)

#endif
