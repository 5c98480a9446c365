/* Chats, trees of messages, pages of them, the search, and histories of every age and kind. */
#include <signal.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "store_test.h"

/* ---- chats and messages ---- */

static void test_ids(void **state)
{
    char a[STORE_ID_BYTES], b[STORE_ID_BYTES];
    (void)state;
    store_id_new('c', a);
    store_id_new('c', b);
    assert_true(store_id_sound(a, 'c') && store_id_sound(b, 'c') && strcmp(a, b) != 0);
    assert_false(store_id_sound(a, 'm'));
    assert_false(store_id_sound("c_", 'c') || store_id_sound(NULL, 'c') ||
                 store_id_sound("c_ABC", 'c'));
    assert_int_equal(store_id_from('m', "x", 1, a), 0);
    assert_int_equal(store_id_from('m', "x", 1, b), 0);
    assert_string_equal(a, b);
    assert_true(store_id_sound(a, 'm'));
}

static void test_a_chat_s_fields(void **state)
{
    json_t *chat = NULL;
    sp_error err = {0};
    (void)state;
    json_t *fields =
        json_pack("{s:s,s:s,s:b,s:s,s:s,s:{s:f}}", "title", "长江", "folder", "旅行", "pinned", 1,
                  "model", "qwen", "system", "Be brief.", "params", "temperature", 0.5);
    assert_int_equal(store_chat_add(s, 0, fields, &chat, &err), 0);
    const char *name;
    json_t *value;
    json_object_foreach(fields, name, value)
    {
        assert_true(json_equal(json_object_get(chat, name), value));
    }
    char id[STORE_ID_BYTES];
    (void)snprintf(id, sizeof id, "%s", get(chat, "id"));
    json_decref(chat);
    json_t *change = json_pack("{s:n,s:b,s:n}", "folder", "pinned", 0, "model");
    assert_int_equal(store_chat_change(s, 0, id, change, &chat, &err), 0);
    assert_true(json_is_null(json_object_get(chat, "folder")) &&
                json_is_null(json_object_get(chat, "model")));
    assert_string_equal(get(chat, "title"), "长江");
    json_decref(chat);
    json_decref(change);
    json_decref(fields);
    static const char *const wrong[] = {"{\"title\": 1}",     "{\"pinned\": \"yes\"}",
                                        "{\"params\": []}",   "{\"colour\": 1}",
                                        "{\"folder\": \"\"}", "{\"head\": \"m_x\"}"};
    for (size_t i = 0; i < SP_COUNT(wrong); i++) {
        json_t *j = json_loads(wrong[i], 0, NULL);
        assert_int_equal(store_chat_change(s, 0, id, j, &chat, &err), SP_EINVAL);
        json_decref(j);
    }
    assert_int_equal(store_chat(s, 1, id, false, &chat, &err), SP_ENOTFOUND); /* another owner */
}

static void test_a_tree(void **state)
{
    json_t *chat = NULL, *branch = NULL, *m = NULL;
    sp_error err = {0};
    (void)state;
    const char *id = new_chat("");
    const char *q = say(
        id, NULL,
        "  What is the longest river of Asia, and how long is it exactly in kilometres?\nTell.");
    const char *a1 = say_as(id, q, "assistant", "one"), *a2 = say_as(id, q, "assistant", "two");
    const char *q2 = say(id, a1, "and?");
    assert_int_equal(store_chat(s, 0, id, true, &chat, &err), 0);
    assert_string_equal(get(chat, "title"),
                        "What is the longest river of Asia, and how long is it");
    assert_string_equal(get(chat, "head"), q2);
    assert_int_equal(json_integer_value(json_object_get(chat, "messages_count")), 4);
    const json_t *list = json_object_get(chat, "messages");
    assert_string_equal(get(json_array_get(list, 1), "parent"), q);
    assert_string_equal(get(json_array_get(list, 2), "id"), a2);
    json_decref(chat);
    assert_int_equal(store_branch(s, 0, q2, &branch, &err), 0);
    assert_int_equal(json_array_size(branch), 3);
    assert_string_equal(get(json_array_get(branch, 1), "content"), "one");
    json_decref(branch);
    json_t *head = json_pack("{s:s}", "head", a2);
    assert_int_equal(store_chat_change(s, 0, id, head, &chat, &err), 0);
    assert_string_equal(get(chat, "head"), a2);
    json_decref(chat);
    json_decref(head);
    const char *other = new_chat("other");
    json_t *fields = json_pack("{s:s,s:s,s:s}", "role", "user", "content", "x", "parent", q);
    assert_int_equal(store_message_add(s, 0, other, fields, &m, NULL, &err), SP_EINVAL);
    json_decref(fields);
    assert_sound();
}

static void test_the_same_message_twice(void **state)
{
    json_t *m = NULL;
    bool added;
    char id[STORE_ID_BYTES];
    sp_error err = {0};
    (void)state;
    const char *chat = new_chat("x");
    store_id_new('m', id);
    json_t *fields = json_pack("{s:s,s:s,s:s}", "role", "user", "content", "hi", "id", id);
    assert_int_equal(store_message_add(s, 0, chat, fields, &m, &added, &err), 0);
    assert_true(added);
    json_decref(m);
    assert_int_equal(store_message_add(s, 0, chat, fields, &m, &added, &err), 0);
    assert_false(added);
    assert_string_equal(get(m, "id"), id);
    json_decref(m);
    json_object_set_new(fields, "content", json_string("other"));
    assert_int_equal(store_message_add(s, 0, chat, fields, &m, &added, &err), SP_EFULL);
    assert_null(m);
    json_decref(fields);
}

static void test_texts_that_grow(void **state)
{
    json_t *m = NULL, *usage = json_pack("{s:i}", "prompt_tokens", 3);
    sp_error err = {0};
    (void)state;
    const char *chat = new_chat("x"), *q = say(chat, NULL, "hi");
    json_t *fields = json_pack("{s:s,s:s,s:s,s:s}", "role", "assistant", "content", "", "state",
                               "queued", "parent", q);
    assert_int_equal(store_message_add(s, 0, chat, fields, &m, NULL, &err), 0);
    struct store_text t[2] = {{.content = str_of("half of 长江"), .state = "streaming"},
                              {.content = str_of("x"), .state = "streaming"}};
    (void)snprintf(t[0].message, STORE_ID_BYTES, "%s", get(m, "id"));
    store_id_new('m', t[1].message);
    assert_int_equal(store_texts(s, t, 2, &err), 0);
    assert_true(!t[0].lost && t[1].lost);
    assert_string_equal(found("长江"), ""); /* what still grows is not searched */
    t[0] = (struct store_text){.content = str_of("all of 长江"),
                               .reasoning = str_of("hm"),
                               .state = "complete",
                               .ended = true,
                               .finish_reason = "stop",
                               .usage = usage};
    (void)snprintf(t[0].message, STORE_ID_BYTES, "%s", get(m, "id"));
    assert_int_equal(store_texts(s, t, 1, &err), 0);
    assert_string_equal(found("长江"), "x|");
    json_decref(m);
    assert_int_equal(store_message(s, 0, t[0].message, &m, &err), 0);
    assert_string_equal(get(m, "content"), "all of 长江");
    assert_string_equal(get(m, "reasoning"), "hm");
    assert_string_equal(get(m, "finish_reason"), "stop");
    assert_true(json_equal(json_object_get(m, "usage"), usage));
    json_decref(m);
    assert_int_equal(store_message_reopen(s, 0, t[0].message, &m, &err), 0);
    assert_string_equal(get(m, "state"), "queued");
    json_decref(m);
    assert_int_equal(store_message_reopen(s, 0, t[0].message, &m, &err), SP_EFULL);
    assert_string_equal(found("长江"), "");
    assert_sound();
    store_close(s); /* as after a crash: it was never ended */
    open_store();
    assert_int_equal(store_message(s, 0, t[0].message, &m, &err), 0);
    assert_string_equal(get(m, "state"), "interrupted");
    assert_string_equal(found("长江"), "x|");
    assert_sound();
    json_decref(m);
    json_decref(fields);
    json_decref(usage);
}

static void test_edit_and_remove(void **state)
{
    json_t *m = NULL, *chat = NULL;
    sp_error err = {0};
    (void)state;
    const char *id = new_chat("x"), *q = say(id, NULL, "黄河");
    assert_int_equal(store_message_edit(s, 0, q, "长江", &m, &err), 0);
    json_decref(m);
    assert_string_equal(found("黄河"), "");
    assert_string_equal(found("长江"), "x|");
    assert_int_equal(store_chat_mark(s, 0, id, true, &chat, &err), 0);
    assert_true(json_is_real(json_object_get(chat, "deleted")));
    json_decref(chat);
    assert_string_equal(found("长江"), "");
    struct store_query gone = {.limit = 5, .pinned = -1, .deleted = true};
    assert_string_equal(titles(&gone, NULL), "x|");
    assert_int_equal(store_chat_mark(s, 0, id, false, &chat, &err), 0);
    json_decref(chat);
    assert_string_equal(found("长江"), "x|");
    assert_int_equal(store_chat_remove(s, 0, id, &err), 0);
    assert_int_equal(store_message(s, 0, q, &m, &err), SP_ENOTFOUND);
    assert_string_equal(found("长江"), "");
    assert_sound();
}

static void test_purge(void **state)
{
    json_t *chat = NULL, *ids = NULL;
    sp_error err = {0};
    (void)state;
    const char *gone = new_chat("gone");
    say(gone, NULL, "长江");
    assert_int_equal(store_chat_mark(s, 0, gone, true, &chat, &err), 0);
    json_decref(chat);
    (void)new_chat("stays");
    assert_int_equal(store_purge(s, 3600, &ids, &err), 0); /* not yet */
    assert_int_equal(json_array_size(ids), 0);
    json_decref(ids);
    assert_int_equal(store_purge(s, -1, &ids, &err), 0);
    assert_int_equal(json_array_size(ids), 1);
    assert_string_equal(get(json_array_get(ids, 0), "id"), gone);
    json_decref(ids);
    assert_int_equal(store_chat(s, 0, gone, false, &chat, &err), SP_ENOTFOUND);
    struct store_query all = {.limit = 5, .pinned = -1};
    assert_string_equal(titles(&all, NULL), "stays|");
    assert_sound();
}

/* ---- pages ---- */

static void test_pages_by_time(void **state)
{
    char *next = NULL, name[32];
    (void)state;
    for (int i = 0; i < 7; i++) {
        (void)snprintf(name, sizeof name, "t%d", i);
        const char *id = new_chat(name);
        json_t *chat = NULL,
               *fields = json_pack("{s:s?,s:b}", "folder", i % 2 ? "odd" : NULL, "pinned", i == 3);
        assert_int_equal(store_chat_change(s, 0, id, fields, &chat, NULL), 0);
        json_decref(chat);
        json_decref(fields);
    }
    struct store_query q = {.limit = 3, .pinned = -1};
    assert_string_equal(titles(&q, &next), "t6|t5|t4|");
    assert_non_null(next);
    q.cursor = next;
    char *last = NULL;
    assert_string_equal(titles(&q, &last), "t3|t2|t1|");
    q.cursor = last;
    char *end = NULL;
    assert_string_equal(titles(&q, &end), "t0|");
    assert_null(end);
    q = (struct store_query){.limit = 9, .pinned = 1};
    assert_string_equal(titles(&q, NULL), "t3|");
    q = (struct store_query){.limit = 9, .pinned = 0, .folder = "odd"};
    assert_string_equal(titles(&q, NULL), "t5|t1|");
    json_t *folders = NULL, *page = NULL;
    assert_int_equal(store_folders(s, 0, &folders, NULL), 0);
    assert_int_equal(json_array_size(folders), 1);
    q = (struct store_query){.limit = 9, .pinned = -1, .cursor = "what"};
    assert_int_equal(store_chats(s, 0, &q, &page, NULL), SP_EINVAL);
    json_decref(folders);
    sp_free(next);
    sp_free(last);
}

static void test_search(void **state)
{
    (void)state;
    const char *a = new_chat("武汉的桥"), *b = new_chat("Rivers"), *c = new_chat("Code");
    const char *m = say(a, NULL, "武汉长江大桥是什么时候建成的？");
    (void)say_as(a, m, "assistant", "武汉长江大桥于1957年建成。");
    (void)say(b, NULL, "How long is the Yangtze (长江)?");
    (void)say(c, NULL, "def yangtze_length(): return 6300");
    assert_string_equal(found("长江"), "Rivers|武汉的桥|");
    assert_string_equal(found("大桥"), "武汉的桥|");
    assert_string_equal(found("桥"), "武汉的桥|");
    assert_string_equal(found("江桥"), "");
    assert_string_equal(found("长江 建成"), "武汉的桥|");
    assert_string_equal(found("yang"), "Code|Rivers|"); /* the last word may go on */
    assert_string_equal(found("YANGTZE length"), "Code|");
    assert_string_equal(found("\"yangtze 长江\""), "Rivers|");
    assert_string_equal(found("rivers"), "Rivers|"); /* a title */
    assert_string_equal(found("1957年"), "武汉的桥|");
    assert_string_equal(found("'; DROP TABLE chats; --"), "");
    assert_string_equal(found("\" OR NEAR( * ^ :"), "");
    struct store_query q = {.text = "长江", .limit = 50, .pinned = -1};
    json_t *page = NULL;
    assert_int_equal(store_chats(s, 0, &q, &page, NULL), 0);
    const json_t *first = json_array_get(json_object_get(page, "data"), 0);
    assert_string_equal(get(first, "snippet"), "How long is the Yangtze (\2长江\3)?");
    assert_true(store_id_sound(get(first, "message"), 'm'));
    json_decref(page);
}

/* Each chat once, over all pages, whatever number of its messages match. */
static void test_pages_of_a_search(void **state)
{
    char name[32], seen[2048] = "";
    char *cursor = NULL, *next = NULL;
    (void)state;
    const char *ids[10];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, i % 3 ? "s%d" : "长江%d", i);
        ids[i] = new_chat(name);
    }
    for (int turn = 0; turn < 4; turn++)
        for (int i = 0; i < 10; i++)
            (void)say(ids[i], NULL, "长江和长江");
    do {
        struct store_query q = {.text = "长江", .limit = 3, .pinned = -1, .cursor = cursor};
        size_t n = strlen(seen);
        (void)snprintf(seen + n, sizeof seen - n, "%s", titles(&q, &next));
        sp_free(cursor);
        cursor = next;
    } while (cursor);
    assert_string_equal(seen, "长江9|s8|s7|长江6|s5|s4|长江3|s2|s1|长江0|");
}

/* ---- the file of a history ---- */

static int version_of(sqlite3 *db)
{
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int v = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return v;
}

/* From each version there was, with rows in it, to this one. */
static void test_migrations(void **state)
{
    (void)state;
    for (int from = 0; from < STORE_VERSION; from++) {
        store_close(s);
        s = NULL;
        unlink(in_scratch("history.db"));
        struct conn c = {.n_cache = 0};
        sp_error err = {0};
        assert_int_equal(db_open(&c, in_scratch("history.db"), true, &err), 0);
        assert_int_equal(migrate_to(&c, from, &err), 0);
        assert_int_equal(version_of(c.db), from);
        if (from >= 1)
            assert_int_equal(
                db_exec(
                    &c,
                    "INSERT INTO chats (seq, id, owner, title, titled, updated) VALUES (10,"
                    " 'c_aaaaaaaaaaaaaaaaaaaaaaaaaa', 0, '旧的', 1, 10);"
                    "INSERT INTO messages (seq, id, owner, chat, role, content, state) VALUES (11,"
                    " 'm_aaaaaaaaaaaaaaaaaaaaaaaaaa', 0, 10, 'user', '长江', 'complete'), (12,"
                    " 'm_baaaaaaaaaaaaaaaaaaaaaaaaa', 0, 10, 'assistant', '半句黄河', 'streaming')",
                    &err),
                0);
        if (from >= 3)
            assert_int_equal(db_exec(&c,
                                     "INSERT INTO files VALUES (9, 'f_aaaaaaaaaaaaaaaaaaaaaaaaaa', "
                                     "0, 'a.txt', 'text/plain', 6, 2, '珠江');"
                                     "INSERT INTO message_files VALUES (11, 0, 9)",
                                     &err),
                             0);
        db_close(&c);
        open_store();
        assert_int_equal(version_of(s->writer.db), STORE_VERSION);
        assert_string_equal(found("珠江"), from >= 3 ? "旧的|" : "");
        assert_string_equal(found("长江"), from >= 1 ? "旧的|" : "");
        assert_string_equal(found("黄河"), from >= 1 ? "旧的|" : "");
        assert_sound();
    }
}

static int kill_me(void *arg)
{
    (void)arg;
    return raise(SIGKILL);
}

/* In a process that is killed after so many steps of SQLite's machine; false: it came to the end before. */
static bool killed_while_it_migrates(int steps)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct conn c = {.n_cache = 0};
        if (db_open(&c, in_scratch("history.db"), true, NULL) != 0)
            _exit(1);
        sqlite3_progress_handler(c.db, steps, kill_me, NULL);
        _exit(migrate_to(&c, STORE_VERSION, NULL) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void add_old_chats(struct conn *c)
{
    sp_error err = {0};
    const char *fill = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
                       "INSERT INTO chats (seq, id, owner, title, titled, updated) SELECT i * 10,"
                       " 'c_' || i, 0, 'chat ' || i, 1, i FROM n;"
                       "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
                       "INSERT INTO messages (seq, id, owner, chat, role, content, state) SELECT "
                       "i * 10 + 1, 'm_' || i, 0, i * 10, 'user', 'bridge 长江 ' || i, 'complete' "
                       "FROM n";
    assert_int_equal(db_exec(c, fill, &err), 0);
}

/* kill -9 at any moment of an update: the next one finds all there is. */
static void test_killed_while_it_migrates(void **state)
{
    struct conn c = {.n_cache = 0};
    int kills = 0;
    (void)state;
    store_close(s);
    s = NULL;
    unlink(in_scratch("history.db"));
    assert_int_equal(db_open(&c, in_scratch("history.db"), true, NULL), 0);
    assert_int_equal(db_exec(&c, "PRAGMA journal_mode = WAL", NULL), 0);
    assert_int_equal(migrate_to(&c, 6, NULL), 0);
    add_old_chats(&c);
    db_close(&c);
    for (int steps = 40; killed_while_it_migrates(steps); steps += steps / 3)
        kills++;
    assert_true(kills > 5);
    open_store();
    assert_sound();
    struct store_query q = {.text = "长江 bridg", .limit = STORE_PAGE_MOST, .pinned = -1};
    json_t *page = NULL;
    assert_int_equal(store_chats(s, 0, &q, &page, NULL), 0);
    assert_int_equal(json_array_size(json_object_get(page, "data")), 200);
    json_decref(page);
}

static int try_open(const char *name, sp_error *err)
{
    store *other = NULL;
    struct store_opts o = {.path = in_scratch(name), .writes = true};
    int code = store_open(&o, &other, err);
    store_close(other);
    return code;
}

static void test_files_that_are_none(void **state)
{
    sp_error err = {0};
    sqlite3 *db;
    (void)state;
    put_file(
        "text.db",
        "this is no database, and it is long enough to be looked at as one: ..................... "
        "............................................................................");
    assert_int_equal(try_open("text.db", &err), SP_EFORMAT);
    assert_int_equal(sqlite3_open(in_scratch("other.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(try_open("other.db", &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "another program"));
    assert_int_equal(sqlite3_open(in_scratch("history.db"), &db), SQLITE_OK);
    store_close(s);
    s = NULL;
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(try_open("history.db", &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "newer"));
}

static void test_one_writer_and_private_files(void **state)
{
    sp_error err = {0};
    struct stat st;
    (void)state;
    assert_int_equal(try_open("history.db", &err), SP_EBUSY);
    assert_non_null(strstr(err.message, "another Sampan"));
    (void)new_chat("x");
    assert_int_equal(stat(in_scratch("history.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(in_scratch("history.db-wal"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store *reader = NULL;
    struct store_opts o = {.path = in_scratch("history.db")};
    json_t *chat = NULL, *fields = json_object();
    assert_int_equal(store_open(&o, &reader, &err), 0); /* reading needs no lock */
    assert_int_equal(store_chat_add(reader, 0, fields, &chat, &err), SP_EINVAL);
    json_decref(fields);
    store_close(reader);
    o.path = in_scratch("nowhere.db");
    assert_int_equal(store_open(&o, &reader, &err), SP_ENOTFOUND);
}

static void test_backup(void **state)
{
    sp_error err = {0};
    (void)state;
    (void)say(new_chat("x"), NULL, "长江");
    assert_int_equal(store_backup(s, in_scratch("copy.db"), &err), 0);
    assert_int_equal(store_backup(s, in_scratch("copy.db"), &err), SP_EINVAL);
    store *was = s;
    struct store_opts o = {.path = in_scratch("copy.db"), .writes = true};
    assert_int_equal(store_open(&o, &s, &err), 0);
    assert_string_equal(found("长江"), "x|");
    assert_sound();
    store_close(s);
    s = was;
}

/* What the check is for: rows, index and file that were damaged from outside. */
static void test_check_finds_damage(void **state)
{
    struct store_health h;
    sp_error err = {0};
    sqlite3 *db;
    (void)state;
    const char *a = new_chat("x"), *b = new_chat("y");
    (void)say(a, NULL, "长江");
    (void)say(b, NULL, "黄河");
    store_close(s);
    assert_int_equal(sqlite3_open(in_scratch("history.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "DROP TRIGGER message_changes; DROP TRIGGER message_changed;"
                                  "UPDATE messages SET content = '珠江' WHERE content = '长江';"
                                  "UPDATE chats SET head = (SELECT max(seq) FROM messages)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    open_store();
    assert_int_equal(store_check(s, &h, &err), 0);
    assert_int_equal(json_array_size(h.problems), 2);
    json_decref(h.problems);
}

/* ---- with allocations failing ---- */

static int try_all(void)
{
    json_t *chat = NULL, *m = NULL, *page = NULL, *fields = json_pack("{s:s}", "title", "t"),
           *message = json_pack("{s:s,s:s}", "role", "user", "content", "长江 hello");
    struct store_query q = {.text = "长江 hel", .limit = 5, .pinned = -1};
    sp_error err = {0};
    int code = store_chat_add(s, 0, fields, &chat, &err);
    if (code == 0)
        code = store_message_add(s, 0, get(chat, "id"), message, &m, NULL, &err);
    if (code == 0)
        code = store_chats(s, 0, &q, &page, &err);
    json_decref(fields);
    json_decref(message);
    json_decref(chat);
    json_decref(m);
    json_decref(page);
    return code;
}

static int try_open_new(void)
{
    store *other = NULL;
    struct store_opts o = {.path = in_scratch("second.db"), .writes = true};
    int code = store_open(&o, &other, NULL);
    store_close(other);
    return code;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    with_failing_allocations(try_open_new);
    with_failing_allocations(try_all);
    assert_sound();
}

/* ---- templates ---- */

static void test_templates(void **state)
{
    json_t *a = NULL, *b = NULL, *list = NULL,
           *body = json_pack("{s:s,s:[]}", "name", "邮件", "fields");
    sp_error err = {0};
    (void)state;
    assert_int_equal(store_template_put(s, 0, NULL, body, &a, &err), 0);
    assert_int_equal(store_template_put(s, 1, NULL, body, &b, &err), 0);
    assert_true(store_id_sound(get(a, "id"), 't'));
    assert_string_equal(get(a, "name"), "邮件");
    json_object_set_new(body, "name", json_string("Letter"));
    json_t *changed = NULL;
    assert_int_equal(store_template_put(s, 0, get(a, "id"), body, &changed, &err), 0);
    assert_string_equal(get(changed, "name"), "Letter");
    assert_true(json_equal(json_object_get(a, "created"), json_object_get(changed, "created")));
    assert_int_equal(store_templates(s, 0, &list, &err), 0);
    assert_int_equal(json_array_size(list), 1);
    assert_true(json_equal(json_array_get(list, 0), changed));
    json_decref(changed);
    assert_int_equal(store_template_put(s, 0, get(b, "id"), body, &changed, &err), SP_ENOTFOUND);
    assert_int_equal(store_template_remove(s, 0, get(b, "id"), &err),
                     SP_ENOTFOUND); /* another owner's */
    assert_int_equal(store_template_remove(s, 0, get(a, "id"), &err), 0);
    assert_int_equal(store_template_remove(s, 0, get(a, "id"), &err), SP_ENOTFOUND);
    json_decref(a);
    json_decref(b);
    json_decref(body);
    json_decref(list);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        TEST(test_a_chat_s_fields),
        TEST(test_a_tree),
        TEST(test_the_same_message_twice),
        TEST(test_texts_that_grow),
        TEST(test_edit_and_remove),
        TEST(test_purge),
        TEST(test_pages_by_time),
        TEST(test_search),
        TEST(test_pages_of_a_search),
        TEST(test_migrations),
        TEST(test_killed_while_it_migrates),
        TEST(test_files_that_are_none),
        TEST(test_one_writer_and_private_files),
        TEST(test_templates),
        TEST(test_backup),
        TEST(test_check_finds_damage),
        TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
