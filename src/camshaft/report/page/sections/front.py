"""Time against score: the builds that were measured, those that no other beats, and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from camshaft.report.page.data import Accuracy, Point
from camshaft.report.page.figures import number_text, ticks, time_text
from camshaft.report.page.markup import Markup, joined, tag

_WIDTH, _HEIGHT = 640.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 66.0, 24.0, 48.0


_Area = tuple[float, float, float, float]
"""Left, upper, right and lower edge."""


class _Scale:
    """Values to places; a span of nothing is widened."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
        self.low, self.high = low - room, high + room
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)


def front_chart(a: Accuracy) -> Markup:
    """The chart; points without a time or a score are only counted."""
    known = [p for p in a.front if isfinite(p.time_ms) and isfinite(p.score)]
    if not known:
        return Markup()
    levels = [
        (name, level)
        for name, level in (("floats", a.reference), ("allowed", a.allowed))
        if level is not None and isfinite(level)
    ]
    x = _Scale([p.time_ms for p in known], _LEFT, _WIDTH - _RIGHT)
    scores = [*(p.score for p in known), *(level for _, level in levels)]
    y = _Scale(scores, _HEIGHT - _BOTTOM, _TOP)
    ordered = sorted(known, key=lambda p: p.time_ms)
    places = [(x(p.time_ms), y(p.score)) for p in ordered]
    line = "M" + "L".join(f"{at:.1f} {up:.1f}" for at, up in places)
    labels = _labels([(p.label, *at) for p, at in zip(ordered, places, strict=True)])
    points = [
        _point(p, at, label, _said(p, a.metric))
        for p, at, label in zip(ordered, places, labels, strict=True)
    ]
    lost = len(a.front) - len(known)
    more = f"; {lost} without a finite time or score are left out" if lost else ""
    svg = tag(
        "svg",
        _axes(x, y, a.metric),
        _levels([(name, y(level)) for name, level in levels]),
        tag("path", class_="front", d=line),
        *points,
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
        aria_label=f"Time against {a.metric}: {', '.join(_said(p, a.metric) for p in ordered)}",
    )
    caption = tag("figcaption", f"The chosen build is filled{more}.")
    return joined(tag("h3", "Time and accuracy"), tag("figure", svg, caption, class_="chart"))


def _axes(x: _Scale, y: _Scale, metric: str) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for t in ticks(y.low, y.high):
        parts.append(tag("line", class_="grid", x1=_LEFT, x2=right, y1=y(t), y2=y(t)))
        parts.append(tag("text", number_text(t), x=_LEFT - 8, y=y(t) + 4, class_="tick y"))
    for t in ticks(x.low, x.high):
        parts.append(tag("line", class_="grid", x1=x(t), x2=x(t), y1=_TOP, y2=bottom))
        parts.append(tag("text", number_text(t), x=x(t), y=bottom + 18, class_="tick x"))
    parts.append(
        tag("text", "time of a call, ms", x=(_LEFT + right) / 2, y=_HEIGHT - 8, class_="tick x")
    )
    parts.append(tag("text", metric, x=_LEFT, y=_TOP - 10, class_="tick"))
    return joined(*parts)


def _levels(found: Sequence[tuple[str, float]]) -> Markup:
    """Lines across the chart, with their names beside it.  found: names and heights."""
    right, parts, last = _WIDTH - _RIGHT, [], float("-inf")
    for name, y in sorted(found, key=lambda level: level[1]):
        last = max(y + 4, last + 15)
        parts.append(tag("line", class_=f"level {name}", x1=_LEFT, x2=right, y1=y, y2=y))
        parts.append(tag("text", name, x=right + 6, y=last, class_="tick"))
    return joined(*parts)


def _labels(places: Sequence[tuple[str, float, float]]) -> list[tuple[float, float, bool]]:
    """Where each point's name begins, or ends if it is to the left: where it covers no point and no other name.

    places: names and points.
    """
    taken = [(x - 8, y - 8, x + 8, y + 8) for _, x, y in places]
    found = []
    for name, x, y in places:
        width = 7.5 * len(name)
        tries = [(left, y + dy) for dy in (18, -10, 32, -24) for left in (False, True)]
        spots = [
            (
                x - 11 - width if left else x + 11,
                at - 11,
                x - 11 if left else x + 11 + width,
                at + 3,
            )
            for left, at in tries
        ]
        fits = [
            spot[0] >= _LEFT
            and spot[2] <= _WIDTH - _RIGHT
            and not any(_meet(spot, other) for other in taken)
            for spot in spots
        ]
        best = fits.index(True) if any(fits) else 0
        left, at = tries[best]
        taken.append(spots[best])
        found.append((x - 11 if left else x + 11, at, left))
    return found


def _meet(a: _Area, b: _Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _point(
    p: Point, at: tuple[float, float], label: tuple[float, float, bool], said: str
) -> Markup:
    x, y, left = label
    dot = tag("circle", cx=at[0], cy=at[1], r=7 if p.chosen else 5)
    text = tag("text", p.label, x=x, y=y, class_="tick y" if left else "tick")
    title = tag("title", said.replace(": ", "\n", 1))
    return tag("g", title, dot, text, class_="point chosen" if p.chosen else "point")


def _said(p: Point, metric: str) -> str:
    chosen = ", chosen" if p.chosen else ""
    return f"{p.label}: {time_text(p.time_ms * 1e3)}, {metric} {number_text(p.score)}{chosen}"
