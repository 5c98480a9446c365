"""Pictures of views in every language, theme and width, and what can be told to be wrong with them without looking."""
import json

import pytest
from conftest import ROOT, SCREENS

AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
SERIOUS = {"serious", "critical"}
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 375, "height": 720}
TALLEST = 2600  # px of a picture: what is below repeats


def every_look(test):
    """The test in both languages, both themes, wide and narrow."""
    for name, values in (("theme", ["light", "dark"]), ("language", ["zh-CN", "en-GB"])):
        test = pytest.mark.parametrize(name, values)(test)
    return pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])(test)


def look_of(language, theme, size):
    """The context's options for one of them."""
    return {"locale": language, "color_scheme": theme, "viewport": size, "reduced_motion": "reduce", "has_touch": size is NARROW}


def serious(page):
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{v['id']}: {n['html'][:160]} ({n.get('failureSummary', '')[:200]})" for v in found if v["impact"] in SERIOUS for n in v["nodes"]]


class Album:
    def __init__(self, page, language, theme, size):
        self.page, self.size, self.findings = page, size, {}
        self.mark = f"{language[:2]}-{theme}-{size['width']}"
        # Words don't change what axe-core looks at: each theme and each size once.
        self.judged = (language == "zh-CN") == ((theme == "light") == (size is WIDE))
        SCREENS.mkdir(parents=True, exist_ok=True)

    def show(self, path, until="main h1"):
        self.page.goto(path)
        self.page.locator(until).first.wait_for()

    def keep(self, name):
        """A picture of the whole view, as tall as it is."""
        page = self.page
        page.wait_for_timeout(150)
        below = page.evaluate("""() => { const view = document.querySelector('.page')
            return view && !document.querySelector('dialog[open], .el-popper:not([aria-hidden=true])') ? view.scrollHeight - view.clientHeight : 0 }""")
        if below > 0:
            page.set_viewport_size({**self.size, "height": min(TALLEST, self.size["height"] + below)})
        page.screenshot(path=SCREENS / f"{name}-{self.mark}.png")
        if below > 0:
            page.set_viewport_size(self.size)
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found = (serious(page) if self.judged else []) + ([f"{wider} px wider than the window"] if wider > 0 else [])
        if found:
            self.findings[name] = found

    def close(self):
        assert not self.findings, json.dumps(self.findings, ensure_ascii=False, indent=1)
