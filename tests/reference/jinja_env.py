"""The Jinja environment in which chat templates are rendered, set up as transformers 5.24 does
(utils/chat_template_utils.py: sandbox, trimming, tojson, raise_exception, strftime_now, dict, namespace, generation), so
that jinja2 alone is enough for comparisons."""
import json
from datetime import datetime

import jinja2
import jinja2.ext
import jinja2.sandbox


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: here it only writes its body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Raised(jinja2.exceptions.TemplateError):
    """raise_exception() of a template."""


def raise_exception(message):
    raise Raised(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Namespace(jinja2.utils.Namespace):
    """A namespace whose names do not start with an underscore."""
    def __init__(*args, **kwargs):
        self, attributes = args[0], dict(*args[1:], **kwargs)
        for name in attributes:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"the attribute {name!r} of a namespace")


def make_dict(*args, **kwargs):
    return dict(*args, **kwargs)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=lambda form: datetime.now().strftime(form),
                       dict=make_dict, namespace=Namespace)
    return env


ENVIRONMENT = environment()


def compiled(template):
    """The template, or the error of compiling it."""
    try:
        return ENVIRONMENT.from_string(template)
    except Exception as error:
        return error


def render(template, variables):
    try:
        if isinstance(template, Exception):
            raise template
        return {"text": template.render(**variables)}
    except Raised as error:
        return {"error": str(error), "raised": True}
    except Exception as error:  # every other refusal counts as one
        return {"error": (type(error).__name__ + ": " + str(error)).split("\n")[0][:200]}
