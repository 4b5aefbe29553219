"""Recurrent kernels against the op's reference: cells, options, odd sizes, tails, open extents, all targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.recurrent.tactic import Recurrent
from camshaft.backends.cpu.target import AVX2, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import bf16, f16, f32, i32
from camshaft.ops import RECURRENT
from camshaft.ops.cells import GATES
from camshaft.ops.recurrent import OPTIONS
from kernel_harness import SymbolicKernel, operand_of, params_of, run_kernel
from targets import each_target

pytestmark = pytest.mark.sampled

TACTIC = Recurrent()
HALF = {"bf16": bf16.numpy, "f16": f16.numpy}
CELLS = ("lstm", "gru", "gru after", "rnn")
TANH = E.unary("tanh", E.inp(0))


def operands(
    cell: str, steps: int, batch: int, hidden: int, given: tuple[str, ...], directions: int = 1
) -> list[np.ndarray]:
    """Random ones of a layer: gates, weights, then what is given."""
    rng = np.random.default_rng(hidden)
    state = (directions, batch, hidden)
    shapes = {
        "behind": (directions, hidden),
        "h": state,
        "c": state,
        "peepholes": (directions, 3 * hidden),
    }
    width = GATES[cell] * hidden
    made = [
        rng.standard_normal((steps, batch, directions * width)),
        rng.standard_normal((directions, width, hidden)) / np.sqrt(hidden),
    ]
    arrays = [a.astype(np.float32) for a in made]
    for name in given:
        if name == "lengths":
            arrays.append(rng.integers(0, steps + 1, batch).astype(np.int32))
        else:
            arrays.append(rng.standard_normal(shapes[name]).astype(np.float32))
    return arrays


def with_weights(arrays: list[np.ndarray], kind: str) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Weights as halves, or as bytes with their scales, and what is given besides."""
    r = arrays[1]
    if kind != "i8":
        return [arrays[0], r.astype(HALF[kind]), *arrays[2:]], ()
    scale = np.abs(r).max(axis=2) / np.float32(127)
    levels = np.rint(r / scale[..., None]).astype(np.int8)
    return [arrays[0], levels, scale, *arrays[2:]], ("scale",)


def attrs_of(cell: str, given: tuple[str, ...], **more: Any) -> dict[str, Any]:
    kind, _, after = cell.partition(" ")
    return RECURRENT.complete(
        {
            "cell": kind,
            "given": given,
            "after": bool(after),
            **({"f": TANH} if kind == "rnn" else {}),
            **more,
        }
    )


def check(
    target: CpuTarget,
    arrays: list[np.ndarray],
    attrs: Mapping[str, Any],
    *,
    threads: int = 1,
    every: bool = True,
) -> None:
    """All candidates, or one for each split among workers.  Weights are constant, and what is no state and no length."""
    fixed = [1] + [
        2 + n for n, name in enumerate(attrs["given"]) if name in ("behind", "peepholes")
    ]
    wants = RECURRENT.reference(arrays, attrs)
    inputs = tuple(operand_of(a, const=n in fixed) for n, a in enumerate(arrays))
    spec = KernelSpec("recurrent", inputs, tuple(map(operand_of, wants)), tuple(attrs.items()))
    found = params_of(TACTIC, spec, target, threads)
    assert found
    if not every:
        found = list({(p["parts"], p["shares"]): p for p in found}.values())
    for params in found:
        got = run_kernel(
            TACTIC,
            spec,
            params,
            target,
            [a for n, a in enumerate(arrays) if n not in fixed],
            [a for n, a in enumerate(arrays) if n in fixed],
            threads,
        )
        for g, want in zip(got, wants, strict=True):
            np.testing.assert_allclose(g, want, rtol=1e-4, atol=1e-5, err_msg=str(params))


def options_of(cell: str) -> tuple[str, ...]:
    """All that a cell may have."""
    kind, _, after = cell.partition(" ")
    not_mine = {
        "lstm": ("behind",),
        "gru": ("c", "peepholes"),
        "rnn": ("c", "peepholes", "behind"),
    }[kind]
    missing = ("scale", *not_mine, *(() if after or kind != "gru" else ("behind",)))
    return tuple(n for n in OPTIONS if n not in missing)


@each_target
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 40), (4, 11, 9), (2, 3, 16)], ids=str)
def test_sizes(target: CpuTarget, cell: str, size: tuple[int, int, int]) -> None:
    kind = cell.partition(" ")[0]
    check(target, operands(kind, *size, ()), attrs_of(cell, ()))


@each_target
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("weights", ["i8", "bf16", "f16"])
def test_narrow_weights(target: CpuTarget, cell: str, weights: str) -> None:
    """States become integers to the bit, those beyond 1 too."""
    kind = cell.partition(" ")[0]
    arrays, more = with_weights(operands(kind, 4, 7, 19, ("h",)), weights)
    check(target, arrays, attrs_of(cell, (*more, "h")))


@each_target
@pytest.mark.parametrize("cell", CELLS)
def test_nan_counts_as_0_in_products_of_integers(target: CpuTarget, cell: str) -> None:
    arrays, more = with_weights(operands(cell.partition(" ")[0], 4, 3, 19, ()), "i8")
    arrays[0][1, 1, 5] = np.nan
    with np.errstate(invalid="ignore"):
        check(target, arrays, attrs_of(cell, more))


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_infinite_states_saturate_gates_of_integer_products(cell: str) -> None:
    arrays, more = with_weights(operands(cell.partition(" ")[0], 4, 3, 19, ("h",)), "i8")
    arrays[3][0, 1, 5] = np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        wants = RECURRENT.reference(arrays, attrs_of(cell, (*more, "h")))
        assert cell != "rnn" or not np.isnan(wants[0]).any()
        check(AVX2, arrays, attrs_of(cell, (*more, "h")))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("threads", [1, 3])
def test_all_options(cell: str, threads: int) -> None:
    """In both directions, with every input that there is, by any number of workers."""
    given, kind = options_of(cell), cell.partition(" ")[0]
    for backward in ((0,), (1,), (0, 1)):
        arrays = operands(kind, 5, 9, 20, given, len(backward))
        more = {"clip": 0.7, "coupled": True} if kind == "lstm" else {"clip": 0.7}
        attrs = attrs_of(cell, given, backward=backward, **more)
        check(AVX2, arrays, attrs, threads=threads, every=threads == len(backward) == 1)


@pytest.mark.parametrize("cell", CELLS)
def test_what_lies_behind_a_sequences_end_is_not_read(cell: str) -> None:
    arrays = operands(cell.partition(" ")[0], 7, 9, 20, ("lengths",))
    gates, lengths = arrays[0], arrays[2]
    lengths[:4] = 0, 9, 7, 3
    gates[np.arange(7)[:, None] >= lengths] = np.nan
    with np.errstate(invalid="ignore"):
        check(AVX2, arrays, attrs_of(cell, ("lengths",)), threads=2)


def open_layer(cell: str, given: tuple[str, ...], directions: int) -> KernelSpec:
    """T and N open; the hidden states of all steps lie as [T, N, D, H]."""
    t, n = extent_of(Symbol("t", 0, 6, None)), extent_of(Symbol("n", 1, 8, None))
    kind, hidden = cell.partition(" ")[0], 20
    width = GATES[kind] * hidden
    state = (directions, n, hidden)
    shapes = {"lengths": (n,), "h": state, "c": state}
    kinds = {"lengths": i32}
    inputs = [Operand.dense(f32, (t, n, directions * width))]
    inputs.append(Operand.dense(f32, (directions, width, hidden), const=True))
    inputs += [Operand.dense(kinds.get(name, f32), shapes[name]) for name in given]
    y = Operand(f32, (t, *state), (n * (directions * hidden), hidden, directions * hidden, 1))
    outputs = (y, *[Operand.dense(f32, state)] * (1 + (kind == "lstm")))
    backward = (0, 1)[:directions]
    attrs = attrs_of(cell, given, backward=backward)
    return KernelSpec("recurrent", tuple(inputs), outputs, tuple(attrs.items()))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("threads", [1, 2])
def test_open_sizes(cell: str, threads: int) -> None:
    kind = cell.partition(" ")[0]
    given = tuple(n for n in options_of(cell) if n in ("lengths", "h", "c"))
    spec = open_layer(cell, given, 2)
    for candidate in TACTIC.plan(spec, AVX2, threads):
        kernel = SymbolicKernel(candidate, AVX2)
        for steps, batch in ((1, 1), (4, 3), (5, 8), (3, 13), (0, 2)):
            arrays = operands(kind, steps, batch, 20, given, 2)
            wants = RECURRENT.reference(arrays, dict(spec.attrs))
            fed = [a for n, a in enumerate(arrays) if n != 1]
            prepared = kernel.laid_out({"t": steps, "n": batch}, fed, [arrays[1]], threads)
            prepared.run()
            prepared.check_guards()
            for g, want in zip(prepared.outputs(), wants, strict=True):
                np.testing.assert_allclose(g, want, 1e-4, 1e-5, err_msg=str(candidate.params))


@pytest.mark.parametrize(("cell", "batch"), [("lstm", 4), ("lstm", 7), ("gru", 2)])
def test_workers_at_once(cell: str, batch: int) -> None:
    """Those that share the hidden units, all at work; and one of them, alone."""
    arrays = operands(cell, 40, batch, 64, ())
    attrs = attrs_of(cell, ())
    wants = RECURRENT.reference(arrays, attrs)
    spec = KernelSpec(
        "recurrent",
        (operand_of(arrays[0]), operand_of(arrays[1], const=True)),
        tuple(map(operand_of, wants)),
        tuple(attrs.items()),
    )
    shared = [p for p in params_of(TACTIC, spec, AVX2, 3) if p["shares"] == 3]
    params = min(shared, key=lambda p: p["together"])
    assert params["together"] == 2  # a GRU's first pass has no more, an LSTM's gates are halved
    for parallel in (True, False):
        for threads in (1, 2, 3):
            got = run_kernel(
                TACTIC, spec, params, AVX2, arrays[:1], arrays[1:], threads, parallel=parallel
            )
            for g, want in zip(got, wants, strict=True):
                np.testing.assert_allclose(g, want, 1e-4, 1e-5)
