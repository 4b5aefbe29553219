"""How exact the engine is: noise by layer, ranges chosen, and what a search for precisions tried."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan, log1p

from camshaft.report.page.data import Accuracy, Histogram, LayerNoise, Page, Trial
from camshaft.report.page.figures import finite, number_text, share_text, time_text
from camshaft.report.page.markup import Markup, joined, tag
from camshaft.report.page.sections.front import front_chart
from camshaft.report.page.sections.precisions import precision_class

_BARS = 96
"""Most bars of a histogram."""


def accuracy_section(page: Page) -> Markup:
    """What is known of the accuracy."""
    found = page.accuracy
    if found is None or not any((found.noise, found.histograms, found.front, found.tried)):
        return Markup()
    return tag(
        "section",
        tag("h2", "Accuracy"),
        _goal(found),
        front_chart(found),
        _trials(found),
        _noise(found.noise),
        _histograms(found.histograms),
        id="accuracy",
    )


def _goal(a: Accuracy) -> Markup:
    said = []
    if isfinite(a.reference):
        said.append(f"{a.metric} of the model in floats: {number_text(a.reference)}")
    if a.allowed is not None:
        said.append(f"allowed: {number_text(a.allowed)}")
    return tag("p", "; ".join(said), class_="hint") if said else Markup()


# -- what was tried ------------------------------------------------------------------------------


def _trials(a: Accuracy) -> Markup:
    if not a.tried:
        return Markup()
    heads = (
        tag("th", name, scope="col", class_="n" if numeric else None)
        for name, numeric in (("tried", 0), (a.metric, 1), ("gain", 1), ("time", 1))
    )
    body = tag("tbody", *(_trial(t, a.metric) for t in a.tried))
    table = tag("table", tag("thead", tag("tr", *heads)), body, class_="plain")
    return joined(tag("h3", "Steps tried, in order"), tag("div", table, class_="scroll"))


def _trial(t: Trial, metric: str) -> Markup:
    gain = number_text(t.gain, 3)
    figures = (
        (metric, number_text(t.score)),
        ("gain", f"+{gain}" if t.gain > 0 else gain),
        ("time", time_text(t.time_ms * 1e3)),
    )
    words = joined(tag("b", t.label), tag("small", t.words) if t.words else "")
    cells = (tag("td", text, class_="n", data_name=name) for name, text in figures)
    return tag("tr", tag("td", words, data_name="tried"), *cells)


# -- noise ---------------------------------------------------------------------------------------


def _noise(noise: Sequence[LayerNoise]) -> Markup:
    """The worst first: those of which nothing is known come last."""
    if not noise:
        return Markup()
    ordered = sorted(noise, key=lambda n: (isnan(n.db), n.db if not isnan(n.db) else 0.0))
    known = finite(n.db for n in noise)
    low, high = min([0.0, *known]), max([0.0, *known])
    span = (high - low) or 1.0
    rows = (_noise_row(n, low, span) for n in ordered)
    hint = "Signal over noise at each layer's output; less is worse, and 6 dB are one bit."
    return joined(
        tag("h3", "Noise by layer, the worst first"),
        tag("p", hint, class_="hint"),
        tag("div", *rows, class_="bars", tabindex=0, role="group", aria_label="Noise by layer"),
    )


def _noise_row(n: LayerNoise, low: float, span: float) -> Markup:
    words = "exact" if n.db == float("inf") else f"{number_text(n.db, 3)} dB"
    start, end = (0.0, 1.0) if n.db == float("inf") else (-low / span, (n.db - low) / span)
    bar = Markup()
    if not isnan(n.db) and n.db != float("-inf"):
        left, width = 100 * min(start, end), 100 * abs(end - start)
        class_ = precision_class("step", n.precision)
        bar = tag("i", class_=class_, style=f"left:{left:.2f}%;width:{max(width, 0.3):.2f}%")
    tip = "\n".join(filter(None, (n.layer, words, n.precision, n.note)))
    return tag(
        "div",
        tag("span", n.layer, class_="name"),
        tag("span", bar, class_="bar"),
        tag("span", words, class_="n"),
        class_="noise",
        title=tip,
    )


# -- histograms ----------------------------------------------------------------------------------


def _histograms(histograms: Sequence[Histogram]) -> Markup:
    if not histograms:
        return Markup()
    hint = "How often values occur, on a logarithmic scale. The frame is the range chosen; what lies outside is clipped."
    return joined(
        tag("h3", "Activations and their ranges"),
        tag("p", hint, class_="hint"),
        tag("div", *map(_histogram, histograms), class_="histograms"),
    )


def _histogram(h: Histogram) -> Markup:
    edges, counts = _fewer(h)
    ends = finite([*edges, h.low, h.high])
    if not counts or len(ends) < 2 or not max(ends) > min(ends):
        plot = tag("p", "no values", class_="hint")
        return tag("figure", plot, tag("figcaption", tag("b", h.tensor)), class_="histogram")
    first, span = min(ends), max(ends) - min(ends)
    most = log1p(max(finite(counts), default=0.0)) or 1.0
    bars = []
    for a, b, count in zip(edges, edges[1:], counts, strict=False):
        if len(finite((a, b, count))) == 3 and count > 0:
            height = 100 * log1p(count) / most
            inside = h.low <= (a + b) / 2 <= h.high
            bars.append(
                tag(
                    "rect", x=1000 * (a - first) / span, y=100 - height, height=height,
                    width=max(1000 * (b - a) / span, 1.0), class_="in" if inside else "out",
                )
            )  # fmt: skip
    frame = Markup()
    if isfinite(h.low) and isfinite(h.high):
        frame = tag(
            "rect", x=1000 * (h.low - first) / span, y=0, height=100, class_="range",
            width=max(1000 * (h.high - h.low) / span, 1.0),
        )  # fmt: skip
    said = f"{number_text(h.low)} to {number_text(h.high)}, {_clipped(h)}"
    plot = tag(
        "svg", frame, *bars, viewBox="0 0 1000 100", preserveAspectRatio="none", role="img",
        aria_label=f"{h.tensor}: range {said}",
    )  # fmt: skip
    axis = tag(
        "div",
        tag("span", number_text(first)),
        tag("span", number_text(first + span)),
        class_="ends",
    )
    caption = tag("figcaption", tag("b", h.tensor, title=h.tensor), tag("small", said))
    return tag("figure", plot, axis, caption, class_="histogram")


def _fewer(h: Histogram) -> tuple[list[float], list[float]]:
    """Edges and counts of at most _BARS bars."""
    join = -(-len(h.counts) // _BARS) or 1
    counts = [sum(finite(h.counts[i : i + join])) for i in range(0, len(h.counts), join)]
    return [*h.edges[: len(h.counts) : join], *h.edges[-1:]], counts


def _clipped(h: Histogram) -> str:
    total = sum(finite(h.counts))
    bins = zip(h.edges, h.edges[1:], h.counts, strict=False)
    out = sum(finite(c for a, b, c in bins if not h.low <= (a + b) / 2 <= h.high))
    return f"{share_text(out / total)} clipped" if total else "no values"
