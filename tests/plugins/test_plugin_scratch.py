"""Scratch memory of kernels: each worker's own, as large as the work needs, aligned, beside copies of strided operands."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import Library, link
from camshaft.backends.cpu.processor import host_target
from camshaft.errors import BuildError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.plugins.kernels import Work
from camshaft.ir.types import f32
from camshaft.program.program import Phase

RNG = np.random.default_rng(2)
IR = """
define void @NAME(ptr %x, ptr %y, ptr %own, i64 %width, i64 %begin, i64 %end) {
entry:
  %any = icmp slt i64 %begin, %end
  br i1 %any, label %row, label %done
row:
  %r = phi i64 [ %begin, %entry ], [ %next, %behind ]
  %start = mul i64 %r, %width
  br label %in
in:
  %i = phi i64 [ 0, %row ], [ %i1, %in ]
  %at = add i64 %start, %i
  %px = getelementptr float, ptr %x, i64 %at
  %po = getelementptr float, ptr %own, i64 %i
  %v = load float, ptr %px
  store float %v, ptr %po
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %width
  br i1 %more, label %in, label %out
out:
  %j = phi i64 [ 0, %in ], [ %j1, %out ]
  %j1 = add i64 %j, 1
  %back = sub i64 %width, %j1
  %pb = getelementptr float, ptr %own, i64 %back
  %w = load float, ptr %pb
  %to = add i64 %start, %j
  %py = getelementptr float, ptr %y, i64 %to
  store float %w, ptr %py
  %again = icmp slt i64 %j1, %width
  br i1 %again, label %out, label %behind
behind:
  %next = add i64 %r, 1
  %rows = icmp slt i64 %next, %end
  br i1 %rows, label %row, label %done
done:
  ret void
}
"""


def width_of(work: Work) -> Extent:
    return work.outputs[0].shape[-1]


def rows_of(work: Work) -> Extent:
    return work.outputs[0].size // width_of(work)


def row_bytes(work: Work) -> Extent:
    return width_of(work) * 4


@cache
def compiled() -> Library:
    source = Source(IR.replace("NAME", "backwards_c"), (Phase("backwards_c", 1),))
    return link(CpuCompiler(host_target()).compile(source).code, ["backwards_c"])


def write(k: Any, work: Work, x: Any, y: Any, scratch: Any) -> None:
    """Rows backwards, by way of scratch memory, from whose alignment vectors of 16 floats profit."""
    own, width = scratch.as_type(f32), width_of(work)
    with k.loop(k.begin, k.end) as row:
        with k.loop(0, width) as i:
            k.store(k.load(x.at(row * width).at(i)), own.at(i))
        with k.loop(0, width) as i:
            k.store(k.load(own.at(k.index(width) - 1 - i)), y.at(row * width).at(i))


def backwards(kind: str) -> camshaft.Plugin:
    @camshaft.plugin("scratch::Backwards", types=["f32"])
    def plugin(x: np.ndarray) -> np.ndarray:
        return x[..., ::-1]

    same: dict[str, Any] = {"items": rows_of, "scratch": row_bytes}
    if kind == "language":
        plugin.kernel(**same)(write)
    elif kind == "llvm":
        text = IR.replace("NAME", "backwards")
        plugin.llvm(text, "backwards", arguments=lambda w: [width_of(w)], **same)
    else:
        address = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3)(
            compiled()["backwards_c"]
        )
        plugin.function(address, types=["f32"], arguments=lambda w: [width_of(w)], **same)
    return plugin


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", ["language", "llvm", "function"])
def test_each_worker_has_its_own(kind: str, threads: int) -> None:
    plugin = backwards(kind)
    n = camshaft.Network()
    x = n.input("x", ("rows", 3, "columns"))
    n.output(n.plugin(plugin, x), "whole")
    part = n.plugin(plugin, x[:, 1:])  # strided: copied before
    n.output(n.concat([part, n.relu(part)], 1), "both")  # and behind
    engine = n.build(optimization_level=1, threads=threads)
    steps = [s.tactic for s in engine.manifest.notes if s.op == "plugin"]
    assert len(steps) == 2 and all(s.startswith("plugin") for s in steps)
    for rows, columns in ((1, 2), (7, 17), (40, 333), (3, 5000)):
        feed = RNG.standard_normal((rows, 3, columns)).astype(np.float32)
        got = engine({"x": feed})
        np.testing.assert_array_equal(got["whole"], feed[..., ::-1])
        half = feed[:, 1:, ::-1]
        np.testing.assert_array_equal(got["both"], np.concatenate([half, np.maximum(half, 0)], 1))


def test_more_than_the_limit_is_refused() -> None:
    n = camshaft.Network()
    n.output(n.plugin(backwards("language"), n.input("x", (4, 1000)), name="turn"), "y")
    with pytest.raises(BuildError, match="'turn': every candidate needs more than workspace_limit"):
        n.build(optimization_level=1, threads=1, workspace_limit=3000)
    assert n.build(optimization_level=1, threads=1, workspace_limit=4096)


def test_what_it_costs_is_planned_with_the_rest() -> None:
    """Two in turn share the memory."""

    def arena(count: int) -> int:
        n = camshaft.Network()
        t = n.input("x", (4, 1000))
        for _ in range(count):
            t = n.plugin(backwards("language"), t)
        n.output(t, "y")
        engine = n.build(optimization_level=1)
        return int(engine.inspect()["arena_bytes"])

    assert arena(1) >= 4000
    assert arena(4) <= arena(1) + 2 * 16064
