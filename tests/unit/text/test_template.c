/* Templates against Jinja's own output (tests/reference/make_template_golden.py), provenance, limits, nasty
 * sources. Models' own templates: tests/reference/template_parity.py. */
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

/* Whether our output (or refusal) is the golden one; tells when not. The words of raise_exception count,
 * those of other errors are ours. */
static bool agrees(const char *source, const json_t *vars, const json_t *golden)
{
    struct rendered r;
    sp_error err = {0};
    const char *want = json_string_value(json_object_get(golden, "text")),
               *words = json_string_value(json_object_get(golden, "error"));
    bool raised = json_is_true(json_object_get(golden, "raised"));
    int code = render(source, vars, &r, &err);
    bool same = want ? code == 0 && strcmp(r.text.data ? r.text.data : "", want) == 0
                     : code < 0 && (!raised || strstr(err.message, words));
    if (!same)
        print_message("template: %.300s\nwanted:   %s\ngot:      %s\n", source, want ? want : words,
                      code == 0 ? (r.text.data ? r.text.data : "") : err.message);
    if (code == 0)
        rendered_free(&r);
    return same;
}

static void small_templates_equal_jinja(void **state)
{
    json_error_t je;
    json_t *all = json_load_file(TEST_DATA "/text/templates/small.json", 0, &je), *e;
    size_t i, wrong = 0;
    (void)state;
    if (!all)
        fail_msg("small.json: %s", je.text);
    json_array_foreach(json_object_get(all, "cases"), i, e)
    {
        wrong += !agrees(json_string_value(json_object_get(e, "template")),
                         json_object_get(all, "vars"), e);
    }
    assert_true(i > 200);
    assert_int_equal(wrong, 0);
    json_decref(all);
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
        {"{{ u * 2 }}{{ 'ab' * 2 }}{{ 2 * u }}", "................abab................"},
        {"{{ '<%s>' % u }}{{ '%-10s|' % u }}{{ '%.3s' % u }}", "<........>........  |..."},
        {"{{ '<%(k)s>' % {'k': u} }}{{ '(%r)' % u }}{{ u % 1 if false }}",
         "<........>('........')"},
        {"{{ '<{}>'.format(u) }}{{ '{0:>10}|{k}'.format(u, k=u) }}",
         "<........>  ........|........"},
        {"{{ '{a[0]}{b.k!r}'.format(a=u, b={'k': u}) }}", ".'........'"},
        {"{{ u.format() if false }}{{ '[%s]' | format(u) }}", "[........]"},
        {"{{ u.center(10) }}{{ 'x'.ljust(3, u[0]) }}{{ u[:2].zfill(4) }}", " ........ x..00.."},
        {"{{ u.partition('|')[0] }}{{ u.rpartition('_')[2] }}", "...."},
        {"{{ u.removeprefix('<|') }}{{ u.removesuffix('>') }}", "............."},
        {"{{ u.title() }}{{ u.swapcase() }}{{ u | title }}{{ u | capitalize }}",
         "................................"},
        {"{{ u.splitlines()[0] }}{{ u.rsplit('|', 1) | join }}", "..............."},
        {"{{ '<|'.join([u, u]) }}{{ u.join('ab') }}", "........<|........a........b"},
        {"{{ u | indent(2, true) }}{{ u | center(10) }}", "  ........ ........ "},
        {"{{ u | truncate(6, true, '', 0) }}{{ u | escape }}", "......&lt;|im_e|&gt;"},
        {"{{ u | urlencode }}{{ u | replace('im', 'x') }}", "..................x...."},
        {"{{ u | list | join }}{{ u | reverse }}{{ [u] | map('upper') | first }}",
         "........................"},
        {"{{ [u, 'a'] | sort | join }}{{ [u, u] | unique | join }}{{ [u] | min }}",
         "........a................"},
        {"{{ ['t', u] | groupby(0) | map(attribute='grouper') | join }}", ".t"},
        {"{{ ['t', u] | batch(1) | map('join') | join }}{{ ['t', u] | sum(start='') }}",
         "t........t........"},
        {"{% filter upper %}x{{ u }}{% endfilter %}", "X........"},
        {"{% set b | trim %} x{{ u }} {% endset %}{{ b }}", "x........"},
        {"{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}{{ u }}{% endcall %}",
         "(........)"},
        {"{% for c in u recursive %}{{ c }}{% endfor %}{% with x = u %}{{ x }}{% endwith %}",
         "................"},
        {"{{ 'a'|safe + u }}", "a&lt;|im_e|&gt;"},
        {"{{ {u: 1} }}{{ {u: 1} | dictsort }}{{ {u: 1}.keys() | first }}",
         "{'........': 1}[('........', 1)]........"},
        {"{{ {u: u}.items() }}{{ (u,) }}", "dict_items([('........', '........')])('........',)"},
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
        {"{{ range(1000000000000) }}", "range of more than"},
        {"\n{{ 'a' * 1000000000 }}", "line 2: a repetition of more than 64 MB"},
        {"{{ [1] * 1000000000 }}", "repetition of more than"},
        {"{{ 'x' | indent(999999999, true) }}", "repetition of more than"},
        {"{{ 'x'.center(999999999) }}", "repetition of more than"},
        {"{{ '%999999999d' % 1 }}", "too large"},
        {"{{ '{:999999999}'.format(1) }}", "not understood"},
        {"{% set x = 'ab' * 30000000 %}{{ x.replace('', x) }}", "grows beyond 64 MB"},
        {"{% set x = 'a' * 9000000 %}{% for i in range(9) %}{{ [x] | join }}{% endfor %}",
         "grows beyond 64 MB"},
        {"{% set ns = namespace(x=[]) %}{% for i in range(9000) %}{% set ns.x = [ns.x] %}{% endfor "
         "%}",
         "nested too deep"},
        {"{% set ns = namespace(x='a') %}{% for i in range(99) %}\n{% set ns.x = ns.x ~ ns.x %}"
         "{% endfor %}",
         "line 2: it needs more than 512 MB"},
        {"{% set x = 'a' * 60000000 %}{% for i in range(90000) %}{{ x.find('b') }}{% endfor %}",
         "more than 1000000 steps"},
        {"{% set x = [1] * 900000 %}{% for i in range(90000) %}{{ 2 in x }}{% endfor %}",
         "more than 1000000 steps"},
        {"{% set x = 'a' * 60000000 %}{% for i in range(90000) %}{{ x == x ~ '' }}{% endfor %}",
         ""},
        {"{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}", "loops nested too deep"},
        {"{{ '%s %s' % 1 }}", "more places than values"},
        {"{% raw %}", "line 1: {% raw %} is not closed"},
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
        if (render(cases[i].source, vars, &r, &err) >= 0)
            fail_msg("%s: rendered", cases[i].source);
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
    "{%- set ns = namespace(i=0) -%}{% macro m(a, b=2) %}{{ a ~ b }}{% if caller %}{{ caller(7) "
    "}}{% endif %}{% endmacro %}{% for x in "
    "messages[::-1] if x.role != 'system' %}"
    "{{ loop.index }}{{ x['content'] | default('n', true) | upper }}{% if loop.first and not tools "
    "%}{{ m(1, b='z') }}{% elif d.x > 1 %}"
    "{{ d | tojson(indent=2) }}{% else %}{{ [1, 'a', none][1:] | join(',') }}{% endif %}{% set "
    "ns.i = ns.i + 1 %}{% endfor %}"
    "{% set q %}{{ ns.i }}{% endset %}{{ q.strip().split('1') }}{# c #}{{ d.items() | list }}{{ "
    "'a' if d is mapping else 3 ** 2 }}{% call(z) m(*[1], **{'b': 2}) %}{{ z }}{% endcall %}"
    "{% filter upper | trim %}{{ '%5.1f|%s' % (1, d) }}{{ '{:>4}{x[0]}'.format(1, x='q') }}{% "
    "endfilter %}{% for t in [[1]] recursive %}{{ loop(t) if t is iterable else loop.cycle(1) }}{% "
    "endfor %}{% with w = [3, 1] | sort | map('string') %}{{ w | join('-') }}{% endwith %}{{ "
    "messages | groupby('role') | length }}{{ 'a,b'.partition(',') }}{% raw %}{{{% endraw %}";

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
    for (long nth = 1; code < 0 && nth < 6000; nth++) {
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_templates_equal_jinja),
        cmocka_unit_test(every_byte_knows_where_it_comes_from),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(mutated_sources_never_crash),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
