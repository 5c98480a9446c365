/* What the store's tests share: a history in a folder of its own, and short ways to fill it. */
#ifndef SP_TESTS_STORE_H
#define SP_TESTS_STORE_H

#include "../base/scratch.h"
#include "store/store_int.h"

static store *s;

__attribute__((unused)) static void open_store(void)
{
    sp_error err = {0};
    struct store_opts o = {.path = in_scratch("history.db"), .writes = true};
    if (store_open(&o, &s, &err) != 0)
        fail_msg("%s", err.message);
}

__attribute__((unused)) static int setup(void **state)
{
    if (make_scratch(state) != 0)
        return -1;
    open_store();
    return 0;
}

__attribute__((unused)) static int teardown(void **state)
{
    store_close(s);
    s = NULL;
    return remove_scratch(state);
}

__attribute__((unused)) static const char *get(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "(null)";
}

/* The id of a new chat, in one of a few buffers that take turns. */
__attribute__((unused)) static const char *new_chat(const char *title)
{
    static char ids[16][STORE_ID_BYTES];
    static unsigned turn;
    char *id = ids[turn++ % 16];
    json_t *chat = NULL, *fields = json_pack("{s:s}", "title", title);
    assert_int_equal(store_chat_add(s, 0, fields, &chat, NULL), 0);
    (void)snprintf(id, STORE_ID_BYTES, "%s", get(chat, "id"));
    json_decref(chat);
    json_decref(fields);
    return id;
}

__attribute__((unused)) static const char *say_as(const char *chat, const char *parent,
                                                  const char *role, const char *content)
{
    static char ids[64][STORE_ID_BYTES];
    static unsigned turn;
    char *id = ids[turn++ % 64];
    json_t *m = NULL, *fields = json_pack("{s:s?,s:s,s:s}", "parent", parent, "role", role,
                                          "content", content);
    sp_error err = {0};
    if (store_message_add(s, 0, chat, fields, &m, NULL, &err) != 0)
        fail_msg("%s", err.message);
    (void)snprintf(id, STORE_ID_BYTES, "%s", get(m, "id"));
    json_decref(m);
    json_decref(fields);
    return id;
}

__attribute__((unused)) static const char *say(const char *chat, const char *parent,
                                               const char *content)
{
    return say_as(chat, parent, "user", content);
}

/* The titles of a page, with '|' behind each; *next, if wanted, is allocated or NULL. */
__attribute__((unused)) static const char *titles(const struct store_query *q, char **next)
{
    static char text[8192];
    json_t *page = NULL, *chat;
    size_t i, n = 0;
    sp_error err = {0};
    if (store_chats(s, 0, q, &page, &err) != 0)
        fail_msg("%s", err.message);
    text[0] = '\0';
    json_array_foreach(json_object_get(page, "data"), i, chat)
    {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s|", get(chat, "title"));
    }
    const char *cursor = json_string_value(json_object_get(page, "next"));
    if (next)
        *next = cursor ? sp_strdup(cursor) : NULL;
    json_decref(page);
    return text;
}

__attribute__((unused)) static const char *found(const char *words)
{
    struct store_query q = {.text = words, .limit = 50, .pinned = -1};
    return titles(&q, NULL);
}

/* The file is sound, in rows and index. */
__attribute__((unused)) static void assert_sound(void)
{
    struct store_health h;
    sp_error err = {0};
    assert_int_equal(store_check(s, &h, &err), 0);
    if (json_array_size(h.problems) > 0)
        fail_msg("%s", json_string_value(json_array_get(h.problems, 0)));
    json_decref(h.problems);
}

#endif
