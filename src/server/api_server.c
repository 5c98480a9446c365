/* What the page's dashboard shows, and the one thing it can do: end a request. Answered on the loop thread, so that a
 * server whose workers are all busy can still be looked into. */
#include <stdlib.h>
#include <string.h>
#include "base/machine.h"
#include "base/options.h"
#include "server/page_int.h"
#include "server/stats_int.h"

#define INVALID "invalid_request_error"

static json_t *machine_json(void)
{
    char cpu[128];
    machine_cpu_name(cpu, sizeof cpu);
    return json_pack("{s:s,s:i,s:I,s:I}", "cpu", cpu, "cores", machine_cores(), "memory_bytes",
                     (json_int_t)machine_memory_total(), "memory_free_bytes",
                     (json_int_t)machine_memory_free());
}

void api_server(struct call *c)
{
    struct server *s = c->s;
    if (!page_prepare(c) || !page_may_manage(c))
        return;
    reply_set_json(c, 200,
                   json_pack("{s:s,s:b,s:b,s:f,s:s?,s:i,s:o,s:o,s:o,s:o}", "version",
                             SAMPAN_VERSION, "loading", s->loading, "draining", s->draining,
                             "uptime_seconds", clock_seconds() - s->started, "compute",
                             s->opts.compute, "queue_most", s->opts.waiting_most, "machine",
                             machine_json(), "now", stats_now(s), "history", stats_history(s),
                             "ended", stats_ended_list(s)));
}

/* ---- settings ---- */

static const struct option_spec *spec_of(const char *name)
{
    size_t n = 0;
    const struct option_spec *table = options_table(&n);
    for (size_t i = 0; name && i < n; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

/* As `config show --json` has them, those of `serve`, with what the table says of each. */
static json_t *settings_json(const options *o)
{
    buf text;
    buf_init(&text, (size_t)1 << 20);
    options_show(o, true, &text);
    json_t *all = text.failed ? NULL : json_loadb(text.data, text.len, 0, NULL),
           *list = json_array();
    buf_free(&text);
    size_t i;
    json_t *one;
    json_array_foreach(all, i, one)
    {
        const struct option_spec *spec = spec_of(json_string_value(json_object_get(one, "name")));
        if (!spec || !(spec->verbs & VERB_SERVE))
            continue;
        json_object_set_new(one, "help", json_string(spec->help));
        json_object_set_new(one, "default", spec->value ? json_string(spec->value) : json_null());
        json_array_append(list, one);
    }
    json_decref(all);
    return list;
}

void api_settings(struct call *c)
{
    const options *o = c->s->opts.settings;
    if (!page_prepare(c) || !page_may_manage(c))
        return;
    reply_set_json(c, 200, json_pack("{s:o}", "data", o ? settings_json(o) : json_array()));
}

/* ---- requests ---- */

void api_requests_cancel(struct call *c)
{
    if (!page_prepare(c) || !page_may_manage(c))
        return;
    char *id = page_part(c);
    struct call *found = id ? live_find(c->s, id) : NULL;
    if (found) {
        call_cancel(found);
        reply_set_json(c, 200, json_pack("{s:s,s:b}", "id", id, "cancelled", 1));
    } else {
        reply_set_error(c, 404, INVALID, NULL, "not_found",
                        "request %.64s has ended already, or there is none", id ? id : "");
    }
    free(id); /* lib-owned: libevent's */
}
