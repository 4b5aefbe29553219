"""What of a module goes into engines, what stays in PyTorch, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch

from camshaft.torch.backend import Compiler
from camshaft.torch.parts import Part

_CALLS, _ROUNDS = 3, 10


@dataclass(frozen=True)
class Explanation:
    """Of each graph that Dynamo finds, its parts in order.

    parts: graph by graph.  breaks: why there is more than one graph.  compiled_ms, eager_ms: of a call, the least of several; the
    first calls, which build, are left out.
    """

    parts: tuple[tuple[Part, ...], ...]
    breaks: tuple[str, ...]
    compiled_ms: float
    eager_ms: float

    @property
    def left(self) -> Mapping[str, tuple[int, str]]:
        """Operator that stays in PyTorch -> how often, and why."""
        found: dict[str, tuple[int, str]] = {}
        for part in (p for graph in self.parts for p in graph if p.pending is None):
            for name in part.nodes:
                found[name] = (found.get(name, (0, ""))[0] + 1, part.why)
        return found

    @property
    def engines(self) -> int:
        """How many engines there are."""
        return sum(p.pending is not None for graph in self.parts for p in graph)

    def __str__(self) -> str:
        inside = sum(len(p.nodes) for g in self.parts for p in g if p.pending is not None)
        outside = Counter({name: count for name, (count, _) in self.left.items()})
        lines = [
            f"{len(self.parts)} graphs, {self.engines} engines with {inside} operators, {outside.total()} operators in PyTorch",
            f"a call takes {self.compiled_ms:.3f} ms, PyTorch alone {self.eager_ms:.3f} ms",
        ]
        lines += [f"graph break: {reason}" for reason in self.breaks]
        lines += [
            f"{count} x {name} in PyTorch: {self.left[name][1]}"
            for name, count in outside.most_common()
        ]
        return "\n".join(lines)


def explain(
    model: Any,
    example: Sequence[Any],
    *,
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Explanation:
    """Compile a function or module with the backend, call it, and say what became of it.

    example, kwargs: arguments of the call.  options: as for the backend.
    Raises what the backend raises; PyTorch's caches of compiled code are reset before and behind.
    """
    keywords = dict(kwargs or {})
    compiler = Compiler(dict(options or {}))
    with torch.no_grad():
        torch.compiler.reset()
        breaks = _breaks(model, example, keywords)
        torch.compiler.reset()
        fast = torch.compile(model, backend=compiler)
        spent = [_milliseconds(f, example, keywords) for f in (fast, model)]
        torch.compiler.reset()
    return Explanation(tuple(tuple(s.parts) for s in compiler.made), breaks, *spent)


def _breaks(model: Any, example: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    found = torch._dynamo.explain(model)(*example, **kwargs)
    return tuple(str(b.reason) for b in found.break_reasons)


def _milliseconds(function: Any, example: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    best = float("inf")
    for number in range(_CALLS + _ROUNDS):
        start = perf_counter()
        function(*example, **kwargs)
        if number >= _CALLS:
            best = min(best, perf_counter() - start)
    return 1e3 * best
