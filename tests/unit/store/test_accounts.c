/* Accounts, sessions and keys in the store: who owns what, and what ends with what. */
#include "store_test.h"
#include "store/accounts.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LATER 4000000000

static int64_t add(const char *name)
{
    struct store_account account = {0};
    sp_error err = {0};
    if (store_account_add(s, name, "hash", false, &account, &err) != 0)
        fail_msg("%s", err.message);
    return account.id;
}

static void sign_in(int64_t account, const char *hash, int64_t used, int64_t expires)
{
    struct store_session one = {
        .account = account, .created = used, .used = used, .expires = expires};
    (void)snprintf(one.hash, sizeof one.hash, "%s", hash);
    assert_int_equal(store_session_add(s, &one, NULL), 0);
}

static struct store_access load(void)
{
    struct store_access a;
    sp_error err = {0};
    if (store_access_load(s, &a, &err) != 0)
        fail_msg("%s", err.message);
    return a;
}

static size_t sessions(void)
{
    struct store_access a = load();
    size_t n = a.n_sessions;
    store_access_free(&a);
    return n;
}

static bool sees(int64_t owner, const char *chat)
{
    json_t *j = NULL;
    int code = store_chat(s, owner, chat, true, &j, NULL);
    json_decref(j);
    assert_true(code == 0 || code == SP_ENOTFOUND);
    return code == 0;
}

static void the_first_gets_what_was_there(void **state)
{
    (void)state;
    const char *chat = new_chat("Rivers");
    const char *m = say(chat, NULL, "How long is the Yangtze?");
    json_t *message = NULL;
    int64_t alice = add("alice"), bob = add("bob");
    assert_true(alice > 0 && bob > alice);
    assert_true(sees(alice, chat));
    assert_false(sees(0, chat));
    assert_false(sees(bob, chat));
    assert_int_equal(store_message(s, alice, m, &message, NULL), 0);
    json_decref(message);
    assert_sound();
}

static void the_last_leaves_it(void **state)
{
    (void)state;
    const char *chat = new_chat("Rivers");
    int64_t alice = add("alice"), bob = add("bob");
    json_t *fields = json_pack("{s:s}", "title", "Bob's"), *his = NULL;
    assert_int_equal(store_chat_add(s, bob, fields, &his, NULL), 0);
    const char *id = get(his, "id");
    assert_int_equal(store_account_remove(s, "bob", NULL), 0);
    assert_false(sees(bob, id) || sees(0, id) || sees(alice, id));
    assert_int_equal(store_account_remove(s, "ALICE", NULL), 0);
    assert_true(sees(0, chat));
    assert_int_equal(store_account_remove(s, "alice", NULL), SP_ENOTFOUND);
    assert_sound();
    int64_t carol = add("carol");
    assert_true(carol > bob); /* no id is given twice */
    assert_true(sees(carol, chat));
    json_decref(fields);
    json_decref(his);
}

static void names(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", " a", "a ", "a\nb", "\x7f", "\xff", "\xc3"};
    char longest[STORE_NAME_MOST + 2];
    struct store_account account;
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < SP_COUNT(wrong); i++)
        assert_int_equal(store_account_add(s, wrong[i], "h", false, &account, NULL), SP_EINVAL);
    assert_int_equal(store_account_add(s, longest, "h", false, &account, NULL), SP_EINVAL);
    add(longest + 1);
    add("王小明");
    add("Alice");
    assert_int_equal(store_account_add(s, "aLICE", "h", false, &account, NULL), SP_EFULL);
    assert_int_equal(store_account_add(s, "first", "h", true, &account, NULL), SP_EFULL);
}

static void passwords(void **state)
{
    (void)state;
    char hash[STORE_PASSWORD_BYTES];
    struct store_account account = {0};
    int64_t alice = add("alice");
    sign_in(alice, HASH_A, 100, LATER);
    sign_in(alice, HASH_B, 100, LATER);
    assert_int_equal(store_account_password(s, "Alice", &account, hash, NULL), 0);
    assert_string_equal(hash, "hash");
    assert_int_equal(account.id, alice);
    assert_int_equal(store_account_password(s, "bob", &account, hash, NULL), SP_ENOTFOUND);
    assert_int_equal(store_account_set_password(s, alice, "other", HASH_A, NULL), 0);
    struct store_access a = load();
    assert_int_equal(a.n_sessions, 1);
    assert_string_equal(a.sessions[0].hash, HASH_A);
    store_access_free(&a);
    assert_int_equal(store_account_set_password(s, alice, "third", NULL, NULL), 0);
    assert_int_equal(sessions(), 0);
}

static void sessions_end(void **state)
{
    (void)state;
    int64_t alice = add("alice"), bob = add("bob");
    sign_in(alice, HASH_A, 100, LATER);
    sign_in(bob, HASH_B, 100, LATER);
    assert_int_equal(store_session_end(s, bob, HASH_A, NULL), 0); /* not his */
    assert_int_equal(sessions(), 2);
    assert_int_equal(store_session_end(s, alice, NULL, NULL), 0);
    assert_int_equal(sessions(), 1);
    struct store_session used = {.account = bob, .used = 150, .expires = 200};
    (void)snprintf(used.hash, sizeof used.hash, "%s", HASH_B);
    assert_int_equal(store_access_used(s, &used, 1, NULL, 0, NULL), 0);
    assert_int_equal(sessions(), 0); /* expired long ago */
}

static void sessions_are_bounded(void **state)
{
    (void)state;
    char hash[STORE_SHA_BYTES];
    int64_t alice = add("alice");
    for (int i = 0; i < STORE_SESSIONS_MOST + 6; i++) {
        (void)snprintf(hash, sizeof hash, "%064d", i);
        sign_in(alice, hash, 100 + i, LATER);
    }
    struct store_access a = load();
    assert_int_equal(a.n_sessions, STORE_SESSIONS_MOST);
    for (size_t i = 0; i < a.n_sessions; i++)
        assert_true(a.sessions[i].used >= 106); /* those used least lately went */
    store_access_free(&a);
}

static struct store_key key(const char *name, const char *hash, int64_t owner)
{
    struct store_key k = {.owner = owner, .tokens_per_minute = 7, .page = true};
    (void)snprintf(k.name, sizeof k.name, "%s", name);
    (void)snprintf(k.hash, sizeof k.hash, "%s", hash);
    return k;
}

static void keys(void **state)
{
    (void)state;
    int64_t alice = add("alice");
    struct store_key k = key("laptop", HASH_A, alice), twice = key("laptop", HASH_B, alice);
    k.models = json_pack("[s,s]", "a", "b");
    assert_int_equal(store_key_add(s, &k, NULL), 0);
    assert_true(store_id_sound(k.id, 'k'));
    assert_int_equal(store_key_add(s, &twice, NULL), SP_EFULL);
    k.used = 5;
    k.requests = 2;
    k.tokens = 9;
    assert_int_equal(store_access_used(s, NULL, 0, &k, 1, NULL), 0);
    struct store_access a = load();
    assert_true(a.checking);
    assert_int_equal(a.n_keys, 1);
    assert_string_equal(a.keys[0].name, "laptop");
    assert_true(json_equal(a.keys[0].models, k.models));
    assert_true(a.keys[0].page && a.keys[0].tokens_per_minute == 7 && a.keys[0].requests == 2 &&
                a.keys[0].tokens == 9 && a.keys[0].used == 5);
    store_access_free(&a);
    assert_int_equal(store_key_checking(s, false, NULL), SP_EFULL);
    assert_int_equal(store_key_remove(s, alice + 1, k.id, NULL), SP_ENOTFOUND);
    assert_int_equal(store_key_remove(s, alice, k.id, NULL), 0);
    assert_int_equal(store_key_remove(s, alice, k.id, NULL), SP_ENOTFOUND);
    a = load();
    assert_true(a.checking &&
                a.n_keys == 0); /* a revoked key must not work again as no key at all */
    store_access_free(&a);
    assert_int_equal(store_key_checking(s, false, NULL), 0);
    json_decref(k.models);
}

static void changes_are_seen(void **state)
{
    (void)state;
    int64_t before = 0, after = 0;
    struct store_key k = key("laptop", HASH_A, 0);
    assert_int_equal(store_access_version(s, &before, NULL), 0);
    store *other = NULL;
    struct store_opts o = {.path = store_file(s), .writes = true};
    assert_int_equal(store_open(&o, &other, NULL), SP_EBUSY);
    o.beside = true; /* `sampan user` while a server runs */
    assert_int_equal(store_open(&o, &other, NULL), 0);
    assert_int_equal(store_key_add(other, &k, NULL), 0);
    store_close(other);
    assert_int_equal(store_access_version(s, &after, NULL), 0);
    assert_true(after > before);
    struct store_access a = load();
    assert_int_equal(a.n_keys, 1);
    store_access_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_gets_what_was_there, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_leaves_it, setup, teardown),
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(passwords, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_end, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(keys, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_are_seen, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
