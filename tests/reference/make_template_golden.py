#!/usr/bin/env python3
"""Renders templates of our own that go through the language, for tests/unit/text/test_template.c.

    python tests/reference/make_template_golden.py > tests/data/text/templates/small.json
"""
import json
import sys

from jinja_env import compiled, render

VARS = {"a": 7, "b": -3, "f": 2.5, "s": "Hello, World", "zh": "你好，世界", "e": "", "n": None, "t": True, "l": [3, 1, 2],
        "words": ["pear", "Apple", "fig"], "d": {"x": 1, "y": [1, 2], "z": "q"}, "html": "<a href=\"x\">&'</a>",
        "ms": [{"role": "system", "content": "S"}, {"role": "user", "content": "  U\n"}, {"role": "assistant", "content": None}],
        "people": [{"name": "Bo", "age": 5}, {"name": "Al", "age": 9}, {"name": "Cy", "age": 5}], "lines": "one\ntwo\n\nthree"}

EXPRESSIONS = """
a + b|a - b|a * b|a / 2|a // 2|b // 2|a % 4|b % 4|2 ** 5|2 ** -1|-a|+a|a + f|f * 2|7 // 2.0|-7 % 2.5|1e16|1e-7|0.1|1.0|100000000000000000000.0|3.0e2
a == 7|a != 7|a < b|a <= 7|b > -4|1 < 2 < 3|1 < 3 < 2|a in l|1 in l|'ell' in s|'x' in d|'q' not in d|a and b|n or 'x'|not n|not a|t and not e
a if t else b|a if n|'x' if n else 'y' if t else 'z'|s ~ a ~ n ~ t|'%' ~ f|s[0]|s[-1]|zh[1]|zh[-1]|s[1:4]|s[::-1]|zh[::-1]|s[-3:]|l[::-1]|l[1:]|l[:-1]|l[5:]|l[::2]|zh[1:3]
d.x|d['y'][1]|d.nope|d.nope is defined|nope is undefined|d.items()|list|d.keys()|list|d.values()|list|d.get('x')|d.get('w', 5)|d|l|words|[1, 'a', none, true, 1.5]|{'k': 'v', 'n': none}|(1, 2)|(1,)|[]|{}
s.upper()|s.lower()|s.title()|s.strip('Hd')|'  x '.strip()|'  x '.lstrip()|'xxabxx'.rstrip('x')|s.split(', ')|s.split()|'a b  c'.split()|'a,b,c'.split(',', 1)|'a,b,c'.rsplit(',', 1)|s.replace('l', 'L')|s.replace('l', 'L', 1)|s.startswith('He')|s.endswith(('x', 'ld'))|s.find('World')|s.count('l')|', '.join(words)|'x'.join('abc')|'hello world'.capitalize()|lines.splitlines()
s|length|l|length|d|length|zh|length|s|upper|s|lower|'hello wide world'|title|s|capitalize|'  t '|trim|l|join('-')|words|join(', ')|l|first|l|last|l|sort|l|sort(reverse=true)|words|sort|l|reverse|list|s|reverse|l|sum if false else 1|l|list|'abc'|list|a|string|'12'|int|'x'|int(5)|'2.5'|float|b|abs|n|default('d')|nope|default('d')|e|default('d', true)|d|dictsort|d|items|list|people|map(attribute='name')|join(',')|words|map('upper')|list|people|selectattr('age', 'eq', 5)|map(attribute='name')|list|people|rejectattr('age', 'equalto', 5)|list|l|select('odd')|list|l|reject('>', 2)|list|[1, 1, 2]|unique|list|people|sort(attribute='name')|map(attribute='name')|list|'a-b'|replace('-', '+')|lines|indent(2)|lines|indent(2, true)
d|tojson|html|tojson|zh|tojson|l|tojson(indent=2)|d|tojson(indent=2)|{'b': 1, 'a': [true, none, 1.5, 'x\\n\\t"']}|tojson|{'b': 1, 'a': 2}|tojson(sort_keys=true)|d|tojson(separators=(',', ':'))|[]|tojson|{}|tojson|[]|tojson(indent=2)|1e20|tojson|zh|tojson(ensure_ascii=true)
a is odd|a is even|a is divisibleby 7|n is none|s is string|l is iterable|l is sequence|d is mapping|a is number|f is float|a is integer|t is boolean|t is true|a is not none|a is gt 3|a is in l|s is not string|l is string|range(3)|list|range(1, 7, 2)|list|range(3, 0, -1)|list|'\\u4f60\\x41\\n\\'' "x" 'y'|dict(a=1, b=2)|namespace(a=1).a|l is defined and l|(a)|((a + 1) * 2)|l.0 if false else 1
""".strip()

SPLIT = {"|": None}

BLOCKS = [
    "{% for m in ms %}{{ loop.index }}/{{ loop.length }}{{ ' first' if loop.first }}{{ ' last' if loop.last }}:{{ m.role }}\n{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for x in [] %}x{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index0 }}{{ x }} {% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for c in zh %}[{{ c }}]{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for x in nope %}x{% endfor %}|", "{% for (i, j) in [(1, 2), (3, 4)] %}{{ i }}{{ j }} {% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x %}in {{ a }} block{% endset %}[{{ x }}]", "{% if n %}1{% elif t %}2{% else %}3{% endif %}",
    "{% macro m(x, y='d') %}<{{ x }}{{ y }}>{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(x=3, y=4) }}{{ m(y=5, x=6) }}",
    "{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(3) }}", "{# a comment #}x{# two\nlines #}y",
    "  {% if t %}\n  yes\n  {% endif %}\nend\n", "  {%- if t -%}\n  yes\n  {%- endif -%}\nend\n", "a\n  {{ a }}  \nb\n", "a\n  {{- a -}}  \nb\n",
    "x\n\t{# c #}\ny\n\n", "  {%+ if t %}z{% endif %}", "{% if t %}\n\nz\n{% endif %}\n\n", "a {%- set q = 1 %} b", "{{ '{{' }}{{ '%}' }}",
    "{% generation %}g{{ a }}{% endgeneration %}", "{{ raise_exception('no: ' ~ a) }}", "{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{{ i }}{% endfor %}{% endfor %}",
    "{{ nope.x }}", "{{ s.nope() }}", "{{ nope() }}", "{{ 1 + s }}", "{{ 'a' < 1 }}", "{{ 1 / 0 }}", "{{ l | nofilter }}", "{% if %}x{% endif %}", "{{ }}", "{{ a", "{% for x in l %}", "{{ a b }}",
    "{% set q = ms[1].content | trim %}[{{ q }}]", "{{ ms[-1]['content'] is none }}", "{{ ms[0].role + ms[1].role }}", "{{ ms | length }}{{ ms[0] | tojson }}", "{{ ms[2].content }}",
    "{%- for m in ms[::-1] %}{{ (ms | length - 1) - loop.index0 }}{{ m.role }},{%- endfor %}", "{{ lines.split('\\n')[-1].lstrip('\\n') }}",
    "{% if 'x' in d and d.x is not none and (d.x == 1 or nope) %}ok{% endif %}", "{{ '\\n' }}{{ \"\\\"\" }}{{ '\\\\' }}", "{{ l == [3, 1, 2] }}{{ d == {'x': 1} }}{{ 1 == 1.0 }}{{ none == n }}{{ true == 1 }}",
    "{%- macro show(d) %}{%- for k, v in d.items() %}{{ k }}:{%- if v is mapping %}{{ show(v) }}{%- else %}{{ v | tojson }}{%- endif %};{%- endfor %}{%- endmacro %}{{ show({'a': {'b': 1}, 'c': [1]}) }}",
    "{% raw %}{{ a }} {% if %}{% endraw %}x", " {%- raw -%}  {{ a }}  {%- endraw -%}  y", "{% filter upper | trim %} a{{ s }} {% endfilter %}",
    "{% set x | upper | trim %} b{{ a }} {% endset %}[{{ x }}]", "{% with x = a, y = x %}{{ x }}{{ y }}{% endwith %}{{ x }}", "{% print a %}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{{ a }}{% endcall %}", "{% macro m(n) %}{{ caller(n, 2) }}{% endmacro %}{% call(x, y=3) m(1) %}{{ x }}{{ y }}{% endcall %}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'b': 1, 'a': 2}) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% for x in [[1, [2, 3]], [4, []]] recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('o', 'e') }}{{ loop.changed(x > 1) }} {% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% set g = l | map('string') %}{{ g | join }}-{{ g | join }}", "{% set g = l | select('odd') %}{{ g | first }}{{ g | list }}", "{{ (l | map('string')) | tojson }}", "{{ l | map('string') | length }}",
    "{% for x in l | reverse %}{{ x }}{% endfor %}", "{{ d.items() }}{{ d.keys() }}{{ range(2) }}", "{{ d.items()[0] }}", "{{ {'items': 1}.items is callable }}{{ {'items': 1}['items'] }}", "{{ d.pop('x') }}", "{{ l.append(1) }}",
    "{{ {'get': 1}.get('get') }}{{ d['items'] is defined }}{{ d.update is defined }}", "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns['a'] }}{{ ns.b is defined }}", "{% set ns = namespace() %}{% set ns._a = 1 %}",
    "{{ '\\x41\\u4f60\\101\\a\\q' }}", "{{ 0x1F }}{{ 0b11 }}{{ 1_000 }}{{ 1e3 }}{{ 1.5e-3 }}", "{{ '<' + '&'|safe }}{{ '<' ~ '&'|safe }}{{ ('a'|safe + '<').upper() }}{{ '<b>'|e + '<' }}{{ ['x'|safe] }}",
    "{{ people | groupby('age') }}{{ people | groupby('age') | map(attribute='grouper') | list }}", "{{ people | map(attribute='name') | sort | join(',') }}{{ people | sum(attribute='age') }}{{ people | max(attribute='age') }}",
    "{{ '%-5s|%05.1f|%x|%(q)s' % {'q': 1} }}", "{{ '%-5s|%05.1f|%#x|%%' % (s, f, a) }}{{ '%s' % l }}{{ '%d' | format(f) }}", "{{ '{:>4}|{0!r}' .format(1) }}", "{{ '{:>4}|{!r:^9}|{x[y]}|{l[0]}|{:,}'.format(1, 'q', 12345678, x=d, l=l) }}",
    "a {#- c -#} b", "\u3000{%- if t -%}\u00a0x\u2003{%- endif -%}", "{{ none | map('upper') | list }}{{ none | selectattr('x') | list }}", "{{ '' | replace('', 'x') }}{{ 'ab' | replace('', '-') }}", "{{ [[1]] in [[[1]], 2] }}{{ [1] in d }}",
]


def expressions():
    """The rows above, cut at '|' where a cut gives a template that Jinja compiles or refuses on its own."""
    for line in EXPRESSIONS.split("\n"):
        parts, current = line.split("|"), ""
        filters = {"length", "upper", "lower", "title", "capitalize", "trim", "first", "last", "sort", "reverse", "list", "string",
                   "int", "float", "abs", "dictsort", "items", "unique", "tojson"}
        for part in parts:
            word = part.split("(")[0].split(" ")[0]
            call = word in filters or word in ("join", "default", "map", "select", "reject", "selectattr", "rejectattr", "replace", "indent", "sum")
            if current and call and part not in ("l", "d", "s"):
                current += "|" + part
            else:
                if current:
                    yield current
                current = part
        if current:
            yield current


def small():
    cases = [{"template": "{{ " + e + " }}"} for e in expressions()] + [{"template": t} for t in BLOCKS]
    return {"vars": VARS, "cases": [{**c, **render(compiled(c["template"]), VARS)} for c in cases]}


if __name__ == "__main__":
    json.dump(small(), sys.stdout, ensure_ascii=False, indent=0)
    print()
