"""`camshaft bench --against`: camshaft and other runtimes on one model, in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camshaft.bench.interleave import Plan, Timing, interleave
from camshaft.bench.runners import Runner, open_peer
from camshaft.cli.arrays import Arrays
from camshaft.cli.output import Output, simple_table
from camshaft.cli.progress import Bars
from camshaft.compare.tensor_error import tensor_error
from camshaft.errors import PeerError

OURS = "camshaft"
PEER_FAILED = 3
"""Exit code, that of a PeerError, if a runtime could not be measured; all others were."""


class Contest:
    """Camshaft and its peers in turn.  A peer that raises is reported in a line and left out.

    failed: name of a runtime -> what it raised.
    """

    def __init__(self, ours: Runner, shown: Output) -> None:
        self.runners = [ours]
        self.shown = shown
        self.failed: dict[str, str] = {}

    def against(
        self,
        peers: Sequence[str],
        model: Path,
        feeds: Arrays,
        threads: int,
        seconds: float,
        rounds: int | None,
    ) -> dict[str, Any]:
        """Open the peers and time all; `against` and `failed` of the command's JSON."""
        for name in peers:
            self.open(name, model, feeds, threads)
        return {"against": self.run(seconds, rounds), "failed": self.failed}

    def open(self, name: str, model: Path, feeds: Arrays, threads: int) -> None:
        """Add the runtime `name`, if it can load and run the model."""
        try:
            self.runners.append(open_peer(name, model, feeds, threads))
        except PeerError as error:
            self._out(name, error)

    def run(self, seconds: float, rounds: int | None) -> dict[str, Any]:
        """Time all runtimes in turn, compare their outputs, and show both; the figures by name."""
        plan = Plan(seconds) if rounds is None else Plan(seconds, (rounds, rounds))
        while len(self.runners) > 1:
            try:
                with Bars() as bars:
                    bars("measuring in turn", 0, 0)
                    timing = interleave(self.runners, plan)
            except PeerError as error:
                self.runners = [r for r in self.runners if r.name != error.peer]
                self._out(error.peer, error)
            else:
                return self._shown(timing)
        return {}

    def _out(self, name: str, error: PeerError) -> None:
        self.failed[name] = str(error)
        self.shown.note(f"error: {error}")

    def _shown(self, timing: Timing) -> dict[str, Any]:
        table = simple_table("runtime", "median ms", "best ms", "calls/s", "ratio", "difference")
        results: dict[str, Any] = {}
        for runner in self.runners:
            name = runner.name
            results[name] = {
                "median_ms": timing.median(name) * 1e3,
                "best_ms": timing.best(name) * 1e3,
                "throughput": 1 / timing.median(name),
                "ratio": timing.ratio(name, OURS),
                "difference": _difference(self.runners[0], runner),
                "samples_ms": [s * 1e3 for s in timing.samples[name]],
            }
            table.add_row(name, *_figures(results[name]))
        self.shown.table(table)
        self.shown.line(_verdict(timing, self.runners))
        return results


def _figures(result: Mapping[str, Any]) -> list[str]:
    return [
        f"{result['median_ms']:.4f}",
        f"{result['best_ms']:.4f}",
        f"{result['throughput']:.1f}",
        f"{result['ratio']:.2f}",
        "-" if result["difference"] is None else f"{result['difference']:.2g}",
    ]


def _difference(ours: Runner, other: Runner) -> float | None:
    """Largest error of an output relative to its largest value; None if it is not finite, or they
    have other outputs."""
    mine, theirs = ours.outputs(), other.outputs()
    if len(mine) != len(theirs):
        return None
    pairs = zip(mine, theirs, strict=True)
    worst = max((tensor_error("", a, b).relative for a, b in pairs), default=0.0)
    return worst if np.isfinite(worst) else None


def _verdict(timing: Timing, runners: Sequence[Runner]) -> str:
    peer = timing.fastest([r.name for r in runners[1:]])
    ratio = timing.ratio(peer, OURS)
    return (
        f"ratio: time over camshaft's, median over {len(timing.samples[OURS])} rounds; "
        f"the fastest other, {peer}, takes {ratio:.2f} times as long"
    )
