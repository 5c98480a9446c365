/* How many guesses a step verifies. A guess is one more row: it costs the time that the step gets longer by, and it
 * brings a token with the chance that its source gives it. The plan takes guesses, likeliest first, as long as the step
 * gets more done in a second. How much longer a step of more rows takes is measured as steps run, not assumed: it
 * depends on the machine, the model and how many requests decode at once. So guesses that don't pay are not made. */
#include "engine/draft_int.h"

/* What a row of a prompt counts for beside a token of an answer. Where a prompt would fill the step, guesses take the
 * places of its rows only when they are likelier than this, and few. */
#define PROMPT_WORTH 0.5
#define DISPLACE_MOST 16  /* at most one of so many rows of a step */
#define STEP_GUESSES 64   /* guesses of a step */
#define CHANCE_LEAST 0.05 /* less likely ones are not looked at */
#define WORTH_WHILE 1.05  /* a gain that is worth a try */

/* ---- what a step costs ---- */

static const int64_t places[COST_PLACES] = {1,  2,  3,  4,  6,  8,   12,  16,
                                            24, 32, 48, 64, 96, 128, 192, 256};

/* Before it is known, what one row more costs, in steps of one row: low enough that likely guesses are tried. */
#define ROW_FIRST 0.25
/* Of a surprise, what all places take (the machine or the context changed) and what the place itself takes. */
#define LEARN_ALL 0.1
#define LEARN_PLACE 0.06
/* A step: what wasn't seen for long is tried again. */
#define FORGET (1.0 / 2048)

static double first_cost(int64_t rows)
{
    return 1 + ROW_FIRST * (double)(rows - 1);
}

void step_cost_init(struct step_cost *c)
{
    c->measured = false;
    for (int i = 0; i < COST_PLACES; i++)
        c->at[i] = first_cost(places[i]);
}

/* The last place at or before `rows`, but one, and how far it is from there to the next. */
static int place_of(int64_t rows, double *part)
{
    int i = 0;
    while (i < COST_PLACES - 2 && places[i + 1] <= rows)
        i++;
    *part = (double)(rows - places[i]) / (double)(places[i + 1] - places[i]);
    return i;
}

double step_cost_of(const struct step_cost *c, int64_t rows)
{
    double part;
    int i = place_of(rows, &part);
    double cost = c->at[i] + part * (c->at[i + 1] - c->at[i]);
    return cost > c->at[0] ? cost : c->at[0];
}

void step_cost_learn(struct step_cost *c, int64_t rows, double seconds)
{
    double part, off = seconds / step_cost_of(c, rows);
    int at = place_of(rows, &part);
    if (part > 1) /* beyond the table */
        return;
    if (!c->measured)
        for (int i = 0; i < COST_PLACES; i++)
            c->at[i] *= off;
    off = !c->measured ? 1
          : off < 0.5  ? 0.5
          : off > 2    ? 2
                       : off; /* a step that was held up says little */
    c->measured = true;
    for (int i = 0; i < COST_PLACES; i++) {
        double share = i == at ? 1 - part : i == at + 1 ? part : 0;
        c->at[i] *= 1 + (off - 1) * (LEARN_ALL + LEARN_PLACE * share);
    }
    double unit = step_cost_of(c, rows) / first_cost(rows);
    for (int i = 0; i < COST_PLACES; i++)
        if (i != at && i != at + 1)
            c->at[i] += FORGET * (unit * first_cost(places[i]) - c->at[i]);
}

/* ---- guesses ---- */

/* Guesses that there is room for in the answer, whose last token has no row. */
static int room_for(const engine *e, const struct request *q)
{
    int64_t room = q->n_max - q->n_answer - 1;
    return (int)(room < e->opts.draft_max ? room : e->opts.draft_max);
}

static void propose(engine *e, struct request *q)
{
    int most = room_for(e, q);
    if (q->drafts && most > 0)
        q->drafts->ops->propose(q->drafts, q->tokens.ids, (int64_t)q->tokens.n, most, &q->draft);
}

/* The request whose next guess is likeliest; NULL: none is likely enough. */
static struct request *likeliest(engine *e)
{
    struct request *best = NULL;
    double chance = CHANCE_LEAST;
    for (struct request *q = e->running; q; q = q->next) {
        const struct draft *d = &q->draft;
        if (d->rows < d->n && (double)d->chance[d->rows] > chance) {
            best = q;
            chance = (double)d->chance[d->rows];
        }
    }
    return best;
}

/* Takes guesses, likeliest first, as far as there is room, and gives those back that came after the best step. */
static int64_t choose(engine *e, int64_t rows, int64_t prompt, double work)
{
    struct request *taken[STEP_GUESSES];
    double best = WORTH_WHILE * work / step_cost_of(&e->cost, rows);
    int64_t displaced = 0;
    int n = 0, kept = 0;
    for (struct request *q; n < STEP_GUESSES && (q = likeliest(e)); n++) {
        if (rows < e->opts.step_rows)
            rows++;
        else if (displaced < prompt && displaced < e->opts.step_rows / DISPLACE_MOST)
            displaced++, work -= PROMPT_WORTH;
        else
            break;
        work += (double)q->draft.chance[q->draft.rows++];
        taken[n] = q;
        double rate = work / step_cost_of(&e->cost, rows);
        if (rate > best) {
            best = rate;
            kept = n + 1;
        }
    }
    while (n > kept)
        taken[--n]->draft.rows--;
    return kept;
}

/* What the last step told about its guesses; then there are none. */
static void learn(struct request *q)
{
    struct draft *d = &q->draft;
    if (d->n > 0)
        q->drafts->ops->learn(q->drafts, d->right, !d->open);
    d->n = d->rows = d->right = 0;
    d->open = true;
}

int64_t draft_plan(engine *e)
{
    int64_t decoding = 0, prompt = 0, guesses = 0, taken = 0;
    sp_alloc_guard_begin();
    for (struct request *q = e->running; q; q = q->next) {
        learn(q);
        if (!request_decodes(q)) {
            prompt += request_rows_left(q);
            continue;
        }
        decoding++;
        propose(e, q);
        guesses += q->draft.n;
    }
    if (decoding > e->opts.step_rows)
        decoding = e->opts.step_rows;
    if (prompt > e->opts.step_rows - decoding)
        prompt = e->opts.step_rows - decoding;
    if (guesses > 0)
        taken =
            choose(e, decoding + prompt, prompt, (double)decoding + PROMPT_WORTH * (double)prompt);
    sp_alloc_guard_end();
    return taken;
}

void draft_fit(engine *e, struct request *q, int64_t most)
{
    struct draft *d = &q->draft;
    if (d->rows > most)
        d->rows = (int)most;
    if (d->rows == 0)
        return;
    d->tokens += d->rows;
    e->tally.drafts++;
    e->tally.draft_tokens += (uint64_t)d->rows;
}

bool draft_next(engine *e, struct request *q, int32_t token)
{
    struct draft *d = &q->draft;
    if (!d->open || d->right == d->n)
        return false;
    d->open = d->token[d->right] == token;
    if (!d->open || d->right++ >= d->rows)
        return false;
    d->accepted++;
    e->tally.accepted_tokens++;
    e->tally.accepted_at[d->right - 1]++;
    return true;
}
