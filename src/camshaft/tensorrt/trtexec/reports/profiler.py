"""Times of layers, over all calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from camshaft.tensorrt.running.allocators import IProfiler

_HEADINGS = ("   Time(ms)", "     Avg.(ms)", "   Median(ms)", "   Time(%)")


@dataclass
class _Layer:
    name: str
    times: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """Milliseconds of one layer: of all calls together, in the mean, in the median; and its share of all layers in percent."""

    name: str
    total: float
    average: float
    median: float
    percentage: float


class LayerTimes(IProfiler):
    """Is told of each layer in each call.  count: how many calls it was told of."""

    def __init__(self) -> None:
        self.count = 0
        self._layers: list[_Layer] = []
        self._next = 0

    def begin(self) -> None:
        """Another call begins: its first layer is the next that is reported."""
        self._next = 0

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        """Add a time.  Layers may share a name, so it is their place that tells them apart."""
        self.count += self._next == 0
        if self._next == len(self._layers):
            self._layers.append(_Layer(layer_name))
        self._layers[self._next].times.append(ms)
        self._next += 1

    def rows(self) -> Iterator[Row]:
        """Layers in their order."""
        total = sum(sum(layer.times) for layer in self._layers)
        for layer in self._layers:
            own = sum(layer.times)
            share = 100 * own / total if total else 0.0
            yield Row(layer.name, own, own / len(layer.times), median(layer.times), share)

    def table(self) -> str:
        """As --dumpProfile prints it."""
        rows = list(self.rows())
        calls = zip(*(layer.times for layer in self._layers), strict=True)
        whole = sum(row.total for row in rows)
        middle = median(sums) if (sums := [sum(call) for call in calls]) else 0.0
        rows.append(Row("Total", whole, whole / max(self.count, 1), middle, 100.0))
        lines = [
            f"=== Profile ({self.count} iterations ) ===",
            "".join(_HEADINGS) + "   Layer",
            *(_line(row) for row in rows if row.total),
        ]
        return "\n".join(lines)


def _line(row: Row) -> str:
    digits = (
        f"{row.total:.2f}",
        f"{row.average:.4f}",
        f"{row.median:.4f}",
        f"{row.percentage:.1f}",
    )
    cells = (text.rjust(len(head)) for text, head in zip(digits, _HEADINGS, strict=True))
    return "".join(cells) + f"   {row.name}"
