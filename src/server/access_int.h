/* Who may ask, for what and how much: Host and Origin, keys with their limits, the admin's key. All on the loop
 * thread, but access_model and access_key_hash, which a worker may call for a call of its own: what they read of a key
 * never changes, and the call holds the key.
 *
 * Rates are token buckets, one a minute deep: a key that has not been used for a minute may take its whole minute
 * at once. A request is let in while the account of tokens is above zero; what its prompt and answer take is
 * taken off as it comes, so the account may end below zero, and the next must wait until it is above. */
#ifndef SP_SERVER_ACCESS_INT_H
#define SP_SERVER_ACCESS_INT_H

#include "server/server_int.h"

int access_open(struct server *s, sp_error *err);
void access_close(struct server *s);
/* The keys of opts.keys_file and opts.api_keys anew. What keys with the same secret have used stays; requests that
 * run go on. On failure all stays as it was. */
int access_reload(struct server *s, sp_error *err);
/* The store's keys and accounts as they are now, if they have changed (accounts.changes): it costs nothing else. */
void access_refresh(struct server *s);
void access_save_used(struct server *s); /* when the store's keys were used, to accounts.c */
/* Keys of settings and file are asked for, whatever the store says. */
bool access_has_fixed_keys(const struct server *s);
bool access_checks_keys(const struct server *s); /* who asks for models needs one */
/* Not only this machine can reach the page: it listens off loopback, or settings speak of a proxy before it; or keys
 * say that not everybody may. Then who uses the page signs in. */
bool access_closed(const struct server *s);

/* access_origin.c: a host that means this machine, by name or address; a call's field, NULL: it has none; and one of
 * its answer. */
bool access_is_loopback(const char *host);
const char *access_field(const struct call *c, const char *name);
void access_set_field(struct call *c, const char *name, const char *value);

/* Each false: the error has been set. In this order, before the route is looked up: */
bool access_origin(struct call *c); /* Host and Origin; sets CORS fields */
/* then, for a route that needs it: */
bool access_key(struct call *c); /* the call holds its key from here */
bool access_take(
    struct call *c); /* one request of the key's rates, and a place among its concurrent ones */

/* Parts of access_key. The call gets the key that it sends; false: none that is known. */
bool access_find_key(struct call *c);
bool access_key_is_there(const struct call *c); /* it has not been revoked since */
/* It may use /api/, and then whose chats it sees. */
bool access_key_opens_page(const struct call *c, int64_t *owner);
bool access_no_key(struct call *c); /* 401; false */
/* {"id", "name", ...} of the owner's keys and those of settings and file. */
json_t *access_keys_json(const struct server *s, int64_t owner);

bool access_admin(const struct server *s); /* there is an admin's key */
bool access_model(const struct call *c, const struct served_model *m);
void access_charge(struct call *c, int64_t tokens); /* of prompt or answer */
uint64_t
access_tenant(const struct call *c); /* whose prefixes it shares; the same after a restart */
void access_release(struct call *c); /* the call ends */
/* Of a call without a request, whose work was asked for with the key of this hash: it holds the key, and, with
 * `request`, counts as one of the key's requests, as access_take does. false: the error has been set. */
bool access_ask(struct call *c, const char *hash, bool request);
const char *access_key_name(const struct call *c); /* NULL: none */
const char *access_key_hash(const struct call *c); /* NULL: none; any thread, as access_model */
json_t *access_json(const struct server *s); /* a list of keys and what is left of their limits */

#endif
