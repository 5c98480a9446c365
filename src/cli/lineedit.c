/* One message at a time from the person: libedit edits the line, we read the terminal's bytes, so that
 * Chinese works whatever LANG says and a pasted block stays one message. A paste of several lines stands
 * in the line as "[paste 1: 12 lines]", which is replaced by the block when the line is sent. A line that
 * ends in a backslash, or a block between two lines of three quotes, goes on. */
#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include "cli/cli_int.h"

#define MESSAGE_MAX ((size_t)16 << 20) /* bytes of one message */
#define PASTES_MAX 64                  /* pasted blocks in one message */
#define QUEUE_MAX 256                  /* characters waiting for libedit */

struct lineedit {
    EditLine *el;
    HistoryW *history;
    char *history_file;
    const wchar_t *prompt;
    wchar_t prompt_text[32];
    wchar_t queue[QUEUE_MAX]; /* characters that libedit gets before the terminal is read again */
    size_t queue_head, queue_len;
    buf pastes[PASTES_MAX];
    size_t n_pastes;
    bool interrupted, tty;
};

static volatile sig_atomic_t got_sigint;

static void on_sigint(int sig)
{
    (void)sig;
    got_sigint = 1;
}

static wchar_t *prompt_of(EditLine *el)
{
    lineedit *l = NULL;
    el_wget(el, EL_CLIENTDATA, &l);
    return l->prompt_text;
}

/* 1: a byte; 0: end of input; -1: interrupted. */
static int read_byte(unsigned char *out)
{
    for (;;) {
        ssize_t got = read(STDIN_FILENO, out, 1);
        if (got == 1)
            return 1;
        if (got == 0)
            return 0;
        if (errno != EINTR || got_sigint)
            return -1;
    }
}

static bool byte_follows_soon(void)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&p, 1, 30) == 1;
}

static void queue_put(lineedit *l, const char *text)
{
    while (*text && l->queue_len < QUEUE_MAX)
        l->queue[l->queue_len++] = (wchar_t)(unsigned char)*text++;
}

static bool queue_take(lineedit *l, wchar_t *out)
{
    if (l->queue_head == l->queue_len)
        return false;
    *out = l->queue[l->queue_head++];
    if (l->queue_head == l->queue_len)
        l->queue_head = l->queue_len = 0;
    return true;
}

/* Reads a bracketed paste up to ESC [ 2 0 1 ~ into b; carriage returns become line feeds. */
static int read_paste(buf *b)
{
    static const char end[] = "\033[201~";
    unsigned char c;
    for (;;) {
        int got = read_byte(&c);
        if (got <= 0)
            return got;
        buf_putc(b, c == '\r' ? '\n' : (char)c);
        if (b->len >= sizeof end - 1 &&
            memcmp(b->data + b->len - (sizeof end - 1), end, sizeof end - 1) == 0) {
            b->len -= sizeof end - 1;
            b->data[b->len] = '\0';
            return 1;
        }
    }
}

static size_t count_lines(const buf *b)
{
    size_t n = 1;
    for (size_t i = 0; i + 1 < b->len; i++)
        n += b->data[i] == '\n';
    return n;
}

/* The code point of a UTF-8 sequence whose first byte is `first`; U+FFFD when it is broken. */
static wchar_t read_rest(unsigned char first)
{
    char seq[4] = {(char)first};
    size_t want = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    uint32_t cp;
    for (size_t i = 1; i < want; i++) {
        unsigned char c;
        if (read_byte(&c) != 1)
            return 0xfffd;
        seq[i] = (char)c;
    }
    return utf8_decode(seq, want, &cp) == want ? (wchar_t)cp : (wchar_t)0xfffd;
}

/* A one-line paste goes into the line as if typed; a block is kept apart. */
static void take_paste(lineedit *l)
{
    buf *b = &l->pastes[l->n_pastes];
    char mark[64];
    buf_init(b, MESSAGE_MAX);
    read_paste(b);
    if (l->n_pastes + 1 < PASTES_MAX) {
        snprintf(mark, sizeof mark, "[paste %zu: %zu lines]", ++l->n_pastes, count_lines(b));
        queue_put(l, mark);
    } else {
        buf_free(b);
        queue_put(l, "[too many pastes]");
    }
}

/* ESC came: a paste begins, or it is a key of the editor's. */
static void after_escape(lineedit *l)
{
    static const char begin[] = "[200~";
    char seen[8] = {0};
    size_t n = 0;
    while (n < sizeof begin - 1 && byte_follows_soon()) {
        unsigned char c;
        if (read_byte(&c) != 1)
            break;
        seen[n++] = (char)c;
        if (seen[n - 1] != begin[n - 1])
            break;
    }
    if (n == sizeof begin - 1 && memcmp(seen, begin, n) == 0) {
        take_paste(l);
    } else {
        queue_put(l, "\033");
        queue_put(l, seen);
    }
}

/* libedit's source of characters. */
static int next_char(EditLine *el, wchar_t *out)
{
    lineedit *l = NULL;
    unsigned char c;
    el_wget(el, EL_CLIENTDATA, &l);
    for (;;) {
        if (queue_take(l, out))
            return 1;
        int got = read_byte(&c);
        if (got <= 0) {
            l->interrupted = got < 0;
            return got < 0 ? -1 : 0;
        }
        if (c != 033) {
            *out = c < 0x80 ? (wchar_t)c : read_rest(c);
            return 1;
        }
        after_escape(l);
    }
}

int lineedit_new(const char *history_file, lineedit **out, sp_error *err)
{
    HistEventW ev;
    lineedit *l = sp_calloc(1, sizeof *l);
    if (!l)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    l->tty = term_is_tty(STDIN_FILENO) && term_is_tty(STDOUT_FILENO);
    if (!l->tty) {
        *out = l;
        return 0;
    }
    l->history_file = history_file ? sp_strdup(history_file) : NULL;
    l->el = el_init("sampan", stdin, stdout, stderr);
    l->history = history_winit();
    if (!l->el || !l->history) {
        lineedit_free(l);
        return sp_fail(err, SP_EIO, "the terminal cannot be edited on: is TERM set?");
    }
    el_wset(l->el, EL_CLIENTDATA, l);
    el_wset(l->el, EL_PROMPT, prompt_of);
    el_wset(l->el, EL_EDITOR, L"emacs");
    el_wset(l->el, EL_SIGNAL, 0);
    el_wset(l->el, EL_GETCFN, next_char);
    history_w(l->history, &ev, H_SETSIZE, 1000);
    history_w(l->history, &ev, H_SETUNIQUE, 1);
    if (l->history_file)
        history_w(l->history, &ev, H_LOAD, l->history_file);
    el_wset(l->el, EL_HIST, history_w, l->history);
    fputs("\033[?2004h", stdout); /* bracketed paste on */
    fflush(stdout);
    *out = l;
    return 0;
}

static void drop_pastes(lineedit *l)
{
    for (size_t i = 0; i < l->n_pastes; i++)
        buf_free(&l->pastes[i]);
    l->n_pastes = 0;
}

void lineedit_free(lineedit *l)
{
    if (!l)
        return;
    HistEventW ev;
    if (l->history && l->history_file)
        history_w(l->history, &ev, H_SAVE, l->history_file);
    if (l->el) {
        fputs("\033[?2004l", stdout);
        fflush(stdout);
        el_end(l->el);
    }
    if (l->history)
        history_wend(l->history);
    drop_pastes(l);
    sp_free(l->history_file);
    sp_free(l);
}

/* Appends a line, with the marks of pasted blocks replaced by the blocks. */
static void add_line(lineedit *l, const char *line, buf *out)
{
    for (size_t i = 0; i < l->n_pastes; i++) {
        char mark[64];
        snprintf(mark, sizeof mark, "[paste %zu: %zu lines]", i + 1, count_lines(&l->pastes[i]));
        const char *at = strstr(line, mark);
        if (!at)
            continue;
        buf_add(out, line, (size_t)(at - line));
        if (l->pastes[i].len)
            buf_add(out, l->pastes[i].data, l->pastes[i].len);
        line = at + strlen(mark);
    }
    buf_puts(out, line);
}

static void set_prompt(lineedit *l, const char *prompt)
{
    size_t i = 0;
    for (; prompt[i] && i + 1 < SP_COUNT(l->prompt_text); i++)
        l->prompt_text[i] = (wchar_t)(unsigned char)prompt[i];
    l->prompt_text[i] = 0;
}

static int wide_to_utf8(const wchar_t *w, size_t n, buf *out)
{
    char seq[4];
    for (size_t i = 0; i < n; i++) {
        size_t bytes = utf8_encode((uint32_t)w[i], seq);
        buf_add(out, seq, bytes);
    }
    return buf_putc(out, '\0') < 0 ? SP_ENOMEM : 0;
}

/* One physical line without its line break into *line (NUL-terminated). Same answers as lineedit_read. */
static int read_edited(lineedit *l, const char *prompt, buf *line, sp_error *err)
{
    struct sigaction sa = {0}, old;
    int n = 0;
    sa.sa_handler = on_sigint;
    sigemptyset(&sa.sa_mask);
    got_sigint = 0;
    l->interrupted = false;
    set_prompt(l, prompt);
    sigaction(SIGINT, &sa, &old);
    const wchar_t *w = el_wgets(l->el, &n);
    sigaction(SIGINT, &old, NULL);
    if (got_sigint || l->interrupted) {
        el_wset(l->el, EL_UNBUFFERED, 0);
        fputs("\n", stdout);
        return sp_fail(err, SP_ECANCELLED, "stopped");
    }
    if (!w || n <= 0)
        return 0;
    HistEventW ev;
    if (n > 1)
        history_w(l->history, &ev, H_ENTER, w);
    if (w[n - 1] == L'\n')
        n--;
    return wide_to_utf8(w, (size_t)n, line) < 0 ? sp_fail(err, SP_ENOMEM, "out of memory") : 1;
}

static int read_plain(buf *line, sp_error *err)
{
    int c;
    bool any = false;
    while ((c = getchar()) != EOF) {
        any = true;
        if (c == '\n')
            break;
        buf_putc(line, (char)c);
    }
    if (!any)
        return 0;
    return buf_putc(line, '\0') < 0 ? sp_fail(err, SP_EFULL, "a line of more than 16 MB") : 1;
}

int lineedit_read(lineedit *l, const char *prompt, const char *more_prompt, char **message,
                  sp_error *err)
{
    buf text, line;
    bool quoted = false, more = true;
    int got = 0;
    buf_init(&text, MESSAGE_MAX);
    buf_init(&line, MESSAGE_MAX);
    for (bool first = true; more; first = false) {
        buf_clear(&line);
        got = l->tty ? read_edited(l, first ? prompt : more_prompt, &line, err)
                     : read_plain(&line, err);
        if (got <= 0)
            break;
        size_t n = strlen(line.data);
        if (strcmp(line.data, "\"\"\"") == 0) {
            quoted = !quoted;
            more = quoted;
            continue;
        }
        more = quoted || (n > 0 && line.data[n - 1] == '\\');
        if (more && !quoted)
            line.data[n - 1] = '\0';
        add_line(l, line.data, &text);
        if (more)
            buf_putc(&text, '\n');
    }
    if (quoted && text.len && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    drop_pastes(l);
    if (got >= 0 && (got > 0 || text.len > 0)) {
        got = 1;
        if (text.failed || (text.len == 0 && buf_putc(&text, '\0') < 0) ||
            !(*message = buf_steal(&text)))
            got = sp_fail(err, SP_EFULL, "a message of more than 16 MB");
    }
    buf_free(&line);
    buf_free(&text);
    return got;
}
