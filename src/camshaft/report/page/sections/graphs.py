"""Drawings as SVG: boxes coloured by precision, ways between them, and what is shown when one is pointed at."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.report.page.data import Box, Drawing, Page
from camshaft.report.page.figures import counted, finite, time_text
from camshaft.report.page.markup import Markup, joined, tag
from camshaft.report.page.sections.layout import XY, Layout, Way, laid_out
from camshaft.report.page.sections.precisions import legend, precision_class

_WIDTH, _LINE, _PAD, _LINES = 212.0, 15.0, 9.0, 5
_LETTERS, _LABEL_LETTERS, _TIMED_LETTERS = 29, 24, 17


def graphs_section(page: Page) -> Markup:
    """The model's graphs beside those of the engine's steps."""
    if not any(d.boxes for d in (*page.before, *page.after)):
        return Markup()
    drawings = (*page.before, *page.after)
    boxes = [b for d in drawings for b in d.boxes if b.kind not in ("input", "output")]
    sides = []
    if page.before:
        sides.append(_side("The model as imported", page.before, "node"))
    sides.append(_side("What runs", page.after, "step"))
    hint = (
        "Point at a box for its details. Select one to see what it became, and where it is in the table; "
        "with the keyboard, arrow keys go from box to box, Enter selects, Escape lets go."
    )
    return tag(
        "section",
        tag("h2", "Graph"),
        tag("p", hint, class_="hint"),
        legend((b.kind, b.precision) for b in boxes),
        tag("div", *sides, class_="sides" if len(sides) > 1 else "sides alone"),
        id="graph",
    )


def _side(title: str, drawings: Sequence[Drawing], thing: str) -> Markup:
    shown = [d for d in drawings if d.boxes]
    parts = []
    for i, drawing in enumerate(shown):
        inner = [b for b in drawing.boxes if b.kind not in ("input", "output")]
        said = ": ".join(filter(None, [drawing.title, counted(len(inner), thing)]))
        parts.append(
            tag("details", tag("summary", said), _panel(drawing, f"{title}: {said}"), open=i == 0)
        )
    return tag("div", tag("h3", title), *parts, class_="side")


def _panel(drawing: Drawing, label: str) -> Markup:
    """A drawing in a window that scrolls, with buttons for its size."""
    buttons = (
        tag("button", sign, type="button", data_zoom=what, aria_label=words, title=words)
        for what, sign, words in (
            ("out", "−", "smaller"),
            ("in", "+", "larger"),
            ("fit", "fit", "fit the width"),
            ("all", "all", "see the whole graph"),
        )
    )
    window = tag(
        "div", _svg(drawing, label), class_="window", tabindex=0, role="region", aria_label=label
    )
    return tag("div", tag("div", *buttons, class_="zoom"), window, class_="graph")


def _svg(drawing: Drawing, label: str) -> Markup:
    sizes = [(_WIDTH, _height(b)) for b in drawing.boxes]
    layout = laid_out(sizes, [b.reads for b in drawing.boxes])
    longest = max(finite(b.time_us for b in drawing.boxes), default=0.0)
    ways = [_way(w) for w in layout.ways]
    boxes = [
        _box(b, corner, size[1], longest)
        for b, corner, size in zip(drawing.boxes, layout.corners, sizes, strict=True)
    ]
    return _canvas(layout, joined(*ways), joined(*boxes), label)


def _canvas(layout: Layout, ways: Markup, boxes: Markup, label: str) -> Markup:
    w, h = round(layout.width), round(layout.height)
    return tag(
        "svg",
        ways,
        boxes,
        viewBox=f"0 0 {w} {h}",
        width=w,
        height=h,
        role="group",
        aria_label=label,
    )


def _height(box: Box) -> float:
    return 2 * _PAD + _LINE * (1 + len(_shown(box))) + 5 * (box.time_us is not None)


def _shown(box: Box) -> list[str]:
    lines = [line for line in box.lines if line]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], f"and {len(lines) - _LINES + 1} more"]
    return lines


def _box(box: Box, corner: XY, height: float, longest: float) -> Markup:
    x, y = corner
    end = box.kind in ("input", "output")
    class_ = f"box end {box.kind}" if end else f"box {precision_class(box.kind, box.precision)}"
    title = tag("title", "\n".join(box.details))
    shape = tag("rect", class_="shape", width=_WIDTH, height=height, rx=height / 2 if end else 6)
    parts = [title, shape]
    if not end:
        parts.append(tag("path", class_="stripe", d=_stripe(height)))
    letters = _LABEL_LETTERS if box.time_us is None else _TIMED_LETTERS
    left = 22 if end else 15
    parts.append(_text(_end_of(box.label, letters), left, _PAD + 11, "label"))
    if box.time_us is not None:
        parts.append(_text(time_text(box.time_us), _WIDTH - 10, _PAD + 11, "time"))
        if longest and finite([box.time_us]):
            width = max(1.0, (_WIDTH - 25) * box.time_us / longest)
            parts.append(
                tag("rect", class_="bar", x=15, y=height - 8, width=width, height=3, rx=1.5)
            )
    for i, line in enumerate(_shown(box)):
        parts.append(_text(_end_of(line, _LETTERS), left, _PAD + 11 + _LINE * (i + 1), "line"))
    steps = " ".join(map(str, box.steps)) or None
    return tag(
        "g", *parts, class_=class_, data_steps=steps, transform=f"translate({x:.1f} {y:.1f})"
    )


def _text(words: str, x: float, y: float, class_: str) -> Markup:
    return tag("text", words, x=x, y=y, class_=class_)


def _stripe(height: float) -> str:
    """The left edge of a box, with its round corners."""
    return f"M6 0V{height:g}Q0 {height:g} 0 {height - 6:g}V6Q0 0 6 0Z"


def _end_of(name: str, letters: int) -> str:
    """The end of a long name, which says more than the path that it begins with."""
    return name if len(name) <= letters else f"…{name[1 - letters :]}"


def _way(way: Way) -> Markup:
    lines = "".join(_curve(a, b) for a, b in way.pieces)
    cut = "".join(f"M{x:.1f} {y - 16:.1f}V{y:.1f}" for x, y in way.cut)
    heads = "".join(
        f"M{x - 3.5:.1f} {y - 6:.1f}H{x + 3.5:.1f}L{x:.1f} {y:.1f}Z" for x, y in way.ends
    )
    parts = [tag("path", class_="line", d=lines)] * bool(lines)
    parts += [tag("path", class_="line cut", d=cut)] * bool(cut)
    parts += [tag("path", class_="head", d=heads)] * bool(heads)
    return tag(
        "g", *parts, class_="way", data_from=way.source, data_to=" ".join(map(str, way.targets))
    )


def _curve(a: XY, b: XY) -> str:
    (x0, y0), (x1, y1) = a, b
    if abs(x0 - x1) < 0.5:
        return f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"
    middle = (y0 + y1) / 2
    return f"M{x0:.1f} {y0:.1f}C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
