#include "server/throttle.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ROWS 1024
#define KEY_BYTES 72

struct row {
    char key[KEY_BYTES]; /* "": free */
    int tries;
    double at; /* of the last */
};
struct throttle {
    pthread_mutex_t lock;
    struct row addresses[ROWS], names[ROWS];
};

struct throttle *throttle_new(void)
{
    struct throttle *t = sp_calloc(1, sizeof *t);
    if (t)
        pthread_mutex_init(&t->lock, NULL);
    return t;
}

void throttle_free(struct throttle *t)
{
    if (t)
        pthread_mutex_destroy(&t->lock);
    sp_free(t);
}

/* Who has one IPv6 address has a network of 2^64 of them. */
static void address_key(const char *address, char out[KEY_BYTES])
{
    uint8_t v6[16];
    (void)snprintf(out, KEY_BYTES, "%.64s", address);
    if (inet_pton(AF_INET6, address, v6) != 1 ||
        memcmp(v6, (uint8_t[12]){[10] = 255, [11] = 255}, 12) == 0)
        return;
    memset(v6 + 8, 0, 8);
    (void)inet_ntop(AF_INET6, v6, out, KEY_BYTES);
}

static void name_key(const char *name, char out[KEY_BYTES])
{
    (void)snprintf(out, KEY_BYTES, "n%.64s", name); /* never "" */
}

/* Its row, or the one to be used for it: a free one or the one tried least lately. */
static struct row *find(struct row *rows, const char *key, double now)
{
    struct row *oldest = rows;
    for (size_t i = 0; i < ROWS; i++) {
        struct row *r = &rows[i];
        if (r->key[0] && now - r->at > THROTTLE_FORGET)
            *r = (struct row){0};
        if (strcasecmp(r->key, key) == 0)
            return r;
        if (r->at < oldest->at)
            oldest = r;
    }
    *oldest = (struct row){0};
    return oldest;
}

static double wait_of(const struct row *r, double now)
{
    double wait = 1;
    if (r->tries < THROTTLE_FREE)
        return 0;
    for (int i = THROTTLE_FREE; i < r->tries && wait < THROTTLE_MOST; i++)
        wait *= 2;
    wait = wait < THROTTLE_MOST ? wait : THROTTLE_MOST;
    return r->at + wait > now ? r->at + wait - now : 0;
}

static void note(struct row *r, const char *key, double now)
{
    (void)snprintf(r->key, sizeof r->key, "%s", key);
    r->tries += r->tries < 1000;
    r->at = now;
}

double throttle_take(struct throttle *t, const char *address, const char *name, double now)
{
    char by_address[KEY_BYTES], by_name[KEY_BYTES];
    address_key(address, by_address);
    name_key(name, by_name);
    pthread_mutex_lock(&t->lock);
    struct row *a = find(t->addresses, by_address, now), *n = find(t->names, by_name, now);
    double one = wait_of(a, now), other = wait_of(n, now), wait = one > other ? one : other;
    if (wait <= 0) {
        note(a, by_address, now);
        note(n, by_name, now);
    }
    pthread_mutex_unlock(&t->lock);
    return wait;
}

static void forgive(struct row *rows, const char *key)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcasecmp(rows[i].key, key) == 0)
            rows[i] = (struct row){0};
}

void throttle_forgive(struct throttle *t, const char *address, const char *name)
{
    char by_address[KEY_BYTES], by_name[KEY_BYTES];
    address_key(address, by_address);
    name_key(name, by_name);
    pthread_mutex_lock(&t->lock);
    forgive(t->addresses, by_address);
    forgive(t->names, by_name);
    pthread_mutex_unlock(&t->lock);
}
