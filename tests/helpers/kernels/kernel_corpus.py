"""A fixed set of kernel specs: what small nets give, and a few of every op and branch of a tactic.

`specs()` names each of them.  Extents are plain ints: the set says which code static engines have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.tactics import PREFERENCES
from camshaft.builder.bufferize import bufferize
from camshaft.builder.tasks import tasks_of
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph
from camshaft.ir.types import (
    DType,
    Shape,
    bf16,
    boolean,
    f16,
    f32,
    f64,
    i8,
    i32,
    i64,
    row_major_strides,
    u8,
)
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from qdq_nets import residual_net
from small_nets import NETS

X, Y, Z = E.inp(0), E.inp(1), E.inp(2)
RELU = E.maximum(X, E.const(0.0))
SWISH = E.mul(X, E.sigmoid(X))


def specs() -> dict[str, KernelSpec]:
    """Every spec by a name that says where it comes from."""
    found: dict[str, KernelSpec] = {}
    for family in (
        _nets,
        _pointwise,
        _convolutions,
        _products,
        _halves,
        _few_bits,
        _attention,
        _ragged,
        _tallies,
        _recurrent,
        _pools,
        _reductions,
        _movement,
    ):
        for name, spec in family():
            assert name not in found, name
            found[name] = spec
    return found


def _dense(dtype: DType, *shape: int, const: bool = False, pitch: int = 0) -> Operand:
    """A row-major operand; `pitch` more elements behind each pixel of the last axis."""
    if not pitch:
        return Operand.dense(dtype, shape, const)
    return Operand(dtype, shape, row_major_strides((*shape[:-1], shape[-1] + pitch)), const)


def _spec(op: str, inputs: list[Operand], out: Operand, **attrs: Any) -> KernelSpec:
    return KernelSpec(op, tuple(inputs), (out,), tuple(sorted(attrs.items())))


def _tasks(name: str, graph: Graph) -> Iterator[tuple[str, KernelSpec]]:
    for n, task in enumerate(tasks_of(bufferize(graph, PREFERENCES))):
        if task.spec is not None:
            yield f"{name}/{n} {task.op}", task.spec


def _nets() -> Iterator[tuple[str, KernelSpec]]:
    for net in NETS:
        yield from _tasks(net.__name__, optimize(net()))
    for per_channel in (False, True):
        for activations in (np.uint8, np.int8):
            graph = lower_quantization(optimize(residual_net(activations, per_channel)))
            kind = f"{activations.__name__} {'channel' if per_channel else 'tensor'}"
            yield from _tasks(f"residual {kind}", graph)


def _pointwise() -> Iterator[tuple[str, KernelSpec]]:
    def named(name: str, expr: Expr, inputs: list[Operand], out: Operand) -> tuple[str, KernelSpec]:
        return f"pointwise/{name}", _spec("pointwise", inputs, out, expr=expr)

    for size in (1, 7, 64, 1003, 40000):
        x = _dense(f32, size)
        yield named(f"relu {size}", RELU, [x], x)
    x = _dense(f32, 2, 50, 60, 64)
    yield named("swish", SWISH, [x], x)
    yield named("exp of gaps", E.unary("exp", X), [_dense(f32, 9, 37, pitch=3)], _dense(f32, 9, 37))
    yield named("tanh", E.unary("tanh", X), [x], x)
    parts = [_dense(f32, 2, 5, 6, 37), _dense(f32, 37, const=True), _dense(f32, 5, 1, 1)]
    yield named("broadcast", E.add(E.mul(X, Y), Z), parts, parts[0])
    q = E.quantize(X, E.const(0.37), 121, u8)
    seen = Operand(f32, (1, 19, 23, 3), (3 * 19 * 23, 23, 1, 19 * 23))
    yield named("planar image", q, [seen], _dense(u8, 1, 19, 23, 3))
    for c, h, w in ((3, 37, 41), (64, 7, 7), (5, 3, 40), (33, 1, 33), (128, 28, 28)):
        for dtype in (f32, u8, f16, boolean):
            seen = Operand(dtype, (1, h, w, c), (c * h * w, w, 1, h * w))
            out = _dense(dtype, 1, h, w, c)
            yield named(f"transpose {dtype} {c} {h} {w}", X, [seen], out)
            back = Operand(dtype, (1, c, h, w), (c * h * w, 1, w * c, c))
            yield named(f"back {dtype} {c} {h} {w}", X, [back], _dense(dtype, 1, c, h, w))
    x = _dense(f32, 1, 9, 31, 3)
    yield named("pixels of three", E.add(E.mul(X, Y), Z), [x, *[_dense(f32, 3)] * 2], x)
    bytes_ = _dense(u8, 1, 28, 28, 64)
    terms = [E.dequantize(E.inp(n), E.const(0.1 * (n + 1)), 3) for n in (0, 1)]
    requantized = E.quantize(E.add(*terms), E.const(0.5), 10, u8)
    yield named("quantized sum", requantized, [bytes_, bytes_], bytes_)
    yield named("cast", E.cast(X, i64), [_dense(f32, 5, 35)], _dense(i64, 5, 35))
    less = E.binary("lt", X, Y)
    yield named("less", less, [_dense(i64, 3, 29)] * 2, _dense(boolean, 3, 29))
    yield named("strided", E.mul(X, X), [_dense(f32, 1, 6, 7, 1, pitch=4)], _dense(f32, 1, 6, 7, 1))


_CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "1x1": {"size": (1, 14, 14), "channels": (64, 96), "kernel": (1, 1)},
    "1x1 batch": {"size": (3, 4, 4), "channels": (9, 33), "kernel": (1, 1)},
    "1x1 stride": {"size": (2, 9, 7), "channels": (8, 16), "kernel": (1, 1), "strides": (2, 2)},
    "3x3": {"size": (1, 14, 14), "channels": (32, 64), "pads": (1, 1, 1, 1)},
    "3x3 batch": {"size": (2, 7, 9), "channels": (19, 21), "pads": (1, 1, 1, 1)},
    "3x3 stride": {"size": (1, 28, 28), "channels": (16, 40), "pads": (1, 1, 1, 1), "strides": (2, 2)},
    "stem": {"size": (1, 24, 24), "channels": (3, 64), "kernel": (7, 7), "strides": (2, 2), "pads": (3, 3, 3, 3)},
    "planar stem": {"size": (2, 9, 10), "channels": (3, 16), "pads": (1, 1, 1, 1), "planar": True},
    "planar": {"size": (1, 5, 6), "channels": (10, 16), "pads": (1, 1, 1, 1), "planar": True},
    "dilated": {"size": (1, 11, 12), "channels": (8, 8), "pads": (2, 4, 3, 2), "dilations": (2, 3)},
    "row": {"size": (1, 6, 19), "channels": (7, 17), "kernel": (1, 5), "pads": (0, 2, 0, 2)},
    "window over image": {"size": (1, 3, 4), "channels": (8, 16), "kernel": (5, 5), "pads": (4, 4, 4, 4)},
    "views": {"size": (2, 6, 7), "channels": (10, 18), "pads": (1, 1, 1, 1), "pitches": (3, 32)},
    "groups": {"size": (1, 6, 7), "channels": (24, 60), "pads": (1, 1, 1, 1), "groups": 3},
    "small groups": {"size": (1, 12, 12), "channels": (64, 64), "pads": (1, 1, 1, 1), "groups": 16},
    "fully connected": {"size": (4, 1, 1), "channels": (300, 100), "kernel": (1, 1)},
    "depthwise 3x3": {"size": (1, 14, 14), "channels": (96, 96), "groups": 96, "pads": (1, 1, 1, 1)},
    "depthwise stride": {"size": (2, 9, 6), "channels": (37, 37), "groups": 37, "pads": (0, 0, 1, 1), "strides": (2, 2)},
    "depthwise 5x5": {"size": (1, 12, 17), "channels": (20, 20), "groups": 20, "kernel": (5, 5), "pads": (2, 2, 2, 2)},
    "depthwise narrow": {"size": (1, 16, 16), "channels": (16, 16), "groups": 16, "pads": (1, 1, 1, 1)},
    "depthwise dilated": {"size": (1, 11, 40), "channels": (18, 18), "groups": 18, "pads": (2, 3, 2, 3), "dilations": (2, 3)},
    "depthwise row": {"size": (1, 4, 31), "channels": (80, 80), "groups": 80, "kernel": (1, 3), "pads": (0, 1, 0, 1)},
}  # fmt: skip


def _convolutions() -> Iterator[tuple[str, KernelSpec]]:
    zeroed = ("1x1", "dilated", "planar stem", "window over image", "groups", "depthwise stride")
    for name, case in _CONVOLUTIONS.items():
        yield f"conv f32/{name}", _conv(f32, 0, residual=name == "3x3", **case)
        yield f"conv u8/{name}", _conv(u8, 113 if name in zeroed else 0, **case)


def _conv(
    dtype: DType,
    zero: int,
    *,
    size: tuple[int, int, int],
    channels: tuple[int, int],
    kernel: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
    pitches: tuple[int, int] = (0, 0),
    planar: bool = False,
    residual: bool = False,
) -> KernelSpec:
    """A convolution with bias and ReLU, requantized where x holds bytes."""
    (n, h, w), (c, k), (r, s) = size, channels, kernel
    oh = (h + pads[0] + pads[2] - dilations[0] * (r - 1) - 1) // strides[0] + 1
    ow = (w + pads[1] + pads[3] - dilations[1] * (s - 1) - 1) // strides[1] + 1
    x = _dense(dtype, n, h, w, c, pitch=pitches[0])
    if planar:
        x = Operand(dtype, (n, h, w, c), (c * h * w, w, 1, h * w))
    out = _dense(dtype, n, oh, ow, k, pitch=pitches[1])
    weights = _dense(f32 if dtype == f32 else i8, k, r, s, c // groups, const=True)
    inputs = [x, weights, _dense(f32, k, const=True)]
    total = E.add(X if dtype == f32 else E.mul(E.cast(X, f32), Z), Y)
    if dtype != f32:
        inputs.append(_dense(f32, k, const=True))
    if residual:
        inputs.append(_dense(dtype, n, oh, ow, k))
        total = E.add(total, E.cast(E.inp(len(inputs) - 2), f32))
    total = E.maximum(total, E.const(0.0))
    epilogue = total if dtype == f32 else E.quantize(total, E.const(0.25), 3, u8)
    return _spec(
        "conv", inputs, out, strides=strides, pads=pads, dilations=dilations, groups=groups,
        x_zero_point=zero, epilogue=epilogue,
    )  # fmt: skip


def _products() -> Iterator[tuple[str, KernelSpec]]:
    sizes = [(1, 64, 50), (7, 33, 16), (29, 5, 37), (3, 1, 130), (50, 20, 1), (128, 256, 384)]
    for m, k, n in sizes:
        for a, b in [(f32, f32), (i8, u8) if k % 2 else (u8, i8)]:
            for const in (True, False):
                out = _dense(f32 if a == f32 else i32, m, n)
                zeros = {} if a == f32 else {"a_zero_point": 5, "b_zero_point": 7 * (k % 2)}
                inputs = [_dense(a, m, k), _dense(b, k, n, const=const)]
                name = f"matmul/{a} {b} {m} {k} {n}{' const' if const else ''}"
                yield name, _spec("matmul", inputs, out, epilogue=X, **zeros)
    stacks: list[tuple[Shape, Shape]] = [
        ((2, 3, 4, 9), (9, 20)),
        ((3, 1, 4, 9), (2, 9, 20)),
        ((5, 9), (4, 9, 7)),
        ((3, 1, 9), (3, 9, 6)),
    ]
    for left, right in stacks:
        lead = np.broadcast_shapes(left[:-2], right[:-2])
        out = _dense(f32, *lead, left[-2], right[-1])
        inputs = [_dense(f32, *left), _dense(f32, *right), _dense(f32, right[-1])]
        scaled = E.maximum(E.add(E.mul(X, E.const(0.125)), Y), E.const(0.0))
        yield f"matmul/{left} {right}", _spec("matmul", inputs, out, epilogue=scaled)
    turned = Operand(f32, (2, 21, 19), (21 * 19, 1, 21))
    for b in (turned, Operand(i8, turned.shape, turned.strides)):
        a, out = _dense(f32 if b.dtype == f32 else u8, 2, 6, 21, pitch=3), _dense(f32, 2, 6, 19)
        epilogue = E.mul(E.cast(X, f32), E.const(0.5))
        yield f"matmul/turned {b.dtype}", _spec("matmul", [a, b], out, epilogue=epilogue)


def _halves() -> Iterator[tuple[str, KernelSpec]]:
    """Half floats on both sides, and half weights: in pairs, one by one, and with a cast behind."""
    rounded = E.cast(E.maximum(X, E.const(0.0)), bf16)
    for x, w in [(bf16, bf16), (f32, bf16), (f16, f16)]:
        for name in ("1x1 batch", "3x3", "stem", "depthwise 3x3"):
            case = _conv(f32, 0, **_CONVOLUTIONS[name])
            images, filters, *others = case.inputs
            inputs = (replace(images, dtype=x), replace(filters, dtype=w), *others)
            yield f"conv {x} {w}/{name}", replace(case, inputs=inputs)
        for m, k, n in [(1, 64, 50), (29, 35, 37)]:
            for const in (True, False):
                operands = [_dense(x, m, k), _dense(w, k, n, const=const)]
                out = _dense(bf16 if m > 1 else f32, m, n)
                name = f"matmul/{x} {w} {m} {k} {n}{' const' if const else ''}"
                yield name, _spec("matmul", operands, out, epilogue=rounded if m > 1 else X)
    pooled = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "kind": "max"}
    for half in (bf16, f16):
        image, out = _dense(half, 2, 17, 18, 37), _dense(half, 2, 9, 9, 37)
        yield f"pool {half}", _spec("pool", [image], out, epilogue=X, **pooled)
        rows, total = _dense(half, 9, 37), E.cast(E.add(E.cast(X, f32), E.cast(Y, f32)), half)
        for shape in ((), (9, 1), (1, 37)):
            yield (
                f"sum {half} {shape}",
                _spec("pointwise", [rows, _dense(half, *shape)], rows, expr=total),
            )


def _few_bits() -> Iterator[tuple[str, KernelSpec]]:
    for m, k, n, bits, block in [(1, 90, 40, 4, 32), (1, 64, 33, 8, 64), (29, 75, 37, 4, 16)]:
        blocks = -(-k // block)
        for int8, zero in [(False, None), (False, u8), (True, None), (True, f32)]:
            zeros = (0, 0) if zero is None else (n, blocks)
            inputs = [
                _dense(f32, m, k),
                _dense(u8, n, -(-k * bits // 8), const=True),
                _dense(f16 if bits == 4 else f32, n, blocks, const=True),
                _dense(zero or u8, *zeros, const=True),
                _dense(f32, n, const=True),
            ]
            attrs = {"bits": bits, "block": block, "int8": int8, "epilogue": E.add(X, Y)}
            name = f"matmul_nbits/{m} {k} {n} {bits} bits {zero} {'bytes' if int8 else 'floats'}"
            yield name, _spec("matmul_nbits", inputs, _dense(f32, m, n), **attrs)


def _attention() -> Iterator[tuple[str, KernelSpec]]:
    for s, t, masked in [(33, 33, False), (1, 70, True), (20, 700, True)]:
        beside = Operand(f32, (2, 3, s, 16), (s * 48, 16, 48, 1))
        inputs = [beside, _dense(f32, 2, 3, t, 16), _dense(f32, 2, 3, t, 24)]
        attrs: dict[str, Any] = {"score": E.mul(X, E.const(0.25)), "operands": 0}
        if masked:
            attrs = {"score": E.add(E.mul(X, E.const(0.25)), Y), "operands": 1}
            inputs.append(_dense(f32, 2, 1, 1, t))
        out = _dense(f32, 2, 3, s, 24)
        yield f"attention/{s} {t}", _spec("attention", inputs, out, epilogue=X, **attrs)
        causal = {"causal": True, "first": t - s, "window": 30, "hidden": "zero"}
        name = f"attention/causal {s} {t}"
        yield name, _spec("attention", inputs, out, epilogue=X, **attrs, **causal)


def _ragged() -> Iterator[tuple[str, KernelSpec]]:
    for n, longest in [(40, 20), (900, 600)]:
        inputs = [_dense(f32, 1, 3, n, 16) for _ in range(3)] + [_dense(i64, 4)]
        attrs = {
            "score": E.mul(X, E.const(0.25)),
            "operands": 0,
            "epilogue": X,
            "hidden": "nan",
            "products": "f32",
        }
        more = {"causal": n == 900, "longest": longest}
        spec = _spec("ragged_attention", inputs, _dense(f32, 1, 3, n, 16), **attrs, **more)
        yield f"ragged_attention/{n}", spec
    for dtype in (i64, boolean, f32):
        outputs = tuple(_dense(i64, d) for d in (9, 4, 15))
        attrs = {"count": 9, "places": (0,), "ones": True}
        spec = KernelSpec("kept_rows", (_dense(dtype, 3, 5),), outputs, tuple(attrs.items()))
        yield f"kept_rows/{dtype}", spec


def _tallies() -> Iterator[tuple[str, KernelSpec]]:
    for dtype, shape, every in [
        (f32, (1, 9, 9, 40), 1),
        (f32, (2, 9, 9, 24), 7),
        (bf16, (3, 5), 2),
    ]:
        images, count = shape[0], shape[0] * shape[-1] * (1 if len(shape) == 2 else 4)
        sampled = images * -(-prod(shape[1:]) // every)
        outputs = [_dense(d, n) for d, n in ((f32, count), (f32, count), (f64, count))]
        attrs = (("every", every), ("rows", 25))
        results = (*outputs, _dense(f32, sampled))
        yield f"tally/{shape}", KernelSpec("tally", (_dense(dtype, *shape),), results, attrs)


def _recurrent() -> Iterator[tuple[str, KernelSpec]]:
    steps, batch, hidden, tanh = 6, 3, 40, E.unary("tanh", X)
    for cell, gates, after in [
        ("lstm", 4, False),
        ("gru", 3, False),
        ("gru", 3, True),
        ("rnn", 1, False),
    ]:
        for dtype, backward in [(f32, (0, 1)), (bf16, (0,)), (i8, (1,))]:
            d, width = len(backward), gates * hidden
            inputs = [
                _dense(f32, steps, batch, d * width),
                _dense(dtype, d, width, hidden, const=True),
            ]
            given = ("scale",) if dtype == i8 else ("lengths", "h")
            if dtype == i8:
                inputs.append(_dense(f32, d, width, const=True))
            else:
                inputs += [_dense(i32, batch), _dense(f32, d, batch, hidden)]
            state = _dense(f32, d, batch, hidden)
            outputs = (
                _dense(f32, steps, d, batch, hidden),
                *[state] * (2 if cell == "lstm" else 1),
            )
            attrs: dict[str, Any] = {
                "cell": cell,
                "after": after,
                "backward": backward,
                "given": given,
                "clip": 0.0,
                "coupled": False,
                "f": tanh if cell == "rnn" else E.sigmoid(X),
                "g": tanh,
                "h": tanh,
            }
            name = f"recurrent/{cell} {after} {dtype}"
            yield name, KernelSpec("recurrent", tuple(inputs), outputs, tuple(attrs.items()))


def _pools() -> Iterator[tuple[str, KernelSpec]]:
    windows: dict[str, tuple[tuple[int, int, int], Shape, dict[str, Any]]] = {
        "3x3 s2": ((17, 18, 37), (9, 9), {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
        "same": ((7, 13, 64), (7, 13), {"kernel": (3, 3), "pads": (1, 1, 1, 1)}),
        "oblong": ((9, 11, 5), (9, 4), {"kernel": (2, 5), "strides": (1, 3), "pads": (0, 2, 1, 4)}),
        "dilated": ((13, 12, 17), (13, 11), {"kernel": (3, 2), "dilations": (2, 3), "pads": (2, 1, 2, 1)}),
        "beyond": ((3, 4, 8), (4, 4), {"kernel": (5, 7), "pads": (2, 3, 3, 3)}),
        "global": ((7, 7, 83), (1, 1), {"kernel": (7, 7)}),
        "global large": ((20, 31, 200), (1, 1), {"kernel": (20, 31)}),
        "global pixel": ((1, 1, 40), (1, 1), {"kernel": (1, 1)}),
    }  # fmt: skip
    for name, ((h, w, c), (oh, ow), attrs) in windows.items():
        for dtype in (f32, u8, i8):
            for kind in ("max", "avg"):
                x = _dense(dtype, 2, h, w, c, pitch=3 if name == "oblong" else 0)
                result = dtype if kind == "max" else f32
                more = {"x_zero_point": 7} if dtype != f32 and kind == "avg" else {}
                yield (
                    f"pool/{kind} {dtype} {name}",
                    _spec("pool", [x], _dense(result, 2, oh, ow, c), kind=kind, **attrs, **more),
                )


def _reductions() -> Iterator[tuple[str, KernelSpec]]:
    shape = (2, 5, 6, 37)
    for axes in ((0,), (1,), (3,), (1, 2), (2, 3), (0, 3), (0, 1, 2, 3)):
        for dtype in (f32, u8):
            for kind in ("sum", "max"):
                kept = [1 if a in axes else d for a, d in enumerate(shape)]
                total = i32 if dtype == u8 and kind == "sum" else dtype
                full = {"kind": kind, "axes": axes, "keepdims": True, "prologue": X, "epilogue": X}
                spec = _spec("reduce", [_dense(dtype, *shape)], _dense(total, *kept), **full)
                yield f"reduce/{kind} {dtype} {axes}", spec
    for size in ((3, 40000), (40000, 3), (64, 1500), (9, 2100)):
        axis = int(np.argmax(size))
        kept = [1 if a == axis else d for a, d in enumerate(size)]
        spec = _spec(
            "reduce", [_dense(f32, *size), _dense(f32, *kept)], _dense(f32, *kept), kind="sum",
            axes=(axis,), prologue=E.mul(X, X), epilogue=E.mul(E.unary("sqrt", X), Y),
        )  # fmt: skip
        yield f"reduce/long {size}", spec
    for rows in ((3, 1000), (40, 128), (5, 7), (100, 2), (33, 3), (1, 1), (37, 16), (50, 11)):
        for log in (False, True):
            x = _dense(f32, *rows)
            yield f"softmax/{rows} {log}", _spec("softmax", [x], x, axis=-1, log=log)
    for axis in (0, 1, 2):
        x = _dense(f32, *shape, pitch=2)
        yield f"softmax/across {axis}", _spec("softmax", [x], x, axis=axis)
    gappy = _dense(f32, 1, 1, 39, 13, pitch=4)
    yield "softmax/gappy", _spec("softmax", [gappy], gappy, axis=-1)


def _movement() -> Iterator[tuple[str, KernelSpec]]:
    for mode in ("constant", "reflect", "edge", "wrap"):
        for dtype, shape in ((f32, (2, 4, 5, 37)), (u8, (1, 4, 5, 3)), (f32, (2, 4, 6, 200))):
            before, after = (0, 1, 3, 0), (0, 2, 0, 0)
            out = [d + b + a for d, b, a in zip(shape, before, after, strict=True)]
            attrs = {"before": before, "after": after, "mode": mode, "value": 7.0}
            yield (
                f"pad/{mode} {dtype} {shape}",
                _spec("pad", [_dense(dtype, *shape)], _dense(dtype, *out), **attrs),
            )
        attrs = {"before": (1, 2, 5), "after": (0, 3, 4), "mode": mode, "value": 0.0}
        yield (
            f"pad/every axis {mode}",
            _spec("pad", [_dense(f32, 3, 6, 7)], _dense(f32, 4, 11, 16), **attrs),
        )
    table = (4, 5, 70)
    for axis in (0, 1, 2):
        for const in ((False, False), (True, False), (False, True)):
            picked = (*table[:axis], 2, 3, *table[axis + 1 :])
            inputs = [_dense(u8, *table, const=const[0]), _dense(i64, 2, 3, const=const[1])]
            spec = _spec("gather", inputs, _dense(u8, *picked), axis=axis)
            yield f"gather/{axis} {const}", spec
    inputs = [_dense(f32, 1000, 384, const=True), _dense(i32, 1, 128)]
    yield "gather/embedding", _spec("gather", inputs, _dense(f32, 1, 128, 384), axis=0)
    for taps, dtype in ((1, f32), (1, u8), (2, f32), (2, u8), (4, f32)):
        for channels in (3, 37, 130):
            tables = [_dense(d, n, taps, const=True) for n in (9, 17) for d in (i32, f32)]
            inputs = [_dense(dtype, 2, 6, 5, channels, pitch=3), *tables]
            spec = _spec("resample", inputs, _dense(dtype, 2, 9, 17, channels), epilogue=X)
            yield f"resample/{taps} {dtype} {channels}", spec
    for count in (5, 5000):
        yield f"iota/{count}", _spec("iota", [], _dense(i64, count), count=count)
