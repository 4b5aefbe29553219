"""What a tactic leaves open is an error that names the layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from camshaft.backends.base import Candidate, KernelSpec
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import BuildError
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import cpu_backend
from camshaft.ops import POINTWISE


class AsksTooMuch:
    name, version = "asks_too_much", 1

    def plan(self, spec: KernelSpec, target: object, threads: int) -> Sequence[Candidate]:
        np.zeros(spec.outputs[0].shape)
        return ()


def test_an_undecided_extent_names_the_layer() -> None:
    b = GraphBuilder("open")
    shape = (extent_of(Symbol("n")), 4)
    y = b.emit(
        POINTWISE,
        [b.input("x", TensorType(f32, shape))],
        {"expr": E.unary("exp", E.inp(0))},
        name="layer 7",
    )
    backend = replace(cpu_backend("host"), tactics=(AsksTooMuch(),))
    builder = Builder(backend, TimingCache(), level=1, threads=1, workspace_limit=1 << 30)
    with pytest.raises(BuildError, match=r"layer 'layer 7' \(pointwise\): the number n"):
        builder.tune(b.graph({"y": y}))
