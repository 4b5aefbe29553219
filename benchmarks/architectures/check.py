"""Whether a compiled architecture computes what eager PyTorch computes, and what stays in PyTorch."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from torch.utils import _pytree as pytree

import camshaft.torch
from benchmarks.architectures.net import Architecture, Made, Scale
from camshaft.errors import CamshaftError, ModelError
from camshaft.torch.backend import Compiler

TOLERANCE = 1e-3
"""Largest difference, relative to the largest value of an output, before it is wrong."""


def check(net: Architecture, scale: Scale, threads: int) -> dict[str, Any]:
    """Compile and call once, as plain data.

    form: "whole" (one engine of torch.export's program), "split" (torch.compile, where that cannot be; why says why) or "failed".
    difference: the largest of all outputs.  engines, inside, left: of a split net, how many engines there are, how many operators
    are in them, and operators that stay in PyTorch -> how many.
    """
    options = {"optimization_level": 1, "threads": threads}
    start = perf_counter()
    found: dict[str, Any] = {"library": net.library}
    try:
        made = net.made(scale)
        found |= _compared(made, options)
    except Exception as error:  # noqa: BLE001 - whatever a net raises is a result
        found |= {"form": "failed", "why": f"{type(error).__name__}: {error}"[:600]}
    torch.compiler.reset()
    gc.collect()
    return found | {"seconds": round(perf_counter() - start, 1)}


def _compared(made: Made, options: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any]
    with torch.no_grad():
        want = made.module(*made.args, **made.kwargs)
        try:
            fast: Any = camshaft.torch.compile(
                made.module, made.args, kwargs=made.kwargs, **options
            )
            got, found = fast(*made.args, **made.kwargs), {"form": "whole"}
        except ModelError as error:
            compiler = Compiler(options)
            fast = torch.compile(made.module, backend=compiler)
            got = fast(*made.args, **made.kwargs)
            found = {"form": "split", "why": _short(error), **_parts(compiler)}
    found["difference"] = difference(got, want)
    if not found["difference"] <= TOLERANCE:
        found["form"] = "failed"
        found["why"] = f"outputs differ by {found['difference']:.2g}"
    return found


def _short(error: CamshaftError) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else ""


def _parts(compiler: Compiler) -> dict[str, Any]:
    parts = [p for graph in compiler.made for p in graph.parts]
    left = Counter(name for p in parts if p.pending is None for name in p.nodes)
    inside = sum(len(p.nodes) for p in parts if p.pending is not None)
    whys = {name: p.why for p in parts if p.pending is None for name in p.nodes}
    return {
        "graphs": len(compiler.made),
        "engines": sum(p.pending is not None for p in parts),
        "inside": inside,
        "left": dict(left.most_common()),
        "whys": {name: why[:200] for name, why in whys.items()},
    }


def difference(got: Any, want: Any) -> float:
    """The largest difference of any output, relative to that output's largest value; infinite where shapes or types differ."""
    here, there = tensors_of(got), tensors_of(want)
    if len(here) != len(there):
        return float("inf")
    return max((_one(a, b) for a, b in zip(here, there, strict=True)), default=0.0)


def tensors_of(value: Any) -> Sequence[torch.Tensor]:
    """The tensors of a call's result."""
    return [x for x in pytree.tree_leaves(value) if isinstance(x, torch.Tensor)]


def _one(got: torch.Tensor, want: torch.Tensor) -> float:
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf")
    if not want.numel():
        return 0.0
    a, b = got.double(), want.double()
    if not torch.equal(a.isfinite(), b.isfinite()):
        return float("inf")
    a, b = a.nan_to_num(0, 0, 0), b.nan_to_num(0, 0, 0)
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-6))
