/* A file of chats to be imported: Sampan's, OpenAI's, Open WebUI's or none. What was taken is found by a search, goes
 * out as JSON and Markdown, and the history stays sound. */
#include <unistd.h>
#include "fuzz.h"
#include "store/store_int.h"

static store *s;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char folder[] = "/tmp/sampan-fuzz-XXXXXX";
    char path[64];
    (void)argc;
    (void)argv;
    fuzz_check(mkdtemp(folder) != NULL, "a folder is made");
    (void)snprintf(path, sizeof path, "%s/history.db", folder);
    struct store_opts o = {.path = path, .writes = true};
    fuzz_check(store_open(&o, &s, NULL) == 0, "a history is made");
    fuzz_check(db_exec(&s->writer, "PRAGMA synchronous = OFF", NULL) == 0, "it need not be synced");
    unlink(path); /* it lives on while it is open, and leaves nothing */
    return 0;
}

static int write_out(void *arg, const json_t *chat, sp_error *err)
{
    buf b;
    (void)err;
    buf_init(&b, (size_t)64 << 20);
    int code = store_write_jsonl(chat, &b);
    if (code == 0)
        code = store_write_markdown(chat, &b);
    ++*(size_t *)arg;
    buf_free(&b);
    return code;
}

static void check_sound(size_t chats)
{
    int64_t there = 0, lost = 0;
    fuzz_check(db_number(&s->reader, &there, NULL, "SELECT count(*) FROM chats", "") == 0,
               "chats are counted");
    fuzz_check(db_number(&s->reader, &lost, NULL,
                         "SELECT count(*) FROM messages m LEFT JOIN messages p ON p.seq = m.parent "
                         "WHERE m.parent IS NOT"
                         " NULL AND (p.seq IS NULL OR p.chat <> m.chat OR p.seq >= m.seq)",
                         "") == 0,
               "messages are looked at");
    fuzz_check((size_t)there == chats && lost == 0,
               "what was taken is there, and each parent before its children");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct store_imported in = {.chats = 0};
    sp_error err = {0};
    size_t out = 0;
    int code = store_import(s, 0, (const char *)data, n, &in, &err);
    fuzz_check_error(code, &err);
    bool was_failing = fuzz_state.failing;
    sp_alloc_fail_nth(0); /* what follows is not what is tried */
    check_sound(in.chats);
    if (code == 0 && !was_failing) {
        fuzz_check(store_each(s, 0, NULL, write_out, &out, NULL) == 0 && out == in.chats,
                   "all of it goes out");
        struct store_query q = {.text = "a 长江", .limit = 10, .pinned = -1};
        json_t *page = NULL;
        fuzz_check(store_chats(s, 0, &q, &page, NULL) == 0, "it can be searched");
        json_decref(page);
    }
    fuzz_check(db_exec(&s->writer, "DELETE FROM chats", NULL) == 0, "it can be removed");
    json_decref(in.skipped);
    return 0;
}
