/* Log lines to stderr: short coloured text on a terminal, one JSON object a line otherwise
 * ({"ts","level","room","msg",...}). Thread-safe; a line is written with one write(2).
 * Prompt text never goes into a log line. */
#ifndef SP_BASE_LOG_H
#define SP_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON };

void log_setup(enum log_level level, enum log_format format);
enum log_level log_get_level(void);
void log_set_level(enum log_level level);
/* room: the folder that speaks ("engine", "hub"). */
void log_write(enum log_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(room, ...) log_write(LOG_DEBUG, room, __VA_ARGS__)
#define log_info(room, ...) log_write(LOG_INFO, room, __VA_ARGS__)
#define log_warn(room, ...) log_write(LOG_WARN, room, __VA_ARGS__)
#define log_error(room, ...) log_write(LOG_ERROR, room, __VA_ARGS__)

#endif
