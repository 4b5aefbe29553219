"""Convolution cases, most with groups: specs, data and the expected result, for the kernel tests.

Multipliers of integer cases are powers of two, so that float epilogues round alike with and
without fused multiply-add and INT8 results can be compared to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from camshaft.backends.base import KernelSpec, Operand, Params
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.op import Attr
from camshaft.ir.types import DType, Shape, bf16, dtype_of, f32, i8, u8
from camshaft.ops.contraction import CONV
from kernel_harness import run_kernel

Types = tuple[DType, DType]


@dataclass(frozen=True)
class Case:
    """Extents and options of one convolution.

    size: (n, h, w) of x, symbolic for `open_spec`.  channels: (input, output).  pitches: elements
    between pixels of x and y beyond the channels.  epilogue: a key of `_epilogues`.
    """

    size: tuple[Extent, Extent, Extent]
    channels: tuple[int, int]
    groups: int
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilations: tuple[int, int] = (1, 1)
    epilogue: str = "bias"
    pitches: tuple[int, int] = (0, 0)
    zero_point: int = 0

    @property
    def result(self) -> Shape:
        """The output's extents."""
        (n, h, w), (r, s), (top, left, bottom, right) = self.size, self.kernel, self.pads
        oh = (h + top + bottom - self.dilations[0] * (r - 1) - 1) // self.strides[0] + 1
        ow = (w + left + right - self.dilations[1] * (s - 1) - 1) // self.strides[1] + 1
        return (n, oh, ow, self.channels[1])

    def at(self, sizes: Mapping[str, int]) -> Case:
        """The case with its symbols replaced by sizes."""
        n, h, w = (evaluate(e, sizes) for e in self.size)
        return replace(self, size=(n, h, w))


@dataclass
class Problem:
    """A spec with data: variable arrays, constants, expected output."""

    spec: KernelSpec
    arrays: list[np.ndarray]
    consts: list[np.ndarray]
    expected: np.ndarray
    epilogue: E.Expr


def depthwise(size: tuple[Extent, Extent, Extent], channels: int, **options: Any) -> Case:
    """A case with one filter per channel."""
    return Case(size, (channels, channels), channels, **options)


def _operand(array: np.ndarray, extra: int, const: bool, shape: Shape | None = None) -> Operand:
    shape = shape or tuple(int(d) for d in array.shape)
    if const or not extra:
        return Operand.dense(dtype_of(array), shape, const)
    _, h, w, c = shape
    pitch = c + extra
    return Operand(dtype_of(array), shape, (h * w * pitch, w * pitch, pitch, 1))


def _float_epilogue(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[E.Expr, list[tuple[np.ndarray, bool]]]:
    bias = rng.standard_normal(shape[3]).astype(np.float32)
    if name == "none":
        return E.inp(0), []
    if name in ("bias", "float", "swish"):
        return E.maximum(E.add(E.inp(0), E.inp(1)), E.const(0.0)), [(bias, True)]
    if name == "residual":
        residual = rng.standard_normal(shape).astype(np.float32)
        return E.add(E.add(E.inp(0), E.inp(1)), E.inp(2)), [(bias, True), (residual, False)]
    if name == "half":
        residual = rng.standard_normal(shape).astype(bf16.numpy)
        total = E.add(E.add(E.inp(0), E.inp(1)), E.cast(E.inp(2), f32))
        return E.cast(E.maximum(total, E.const(0.0)), bf16), [(bias, True), (residual, False)]
    if name == "scalar":
        x = E.mul(E.inp(0), E.inp(1))
        return E.mul(x, E.sigmoid(x)), [(np.asarray([0.5], np.float32), True)]
    gate = rng.standard_normal((shape[0], 1, 1, shape[3])).astype(np.float32)
    quantized = E.quantize(E.mul(E.inp(0), E.inp(1)), E.const(0.25), 3, u8)
    return quantized, [(gate, False)]  # "gate"


def _integer_epilogue(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[E.Expr, list[tuple[np.ndarray, bool]]]:
    k = shape[3]
    scale = (2.0 ** -rng.integers(5, 10, k)).astype(np.float32)
    bias = (rng.integers(0, 400, k) / 2).astype(np.float32)
    real = E.add(E.mul(E.cast(E.inp(0), f32), E.inp(1)), E.inp(2))
    operands = [(scale, True), (bias, True)]
    if name == "none":
        return E.inp(0), []
    if name == "bias":
        return E.cast(real, u8), operands
    if name == "swish":
        swish = E.mul(E.mul(real, E.sigmoid(real)), E.const(0.25))
        return E.cast(E.add(swish, E.const(2.0)), u8), operands
    if name == "float":
        return E.maximum(real, E.const(0.0)), operands
    if name == "scalar":
        one = [(np.asarray([0.03125], np.float32), True), (np.asarray(2.5, np.float32), True)]
        return E.cast(real, i8), one
    if name == "residual":
        residual = rng.integers(0, 256, shape).astype(np.uint8)
        total = E.add(real, E.mul(E.cast(E.inp(3), f32), E.const(0.5)))
        return E.cast(total, u8), [*operands, (residual, False)]
    gate = (2.0 ** -rng.integers(0, 3, (shape[0], 1, 1, k))).astype(np.float32)
    return E.cast(E.mul(real, E.inp(3)), u8), [*operands, (gate, False)]  # "gate"


def problem(case: Case, *, integer: bool, seed: int = 0, types: Types = (f32, f32)) -> Problem:
    """The case with random data and its expected output from the op's own reference.

    types: of images and filters of floats.
    """
    rng = np.random.default_rng(seed)
    n, h, w = case.size
    c, k = case.channels
    r, s = case.kernel
    if integer:
        x = rng.integers(0, 256, (n, h, w, c)).astype(np.uint8)
        weights = rng.integers(-128, 128, (k, r, s, c // case.groups)).astype(np.int8)
    else:
        x = rng.standard_normal((n, h, w, c)).astype(types[0].numpy)
        weights = rng.standard_normal((k, r, s, c // case.groups)).astype(types[1].numpy)
    _, oh, ow, _ = case.result
    maker = _integer_epilogue if integer else _float_epilogue
    epilogue, extra = maker(case.epilogue, (n, oh, ow, k), rng)
    attrs: dict[str, Attr] = {
        "strides": case.strides,
        "pads": case.pads,
        "dilations": case.dilations,
        "groups": case.groups,
        "x_zero_point": case.zero_point,
        "epilogue": epilogue,
    }
    operands = [(x, False), (weights, True), *extra]
    complete = CONV.complete({**attrs, "layout": "NHWC"})
    expected = np.asarray(CONV.reference([a for a, _ in operands], complete)[0])
    places = [case.pitches[0], 0] + [0] * len(extra)
    spec = KernelSpec(
        "conv",
        tuple(_operand(a, e, const) for (a, const), e in zip(operands, places, strict=True)),
        (_operand(expected, case.pitches[1], False),),
        tuple(attrs.items()),
    )
    arrays = [a for a, const in operands if not const]
    return Problem(spec, arrays, [a for a, const in operands if const], expected, epilogue)


def open_spec(case: Case, *, integer: bool, types: Types = (f32, f32)) -> KernelSpec:
    """The spec of a case whose size is symbolic."""
    symbols = symbols_of(*case.size)
    typical = case.at({s.name: s.typical for s in symbols})
    given = problem(typical, integer=integer, types=types)
    n, h, w = case.size
    shapes = [(n, h, w, case.channels[0]), None]
    for operand in given.spec.inputs[2:]:
        whole = None if operand.const else case.result
        is_gate = not operand.const and operand.shape[1:3] == (1, 1)
        shapes.append((n, 1, 1, case.channels[1]) if is_gate else whole)
    variable = iter(given.arrays)
    arrays = [np.zeros(0) if o.const else next(variable) for o in given.spec.inputs]
    inputs = [
        o if shape is None else _operand(array, 0 if m else case.pitches[0], False, shape)
        for m, (o, array, shape) in enumerate(zip(given.spec.inputs, arrays, shapes, strict=True))
    ]
    out = _operand(given.expected, case.pitches[1], False, case.result)
    return KernelSpec("conv", tuple(inputs), (out,), given.spec.attrs)


def check(tactic: Any, target: CpuTarget, given: Problem, params: Params, threads: int = 1) -> None:
    """Run the candidate and compare."""
    (y,) = run_kernel(tactic, given.spec, params, target, given.arrays, given.consts, threads)
    assert_expected(y, given)


def assert_expected(y: np.ndarray, given: Problem, message: str = "") -> None:
    """Integers must match to the bit, floats to 1e-5 of the largest value."""
    if given.expected.dtype == np.float32:
        bound = 1e-5 * max(1.0, float(np.abs(given.expected).max()))
        np.testing.assert_allclose(y, given.expected, rtol=0, atol=bound, err_msg=message)
        return
    assert y.dtype == given.expected.dtype
    if y.dtype == bf16.numpy:  # one step
        got, want = (a.astype(np.float32) for a in (y, given.expected))
        np.testing.assert_allclose(got, want, rtol=bf16.step, atol=1e-4, err_msg=message)
        return
    sums_are_floats = given.spec.inputs[0].dtype == f32
    if sums_are_floats or any(e.op == "exp" for e in E.nodes(given.epilogue)):  # one quantum
        assert np.abs(y.astype(int) - given.expected.astype(int)).max() <= 1, message
        return
    np.testing.assert_array_equal(y, given.expected, err_msg=message)


def first_and_last(candidates: Sequence[Params]) -> list[Params]:
    """The best guess and the oddest one."""
    return list(candidates[:1]) + list(candidates[1:][-1:])
