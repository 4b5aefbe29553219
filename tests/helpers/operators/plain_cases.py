"""Cases of elementwise operators, reductions and operators on shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from operator_case import Case, Generate, Rng, extents, floats, given, maybe, pick, trimmed

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Elu", "Erf",
    "Exp", "Floor", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Neg", "Reciprocal", "Relu",
    "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh",
    "ThresholdedRelu", "Celu", "Gelu", "Shrink", "IsNaN", "IsInf",
)  # fmt: skip
ABOVE_ONE = ("Acosh",)
WITHIN_ONE = ("Acos", "Asin", "Atanh")
POSITIVE = ("Log", "Sqrt")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow")
MANY = ("Max", "Min", "Mean", "Sum")
COMPARISONS = ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")
LOGICAL = ("And", "Or", "Xor")
BITWISE = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
AXES_AS_INPUT = {"ReduceSum": 13}
"""Since which opset axes are an input; 18 for the others."""


def unary(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        x = floats(rng, 2, 5) * pick(rng, 1, 3)
        if op_type in ABOVE_ONE:
            x = 1 + np.abs(x)
        elif op_type in WITHIN_ONE:
            x = np.tanh(x)
        elif op_type in POSITIVE:
            x = np.abs(x) + np.float32(0.01)
        elif op_type in ("IsNaN", "IsInf", "Sign", "Round"):
            x.flat[:4] = (
                [np.nan, np.inf, -np.inf, 0.5] if op_type.startswith("Is") else [0, 0.5, 1.5, -2.5]
            )
        attrs = (
            given(alpha=maybe(rng, 0.7))
            if op_type in ("Elu", "LeakyRelu", "ThresholdedRelu", "Celu")
            else {}
        )
        if op_type == "Gelu":
            attrs = given(approximate=maybe(rng, "tanh"))
        if op_type == "IsInf":
            attrs = given(detect_negative=maybe(rng, 0))
        return Case(op_type, opset, [x], attrs, rtol=1e-4, atol=3e-6)

    return generate


def _pair(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return pick(rng, ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 3), (4, 1)), ((), (2,)))  # type: ignore[no-any-return]


def binary(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        left, right = _pair(rng)
        if op_type in LOGICAL:
            return Case(op_type, opset, [rng.random(s) < 0.5 for s in (left or (1,), right)])
        if op_type in BITWISE:
            return Case(
                op_type,
                opset,
                [rng.integers(0, 255, s).astype(np.uint8) for s in (left or (1,), right)],
            )
        a, b = (np.asarray(floats(rng, *s)) for s in (left, right))
        if op_type == "Pow":
            a = np.abs(a) + np.float32(0.1)
        elif op_type in COMPARISONS:
            a, b = np.asarray(np.round(a)), np.asarray(np.round(b))
        if op_type == "Equal" and opset < 11:  # of whole numbers only
            a, b = a.astype(np.int64), b.astype(np.int64)
        elif op_type in ("Add", "Sub", "Mul") or (op_type in COMPARISONS and opset >= 9):
            a, b = pick(rng, (a, b), ((a * 9).astype(np.int64), (b * 9).astype(np.int64)))
        return Case(op_type, opset, [np.asarray(a), np.asarray(b)], rtol=1e-4)

    return generate


def many(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        shapes = pick(
            rng, [(2, 3)], [(2, 3), (2, 3)], [(2, 3), (3,), (1, 1)] if opset >= 8 else [(2, 3)] * 3
        )
        return Case(op_type, opset, [floats(rng, *s) for s in shapes])

    return generate


def reduction(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        x = floats(rng, *extents(rng, 3, 1, 4))
        if op_type == "ReduceLogSum":
            x = np.abs(x) + np.float32(0.1)
        low = -3 if opset >= 11 else 0
        axes = maybe(rng, pick(rng, [1], [0, 2], [low], [0, 1, 2]), 0.8)
        attrs = given(keepdims=maybe(rng, pick(rng, 0, 1)))
        if opset < AXES_AS_INPUT.get(op_type, 18):
            return Case(op_type, opset, [x], attrs | given(axes=axes), rtol=1e-4, atol=1e-5)
        attrs |= given(noop_with_empty_axes=maybe(rng, pick(rng, 0, 1)) if axes is None else None)
        if attrs.get("noop_with_empty_axes") and op_type in NOOP_DIFFERS:
            del attrs["noop_with_empty_axes"]
        inputs = trimmed([x, None if axes is None else np.array(axes)])
        return Case(op_type, opset, inputs, attrs, rtol=1e-4, atol=1e-5)

    return generate


NOOP_DIFFERS = tuple(
    r
    for r in REDUCTIONS
    if r not in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd")
)
"""Whose scalar function ONNX Runtime leaves out, too, where nothing is reduced."""


def pad(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 1, 2, 3), 3, 5))
    modes = ["constant", "reflect", "edge", *(["wrap"] if opset >= 19 else [])]
    mode = maybe(rng, pick(rng, *modes), 0.8)
    low = -1 if mode in (None, "constant") else 0
    axes = None
    if opset >= 18 and rng.random() < 0.4:
        axes = np.array(
            [int(a) for a in rng.permutation(x.ndim)[: int(rng.integers(1, x.ndim + 1))]]
        )
    amounts = [int(n) for n in rng.integers(low, 3, 2 * (x.ndim if axes is None else len(axes)))]
    if opset < 11:
        return Case("Pad", opset, [x], given(mode=mode, pads=amounts, value=maybe(rng, 2.5)))
    value = maybe(rng, np.array(2.5, np.float32)) if mode in (None, "constant") else None
    return Case("Pad", opset, trimmed([x, np.array(amounts), value, axes]), given(mode=mode))


def slice_(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, 3, 1, 6))
    axes = maybe(rng, [int(a) for a in rng.permutation(3)[: int(rng.integers(1, 4))]])
    count = 3 if axes is None else len(axes)
    starts = [int(rng.integers(-7, 7)) for _ in range(count)]
    ends = [pick(rng, int(rng.integers(-7, 7)), 2**31 - 1) for _ in range(count)]
    if opset < 10:
        return Case("Slice", opset, [x], given(starts=starts, ends=ends, axes=axes))
    steps = maybe(rng, np.array([int(rng.choice([-2, -1, 1, 2])) for _ in range(count)]))
    if steps is not None:  # backwards, ONNX Runtime reads INT_MAX as the first element
        low = [pick(rng, int(rng.integers(-7, 7)), -(2**31)) for _ in range(count)]
        ends = [b if s < 0 else e for s, e, b in zip(steps, ends, low, strict=True)]
    inputs = [x, np.array(starts), np.array(ends), None if axes is None else np.array(axes), steps]
    return Case("Slice", opset, trimmed(inputs))


def framed(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        low = -1 if opset >= 11 else 0
        if op_type == "Unsqueeze":
            x, axes = floats(rng, 2, 3), pick(rng, [0], [1, 3], [low], [2, 0])
        else:
            x, axes = floats(rng, 1, 3, 1), pick(rng, None, [0], [2], [0, 2], [low * 3])
        if opset < 13:
            return Case(op_type, opset, [x], given(axes=axes))
        return Case(op_type, opset, trimmed([x, None if axes is None else np.array(axes)]))

    return generate


def bit_cast(rng: Rng, opset: int) -> Case:
    x, to = pick(rng, (floats(rng, 2, 3), 6), (rng.integers(-9, 9, (3,)), 11), (floats(rng, 2), 12))
    return Case("BitCast", opset, [x], {"to": to})


def trilu(rng: Rng, opset: int) -> Case:
    x = floats(rng, *extents(rng, pick(rng, 2, 3), 1, 5))
    k = maybe(rng, np.array(int(rng.integers(-3, 4))))
    return Case("Trilu", opset, trimmed([x, k]), given(upper=maybe(rng, pick(rng, 0, 1))))


def tile(rng: Rng, opset: int) -> Case:
    return Case("Tile", opset, [floats(rng, 2, 3), np.array(extents(rng, 2, 1, 3))])


def expand(rng: Rng, opset: int) -> Case:
    shape = pick(rng, [2, 3], [4, 2, 3], [1], [2, 1])
    return Case("Expand", opset, [floats(rng, 2, pick(rng, 1, 3)), np.array(shape)])


def det(rng: Rng, opset: int) -> Case:
    n = pick(rng, 1, 2, 3)
    return Case(
        "Det",
        opset,
        [floats(rng, *pick(rng, (), (2,)), n, n)],
        rtol=1e-4,
        peer_opset=21 if opset > 21 else None,
    )


def where(rng: Rng, opset: int) -> Case:
    return Case("Where", opset, [rng.random((2, 3)) < 0.5, floats(rng, 3), floats(rng, 2, 1)])


def clip(rng: Rng, opset: int) -> Case:
    x, low, high = floats(rng, 3, 4), maybe(rng, -0.5), maybe(rng, 0.5)
    if opset < 11:
        return Case("Clip", opset, [x], given(min=low, max=high))
    bounds = [None if v is None else np.array(v, np.float32) for v in (low, high)]
    return Case("Clip", opset, trimmed([x, *bounds]))


def split(rng: Rng, opset: int) -> Case:
    x, axis = floats(rng, 6, 4), pick(rng, 0, 1)
    sizes = maybe(rng, [1, x.shape[axis] - 1])
    if opset < 13:
        return Case("Split", opset, [x], given(axis=axis, split=sizes), "ab")
    count = 2 if opset >= 18 and sizes is None else None
    inputs = trimmed([x, None if sizes is None else np.array(sizes)])
    return Case("Split", opset, inputs, given(axis=axis, num_outputs=count), "ab")


def prelu(rng: Rng, opset: int) -> Case:
    return Case("PRelu", opset, [floats(rng, 2, 3, 4), floats(rng, *pick(rng, (3, 1), (1,), (4,)))])


def gemm(rng: Rng, opset: int) -> Case:
    a, b = floats(rng, 2, 3), floats(rng, 3, 4)
    attrs = given(
        alpha=maybe(rng, 0.5), beta=maybe(rng, 2.0), transA=maybe(rng, 1), transB=maybe(rng, 1)
    )
    inputs = [a.T.copy() if attrs.get("transA") else a, b.T.copy() if attrs.get("transB") else b]
    c = floats(rng, *pick(rng, (2, 4), (4,), (1,), (2, 1)))
    return Case("Gemm", opset, trimmed([*inputs, maybe(rng, c) if opset >= 11 else c]), attrs)


def matmul(rng: Rng, opset: int) -> Case:
    shapes = pick(rng, ((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 1, 2, 3), (4, 3, 2)))
    return Case("MatMul", opset, [floats(rng, *s) for s in shapes])


PLAIN: Mapping[str, Generate] = {
    **{op: unary(op) for op in UNARY},
    **{op: binary(op) for op in (*ARITHMETIC, *COMPARISONS, *LOGICAL, *BITWISE)},
    **{op: many(op) for op in MANY},
    **{op: reduction(op) for op in REDUCTIONS},
    "BitCast": bit_cast,
    "Clip": clip,
    "Det": det,
    "Expand": expand,
    "Gemm": gemm,
    "MatMul": matmul,
    "PRelu": prelu,
    "Pad": pad,
    "Slice": slice_,
    "Split": split,
    "Squeeze": framed("Squeeze"),
    "Tile": tile,
    "Trilu": trilu,
    "Unsqueeze": framed("Unsqueeze"),
    "Where": where,
}
