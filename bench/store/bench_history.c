/* How fast a large history is: makes one of random chats in English and Chinese, then lists, searches and opens, and
 * prints percentiles as a table in Markdown.
 *
 *     bench_history FILE [CHATS] [MESSAGES]    50000 and 1000000 if not said; a FILE that is there is measured as it is
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "store/store_int.h"

#define WORDS 20000
#define CHARACTERS 3000
#define TRIES 200
#define PER_TRANSACTION 500
#define CHATS_PER_FILE 50 /* one of so many has a file */
#define FILE_WORDS 5000

static uint64_t draws;

static double draw(void)
{
    return rng_uniform(42, draws++, 0);
}

static int64_t below(int64_t n)
{
    return (int64_t)(draw() * (double)n);
}

/* Few are common, most are rare, as words are. */
static int64_t ranked(int64_t n)
{
    double u = draw();
    return (int64_t)((double)n * u * u * u);
}

static void put_word(buf *b, int64_t rank)
{
    static const char *const syllables[] = {"ba",  "ker", "lo", "mi",  "nos",
                                            "per", "qua", "ri", "ste", "tu"};
    for (rank += 10; rank > 0; rank /= 10)
        buf_puts(b, syllables[rank % 10]);
}

static void put_character(buf *b, int64_t rank)
{
    char utf8[4];
    buf_add(b, utf8, utf8_encode((uint32_t)(0x4e00 + rank * 5), utf8));
}

static void make_text(buf *b)
{
    int64_t pieces = 5 + ranked(120);
    bool chinese = draw() < 0.5;
    buf_clear(b);
    for (int64_t i = 0; i < pieces; i++) {
        if (chinese)
            put_character(b, ranked(CHARACTERS));
        else
            put_word(b, ranked(WORDS));
        if (!chinese)
            buf_putc(b, ' ');
        else if (i % 17 == 16)
            buf_puts(b, "，");
    }
}

static int add_file(struct conn *c, int64_t message, int64_t at, buf *b, sp_error *err)
{
    char id[STORE_ID_BYTES];
    int64_t seq = 0;
    store_id_new('f', id);
    buf_clear(b);
    for (int i = 0; i < FILE_WORDS; i++) {
        put_word(b, ranked(WORDS));
        buf_putc(b, ' ');
    }
    const struct store_file f = {
        .name = "notes.txt", .type = "text/plain", .text = {b->data, b->len}};
    int code = file_insert(c, 0, id, &f, at, &seq, err);
    return code == 0 ? files_attach(c, message, &seq, 1, err) : code;
}

static int make_chat(struct conn *c, int64_t i, int64_t messages, buf *b, sp_error *err)
{
    char id[STORE_ID_BYTES], title[STORE_TITLE_MOST + 1];
    int64_t at = 1700000000000000 + i * 600000000, chat = 0, parent = 0;
    store_id_new('c', id);
    make_text(b);
    store_title_from(b->data, b->len, title);
    struct new_chat n = {.id = id,
                         .title = title,
                         .at = at,
                         .updated = at + messages * 1000000,
                         .folder = i % 10 == 0 ? "work" : NULL,
                         .pinned = i % 500 == 0};
    int code = chat_insert(c, 0, &n, &chat, err);
    for (int64_t k = 0; k < messages && code == 0; k++) {
        char message[STORE_ID_BYTES];
        store_id_new('m', message);
        if (k > 0)
            make_text(b);
        struct new_message m = {.id = message,
                                .role = k % 2 ? "assistant" : "user",
                                .state = "complete",
                                .content = {b->data, b->len},
                                .chat = chat,
                                .parent = parent,
                                .at = at + k * 1000000};
        code = message_insert(c, 0, &m, &parent, err);
        if (code == 0 && k == 0 && i % CHATS_PER_FILE == 0)
            code = add_file(c, parent, at, b, err);
    }
    return code == 0
               ? db_run(c, err, "UPDATE chats SET head = ?1 WHERE seq = ?2", "ki", parent, chat)
               : code;
}

static int fill(store *s, int64_t chats, int64_t messages, sp_error *err)
{
    struct conn *c;
    buf b;
    buf_init(&b, 1 << 20);
    int code = db_exec(&s->writer, "PRAGMA synchronous = OFF", err);
    for (int64_t i = 0, made = 0; i < chats && code == 0;) {
        code = db_write(s, &c, err);
        for (int k = 0; k < PER_TRANSACTION && i < chats && code == 0; k++, i++) {
            int64_t here = (messages - made) / (chats - i);
            code = make_chat(c, i, here, &b, err);
            made += here;
        }
        code = db_written(c, code, err);
        fprintf(stderr, "\r%lld of %lld chats", (long long)i, (long long)chats);
    }
    fprintf(stderr, "\n");
    buf_free(&b);
    return code;
}

/* ---- measuring ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void tell(const char *what, double *ms, int n, size_t found)
{
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    printf("| %s | %.1f | %.1f | %.1f | %.1f |\n", what, ms[n / 2], ms[n * 95 / 100], ms[n - 1],
           (double)found / n);
}

static size_t page(store *s, const struct store_query *q, char **next)
{
    json_t *out = NULL;
    sp_error err = {0};
    if (store_chats(s, 0, q, &out, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    size_t n = json_array_size(json_object_get(out, "data"));
    const char *cursor = json_string_value(json_object_get(out, "next"));
    if (next)
        *next = cursor ? sp_strdup(cursor) : NULL;
    json_decref(out);
    return n;
}

static void time_list(store *s, const char *what, struct store_query q)
{
    double ms[TRIES];
    size_t found = 0;
    char *cursor = NULL;
    for (int i = 0; i < TRIES; i++) {
        char *next = NULL;
        q.cursor = cursor;
        double from = clock_seconds();
        found += page(s, &q, &next);
        ms[i] = (clock_seconds() - from) * 1e3;
        sp_free(cursor);
        cursor = next;
    }
    sp_free(cursor);
    tell(what, ms, TRIES, found);
}

/* Queries of `words` drawn words each; page: how many pages into the result. */
static void time_search(store *s, const char *what, bool chinese, int words, int pages)
{
    double ms[TRIES];
    size_t found = 0;
    buf b;
    buf_init(&b, 4096);
    for (int i = 0; i < TRIES; i++) {
        char *cursor = NULL;
        buf_clear(&b);
        for (int k = 0; k < words; k++) {
            if (chinese)
                put_character(&b, ranked(CHARACTERS));
            else
                put_word(&b, ranked(WORDS));
            if (!chinese)
                buf_putc(&b, ' ');
        }
        for (int p = 0; p < pages; p++) {
            char *next = NULL;
            struct store_query q = {.text = b.data, .limit = 50, .pinned = -1, .cursor = cursor};
            double from = clock_seconds();
            size_t n = page(s, &q, &next);
            ms[i] = (clock_seconds() - from) * 1e3;
            sp_free(cursor);
            cursor = next;
            if (p == pages - 1 || !next)
                found += n;
            if (!next)
                break;
        }
        sp_free(cursor);
    }
    buf_free(&b);
    tell(what, ms, TRIES, found);
}

/* The word that somebody is still typing: its first `letters`. */
static void time_prefix(store *s, const char *what, size_t letters)
{
    double ms[TRIES];
    size_t found = 0;
    buf b;
    buf_init(&b, 4096);
    for (int i = 0; i < TRIES; i++) {
        do {
            buf_clear(&b);
            put_word(&b, ranked(WORDS));
        } while (b.len < letters);
        b.data[letters] = '\0';
        struct store_query q = {.text = b.data, .limit = 50, .pinned = -1};
        double from = clock_seconds();
        found += page(s, &q, NULL);
        ms[i] = (clock_seconds() - from) * 1e3;
    }
    buf_free(&b);
    tell(what, ms, TRIES, found);
}

static void time_open(store *s, int64_t chats)
{
    double ms[TRIES];
    size_t found = 0;
    sp_error err = {0};
    for (int i = 0; i < TRIES; i++) {
        char id[STORE_ID_BYTES] = "";
        struct conn *c = db_take_reader(s);
        sqlite3_stmt *st = db_query(c, &err, "SELECT id FROM chats ORDER BY seq LIMIT 1 OFFSET ?1",
                                    "i", below(chats));
        if (st && db_step(c, st, &err) == 1)
            (void)snprintf(id, sizeof id, "%s", (const char *)sqlite3_column_text(st, 0));
        db_done(st);
        db_give(c);
        json_t *chat = NULL;
        double from = clock_seconds();
        if (store_chat(s, 0, id, true, &chat, &err) == 0)
            found += json_array_size(json_object_get(chat, "messages"));
        ms[i] = (clock_seconds() - from) * 1e3;
        json_decref(chat);
    }
    tell("open a chat", ms, TRIES, found);
}

static void time_all(store *s, int64_t chats)
{
    printf("| %d times each | p50 ms | p95 ms | most ms | found |\n|---|---|---|---|---|\n", TRIES);
    time_list(s, "list, page after page", (struct store_query){.limit = 50, .pinned = -1});
    time_list(s, "list of a folder",
              (struct store_query){.limit = 50, .pinned = -1, .folder = "work"});
    time_list(s, "list of pinned ones", (struct store_query){.limit = 50, .pinned = 1});
    time_search(s, "search, one word", false, 1, 1);
    time_search(s, "search, two words", false, 2, 1);
    time_prefix(s, "search, four letters of a word", 4);
    time_prefix(s, "search, five letters of a word", 5);
    time_prefix(s, "search, six letters of a word", 6);
    time_search(s, "search, one character", true, 1, 1);
    time_search(s, "search, two characters", true, 2, 1);
    time_search(s, "search, three characters", true, 3, 1);
    time_search(s, "search, one character, third page", true, 1, 3);
    time_open(s, chats);
}

int main(int argc, char **argv)
{
    store *s = NULL;
    sp_error err = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: bench_history FILE [CHATS] [MESSAGES]\n");
        return 2;
    }
    int64_t chats = 50000, messages = 1000000, there = 0;
    bool sound = (argc < 3 || str_to_i64(str_of(argv[2]), &chats)) &&
                 (argc < 4 || str_to_i64(str_of(argv[3]), &messages));
    struct store_opts o = {.path = argv[1], .writes = true};
    if (!sound || store_open(&o, &s, &err) < 0) {
        fprintf(stderr, "%s\n", sound ? err.message : "CHATS and MESSAGES are numbers");
        return 1;
    }
    struct conn *c = db_take_reader(s);
    (void)db_number(c, &there, &err, "SELECT count(*) FROM chats", "");
    db_give(c);
    double from = clock_seconds();
    if (there == 0 && fill(s, chats, messages, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    if (there == 0)
        fprintf(stderr, "made in %.0f s\n", clock_seconds() - from);
    time_all(s, there ? there : chats);
    printf("\n%.0f MB\n", (double)file_size(argv[1]) / 1e6);
    store_close(s);
    return 0;
}
