#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/json_int.h"
#include "base/str.h"

/* On the stack, since a log line must not allocate. A longer message is cut and ends in "...". */
#define MESSAGE_MAX 2048
#define LINE_MAX_BYTES (6 * MESSAGE_MAX + 256) /* JSON writes one byte as six at worst */

static atomic_int level_now = LOG_INFO;
static atomic_int format_now = LOG_AUTO;

struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
};

void log_setup(enum log_level level, enum log_format format)
{
    atomic_store(&level_now, (int)level);
    atomic_store(&format_now, (int)format);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load(&level_now);
}

void log_set_level(enum log_level level)
{
    atomic_store(&level_now, (int)level);
}

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "off"};
    return names[level];
}

static void put(struct line *l, const char *s, size_t n)
{
    size_t room = sizeof l->text - l->n;
    if (n > room)
        n = room;
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void puts_line(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* s as the inside of a JSON string. */
static void put_json(struct line *l, const char *s)
{
    char text[JSON_CHAR_MAX];
    bool special = false;
    for (size_t n = strlen(s); n;) {
        size_t took = json_char(s, n, text, &special);
        puts_line(l, text);
        s += took;
        n -= took;
    }
}

/* s for a terminal: nothing that could move the cursor or change colours. */
static void put_plain(struct line *l, const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t len = utf8_decode(s + i, n - i, &cp);
        bool control = cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
        if (len == 0 || control)
            put(l, "?", 1);
        else
            put(l, s + i, len);
        i += len ? len : 1;
    }
}

static void make_text(struct line *l, enum log_level level, const char *room, const char *msg,
                      const struct timespec *now, bool color)
{
    static const char *const colors[] = {"\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[31m"};
    char stamp[16];
    struct tm tm;
    (void)localtime_r(&now->tv_sec, &tm);
    (void)strftime(stamp, sizeof stamp, "%H:%M:%S ", &tm);
    puts_line(l, stamp);
    if (color)
        puts_line(l, colors[level]);
    char name[8];
    (void)snprintf(name, sizeof name, "%-5s", level_name(level));
    puts_line(l, name);
    if (color)
        puts_line(l, "\x1b[0m");
    put(l, " ", 1);
    put_plain(l, room);
    put(l, ": ", 2);
    put_plain(l, msg);
    put(l, "\n", 1);
}

static void make_json(struct line *l, enum log_level level, const char *room, const char *msg,
                      const struct timespec *now)
{
    char stamp[32], millis[8];
    struct tm tm;
    (void)gmtime_r(&now->tv_sec, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(millis, sizeof millis, ".%03dZ", (int)(now->tv_nsec / 1000000) % 1000);
    puts_line(l, "{\"ts\":\"");
    puts_line(l, stamp);
    puts_line(l, millis);
    puts_line(l, "\",\"level\":\"");
    puts_line(l, level_name(level));
    puts_line(l, "\",\"room\":\"");
    put_json(l, room);
    puts_line(l, "\",\"msg\":\"");
    put_json(l, msg);
    puts_line(l, "\"}\n");
}

static void write_line(const struct line *l)
{
    size_t done = 0;
    while (done < l->n) {
        ssize_t n = write(STDERR_FILENO, l->text + done, l->n - done);
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return; /* nowhere left to say it */
    }
}

void log_write(enum log_level level, const char *room, const char *fmt, ...)
{
    if (level >= LOG_OFF || (int)level < atomic_load(&level_now))
        return;
    int saved = errno;
    char msg[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0, msg[0] = '\0';
    if ((size_t)n >= sizeof msg) {
        size_t whole = utf8_complete(msg, sizeof msg - 4);
        memcpy(msg + whole, "...", 4);
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct line l = {.n = 0};
    bool tty = isatty(STDERR_FILENO) == 1;
    int format = atomic_load(&format_now);
    const char *no_color = getenv("NO_COLOR");
    if (format == LOG_JSON || (format == LOG_AUTO && !tty))
        make_json(&l, level, room, msg, &now);
    else
        make_text(&l, level, room, msg, &now, tty && !(no_color && *no_color));
    write_line(&l);
    errno = saved;
}
