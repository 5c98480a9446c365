/* Who the client is behind proxies, and that nobody else can say so. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "server/server_int.h"

static const char *const trusted[] = {"127.0.0.1", "10.0.0.0/8", "fd00::/9", "192.168.1.128/25"};
static const struct server_opts opts = {.trusted_proxies = trusted, .n_trusted_proxies = 4};

static void the_last_that_is_not_trusted(void **state)
{
    static const struct {
        const char *peer, *list, *client;
    } cases[] = {
        {"127.0.0.1", NULL, "127.0.0.1"},
        {"127.0.0.1", "203.0.113.9", "203.0.113.9"},
        {"127.0.0.1", "1.1.1.1, 203.0.113.9",
         "203.0.113.9"}, /* the client wrote the first itself */
        {"127.0.0.1", "203.0.113.9 ,\t10.1.2.3", "203.0.113.9"},
        {"127.0.0.1", "10.9.9.9,10.1.2.3", "10.9.9.9"},
        {"203.0.113.1", "1.1.1.1", "203.0.113.1"}, /* no proxy of ours */
        {"127.0.0.1", "1.1.1.1, unknown", "127.0.0.1"},
        {"127.0.0.1", "1.1.1.1, nonsense, 10.1.1.1", "10.1.1.1"},
        {"127.0.0.1", "", "127.0.0.1"},
        {"127.0.0.1", ",", "127.0.0.1"},
        {"127.0.0.1", "2001:db8::7", "2001:db8::7"},
        {"fd7f::1", "1.1.1.1", "1.1.1.1"},
        {"fd80::1", "1.1.1.1", "fd80::1"},
        {"::ffff:127.0.0.1", "1.1.1.1", "1.1.1.1"},
        {"192.168.1.200", "1.1.1.1", "1.1.1.1"},
        {"192.168.1.100", "1.1.1.1", "192.168.1.100"},
        {"11.0.0.1", "1.1.1.1", "11.0.0.1"},
    };
    char out[64];
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        forwarded_client(&opts, cases[i].peer, cases[i].list, out);
        if (strcmp(out, cases[i].client) != 0)
            fail_msg("%s, %s: %s", cases[i].peer, cases[i].list ? cases[i].list : "", out);
    }
    forwarded_client(&(struct server_opts){0}, "127.0.0.1", "1.1.1.1", out);
    assert_string_equal(out, "127.0.0.1");
}

static void wrong_networks_are_named(void **state)
{
    static const char *const bad[] = {"",           "localhost", "10.0.0.0/33", "10.0.0.0/-1",
                                      "10.0.0.0/x", "::/129",    "10.0.0/8",    "10.0.0.0/"};
    sp_error err;
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct server_opts o = {.trusted_proxies = &bad[i], .n_trusted_proxies = 1};
        assert_int_equal(forwarded_check(&o, &err), SP_EUSAGE);
    }
    assert_int_equal(forwarded_check(&opts, &err), 0);
    static const char *const all[] = {"0.0.0.0/0", "::/0"};
    char out[64];
    struct server_opts o = {.trusted_proxies = all, .n_trusted_proxies = 2};
    assert_int_equal(forwarded_check(&o, &err), 0);
    forwarded_client(&o, "8.8.8.8", "9.9.9.9, 7.7.7.7", out);
    assert_string_equal(out, "9.9.9.9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_that_is_not_trusted),
        cmocka_unit_test(wrong_networks_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
