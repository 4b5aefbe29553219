"""The page as one HTML text: style, script and drawings are in it, and nothing is fetched."""

from __future__ import annotations

from importlib.resources import files

from camshaft.report.page.data import Fact, Page
from camshaft.report.page.markup import Markup, joined, tag
from camshaft.report.page.sections.accuracy import accuracy_section
from camshaft.report.page.sections.graphs import graphs_section
from camshaft.report.page.sections.memory import memory_section
from camshaft.report.page.sections.table import steps_section

_SECTIONS = (
    ("graph", "Graph", graphs_section),
    ("steps", "Steps", steps_section),
    ("memory", "Memory", memory_section),
    ("accuracy", "Accuracy", accuracy_section),
)


def page_html(page: Page) -> str:
    """The page; sections without data are left out."""
    made = [(anchor, name, section(page)) for anchor, name, section in _SECTIONS]
    shown = [(anchor, name, text) for anchor, name, text in made if text]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{page.title} – camshaft"),
        tag("style", _own("style.css")),
    )
    links = (tag("a", name, href=f"#{anchor}") for anchor, name, _ in shown)
    theme = tag(
        "button", "◐", type="button", id="theme", title="light or dark", aria_label="light or dark"
    )
    body = tag(
        "body",
        tag("nav", tag("b", "camshaft"), *links, theme, aria_label="Parts of the page"),
        tag("main", _header(page), *(text for _, _, text in shown)),
        tag("div", id="tip", role="status"),
        tag("script", _own("script.js")),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _own(name: str) -> Markup:
    """A file beside this one, which holds nothing that ends its element."""
    return Markup(files("camshaft.report.page").joinpath(name).read_text(encoding="utf-8"))


def _header(page: Page) -> Markup:
    facts = [f for f in page.facts if f.value]
    large = [_large(f) for f in facts if f.large]
    lines = [_line(f) for f in facts if not f.large]
    return tag(
        "header",
        tag("h1", page.title),
        tag("div", *large, class_="tiles") if large else Markup(),
        tag("dl", *lines) if lines else Markup(),
    )


def _large(f: Fact) -> Markup:
    hint = tag("small", f.hint) if f.hint else Markup()
    return tag("div", tag("span", f.name), tag("b", f.value), hint, class_="tile")


def _line(f: Fact) -> Markup:
    hint = tag("small", f" {f.hint}") if f.hint else Markup()
    return tag("div", tag("dt", f.name), tag("dd", joined(f.value, hint)))
