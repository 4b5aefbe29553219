"""The engine's steps as a table that can be sorted and filtered, under a bar that shows where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from camshaft.report.page.data import Page, Step
from camshaft.report.page.figures import NONE, count_text, counted, finite, share_text, time_text
from camshaft.report.page.markup import Markup, joined, tag
from camshaft.report.page.sections.precisions import precision_class
from camshaft.report.words import size


def steps_section(page: Page) -> Markup:
    """The steps, all figures, and the reasons in full."""
    if not page.steps:
        return Markup()
    times = finite(s.time_us for s in page.steps if s.runs)
    said = [f"{counted(sum(s.runs for s in page.steps), 'step')} of a call", page.measured]
    return tag(
        "section",
        tag("h2", "Steps"),
        tag("p", f"{'; '.join(filter(None, said))}.", class_="hint"),
        _strip(page.steps, sum(times)),
        _controls(),
        _table(page.steps, sum(times), max(times, default=0.0)),
        _script(page.script),
        id="steps",
    )


def _strip(steps: Sequence[Step], total: float) -> Markup:
    """All steps in a row, each as wide as its share of the time."""
    if not total:
        return Markup()
    parts = []
    for s in steps:
        if s.runs and finite([s.time_us]) and s.time_us:
            tip = f"{s.name}\n{time_text(s.time_us)}, {share_text(s.time_us / total)}"
            grow = f"flex-grow:{s.time_us / total * 1000:.4g}"
            class_ = precision_class(s.kind, s.precision)
            parts.append(tag("i", class_=class_, style=grow, title=tip, data_steps=s.number))
    label = "Share of the time by step, in the order in which they run"
    return tag("div", *parts, class_="strip", role="img", aria_label=label)


def _controls() -> Markup:
    field = tag(
        "input", type="search", id="filter", placeholder="layer, operator, i8, reason …",
        autocomplete="off",
    )  # fmt: skip
    label = tag("label", "Filter ", field)
    return tag("p", label, tag("output", id="count", for_="filter"), class_="controls")


_COLUMNS = (
    ("#", "", "the order in which they run"),
    ("step", "", "source layers, how it is computed, and why"),
    ("precision", "", "element type of the arithmetic"),
    ("time", "n", "microseconds, and the share of all steps"),
    ("MACs", "n", "multiply-accumulates"),
    ("rate", "n", "operations a second; a multiply-accumulate is two"),
    ("read", "n", "bytes of activations read"),
    ("written", "n", "bytes of activations written"),
    ("weights", "n", "bytes of constants read"),
)


_TIMED = ("time", "rate")
"""Columns that are left out where no step has a time."""


def _table(steps: Sequence[Step], total: float, longest: float) -> Markup:
    columns = [c for c in _COLUMNS if longest or c[0] not in _TIMED]
    heads = (
        tag(
            "th",
            tag("button", name, type="button", title=f"Sort by {name}: {what}"),
            scope="col",
            class_=class_ or None,
            aria_sort="ascending" if name == "#" else "none",
        )
        for name, class_, what in columns
    )
    rows = (_row(s, total, longest) for s in steps)
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), id="table")
    return tag("div", table, class_="scroll")


def _row(s: Step, total: float, longest: float) -> Markup:
    class_ = precision_class(s.kind, s.precision)
    rate = None if not s.time_us or not isfinite(s.time_us) else 2e6 * s.macs / s.time_us
    timed = (
        _cell("time", s.time_us, _time(s, total, longest, class_)),
        _cell("rate", rate, count_text(rate, "op/s") if rate else NONE),
    )
    macs = _cell("MACs", s.macs, count_text(s.macs) if s.macs else NONE)
    cells = (
        _cell("#", s.number, _pick(s)),
        _cell("step", s.name, _words(s)),
        _cell("precision", s.precision, tag("span", _precision(s), class_=f"tag {class_}")),
        *((timed[0], macs, timed[1]) if longest else (macs,)),
        *(
            _cell(name, nbytes, size(nbytes) if nbytes else NONE)
            for name, nbytes in (("read", s.read), ("written", s.written), ("weights", s.weights))
        ),
    )
    return tag("tr", *cells, data_steps=s.number, class_=None if s.runs else "elsewhere")


def _cell(name: str, value: float | str | None, content: str) -> Markup:
    """value: what rows are sorted by; figures that are none come last."""
    known = isinstance(value, str) or (value is not None and isfinite(value))
    numeric = name not in ("#", "step", "precision")
    return tag(
        "td", content, data_value=value if known else "", data_name=name,
        class_="n" if numeric else None,
    )  # fmt: skip


def _pick(s: Step) -> Markup:
    words = f"Show step {s.number} in the graph"
    return tag("button", str(s.number), type="button", class_="pick", title=words, aria_label=words)


def _precision(s: Step) -> str:
    return s.precision or ("Python" if s.kind in ("host", "script") else NONE)


def _words(s: Step) -> Markup:
    """Name; then how it is computed, its source layers and the reason."""
    lines = [tag("b", s.name), tag("small", ": ".join(filter(None, [s.op, s.how])))]
    if s.origin and " + ".join(s.origin) != s.name:
        lines.append(tag("small", f"from {', '.join(s.origin)}"))
    if s.where:
        less = "" if s.runs else ", so not here"
        lines.append(tag("small", f"runs where {s.where}{less}"))
    if s.reason:
        lines.append(tag("small", s.reason, class_="why"))
    return joined(*lines)


def _time(s: Step, total: float, longest: float, class_: str) -> Markup:
    if s.time_us is None or not isfinite(s.time_us):
        return Markup(NONE)
    words = time_text(s.time_us)
    if not s.runs or not total:
        return tag("span", words)
    width = f"width:{100 * s.time_us / longest:.1f}%"
    bar = tag("span", tag("i", class_=class_, style=width), class_="bar")
    return joined(words, tag("small", share_text(s.time_us / total)), bar)


def _script(lines: Sequence[str]) -> Markup:
    if not lines:
        return Markup()
    title = "What runs the graphs"
    return tag("details", tag("summary", title), tag("pre", "\n".join(lines)), class_="script")
