/* Wrong passwords are slowed down, by address and by name, in bounded memory; and what hashes them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "server/password.h"
#include "server/throttle.h"

static struct throttle *t;

static int setup(void **state)
{
    (void)state;
    t = throttle_new();
    return t ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    throttle_free(t);
    return 0;
}

static void use_free_tries(const char *address, const char *name, double now)
{
    for (int i = 0; i < THROTTLE_FREE; i++)
        assert_true(throttle_take(t, address, name, now) <= 0);
}

static void waits_double(void **state)
{
    (void)state;
    double now = 1000, want = 1;
    use_free_tries("192.0.2.1", "alice", now);
    for (int i = 0; i < 12; i++) {
        double wait = throttle_take(t, "192.0.2.1", "alice", now);
        assert_true(wait > want - 0.01 && wait < want + 0.01);
        assert_true(throttle_take(t, "192.0.2.1", "alice", now) > 0); /* asking costs nothing */
        now += wait;
        assert_true(throttle_take(t, "192.0.2.1", "alice", now) <= 0);
        want = want * 2 < THROTTLE_MOST ? want * 2 : THROTTLE_MOST;
    }
    assert_true(throttle_take(t, "192.0.2.1", "alice", now + THROTTLE_FORGET + 1) <= 0);
    use_free_tries("192.0.2.9", "other", now);
}

static void by_address_and_by_name(void **state)
{
    (void)state;
    char name[32];
    for (int i = 0; i < THROTTLE_FREE; i++) { /* one address, many names */
        (void)snprintf(name, sizeof name, "user%d", i);
        assert_true(throttle_take(t, "192.0.2.1", name, 1) <= 0);
    }
    assert_true(throttle_take(t, "192.0.2.1", "fresh", 1) > 0);
    assert_true(throttle_take(t, "192.0.2.2", "fresh", 1) <= 0);
    for (int i = 0; i < THROTTLE_FREE; i++) { /* one name, many addresses */
        (void)snprintf(name, sizeof name, "198.51.100.%d", i);
        assert_true(throttle_take(t, name, "Admin", 1) <= 0);
    }
    assert_true(throttle_take(t, "203.0.113.1", "aDMIN", 1) > 0);
    throttle_forgive(t, "198.51.100.1", "admin");
    assert_true(throttle_take(t, "203.0.113.1", "admin", 1) <= 0);
}

static void a_network_of_ipv6_is_one(void **state)
{
    (void)state;
    char address[64];
    for (int i = 0; i < THROTTLE_FREE; i++) {
        (void)snprintf(address, sizeof address, "2001:db8::1:%x", i);
        assert_true(throttle_take(t, address, address, 1) <= 0);
    }
    assert_true(throttle_take(t, "2001:db8::ffff", "x", 1) > 0);
    assert_true(throttle_take(t, "2001:db8:0:1::1", "x", 1) <= 0);
}

static void it_stays_bounded(void **state)
{
    (void)state;
    char name[32];
    use_free_tries("192.0.2.1", "alice", 1);
    for (int i = 0; i < 3000; i++) { /* what is tried least lately goes */
        (void)snprintf(name, sizeof name, "10.%d.%d.1", i / 250, i % 250);
        assert_true(throttle_take(t, name, name, 2 + i * 0.001) <= 0);
    }
    use_free_tries("192.0.2.1", "alice", 30);
    assert_true(throttle_take(t, "192.0.2.1", "alice", 30) > 0);
}

static void passwords(void **state)
{
    (void)state;
    char one[STORE_PASSWORD_BYTES], two[STORE_PASSWORD_BYTES], secret[64];
    assert_int_equal(password_hash("correct horse", one, NULL), 0);
    assert_int_equal(password_hash("correct horse", two, NULL), 0);
    assert_string_not_equal(one, two);
    assert_int_equal(strncmp(one, "$argon2id$v=19$m=65536,t=2,p=1$", 31), 0);
    assert_true(password_matches(one, "correct horse") && password_matches(two, "correct horse"));
    assert_false(password_matches(one, "correct horse ") || password_matches(one, ""));
    assert_false(password_matches(NULL, "correct horse") || password_matches("", "x"));
    assert_false(password_sound("seven77") || !password_sound("eight888"));
    secret_new(32, secret);
    assert_int_equal(strlen(secret), 43);
    secret_spoken(10, secret);
    assert_int_equal(strspn(secret, "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(waits_double, setup, teardown),
        cmocka_unit_test_setup_teardown(by_address_and_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_network_of_ipv6_is_one, setup, teardown),
        cmocka_unit_test_setup_teardown(it_stays_bounded, setup, teardown),
        cmocka_unit_test(passwords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
