"""Arenas over time: a rectangle for each buffer, from step to step and from byte to byte."""

from __future__ import annotations

from camshaft.report.page.data import Block, Memory, Page
from camshaft.report.page.figures import counted, ticks
from camshaft.report.page.markup import Markup, tag
from camshaft.report.words import size

_TINTS = 5


def memory_section(page: Page) -> Markup:
    """Where intermediate results lie, and how long."""
    if not page.memory:
        return Markup()
    hint = (
        "Intermediate results share one arena. Each rectangle is a buffer: its height is its size, its width the "
        "steps during which it is needed."
    )
    charts = (_chart(m) for m in page.memory)
    return tag(
        "section",
        tag("h2", "Memory over time"),
        tag("p", hint, class_="hint"),
        *charts,
        id="memory",
    )


def _chart(m: Memory) -> Markup:
    top = max([m.nbytes, *(b.offset + b.nbytes for b in m.blocks)])
    marks = [tag("span", size(int(t)), style=f"bottom:{100 * t / top:.2f}%") for t in ticks(0, top)]
    lines = [tag("i", class_="grid", style=f"bottom:{100 * t / top:.2f}%") for t in ticks(0, top)]
    blocks = [_block(b, i, m, top) for i, b in enumerate(m.blocks)]
    bound = tag(
        "i",
        class_="bound",
        style=f"bottom:{100 * m.lower_bound / top:.2f}%",
        title=f"{size(m.lower_bound)} are needed at once, at the busiest step",
    )
    said = f"{m.title}, {size(m.nbytes)} in all; the most that is needed at once is {size(m.lower_bound)} (dashed)"
    plot = tag(
        "div", *lines, *blocks, bound, class_="plot", tabindex=0, role="group", aria_label=said
    )
    axis = tag("div", *marks, class_="axis", aria_hidden="true")
    names = m.steps
    ends = tag(
        "div", tag("span", names[0]), tag("span", names[-1]), class_="ends", aria_hidden="true"
    )
    return tag("figure", tag("figcaption", said), tag("div", axis, plot, class_="memory"), ends)


def _block(b: Block, index: int, m: Memory, top: int) -> Markup:
    count = len(m.steps)
    style = (
        f"left:{100 * b.first / count:.3f}%;width:{100 * (b.last - b.first + 1) / count:.3f}%;"
        f"bottom:{100 * b.offset / top:.3f}%;height:{100 * b.nbytes / top:.3f}%"
    )
    during = counted(b.last - b.first + 1, "step")
    span = m.steps[b.first] if b.first == b.last else f"{m.steps[b.first]} to {m.steps[b.last]}"
    tip = "\n".join(
        (
            b.name,
            "a kernel's workspace" if b.scratch else "an intermediate result",
            f"{size(b.nbytes)} at +{b.offset}",
            f"for {during}: {span}",
        )
    )
    tint = "scratch" if b.scratch else f"t{index % _TINTS}"
    return tag("div", tag("span", b.name), class_=f"block {tint}", style=style, title=tip)
