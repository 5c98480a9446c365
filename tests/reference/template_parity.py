#!/usr/bin/env python3
"""Compares Sampan's rendering of chat templates with jinja2's, byte by byte and refusal by refusal.

    python tests/reference/template_parity.py RENDER_TEMPLATES FILE...
    python tests/reference/template_parity.py RENDER_TEMPLATES --random N [SEED]

RENDER_TEMPLATES: the built program of that name. FILE: *.jinja, tokenizer_config.json, chat_template.json or *.gguf
(which needs the package gguf): every template in it is rendered with hundreds of conversations. --random: N templates
made of random expressions and tags instead. Needs jinja2. Exit 1 when anything differs.
"""
import copy
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

from jinja_env import compiled, render
from make_template_golden import VARS


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


SYSTEM = {"role": "system", "content": "You are \"S\".\n"}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "天气 \"now\" <b>", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "which & where"},
                                     "unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "add", "description": "", "parameters": {
        "type": "object", "properties": {"x": {"type": "number", "default": 1.5}, "deep": {"type": "object", "properties": {
            "list": {"type": "array", "items": {"type": ["integer", "null"]}}}}}}}}]
ODD_TOOLS = [{"type": "function", "function": {"name": "f"}}, {"name": "bare", "description": "no wrapper", "parameters": {}}]
RICH_TOOLS = [{"type": "function", "function": {
    "name": "search", "description": "Line one.\nLine two.", "strict": True, "parameters": {
        "type": "object", "additionalProperties": False, "required": ["q", "opts"], "$defs": {"s": {"type": "string"}}, "properties": {
            "q": {"type": "string", "title": "Query", "description": "what\nto find", "minLength": 1},
            "n": {"type": "integer", "minimum": 0, "maximum": 10, "default": 3, "nullable": True},
            "kind": {"enum": ["a", 1, None, True]}, "any": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]},
            "one": {"oneOf": [{"type": "string"}, {"const": "x"}]}, "ref": {"$ref": "#/$defs/s"}, "flag": {"type": "boolean", "default": False},
            "tags": {"type": "array", "items": {"type": "string", "enum": ["t", "u"]}, "minItems": 1}, "free": {},
            "many": {"type": ["string", "null"], "description": "or nothing"},
            "opts": {"type": "object", "description": "o", "properties": {
                "deep": {"type": "array", "items": {"type": "object", "properties": {"z": {"type": "number"}}, "required": ["z"]}}},
                "required": ["deep"]}}},
    "return": {"type": "string"}, "response": {"type": "object", "properties": {"r": {"type": "string"}}}}}]
WEATHER = call("get_weather", {"city": "北京", "n": 1}, id="call_0_1")
ID9 = call("get_weather", {"city": "Zürich", "x": None, "y": [1, 2.5, True], "z": {"k": "v"}}, id="abcdefghi")
TEXT_CALL = call("add", "{\"x\": 1.5, \"s\": \"é\"}", id="call_2")


def tool(content, **more):
    return {"role": "tool", "content": content, **more}


TALKS = [
    [user("hi")], [SYSTEM, user("hi")], [user("你好"), assistant("你好！"), user("再见 <|im_end|> & <b>")],
    [SYSTEM, user("a"), assistant("b"), user("c"), assistant("d"), user("e")], [user("")], [user("  x \n")], [SYSTEM], [],
    [user("q"), assistant("<think>\nhm\n</think>\n\nanswer"), user("more")], [user("1"), assistant("2")],
    [user("q"), assistant("<think>a</think>b<think>c</think>d</think>"), user("more"), assistant("</think>\n")],
    [user("q"), assistant("x", reasoning_content="r"), user("z")], [user("q"), assistant("x", reasoning="r1"), user("z")],
    [user("q"), assistant("x", thinking="r2"), user("z"), assistant("y", reasoning_content="\nlast\n", thinking="\nlast\n")],
    [user("q"), assistant("", reasoning_content="r", tool_calls=[WEATHER]), tool("晴"), assistant("ok", reasoning_content="r3")],
    [user("w"), assistant("", tool_calls=[WEATHER]), tool("晴 20"), tool("{\"a\": 1}"), assistant("晴")],
    [SYSTEM, user("w"), assistant("let me see", tool_calls=[WEATHER]), tool("r"), user("thanks")],
    [user("w"), assistant(None, tool_calls=[ID9]), tool("20", tool_call_id="abcdefghi", name="get_weather"), assistant("20")],
    [user("w"), assistant(None, tool_calls=[ID9, call("add", {}, id="123456789")]), tool("20", tool_call_id="abcdefghi", name="get_weather"),
     tool("7", tool_call_id="123456789", name="add"), assistant("20 7"), user("and?"), assistant("x", tool_calls=[ID9])],
    [user("w"), {"role": "assistant", "tool_calls": [TEXT_CALL]}, tool("3", tool_call_id="call_2", name="add")],
    [user("w"), assistant("", tool_calls=[TEXT_CALL, WEATHER])], [user("w"), assistant("a", tool_calls=[])], [user("w"), assistant("a", tool_calls=None)],
    [SYSTEM, user("w"), assistant("c", tool_calls=[{"name": "bare", "arguments": {"a": 1}, "id": "000000000"}]), tool("r", tool_call_id="000000000")],
    [user("w"), assistant("", tool_calls=[ID9]), tool([{"type": "text", "text": "part"}], tool_call_id="abcdefghi"), user("ok")],
    [user("w"), assistant("", tool_calls=[ID9]), tool({"t": 20, "ok": True}, tool_call_id="abcdefghi"), user("ok")],
    [user([{"type": "text", "text": "one"}, {"type": "text", "text": " two "}]), assistant([{"type": "text", "text": "A"}]), user("b")],
    [{"role": "system", "content": [{"type": "text", "text": "sys"}]}, user([{"type": "image"}, {"type": "text", "text": "see"}])],
    [user([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "video"}, {"type": "audio"}, {"type": "text", "text": "t"}])],
    [user("emoji 👨‍👩‍👧 \u200b \u2028 end\x0b\x1c")], [user("line1\nline2\n"), assistant("\nx\n"), user("</think> y")],
    [user("a"), user("b")], [assistant("first")], [assistant("hello"), user("hi")], [user("a"), assistant("b"), assistant("c"), user("d")],
    [user("a"), SYSTEM, assistant("b"), user("c")], [SYSTEM, SYSTEM, user("x")], [SYSTEM, assistant("x"), user("y")],
    [{"role": "developer", "content": "dev"}, user("x")], [user("x"), {"role": "critic", "content": "y"}], [{"role": "User", "content": "cased"}],
    [user("x"), {"role": "function", "name": "f", "content": "{}"}], [user("x"), {"role": "ipython", "content": {"output": 1}}], [tool("alone")],
    [user("q \\ \"quoted\" 'single' {{ x }} {% if %} \t\r\n <|endoftext|> </s>")], [user(7)], [user(1.5), assistant(True), user(None)], [{"role": "user"}],
    [user("x", name="bob"), assistant("y", name="bot", prefix=True)], [{"content": "no role"}], [user({"a": 1})], ["text"], [user("a " * 300), assistant("b\n" * 200)],
    [{"role": "system", "content": ""}, user("x")], [{"role": "system", "content": "detailed thinking on /no_think  "}, user("x /think")],
    [user("x", documents=[{"title": "t", "text": "d"}]), assistant("y"), user("z", tools=TOOLS)], [{"role": "system", "content": "s", "tools": "[{}]"}, user("x")],
    [user("a"), assistant("b", reasoning_content=""), tool("t"), tool("u"), user("c"), assistant("d", tool_calls=[WEATHER, ID9], reasoning_content="why")],
]
# Further variables, tried where the template's source names them.
KWARGS = [{"enable_thinking": True}, {"enable_thinking": False}, {"thinking": True}, {"thinking": False}, {"reasoning_effort": "high"},
          {"reasoning_effort": "low"}, {"builtin_tools": ["brave_search", "code_interpreter"]}, {"date_string": "1 Jan 2025"},
          {"tools_in_user_message": False}, {"documents": [{"title": "T", "text": "D", "doc_id": 1}, {"title": "U", "text": "<b>"}]},
          {"xml_tools": TOOLS}, {"python_tools": TOOLS}, {"custom_instructions": "be kind"}, {"preserve_thinking": True},
          {"thinking_budget": 512}, {"model_identity": "I am"}, {"system_message": "S!"}, {"citation_mode": "fast"}, {"think": True},
          {"clear_thinking": False}, {"keep_past_thinking": True}, {"truncate_history_thinking": False}, {"add_vision_id": True},
          {"controls": {"length": "long"}}, {"thinking_mode": "chat"}, {"response_format": {"type": "object"}}, {"drop_thinking": False},
          {"functions": TOOLS}, {"datetime": "now"}, {"today": "2025-01-01"}, {"tool_choice": "none"}, {"add_default_system_prompt": True}]


def conversations(template):
    kwargs = [{}] + [k for k in KWARGS if next(iter(k)) in template]
    for i, talk in enumerate(TALKS):
        for tools, generate in itertools.product((None, TOOLS, RICH_TOOLS, ODD_TOOLS)[:4 if i < 2 else 3 if i % 8 == 0 else 2], (True, False)):
            for extra in kwargs if i < 30 else kwargs[:1]:
                yield {"messages": talk, "tools": tools, "add_generation_prompt": generate, "documents": None, "bos_token": "<s>",
                       "eos_token": "</s>", **extra}


def templates(path):
    """(name, source) of every template in a file."""
    name = os.path.basename(path)
    if path.endswith(".gguf"):
        import gguf
        yield name, gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()
    elif path.endswith(".json"):
        found = json.load(open(path, encoding="utf-8")).get("chat_template")
        for each in found if isinstance(found, list) else [{"name": "default", "template": found}] if found else []:
            yield f"{name}.{each['name']}", each["template"]
    else:
        yield name, open(path, encoding="utf-8").read()


def ours(tool, requests):
    """The results of our program: {"text", "trusted"} or {"error"} for each {"template", "vars"}."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        for request in requests:
            file.write(json.dumps(request, ensure_ascii=False) + "\n")
        file.seek(0)
        done = subprocess.run([tool], stdin=file, capture_output=True, text=True, encoding="utf-8", check=True)
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def agree(want, got):
    """Equal texts, or two refusals; what raise_exception says counts."""
    if "text" in want or "text" in got:
        return want.get("text") == got.get("text")
    return not want.get("raised") or want["error"][:200] in got["error"]


def tell(name, variables, want, got):
    print(f"{name}: {json.dumps(variables, ensure_ascii=False)[:1500]}")
    a, b = (r.get("text", r.get("error")) for r in (want, got))
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b))) if "text" in want and "text" in got else 0
    print(f"  from {at}, jinja2: {a[max(0, at - 40):at + 200]!r}\n  sampan: {b[max(0, at - 40):at + 200]!r}")


def compare_files(tool, paths, show=3, every=1):
    """Every so many conversations; prints a line per template; returns (templates, conversations, differences)."""
    count = total = bad = 0
    for path in paths:
        for name, source in templates(path):
            template, variables = compiled(source), list(conversations(source))[count % every::every]
            want = [render(template, v) for v in variables]
            got = ours(tool, [{"template": source, "vars": v} if i == 0 else {"vars": v} for i, v in enumerate(variables)])
            wrong = [i for i in range(len(variables)) if i >= len(got) or not agree(want[i], got[i])]
            for i in wrong[:show]:
                tell(name, variables[i], want[i], got[i] if i < len(got) else {"error": "no answer"})
            refused = sum("error" in w for w in want)
            print(f"{name}: {len(wrong)} of {len(variables)} differ ({refused} are refused)", flush=True)
            count, total, bad = count + 1, total + len(variables), bad + len(wrong)
    print(f"{count} templates, {total} conversations, {bad} differ")
    return count, total, bad


# ---- random templates ----

STRINGS = ["'a'", "'Hello, World'", "' x y '", "''", "'one\\ntwo\\n\\nthree'", "'aXbXc'", "'%s-%s'", "'{}|{}'", "'12'", "'-3.5'", "'你好'", "'éÀß'", "s", "zh", "e",
           "lines", "html", "'ǆ ΣΑΣ'", "'a.b,c d'"]
NUMBERS = ["0", "1", "2", "-1", "3", "7", "2.5", "-0.5", "1e3", "a", "b", "f", "true", "10"]
LISTS = ["l", "words", "ms", "people", "[]", "[1, 'a', none]", "(1, 2)", "range(4)", "d.items()", "d.keys()", "[[1, 2], [3, 4]]", "[1, 1, 2, 'A', 'a']", "nope", "n"]
DICTS = ["d", "ms[0]", "people[0]", "{}", "{'k': 1, 'j': [2]}", "{1: 2}", "dict(a=1)"]
METHODS = {"upper": 0, "lower": 0, "title": 0, "capitalize": 0, "swapcase": 0, "strip": 2, "lstrip": 2, "rstrip": 2, "split": 3, "rsplit": 3, "splitlines": 4,
           "partition": 1, "rpartition": 1, "startswith": 1, "endswith": 1, "removeprefix": 1, "removesuffix": 1, "replace": 5, "find": 1, "rfind": 1,
           "index": 1, "count": 1, "join": 6, "center": 7, "ljust": 7, "rjust": 7, "zfill": 7, "format": 8, "isdigit": 0, "isalpha": 0, "isalnum": 0, "isspace": 0,
           "islower": 0, "isupper": 0, "nomethod": 0}
FILTERS = ["upper", "lower", "title", "capitalize", "trim", "length", "first", "last", "list", "reverse", "sort", "unique", "string", "int", "float", "abs", "round",
           "tojson", "items", "dictsort", "sum", "min", "max", "join", "wordcount", "count", "escape", "urlencode", "default('z')", "d('z', true)", "join('-')",
           "replace('l', 'L')", "replace('o', '', 1)", "indent(2)", "indent(1, true)", "indent('> ', true, true)", "trim('H')", "center(9)", "string|truncate(5)",
           "string|truncate(7, true, '~', 0)", "round(1)", "round(-1)", "round(1, 'ceil')", "round(0, 'floor')", "int(9)", "int(0, 16)", "float(1.5)", "batch(2)|list",
           "batch(2, 'f')|list", "slice(2)|list", "slice(3, 'f')|map('list')|list", "map('upper')|list", "map(attribute='name')|list", "map(attribute='x', default='w')|list",
           "map('string')|join", "select|list", "reject|list", "select('string')|list", "select('gt', 1)|list", "reject('in', [1, 2])|list", "selectattr('age')|list",
           "selectattr('role', 'eq', 'user')|list", "rejectattr('content', 'none')|list", "sort(reverse=true)", "sort(attribute='age')", "sort(attribute='age,name')",
           "sort(case_sensitive=true)", "unique(case_sensitive=true)|list", "unique(attribute='age')|list", "groupby('age')", "groupby('role', default='x')|list", "sum(attribute='age')", "sum(start=5)",
           "max(attribute='age')", "min(attribute='name')", "dictsort(reverse=true)", "dictsort(by='value')", "tojson(indent=2)", "tojson(ensure_ascii=true)",
           "tojson(sort_keys=true)", "tojson(separators=(',', ':'))", "tojson(indent=0)", "tojson(indent=1, separators=(';', '='))", "format(1, 'x')", "attr('upper')", "attr('k')", "map('length')|list", "map('tojson')|list",
           "reverse|list", "first|default('none')", "length + 1", "nofilter"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "number", "integer", "float", "boolean", "sequence", "iterable", "callable", "odd", "even", "divisibleby 2", "true", "false",
         "eq 1", "ne 'a'", "gt 1", "lt 'm'", "ge 2", "le 7", "in l", "in s", "in d", "sameas none", "lower", "upper", "not defined", "not none", "equalto('a')", "in [1, 'a']", "escaped"]
FORMATS = ["'%s'", "'%d'", "'%5.1f|'", "'%-6s|'", "'%+d'", "'%05d'", "'%x'", "'%#o'", "'%e'", "'%g'", "'%r'", "'%%'", "'%(x)s'", "'%s %s'", "'%c'", "'%.2s'", "'%i'", "'% d'", "'%3d%%'"]
BRACES = ["'{}'", "'{0}{0}'", "'{:>5}|'", "'{:<5}|'", "'{:^7}|'", "'{:*^7}|'", "'{:05d}'", "'{:.2f}'", "'{:,}'", "'{:x}'", "'{:+}'", "'{!r}'", "'{0[0]}'", "'{:%}'", "'{:e}'", "'{{}}{}'", "'{:g}'", "'{:.3}'", "'{:#x}'",
          "'{:{}}'", "'{:b}'", "'{:_}'", "'{'", "'{x}'", "'{:s}'", "'{:d}'"]
SLICES = ["[0]", "[-1]", "[9]", "[1:]", "[:-1]", "[::-1]", "[::2]", "[-2:]", "[1:3]", "['x']", "['items']", "[none]", "[1.5]", ".x", ".items", ".keys()", ".y", ".0", ".name", "[:2][0]", "[5:1]", "[3:0:-1]"]


class Maker:
    """Random templates: expressions over the variables of the small goldens, and tags around them."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *lists):
        return self.r.choice(self.r.choice(lists))

    def method(self, depth):
        name, kind = self.r.choice(list(METHODS.items()))
        s = lambda: self.pick(STRINGS)
        n = lambda: self.r.choice(["-1", "0", "1", "2", "6", "9"])
        arguments = {0: lambda: "", 1: s, 2: lambda: self.r.choice(["", s()]), 3: lambda: self.r.choice(["", s(), s() + ", " + n(), "none, " + n(), "maxsplit=" + n()]),
                     4: lambda: self.r.choice(["", "true"]), 5: lambda: s() + ", " + s() + self.r.choice(["", ", " + n()]), 6: lambda: self.pick(LISTS, STRINGS),
                     7: lambda: n() + self.r.choice(["", ", '*'"]), 8: lambda: self.expression(depth - 1) + ", " + self.expression(depth - 1)}[kind]()
        return f"{self.pick(STRINGS)}.{name}({arguments})"

    def expression(self, depth):
        r = self.r
        if depth <= 0:
            return self.pick(STRINGS, NUMBERS, LISTS, DICTS)
        deeper = lambda: self.expression(depth - 1 - r.randrange(2))
        kind = r.randrange(14)
        if kind == 0:
            return f"({deeper()} {r.choice(['+', '-', '*', '/', '//', '%', '~', '~', '+'])} {deeper()})"
        if kind == 1:
            return f"({deeper()} {r.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {deeper()})"
        if kind == 2:
            return f"({deeper()} {r.choice(['and', 'or'])} {r.choice(['', 'not '])}{deeper()})"
        if kind == 3:
            return f"({deeper()} if {deeper()}{r.choice([' else ' + deeper(), ''])})"
        if kind == 4:
            return self.pick(["s", "l", "d", "ms", "zh", "words", "(s, l)", "nope", "ms[0]", "d.y"]) + r.choice(SLICES)  # of constants Jinja folds
        if kind == 5:
            return self.method(depth)
        if kind == 6:
            return f"{deeper()} is {r.choice(TESTS)}" if r.randrange(2) else f"({deeper()} is {r.choice(TESTS)})"
        if kind == 7:
            return f"({r.choice(FORMATS)} % {r.choice(['(' + deeper() + ', ' + deeper() + ')', '(' + deeper() + ',)', deeper(), deeper()])})"
        if kind == 8:
            return f"{r.choice(BRACES)}.format({deeper()}{r.choice(['', ', ' + deeper(), ', x=' + deeper()])})"
        if kind == 9:
            return f"[{deeper()}, {deeper()}]" if r.randrange(2) else f"{{'k': {deeper()}, {self.pick(STRINGS, NUMBERS)}: {deeper()}}}"
        return f"({deeper()})|{r.choice(FILTERS)}"

    def template(self, depth=3):
        r = self.r
        e = lambda: self.expression(r.randrange(depth + 1))
        kind = r.randrange(24)
        if kind < 16:
            return "{{ " + e() + " }}"
        return {16: lambda: f"{{% for x in {e()} %}}{{{{ loop.index }}}}{{{{ x }}}}{{% else %}}none{{% endfor %}}",
                17: lambda: f"{{% for x, y in {e()} %}}{{{{ x }}}}={{{{ y }}}}{{% if loop.last %}}.{{% endif %}}{{% endfor %}}",
                18: lambda: f"{{% if {e()} %}}yes{{% elif {e()} %}}else\n  {{%- else %}}no{{% endif %}}",
                19: lambda: f"{{% set x = {e()} %}}{{{{ x }}}}{{% set y %}}[{{{{ x }}}}]{{% endset %}}{{{{ y|length }}}}",
                20: lambda: f"{{% macro m(x, y={e()}) %}}<{{{{ x }}}}{{{{ y }}}}>{{% endmacro %}}{{{{ m({e()}) }}}}{{{{ m({e()}, {e()}) }}}}",
                21: lambda: f"{{% for x in {e()} if x is {r.choice(TESTS)} %}}{{{{ x }}}}{{{{ loop.previtem }}}} {{% endfor %}}",
                22: lambda: f"{{% filter {r.choice(FILTERS)} %}}a{{{{ {e()} }}}}\n b{{% endfilter %}}",
                23: lambda: f"{{% with x = {e()} %}}{{{{ x }}}}{{% endwith %}}{{{{ x }}}}"}[kind]()


def unpredictable(result):
    """Addresses, and what is beyond 64 bits."""
    text = result.get("text", "") + result.get("error", "")
    return any(w in text for w in (" at 0x", "<generator", "Undefined", "Macro ", "Namespace", "<jinja", "Cycler", "built-in", "<async")) or any(
        abs(int(w)) > 2**62 for w in "".join(c if c.isdigit() else " " for c in text).split() if len(w) > 17)


def compare_random(tool, count, seed, texts_only=False):
    warnings.simplefilter("ignore")
    maker = Maker(seed)
    sources = [maker.template() for _ in range(count)]
    want = [render(compiled(s), copy.deepcopy(VARS)) for s in sources]  # some filters change what they get
    got = ours(tool, [{"template": s, "vars": VARS} for s in sources])
    wrong = [i for i in range(count) if not unpredictable(want[i]) and not agree(want[i], got[i])
             and (not texts_only or ("text" in want[i] and "text" in got[i]))]
    for i in wrong[:40]:
        print(f"{sources[i]}\n  jinja2: {want[i]}\n  sampan: {got[i].get('text', got[i].get('error'))!r}")
    rendered = sum("text" in w for w in want)
    print(f"{count} random templates ({rendered} render), {len(wrong)} differ")
    return len(wrong)


if __name__ == "__main__":
    if sys.argv[2] == "--random":
        sys.exit(compare_random(sys.argv[1], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0) > 0)
    sys.exit(compare_files(sys.argv[1], sys.argv[2:])[2] > 0)
