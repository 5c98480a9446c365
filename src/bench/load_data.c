/* Prompts: random words, or a file's. */
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "base/rng.h"
#include "bench/load_int.h"

#define FILE_MAX ((size_t)2 << 30)
#define PROMPT_MAX ((size_t)64 << 20)
#define TURNS_SHIFT 20 /* a conversation has fewer turns than 2^20 */

/* Common words, so that a tokenizer makes little more than one token of each. */
static const char *const words[] = {
    "able",      "about",      "above",    "account",  "across",   "action",   "active",
    "address",   "after",      "again",    "age",      "air",      "almost",   "along",
    "already",   "also",       "always",   "among",    "amount",   "animal",   "answer",
    "appear",    "apple",      "area",     "arm",      "army",     "around",   "arrive",
    "art",       "ask",        "autumn",   "away",     "baby",     "back",     "bad",
    "bag",       "ball",       "bank",     "base",     "basket",   "bear",     "beat",
    "beautiful", "bed",        "before",   "begin",    "behind",   "bell",     "below",
    "best",      "better",     "between",  "big",      "bird",     "black",    "blood",
    "blow",      "blue",       "board",    "boat",     "body",     "bone",     "book",
    "border",    "both",       "bottle",   "bottom",   "box",      "boy",      "branch",
    "bread",     "break",      "bridge",   "bright",   "bring",    "broad",    "brother",
    "brown",     "build",      "burn",     "busy",     "buy",      "cake",     "call",
    "camp",      "capital",    "captain",  "car",      "card",     "care",     "carry",
    "case",      "castle",     "catch",    "cattle",   "cause",    "centre",   "century",
    "chair",     "chance",     "change",   "chart",    "cheap",    "child",    "choose",
    "church",    "circle",     "city",     "clean",    "clear",    "climb",    "clock",
    "close",     "cloth",      "cloud",    "coast",    "coat",     "coffee",   "cold",
    "collect",   "colour",     "common",   "company",  "compare",  "copy",     "corn",
    "corner",    "cost",       "cotton",   "count",    "country",  "couple",   "course",
    "cover",     "create",     "cross",    "crowd",    "cup",      "current",  "cut",
    "dark",      "daughter",   "day",      "dead",     "deal",     "deep",     "degree",
    "depend",    "desert",     "design",   "detail",   "differ",   "dinner",   "direct",
    "discover",  "distance",   "divide",   "doctor",   "dog",      "door",     "doubt",
    "down",      "draw",       "dream",    "dress",    "drink",    "drive",    "drop",
    "dry",       "during",     "dust",     "duty",     "each",     "early",    "earth",
    "east",      "easy",       "edge",     "effect",   "egg",      "eight",    "either",
    "electric",  "else",       "empty",    "end",      "engine",   "enough",   "enter",
    "equal",     "even",       "evening",  "event",    "ever",     "example",  "except",
    "expect",    "explain",    "eye",      "face",     "fact",     "fall",     "family",
    "famous",    "far",        "farm",     "fast",     "father",   "fear",     "feed",
    "feel",      "few",        "field",    "fight",    "figure",   "fill",     "final",
    "find",      "fine",       "finger",   "fire",     "first",    "fish",     "five",
    "floor",     "flow",       "flower",   "fly",      "follow",   "food",     "foot",
    "force",     "foreign",    "forest",   "forget",   "form",     "forward",  "four",
    "free",      "fresh",      "friend",   "front",    "fruit",    "full",     "game",
    "garden",    "gas",        "gate",     "general",  "gentle",   "girl",     "give",
    "glass",     "go",         "gold",     "good",     "grain",    "grass",    "great",
    "green",     "grey",       "ground",   "group",    "grow",     "guess",    "guide",
    "hair",      "half",       "hand",     "happen",   "happy",    "harbour",  "hard",
    "hat",       "head",       "hear",     "heart",    "heat",     "heavy",    "height",
    "help",      "here",       "high",     "hill",     "history",  "hold",     "hole",
    "home",      "honest",     "hope",     "horse",    "hot",      "hour",     "house",
    "how",       "human",      "hundred",  "hungry",   "hunt",     "hurry",    "ice",
    "idea",      "important",  "inch",     "increase", "insect",   "inside",   "iron",
    "island",    "job",        "join",     "journey",  "judge",    "jump",     "just",
    "keep",      "key",        "kind",     "king",     "kitchen",  "knife",    "know",
    "lake",      "land",       "language", "large",    "last",     "late",     "laugh",
    "law",       "lead",       "leaf",     "learn",    "leave",    "left",     "leg",
    "less",      "letter",     "level",    "library",  "lie",      "life",     "lift",
    "light",     "like",       "line",     "lion",     "list",     "listen",   "little",
    "live",      "long",       "look",     "lose",     "loud",     "love",     "low",
    "machine",   "main",       "make",     "many",     "map",      "mark",     "market",
    "master",    "match",      "material", "matter",   "meal",     "mean",     "measure",
    "meat",      "meet",       "member",   "metal",    "middle",   "might",    "mile",
    "milk",      "mind",       "minute",   "miss",     "mix",      "model",    "modern",
    "moment",    "money",      "month",    "moon",     "more",     "morning",  "most",
    "mother",    "motion",     "mountain", "mouth",    "move",     "music",    "must",
    "name",      "narrow",     "nation",   "nature",   "near",     "neck",     "need",
    "never",     "new",        "next",     "night",    "nine",     "noise",    "north",
    "nose",      "note",       "nothing",  "notice",   "number",   "object",   "ocean",
    "offer",     "office",     "often",    "oil",      "old",      "once",     "only",
    "open",      "opposite",   "orange",   "order",    "other",    "outside",  "over",
    "own",       "page",       "paint",    "pair",     "paper",    "parent",   "part",
    "party",     "pass",       "past",     "path",     "pattern",  "pay",      "peace",
    "people",    "perhaps",    "period",   "person",   "picture",  "piece",    "place",
    "plain",     "plan",       "plane",    "plant",    "play",     "point",    "poor",
    "port",      "position",   "possible", "pound",    "power",    "practice", "prepare",
    "present",   "pretty",     "price",    "print",    "prize",    "problem",  "produce",
    "proof",     "proper",     "protect",  "proud",    "provide",  "public",   "pull",
    "pupil",     "push",       "quarter",  "queen",    "question", "quick",    "quiet",
    "quite",     "race",       "radio",    "rain",     "raise",    "range",    "rather",
    "reach",     "read",       "ready",    "real",     "reason",   "record",   "red",
    "region",    "remember",   "repeat",   "reply",    "report",   "rest",     "result",
    "return",    "rice",       "rich",     "ride",     "right",    "ring",     "rise",
    "river",     "road",       "rock",     "roll",     "roof",     "room",     "root",
    "rope",      "rose",       "round",    "rule",     "run",      "safe",     "sail",
    "salt",      "same",       "sand",     "save",     "say",      "scale",    "school",
    "science",   "sea",        "season",   "seat",     "second",   "see",      "seed",
    "seem",      "sell",       "send",     "sense",    "sentence", "separate", "serve",
    "settle",    "seven",      "several",  "shade",    "shape",    "share",    "sharp",
    "sheep",     "sheet",      "shell",    "ship",     "shoe",     "shop",     "shore",
    "short",     "shoulder",   "show",     "side",     "sign",     "silver",   "simple",
    "since",     "sing",       "sister",   "sit",      "six",      "size",     "skill",
    "skin",      "sky",        "sleep",    "slow",     "small",    "smell",    "smile",
    "smoke",     "snow",       "soap",     "soft",     "soil",     "soldier",  "solve",
    "some",      "song",       "soon",     "sound",    "south",    "space",    "speak",
    "special",   "speed",      "spell",    "spend",    "spoon",    "spot",     "spread",
    "spring",    "square",     "stand",    "star",     "start",    "state",    "station",
    "stay",      "steam",      "steel",    "step",     "stick",    "still",    "stone",
    "stop",      "store",      "storm",    "story",    "strange",  "stream",   "street",
    "string",    "strong",     "student",  "study",    "sugar",    "suit",     "summer",
    "sun",       "supply",     "sure",     "surface",  "surprise", "swim",     "system",
    "table",     "tail",       "talk",     "tall",     "tank",     "taste",    "teach",
    "team",      "tell",       "ten",      "term",     "test",     "thank",    "thick",
    "thin",      "thing",      "think",    "third",    "thousand", "thread",   "three",
    "through",   "throw",      "thunder",  "ticket",   "tide",     "tie",      "time",
    "tiny",      "tired",      "together", "tomorrow", "tone",     "tool",     "tooth",
    "top",       "total",      "touch",    "toward",   "town",     "track",    "trade",
    "train",     "travel",     "tree",     "triangle", "trip",     "trouble",  "truck",
    "true",      "trust",      "try",      "turn",     "twelve",   "twenty",   "type",
    "under",     "understand", "unit",     "until",    "use",      "usual",    "valley",
    "value",     "vary",       "view",     "village",  "visit",    "voice",    "vowel",
    "wait",      "walk",       "wall",     "want",     "war",      "warm",     "wash",
    "watch",     "water",      "wave",     "way",      "weak",     "wear",     "weather",
    "week",      "weight",     "well",     "west",     "wheel",    "when",     "where",
    "white",     "whole",      "wide",     "wife",     "wild",     "will",     "win",
    "wind",      "window",     "wine",     "wing",     "winter",   "wire",     "wish",
    "wonder",    "wood",       "word",     "work",     "world",    "worry",    "write",
    "wrong",     "yard",       "year",     "yellow",   "yes",      "young",    "zero"};

struct conversation {
    const char **said; /* [n], borrowed from the parsed file */
    size_t n;
    const json_t *messages; /* a whole list instead; NULL: none */
    int64_t max_tokens;     /* 0: as the plan says */
};

struct load_data {
    const struct load_prompts *p;
    json_t *parsed; /* the file's list, or a list of its lines */
    struct conversation *all;
    size_t n;
};

/* ---- a file ---- */

static const char *text_of(const json_t *object, const char *a, const char *b)
{
    const char *text = json_string_value(json_object_get(object, a));
    return text ? text : json_string_value(json_object_get(object, b));
}

/* What people said in a list of {"from": "human", "value": ...} or {"role": "user", "content": ...}. */
static int take_dialogue(const json_t *list, struct conversation *c)
{
    c->said = sp_calloc(json_array_size(list) + 1, sizeof *c->said);
    if (!c->said)
        return SP_ENOMEM;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *turn = json_array_get(list, i);
        const char *who = text_of(turn, "from", "role"), *text = text_of(turn, "value", "content");
        if (who && text && (strcmp(who, "human") == 0 || strcmp(who, "user") == 0))
            c->said[c->n++] = text;
    }
    return 0;
}

static int take_texts(const json_t *list, struct conversation *c)
{
    c->said = sp_calloc(json_array_size(list) + 1, sizeof *c->said);
    if (!c->said)
        return SP_ENOMEM;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_string_value(json_array_get(list, i)))
            c->said[c->n++] = json_string_value(json_array_get(list, i));
    return 0;
}

/* One entry: {"conversations": [...]}, {"turns": ["..."]}, {"messages": [...]} or {"prompt": "..."}. */
static int take_entry(const json_t *entry, struct conversation *c)
{
    json_t *list = json_object_get(entry, "conversations");
    const json_t *most = json_object_get(entry, "max_tokens");
    if (!most)
        most = json_object_get(entry, "output_tokens"); /* vLLM's custom data */
    c->max_tokens = json_is_integer(most) ? json_integer_value(most) : 0;
    if (json_is_array(list))
        return take_dialogue(list, c);
    list = json_object_get(entry, "turns");
    if (json_is_array(list))
        return take_texts(list, c);
    list = json_object_get(entry, "messages");
    if (json_array_size(list)) {
        c->messages = list;
        return 0;
    }
    const char *prompt = json_string_value(json_object_get(entry, "prompt"));
    c->said = prompt ? sp_calloc(1, sizeof *c->said) : NULL;
    if (prompt && !c->said)
        return SP_ENOMEM;
    if (prompt)
        c->said[c->n++] = prompt;
    return 0;
}

/* A JSON object a line into a list. */
static int parse_lines(load_data *d, const char *text, size_t n, sp_error *err)
{
    size_t number = 0;
    d->parsed = json_array();
    for (size_t at = 0; at < n;) {
        const char *lf = memchr(text + at, '\n', n - at);
        size_t len = lf ? (size_t)(lf - text) - at : n - at;
        json_error_t why;
        number++;
        if (strspn(text + at, " \t\r") < len) {
            json_t *line = json_loadb(text + at, len, 0, &why);
            if (!line)
                return sp_fail(err, SP_EFORMAT, "%s:%zu: no JSON: %s", d->p->file, number,
                               why.text);
            if (json_array_append_new(d->parsed, line) < 0)
                return sp_fail(err, SP_ENOMEM, "out of memory for %s", d->p->file);
        }
        at += len + 1;
    }
    return 0;
}

static int parse(load_data *d, const char *text, size_t n, sp_error *err)
{
    json_error_t why;
    if (text[strspn(text, " \t\r\n")] != '[')
        return parse_lines(d, text, n, err);
    d->parsed = json_loadb(text, n, 0, &why);
    if (!d->parsed)
        return sp_fail(err, SP_EFORMAT, "%s:%d: no JSON: %s", d->p->file, why.line, why.text);
    return 0;
}

/* Entries in which nobody asks anything are left out, as ShareGPT's files have such. */
static int take_entries(load_data *d, sp_error *err)
{
    size_t n = json_array_size(d->parsed);
    d->all = sp_calloc(n + 1, sizeof *d->all);
    if (!d->all)
        return sp_fail(err, SP_ENOMEM, "out of memory for %s", d->p->file);
    for (size_t i = 0; i < n; i++) {
        struct conversation *c = &d->all[d->n];
        if (take_entry(json_array_get(d->parsed, i), c) < 0)
            return sp_fail(err, SP_ENOMEM, "out of memory for %s", d->p->file);
        if (c->messages && !d->p->chat)
            return sp_fail(err, SP_EUSAGE,
                           "%s: entry %zu has \"messages\", which are for --api chat", d->p->file,
                           i + 1);
        if (c->n || c->messages)
            d->n++;
        else
            sp_free(c->said);
        if (!c->n && !c->messages)
            *c = (struct conversation){0};
    }
    if (d->n)
        return 0;
    return sp_fail(err, SP_EFORMAT,
                   "%s: no prompt in it: it must be ShareGPT's JSON list of {\"conversations\": "
                   "[...]}, or a line for each {\"prompt\": \"...\"}, {\"turns\": [...]} or "
                   "{\"messages\": [...]}",
                   d->p->file);
}

static int read_file(load_data *d, sp_error *err)
{
    char *text = NULL;
    size_t n = 0;
    int code = file_read(d->p->file, FILE_MAX, &text, &n, err);
    if (code == 0)
        code = parse(d, text, n, err);
    sp_free(text);
    return code ? code : take_entries(d, err);
}

int load_data_open(const struct load_prompts *p, load_data **out, sp_error *err)
{
    load_data *d = sp_calloc(1, sizeof *d);
    if (!d)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    d->p = p;
    int code = p->file ? read_file(d, err) : 0;
    if (code < 0)
        load_data_close(d);
    else
        *out = d;
    return code;
}

void load_data_close(load_data *d)
{
    if (!d)
        return;
    for (size_t i = 0; d->all && i <= d->n; i++)
        sp_free(d->all[i].said);
    sp_free(d->all);
    json_decref(d->parsed);
    sp_free(d);
}

size_t load_data_count(const load_data *d)
{
    return d->n;
}

/* ---- prompts ---- */

static void add_words(const load_data *d, uint64_t stream, uint64_t position, int64_t n, buf *out)
{
    uint32_t key[4];
    rng_philox(d->p->seed, 0x70726f6d707473, stream, key); /* "prompts": apart from arrivals */
    uint64_t seed = (uint64_t)key[0] << 32 | key[1];
    const size_t count = SP_COUNT(words);
    double n_words = (double)count;
    for (int64_t i = 0; i < n; i++) {
        double place = rng_uniform(seed, position, (uint64_t)i) * n_words;
        if (out->len)
            (void)buf_putc(out, ' ');
        (void)buf_puts(out, words[(size_t)place]);
    }
}

static const struct conversation *in_file(const load_data *d, const struct load_place *at)
{
    return &d->all[at->number % d->n];
}

int64_t load_data_turns(const load_data *d, const struct load_place *at)
{
    if (!d->n)
        return d->p->turns;
    const struct conversation *c = in_file(d, at);
    int64_t n = c->messages ? 1 : (int64_t)c->n;
    return n < d->p->turns ? n : d->p->turns;
}

int load_data_turn(const load_data *d, const struct load_place *at, int64_t turn, buf *out,
                   const json_t **messages, int64_t *max_tokens)
{
    *messages = NULL;
    *max_tokens = d->p->max_tokens;
    buf_clear(out);
    if (d->n) {
        const struct conversation *c = in_file(d, at);
        if (c->max_tokens > 0)
            *max_tokens = c->max_tokens;
        *messages = c->messages;
        if (!c->messages)
            (void)buf_puts(out, c->said[turn]);
        return out->failed ? out->code : 0;
    }
    if (turn == 0)
        add_words(d, at->stream, UINT64_MAX, d->p->prefix_words, out);
    add_words(d, at->stream, at->number << TURNS_SHIFT | (uint64_t)turn, d->p->words, out);
    return out->failed ? out->code : 0;
}
