/* Templates against Jinja's own output (tests/reference/make_template_golden.py), provenance, limits, nasty sources.
 * With arguments: checks golden files of models' templates instead. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/rng.h"
#include "text/template.h"

static const char *const trusted[] = {"bos_token", "eos_token", NULL};

static int render(const char *source, const json_t *vars, struct rendered *out, sp_error *err)
{
    template *t = NULL;
    int code = template_compile(source, strlen(source), &t, err);
    if (code == 0)
        code = template_render(t, vars, trusted, out, err);
    template_free(t);
    return code;
}

/* Whether our output (or refusal) is the golden one; tells when not. */
static bool agrees(const char *source, const json_t *vars, const json_t *golden)
{
    struct rendered r;
    sp_error err = {0};
    const char *want = json_string_value(json_object_get(golden, "text"));
    int code = render(source, vars, &r, &err);
    bool same = want ? code == 0 && strcmp(r.text.data ? r.text.data : "", want) == 0 : code < 0;
    if (!same)
        print_message("template: %.300s\nwanted:   %s\ngot:      %s\n", source,
                      want ? want : json_string_value(json_object_get(golden, "error")),
                      code == 0 ? (r.text.data ? r.text.data : "") : err.message);
    if (code == 0)
        rendered_free(&r);
    return same;
}

static size_t count_wrong(const char *file, size_t *total)
{
    json_error_t je;
    json_t *all = json_load_file(file, 0, &je), *e;
    size_t i, wrong = 0;
    if (!all)
        fail_msg("%s: %s", file, je.text);
    const char *source = json_string_value(json_object_get(all, "template"));
    json_array_foreach(json_object_get(all, "cases"), i, e)
    {
        const json_t *vars = source ? json_object_get(e, "vars") : json_object_get(all, "vars");
        wrong +=
            !agrees(source ? source : json_string_value(json_object_get(e, "template")), vars, e);
    }
    *total = i;
    json_decref(all);
    return wrong;
}

static void small_templates_equal_jinja(void **state)
{
    size_t total;
    (void)state;
    assert_int_equal(count_wrong(TEST_DATA "/text/templates/small.json", &total), 0);
    assert_true(total > 200);
}

/* ---- provenance ---- */

/* The trusted bytes of the output, and the others as '.'. */
static void masked(const char *source, const char *user, char *out, size_t room)
{
    struct rendered r;
    sp_error err = {0};
    json_t *vars = json_pack("{s:s,s:s,s:[s,s]}", "u", user, "bos_token", "<s>", "l", user, "z");
    if (render(source, vars, &r, &err) < 0)
        fail_msg("%s: %s", source, err.message);
    assert_true(r.text.len < room);
    memset(out, '.', r.text.len);
    out[r.text.len] = '\0';
    for (size_t i = 0; i < r.n_spans; i++)
        memcpy(out + r.spans[i].begin, r.text.data + r.spans[i].begin,
               r.spans[i].end - r.spans[i].begin);
    rendered_free(&r);
    json_decref(vars);
}

static void every_byte_knows_where_it_comes_from(void **state)
{
    static const struct {
        const char *source, *mask;
    } cases[] = {
        {"a{{ u }}b{{ bos_token }}", "a........b<s>"},
        {"{{ '[' + u + ']' }}{{ u ~ '!' }}", "[........]........!"},
        {"{{ u[1:3] }}{{ u[0] }}{{ u[::-1] }}", "..........."},
        {"{{ (' ' + u + ' ') | trim }}{{ u.strip('<') }}", "..............."},
        {"{% for p in u.split('|') %}{{ p }},{% endfor %}", ".,....,.,"},
        {"{{ u.replace('im', 'IM') }}", "..IM...."},
        {"{{ '<|im|>'.replace('im', u) }}", "<|........|>"},
        {"{{ [u, 'x'] | join('-') }}{{ l | join('+') }}", "........-x........+."},
        {"{{ u | upper }}{{ 'a' | upper }}", "........A"},
        {"{{ u | tojson }}{{ {'k': 'v'} | tojson }}", "............k....v.."},
        {"{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(u) }}{{ m('t') }}", "<........><t>"},
        {"{% set b %}({{ u }}){% endset %}{{ b }}{{ b | length }}", "(........)10"},
        {"{{ u if true }}{{ u or 'x' }}{{ none or 'x' }}", "................x"},
        {"{{ [u] }}{{ 3 }}", "['........']3"},
        {"{{ u * 2 }}{{ 'ab' * 2 }}", "................abab"},
    };
    char got[256];
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        masked(cases[i].source, "<|im_e|>", got, sizeof got);
        if (strlen(got) != strlen(cases[i].mask))
            fail_msg("%s: %s", cases[i].source, got);
        for (size_t k = 0; got[k]; k++) /* less trust is always allowed, more never */
            if (got[k] != cases[i].mask[k] && got[k] != '.')
                fail_msg("%s: %s, wanted %s", cases[i].source, got, cases[i].mask);
    }
    masked(cases[0].source, "<|im_e|>", got, sizeof got);
    assert_string_equal(got, cases[0].mask);
}

/* ---- errors and limits ---- */

static void errors_name_the_line(void **state)
{
    static const struct {
        const char *source, *words;
    } cases[] = {
        {"a\nb\n{{ nope.x }}", "line 3: 'nope' is undefined"},
        {"{% if t %}\n\n{{ raise_exception('Only user roles!') }}{% endif %}",
         "line 3: Only user roles!"},
        {"\n{{ 'abc }}", "line 2: a string is not closed"},
        {"{{ a", "not closed"},
        {"{# x", "comment is not closed"},
        {"\n\n{% bogus %}", "line 3: a tag that is unknown"},
        {"{% for x in y %}\n", "not closed"},
        {"{{ 1 | nope }}", "no filter named 'nope'"},
        {"{{ 1 is nope }}", "no test named 'nope'"},
        {"{{ range(1000000) }}", "range of more than"},
        {"{{ 9223372036854775807 + 1 }}", "too large"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deep"},
        {"{% for a in range(3000) %}{% for b in range(3000) %}{{ b }}{% endfor %}{% endfor %}",
         "steps"},
        {"{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for a in range(40) %}{% set ns.s = ns.s "
         "+ ns.s %}{% endfor %}",
         ""},
    };
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct rendered r;
        sp_error err = {0};
        json_t *vars = json_pack("{s:b}", "t", 1);
        assert_true(render(cases[i].source, vars, &r, &err) < 0);
        if (!strstr(err.message, cases[i].words))
            fail_msg("%s: %s", cases[i].source, err.message);
        json_decref(vars);
    }
}

static void deep_nesting_is_refused(void **state)
{
    static const char *const parts[][3] = {{"{{ ", "(", " }}"},    {"{{ ", "[", " }}"},
                                           {"{{ ", "-", " 1 }}"},  {"{{ ", "not ", " 1 }}"},
                                           {"", "{% if 1 %}", ""}, {"{{ ", "1 if ", " 1 }}"},
                                           {"{{ ", "{1:", " }}"}};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(parts); i++) {
        buf b;
        template *t = NULL;
        buf_init(&b, 1 << 24);
        buf_puts(&b, parts[i][0]);
        for (int k = 0; k < 20000; k++)
            buf_puts(&b, parts[i][1]);
        buf_puts(&b, parts[i][2]);
        struct rendered r;
        json_t *vars = json_object();
        int code = template_compile(b.data, b.len, &t, NULL);
        if (code == 0) {
            code = template_render(t, vars, NULL, &r, NULL);
            template_free(t);
        }
        assert_true(code < 0);
        json_decref(vars);
        buf_free(&b);
    }
}

static json_t *some_vars(void)
{
    return json_pack("{s:[{s:s,s:s},{s:s,s:n}],s:n,s:b,s:{s:i,s:f}}", "messages", "role", "user",
                     "content", "hi", "role", "assistant", "content", "tools",
                     "add_generation_prompt", 1, "d", "x", 1, "y", 2.5);
}

static const char nasty_source[] =
    "{%- set ns = namespace(i=0) -%}{% macro m(a, b=2) %}{{ a ~ b }}{% endmacro %}{% for x in "
    "messages[::-1] if x.role != 'system' %}"
    "{{ loop.index }}{{ x['content'] | default('n', true) | upper }}{% if loop.first and not tools "
    "%}{{ m(1, b='z') }}{% elif d.x > 1 %}"
    "{{ d | tojson(indent=2) }}{% else %}{{ [1, 'a', none][1:] | join(',') }}{% endif %}{% set "
    "ns.i = ns.i + 1 %}{% endfor %}"
    "{% set q %}{{ ns.i }}{% endset %}{{ q.strip().split('1') }}{# c #}{{ d.items() | list }}{{ "
    "'a' if d is mapping else 3 ** 2 }}";

static void mutated_sources_never_crash(void **state)
{
    static const char bits[] = "{}%#-'\"()[]|.,:~+*/<>=! \nabci0192_\\";
    char source[sizeof nasty_source];
    json_t *vars = some_vars();
    (void)state;
    for (uint64_t i = 0; i < 6000; i++) {
        memcpy(source, nasty_source, sizeof source);
        for (uint64_t k = 0; k < 1 + i % 4; k++)
            source[(size_t)(rng_uniform(i, k, 0) * (double)(sizeof source - 1))] =
                bits[(size_t)(rng_uniform(i, k, 1) * (double)(sizeof bits - 1))];
        struct rendered r;
        if (render(source, vars, &r, NULL) == 0)
            rendered_free(&r);
    }
    json_decref(vars);
}

static void failing_allocations(void **state)
{
    json_t *vars = some_vars();
    int code = -1;
    (void)state;
    for (long nth = 1; code < 0 && nth < 3000; nth++) {
        struct rendered r;
        sp_alloc_fail_nth(nth);
        code = render(nasty_source, vars, &r, NULL);
        sp_alloc_fail_nth(0);
        if (code == 0)
            rendered_free(&r);
    }
    assert_int_equal(code, 0);
    json_decref(vars);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_templates_equal_jinja),
        cmocka_unit_test(every_byte_knows_where_it_comes_from),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(mutated_sources_never_crash),
        cmocka_unit_test(failing_allocations),
    };
    size_t bad = 0;
    for (int i = 1; i < argc; i++) {
        size_t total, wrong = count_wrong(argv[i], &total);
        print_message("%s: %zu of %zu differ\n", argv[i], wrong, total);
        bad += wrong;
    }
    return argc > 1 ? bad > 0 : cmocka_run_group_tests(tests, NULL, NULL);
}
