/* What the dashboard shows: numbers of the last minutes, the requests that run and those that ended lately.
 *
 * Nothing is counted here: numbers come from model_view (metrics_int.h), so the page and /metrics tell the same.
 * Once a second the loop keeps a sample of them, whoever looks. The `stats` event is made only while an event stream
 * asked for it, and goes to no other. */
#ifndef SP_SERVER_STATS_INT_H
#define SP_SERVER_STATS_INT_H

#include "server/server_int.h"

#define STATS_SECONDS 300 /* of samples that are kept */
#define ENDED_MOST 200    /* requests that ended, of which is told */

struct stats;

int stats_open(struct server *s, sp_error *err);
void stats_close(struct server *s);
void stats_tick(struct server *s, double now); /* loop, each second */
/* Loop. The server as it is now, in the form of a `stats` event, without what ended. */
json_t *stats_now(struct server *s);
/* Loop. The samples of the last minutes, a list for each number, oldest first. */
json_t *stats_history(const struct server *s);

/* A request for an answer has ended: with this HTTP status, for who was answered; loop. */
void stats_answered(const struct call *c, int status);
/* An answer without a client, kept or of a job, has ended in that state (a literal), with the code of its error or
 * NULL. Who has the call. */
void stats_ended(const struct call *c, const char *state, const char *error);
json_t *stats_ended_list(struct server *s); /* oldest first */

/* live.c: requests that are being answered. Loop. */
json_t *
live_json(struct call *c); /* NULL: a worker is still at it, or it asks for no answer of a model */
struct call *live_find(struct server *s, const char *id); /* NULL: there is none */

#endif
