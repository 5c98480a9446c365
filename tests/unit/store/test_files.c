/* Files that messages have: kept, found by their words, bounded, exported with their chats. */
#include "store_test.h"

static const char *new_file(const char *name, const char *text)
{
    static char ids[16][STORE_ID_BYTES];
    static unsigned turn;
    char *id = ids[turn++ % 16];
    json_t *file = NULL;
    const struct store_file f = {
        .name = name, .type = "text/plain", .bytes = 99, .text = str_of(text)};
    assert_int_equal(store_file_add(s, 0, &f, &file, NULL), 0);
    (void)snprintf(id, STORE_ID_BYTES, "%s", get(file, "id"));
    assert_int_equal(json_integer_value(json_object_get(file, "bytes")), 99);
    json_decref(file);
    return id;
}

static int say_with(const char *chat, const char *id, const char *a, const char *b, json_t **m)
{
    json_t *fields = json_pack("{s:s,s:s,s:s*,s:[s*,s*]}", "role", "user", "content", "look", "id",
                               id, "files", a, b);
    sp_error err = {0};
    int code = store_message_add(s, 0, chat, fields, m, NULL, &err);
    json_decref(fields);
    return code;
}

static void assert_file(const char *id, const char *want)
{
    char *text = NULL;
    size_t n = 0;
    int code = store_file_text(s, 0, id, &text, &n, NULL);
    assert_int_equal(code, want ? 0 : SP_ENOTFOUND);
    if (want)
        assert_string_equal(text, want);
    sp_free(text);
}

static void test_files_of_messages(void **state)
{
    json_t *m = NULL, *file = NULL;
    char id[STORE_ID_BYTES];
    (void)state;
    const char *chat = new_chat("x"), *a = new_file("a.txt", "长江"), *b = new_file("b.txt", "b");
    store_id_new('m', id);
    assert_int_equal(store_file_get(s, 0, a, &file, NULL), 0);
    assert_int_equal(json_integer_value(json_object_get(file, "characters")), 2);
    json_decref(file);
    assert_int_equal(store_file_get(s, 1, a, &file, NULL), SP_ENOTFOUND); /* another owner */
    assert_int_equal(say_with(chat, id, a, b, &m), 0);
    const json_t *list = json_object_get(m, "attachments");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(get(json_array_get(list, 0), "id"), a);
    assert_string_equal(get(json_array_get(list, 1), "name"), "b.txt");
    json_decref(m);
    assert_int_equal(say_with(chat, id, a, b, &m), 0); /* again: the same */
    json_decref(m);
    assert_int_equal(say_with(chat, id, a, NULL, &m), SP_EFULL);
    assert_int_equal(say_with(chat, NULL, "f_aaaaaaaaaaaaaaaaaaaaaaaaaa", NULL, &m), SP_EINVAL);
    assert_int_equal(say_with(chat, NULL, "m_aaaaaaaaaaaaaaaaaaaaaaaaaa", NULL, &m), SP_EINVAL);
    assert_int_equal(store_file_remove(s, 0, a, NULL), SP_EFULL); /* it is a message's */
    /* Two messages have b; it goes with the second. */
    const char *other = new_chat("y");
    assert_int_equal(say_with(other, NULL, b, NULL, &m), 0);
    json_decref(m);
    assert_int_equal(store_chat_remove(s, 0, chat, NULL), 0);
    assert_file(a, NULL);
    assert_file(b, "b");
    assert_int_equal(store_chat_remove(s, 0, other, NULL), 0);
    assert_file(b, NULL);
    assert_sound();
}

static json_t *hits(const char *words, int limit, const char *cursor)
{
    json_t *page = NULL;
    struct store_query q = {.text = words, .limit = limit, .pinned = -1, .cursor = cursor};
    assert_int_equal(store_chats(s, 0, &q, &page, NULL), 0);
    return page;
}

/* The first hit's message, file and snippet. */
static void assert_hit(const char *words, const char *message, const char *file,
                       const char *snippet)
{
    json_t *page = hits(words, 5, NULL);
    const json_t *first = json_array_get(json_object_get(page, "data"), 0);
    assert_string_equal(get(first, "message"), message);
    assert_string_equal(get(json_object_get(first, "file"), "id"), file);
    assert_string_equal(get(first, "snippet"), snippet);
    json_decref(page);
}

static void test_words_of_files(void **state)
{
    char *next = NULL;
    json_t *m = NULL;
    char id[STORE_ID_BYTES];
    (void)state;
    store_id_new('m', id);
    const char *chat = new_chat("x"), *a = new_file("a.txt", "The Yangtze, 长江, is long."),
               *b = new_file("黄河.md", "another river");
    (void)new_file("unsent.txt", "长江"); /* no message has it */
    assert_string_equal(found("长江"), "");
    assert_int_equal(say_with(chat, id, a, b, &m), 0);
    json_decref(m);
    assert_hit("长江", id, a, "The Yangtze, \2长江\3, is long.");
    assert_hit("yangt", id, a, "The \2Yangtze\3, 长江, is long.");
    assert_hit("黄河", id, b, "\2黄河\3.md"); /* only its name */
    assert_hit("黄河 river", id, b, "another \2river\3");
    assert_hit("look", id, "(null)", "\2look\3");
    assert_string_equal(found("yangtze another"), ""); /* in two files */
    /* Another chat has a file, too: each once, the newest first, page by page. */
    const char *other = new_chat("y");
    assert_int_equal(say_with(other, NULL, a, NULL, &m), 0);
    json_decref(m);
    (void)say(chat, id, "长江?");
    (void)say(new_chat("z"), NULL, "长江");
    struct store_query q = {.text = "长江", .limit = 1, .pinned = -1};
    assert_string_equal(titles(&q, &next), "z|");
    q.cursor = next;
    char *third = NULL, *last = NULL;
    assert_string_equal(titles(&q, &third), "x|");
    q.cursor = third;
    assert_string_equal(titles(&q, &last), "y|");
    sp_free(next);
    q.cursor = last;
    if (last)
        assert_string_equal(titles(&q, NULL), "");
    sp_free(third);
    sp_free(last);
    q = (struct store_query){
        .text = "yangtze", .limit = 5, .pinned = -1, .cursor = "9223372036854775806"};
    assert_string_equal(titles(&q, NULL), "y|x|");
    q.cursor = "-9223372036854775808";
    assert_string_equal(titles(&q, NULL), "");
    assert_sound();
    assert_int_equal(store_message_edit(s, 0, id, "other words", &m, NULL), 0);
    json_decref(m);
    assert_string_equal(found("yangtze"), "y|x|");
    assert_int_equal(store_chat_remove(s, 0, chat, NULL), 0);
    assert_string_equal(found("yangtze"), "y|");
    assert_sound();
    assert_int_equal(store_chat_remove(s, 0, other, NULL), 0);
    assert_string_equal(found("yangtze"), "");
    assert_sound();
}

/* What is looked at for a snippet ends within a character. */
static void test_words_of_a_long_file(void **state)
{
    buf text;
    json_t *m = NULL;
    (void)state;
    buf_init(&text, 2 << 20);
    buf_puts(&text, "a");
    while (text.len < SNIPPET_TEXT_MOST - 11)
        buf_puts(&text, "。");
    buf_puts(&text, "长江长江长江");
    while (text.len < 2 * SNIPPET_TEXT_MOST)
        buf_puts(&text, " 山");
    buf_puts(&text, " deep");
    const char *chat = new_chat("x"), *file = new_file("long.txt", text.data);
    assert_int_equal(say_with(chat, NULL, file, NULL, &m), 0);
    const char *message = get(m, "id");
    assert_hit("long", message, file, "\2long\3.txt");
    assert_string_equal(found("deep"), "x|");
    json_t *page = hits("长江", 5, NULL);
    assert_non_null(
        strstr(get(json_array_get(json_object_get(page, "data"), 0), "snippet"), "\2长江\3"));
    json_decref(page);
    json_decref(m);
    buf_free(&text);
    assert_sound();
}

static void test_files_that_nobody_took(void **state)
{
    (void)state;
    json_t *m = NULL;
    const char *chat = new_chat("x"), *old = new_file("old", "o"), *kept = new_file("kept", "k"),
               *mine = new_file("mine", "m");
    assert_int_equal(say_with(chat, NULL, kept, NULL, &m), 0);
    json_decref(m);
    assert_int_equal(
        db_exec(&s->writer,
                "PRAGMA foreign_keys = OFF; UPDATE message_files SET file = 1 WHERE file = (SELECT "
                "seq FROM "
                "files WHERE name = 'kept'); UPDATE files SET seq = 1 WHERE name = 'kept';"
                "UPDATE unsent_files SET file = 2 WHERE file = (SELECT seq FROM files WHERE name = "
                "'old'); UPDATE files SET seq = 2 WHERE name = 'old'; PRAGMA foreign_keys = ON",
                NULL),
        0);
    (void)new_file("new", "n");
    assert_file(old, NULL);
    assert_file(kept, "k");
    assert_file(mine, "m");
    assert_int_equal(store_file_remove(s, 0, mine, NULL), 0);
    assert_file(mine, NULL);
}

static int try_file(int64_t owner, const char *text, sp_error *err)
{
    json_t *file = NULL;
    const struct store_file f = {.name = "x", .type = "text/plain", .text = str_of(text)};
    int code = store_file_add(s, owner, &f, &file, err);
    json_decref(file);
    return code;
}

/* How many and how much an owner may leave unsent; what is sent or removed makes room. */
static void test_unsent_files_are_bounded(void **state)
{
    json_t *m = NULL;
    sp_error err = {0};
    (void)state;
    store_close(s);
    struct store_opts o = {.path = in_scratch("history.db"), .writes = true, .unsent_bytes = 1000};
    assert_int_equal(store_open(&o, &s, &err), 0);
    char text[1001];
    memset(text, 'a', sizeof text - 1);
    text[1000] = '\0';
    const char *chat = new_chat("x"), *id = new_file("a", "长");
    assert_int_equal(try_file(0, text, &err), SP_EFULL); /* 1000 and 3 */
    assert_non_null(strstr(err.message, "--max-unsent"));
    assert_int_equal(try_file(1, text, &err), 0); /* somebody else's */
    assert_int_equal(say_with(chat, NULL, id, NULL, &m), 0);
    json_decref(m);
    assert_int_equal(try_file(0, text, &err), 0);
    assert_int_equal(try_file(0, "b", &err), SP_EFULL);
    assert_int_equal(
        db_exec(&s->writer, "DELETE FROM files WHERE seq IN (SELECT file FROM unsent_files)", NULL),
        0);
    for (int i = 0; i < STORE_UNSENT_FILES; i++)
        assert_int_equal(try_file(0, "", &err), 0);
    assert_int_equal(try_file(0, "", &err), SP_EFULL);
    assert_non_null(strstr(err.message, "a day after"));
    assert_int_equal(db_exec(&s->writer,
                             "PRAGMA foreign_keys = OFF; UPDATE files SET seq = 3 WHERE seq = "
                             "(SELECT max(file) FROM unsent_files); UPDATE unsent_files SET file = "
                             "3 WHERE file = (SELECT max(file) FROM unsent_files); PRAGMA "
                             "foreign_keys = ON",
                             NULL),
                     0);
    assert_int_equal(store_files_expire(s, &err), 0); /* that one is of 1970 */
    assert_int_equal(try_file(0, "", &err), 0);
    assert_sound();
}

static int collect(void *arg, const json_t *chat, sp_error *err)
{
    (void)err;
    return store_write_jsonl(chat, arg);
}

/* Out and in again: with their texts, and no file of somebody else's by its id. */
static void test_files_travel(void **state)
{
    json_t *m = NULL;
    buf out, markdown;
    struct store_imported in;
    (void)state;
    const char *chat = new_chat("x"), *a = new_file("a.txt", "长江");
    assert_int_equal(say_with(chat, NULL, a, NULL, &m), 0);
    json_decref(m);
    buf_init(&out, 1 << 20);
    buf_init(&markdown, 1 << 20);
    assert_int_equal(store_each(s, 0, chat, collect, &out, NULL), 0);
    json_t *whole = json_loads(out.data, 0, NULL);
    assert_int_equal(store_write_markdown(whole, &markdown), 0);
    assert_non_null(strstr(markdown.data, "*Files: a.txt*"));
    assert_int_equal(store_chat_remove(s, 0, chat, NULL), 0);
    assert_file(a, NULL);
    assert_int_equal(store_import(s, 0, out.data, out.len, &in, NULL), 0);
    json_decref(in.skipped);
    assert_int_equal(in.chats, 1);
    assert_file(a, "长江");
    /* The same file's id with another text, in another chat: it is another file then. */
    char other[STORE_ID_BYTES], message[STORE_ID_BYTES];
    store_id_new('c', other);
    store_id_new('m', message);
    json_object_set_new(json_object_get(whole, "chat"), "id", json_string(other));
    json_object_set_new(json_object_get(whole, "chat"), "head", json_null());
    json_object_set_new(json_array_get(json_object_get(whole, "messages"), 0), "id",
                        json_string(message));
    json_object_set_new(json_array_get(json_object_get(whole, "files"), 0), "text",
                        json_string("other"));
    char *line = json_dumps(whole, 0);
    assert_int_equal(store_import(s, 0, line, strlen(line), &in, NULL), 0);
    json_decref(in.skipped);
    assert_int_equal(in.chats, 1);
    assert_file(a, "长江");
    assert_int_equal(store_message(s, 0, message, &m, NULL), 0);
    const char *its = get(json_array_get(json_object_get(m, "attachments"), 0), "id");
    assert_string_not_equal(its, a);
    assert_file(its, "other");
    json_decref(m);
    free(line);
    /* A message that names a file which is not in the line. */
    json_object_del(whole, "files");
    store_id_new('c', other);
    json_object_set_new(json_object_get(whole, "chat"), "id", json_string(other));
    line = json_dumps(whole, 0);
    assert_int_equal(store_import(s, 0, line, strlen(line), &in, NULL), 0);
    assert_int_equal(in.chats, 0);
    assert_int_equal(in.n_skipped, 1);
    json_decref(in.skipped);
    free(line);
    json_decref(whole);
    buf_free(&out);
    buf_free(&markdown);
    assert_sound();
}
int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_files_of_messages),        TEST(test_words_of_files),
        TEST(test_words_of_a_long_file),     TEST(test_files_that_nobody_took),
        TEST(test_unsent_files_are_bounded), TEST(test_files_travel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
