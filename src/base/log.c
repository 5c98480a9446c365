#include "base/log_int.h"

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

#define TAIL_MAX 32 /* what must still follow the last field */

static atomic_int level_now = LOG_INFO;
static atomic_int format_now = LOG_AUTO;

/* On the stack, since a log line must not allocate. */
struct line {
    char text[LOG_LINE_MAX];
    size_t n;
    bool full;
};

struct message {
    enum log_level level;
    const char *room, *text;
    const struct log_field *fields;
    size_t n_fields;
    struct timespec now;
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
    if (n > room) {
        n = room;
        l->full = true;
    }
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

static void put_value(struct line *l, const struct log_field *f, bool json)
{
    char number[64];
    if (f->kind == FIELD_TEXT && json) {
        puts_line(l, "\"");
        put_json(l, f->text);
        puts_line(l, "\"");
    } else if (f->kind == FIELD_TEXT) {
        put_plain(l, f->text);
    } else {
        (void)(f->kind == FIELD_INTEGER
                   ? snprintf(number, sizeof number, "%lld", (long long)f->integer)
                   : snprintf(number, sizeof number, "%.6f", f->seconds));
        puts_line(l, number);
    }
}

static void put_fields(struct line *l, const struct message *m, bool json)
{
    bool cut = false;
    for (size_t i = 0; i < m->n_fields; i++) {
        const struct log_field *f = &m->fields[i];
        size_t before = l->n;
        if (f->kind == FIELD_NONE || (f->kind == FIELD_TEXT && !f->text))
            continue;
        puts_line(l, json ? ",\"" : " ");
        puts_line(l, f->name);
        puts_line(l, json ? "\":" : "=");
        put_value(l, f, json);
        if (l->full || l->n > sizeof l->text - TAIL_MAX) {
            l->n = before;
            l->full = false;
            cut = true;
        }
    }
    if (cut)
        puts_line(l, json ? ",\"cut\":true" : " cut=true");
}

static void make_text(struct line *l, const struct message *m, bool color)
{
    static const char *const colors[] = {"\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[31m"};
    char stamp[16];
    struct tm tm;
    (void)localtime_r(&m->now.tv_sec, &tm);
    (void)strftime(stamp, sizeof stamp, "%H:%M:%S ", &tm);
    puts_line(l, stamp);
    if (color)
        puts_line(l, colors[m->level]);
    char name[8];
    (void)snprintf(name, sizeof name, "%-5s", level_name(m->level));
    puts_line(l, name);
    if (color)
        puts_line(l, "\x1b[0m");
    put(l, " ", 1);
    put_plain(l, m->room);
    put(l, ": ", 2);
    put_plain(l, m->text);
    put_fields(l, m, false);
    put(l, "\n", 1);
}

static void make_json(struct line *l, const struct message *m)
{
    char stamp[32], millis[8];
    struct tm tm;
    (void)gmtime_r(&m->now.tv_sec, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(millis, sizeof millis, ".%03dZ", (int)(m->now.tv_nsec / 1000000) % 1000);
    puts_line(l, "{\"ts\":\"");
    puts_line(l, stamp);
    puts_line(l, millis);
    puts_line(l, "\",\"level\":\"");
    puts_line(l, level_name(m->level));
    puts_line(l, "\",\"room\":\"");
    put_json(l, m->room);
    puts_line(l, "\",\"msg\":\"");
    put_json(l, m->text);
    puts_line(l, "\"");
    put_fields(l, m, true);
    puts_line(l, "}\n");
}

static void write_message(struct message *m)
{
    struct line l;
    l.n = 0;
    l.full = false;
    bool tty = isatty(STDERR_FILENO) == 1;
    int format = atomic_load(&format_now);
    const char *no_color = getenv("NO_COLOR");
    (void)clock_gettime(CLOCK_REALTIME, &m->now);
    if (format == LOG_JSON || (format == LOG_AUTO && !tty))
        make_json(&l, m);
    else
        make_text(&l, m, tty && !(no_color && *no_color));
    if (!log_queue_add(l.text, l.n))
        log_write_all(l.text, l.n);
}

static bool is_wanted(enum log_level level)
{
    return level < LOG_OFF && (int)level >= atomic_load(&level_now);
}

void log_write(enum log_level level, const char *room, const char *fmt, ...)
{
    if (!is_wanted(level))
        return;
    int saved = errno;
    char msg[LOG_MESSAGE_MAX];
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
    struct message m = {.level = level, .room = room, .text = msg};
    write_message(&m);
    errno = saved;
}

void log_fields(enum log_level level, const char *room, const char *msg,
                const struct log_field *fields, size_t n)
{
    if (!is_wanted(level))
        return;
    int saved = errno;
    struct message m = {.level = level, .room = room, .text = msg, .fields = fields, .n_fields = n};
    write_message(&m);
    errno = saved;
}
