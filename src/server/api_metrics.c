/* GET /metrics */
#include "server/metrics_int.h"

#define TEXT_MAX ((size_t)16 << 20)

void api_metrics(struct call *c)
{
    buf text;
    buf_init(&text, TEXT_MAX);
    if (metrics_text(c->s, &text))
        reply_set_text(c, "text/plain; version=0.0.4; charset=utf-8", buf_steal(&text));
    else
        reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
    buf_free(&text);
}
