"""How fast an architecture is: camshaft, eager PyTorch and inductor, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch._inductor import config as inductor

import camshaft.torch
from benchmarks.architectures.check import difference, tensors_of
from benchmarks.architectures.net import Architecture, Made, Scale
from camshaft.bench.interleave import Plan, interleave
from camshaft.errors import ModelError

LEVEL = 3


class ModuleRunner:
    """A module, or what it was compiled to, called on the same arguments."""

    linger = 0.012  # PyTorch's OpenMP threads go on spinning for 9 ms

    def __init__(self, name: str, call: Callable[..., Any], made: Made) -> None:
        self.name, self._call, self._made = name, call, made
        self.run()

    def run(self) -> None:
        with torch.no_grad():
            self.result = self._call(*self._made.args, **self._made.kwargs)

    def outputs(self) -> list[np.ndarray]:
        return [t.float().numpy().copy() for t in tensors_of(self.result)]


def speed(
    net: Architecture, scale: Scale, threads: int, seconds: float, *, int8: bool
) -> dict[str, Any]:
    """Milliseconds of a call, medians of the rounds, and medians of the rounds' ratios.

    int8: also an INT8 engine, calibrated by the example and others like it.
    """
    torch.set_num_threads(threads)
    made = net.made(scale)
    options: dict[str, Any] = {"optimization_level": LEVEL, "threads": threads}
    runners = [ModuleRunner("eager", made.module, made)]
    inductor.freezing = True
    runners.append(ModuleRunner("inductor", torch.compile(made.module), made))
    runners.append(ModuleRunner("camshaft", _compiled(made, options), made))
    off = difference(runners[-1].result, runners[0].result)
    if int8:
        options |= {"precision": {"int8"}, "calibration": [_like(made, n) for n in range(8)]}
        runners.append(ModuleRunner("camshaft int8", _compiled(made, options), made))
    timing = interleave(runners, Plan(seconds=seconds))
    names = [r.name for r in runners]
    found: dict[str, Any] = {f"{n} ms": 1e3 * timing.median(n) for n in names}
    for peer in ("eager", "inductor"):
        for own in names[2:]:
            found[f"{own} over {peer}"] = timing.ratio(peer, own)
    torch.compiler.reset()
    return {"threads": threads, "difference": off, **found}


def _compiled(made: Made, options: Mapping[str, Any]) -> Callable[..., Any]:
    """One engine, or torch.compile where the module cannot be one."""
    fast: Callable[..., Any]
    try:
        fast = camshaft.torch.compile(made.module, made.args, kwargs=made.kwargs, **options)
    except ModelError:
        torch.compiler.reset()
        fast = torch.compile(made.module, backend="camshaft", options=dict(options))
    return fast


def _like(made: Made, seed: int) -> tuple[Any, ...]:
    """Other arguments of the same kind; whole numbers stay what they are."""
    torch.manual_seed(seed)
    given = (*made.args, *made.kwargs.values())
    return tuple(torch.randn_like(x) if x.is_floating_point() else x for x in given)
