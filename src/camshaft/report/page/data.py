"""What a page shows.  Everything is plain values: whoever has figures fills these classes, and `page_html` draws them.

A part without data is left out of the page.  Figures may be None, NaN or infinite, which the page says in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["input", "output", "layer", "step", "host", "script"]
"""What a box or a row is: an end of a graph, a layer of the model, a kernel, an operator that runs in Python,
a step between graphs."""


@dataclass(frozen=True)
class Fact:
    """A figure or a sentence in the head of the page.  large: a figure that is shown large."""

    name: str
    value: str
    hint: str = ""
    large: bool = False


@dataclass(frozen=True)
class Box:
    """A box of a drawing.

    label: its first line, an operator.  lines: those below.  details: what is shown when it is pointed at.
    reads: numbers of the boxes that it reads from.  steps: numbers of the engine's steps that it is, or became.
    time_us: None where it is not known.
    """

    kind: Kind
    label: str
    lines: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    reads: tuple[int, ...] = ()
    precision: str = ""
    steps: tuple[int, ...] = ()
    time_us: float | None = None


@dataclass(frozen=True)
class Drawing:
    """A graph.  boxes: in topological order."""

    title: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Step:
    """A step of the engine, a row of the table.

    number: unique in the page.  how: tactic and parameters.  origin: the model's layers that it computes.
    where: the sizes that it runs at, "" for all.  runs: whether it does at the sizes that the page is of.
    time_us: None where nobody measured it.  read, written, weights: bytes.  macs: multiply-accumulates.
    """

    number: int
    kind: Kind
    name: str
    op: str
    how: str = ""
    origin: tuple[str, ...] = ()
    precision: str = ""
    reason: str = ""
    where: str = ""
    runs: bool = True
    time_us: float | None = None
    read: int = 0
    written: int = 0
    weights: int = 0
    macs: int = 0


@dataclass(frozen=True)
class Block:
    """A buffer in the arena: where it lies, and from which step to which it is needed, both included.

    first, last: positions in `Memory.steps`.  scratch: whether it is a kernel's workspace.
    """

    name: str
    offset: int
    nbytes: int
    first: int
    last: int
    scratch: bool = False


@dataclass(frozen=True)
class Memory:
    """An arena over time.  steps: names in the order in which they run.  lower_bound: the most bytes needed at once."""

    title: str
    nbytes: int
    lower_bound: int
    steps: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class LayerNoise:
    """How far a layer is off.  db: signal over noise, so less is worse; infinite for a layer that is exact.
    note: in words, behind the figure."""

    layer: str
    db: float
    precision: str = ""
    note: str = ""


@dataclass(frozen=True)
class Histogram:
    """The values of an activation.

    edges: one more than counts, rising.  low, high: the range chosen; what lies outside is clipped.
    """

    tensor: str
    counts: tuple[float, ...]
    edges: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """A build that was measured.  chosen: whether it is the one kept."""

    label: str
    time_ms: float
    score: float
    chosen: bool = False


@dataclass(frozen=True)
class Trial:
    """A step of a search, in order.  gain: of the score.  words: what was tried, and what came of it."""

    label: str
    score: float
    gain: float
    time_ms: float
    words: str = ""


@dataclass(frozen=True)
class Accuracy:
    """How exact the engine is, and what the search for its precisions tried.

    metric: what a score is, in words.  reference: the score of the model in floats, NaN where nobody measured it.
    allowed: the score that is still good enough, None if nothing was asked for.
    """

    noise: tuple[LayerNoise, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    front: tuple[Point, ...] = ()
    tried: tuple[Trial, ...] = ()
    metric: str = "score"
    reference: float = float("nan")
    allowed: float | None = None


@dataclass(frozen=True)
class Page:
    """A page.

    before: the model's graphs as imported.  after: those of the engine's steps; where steps have no work of
    their own, as a reshape, they are in neither.  measured: what the steps' times are, in words.
    script: what runs the graphs, a line for each step.
    """

    title: str
    facts: tuple[Fact, ...] = ()
    before: tuple[Drawing, ...] = ()
    after: tuple[Drawing, ...] = ()
    steps: tuple[Step, ...] = ()
    measured: str = ""
    script: tuple[str, ...] = ()
    memory: tuple[Memory, ...] = ()
    accuracy: Accuracy | None = None
