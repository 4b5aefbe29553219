"""`ops.functional`: reshaping, slicing, reductions against NumPy; and what symbolic extents become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.symbol import Symbol, UndecidedExtent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import TensorType, f32, i32
from camshaft.ops import functional as F
from functional_graphs import floats, graph_of, integers, run, run_all, same
from open_graphs import interpreted

X = floats(2, 3, 4)


def test_shapes() -> None:
    same(run(F.reshape, X, shape=(4, -1)), X.reshape(4, 6))
    same(run(F.transpose, X), X.transpose())
    same(run(F.transpose, X, perm=(0, -1, 1)), X.transpose(0, 2, 1))
    same(run(F.flatten, X, start_dim=1), X.reshape(2, 12))
    same(run(F.flatten, X), X.reshape(24))
    same(run(F.flatten, np.float32(3)), np.array([3], np.float32))
    same(run(F.unsqueeze, X, axes=(0, -1)), X[None, ..., None])
    same(run(F.squeeze, X[:, :1], axes=1), X[:, 0])
    same(run(F.squeeze, X[:1, :1]), X[0, 0])
    same(run(F.broadcast_to, X[:, :1], shape=(5, 2, 3, 4)), np.broadcast_to(X[:, :1], (5, 2, 3, 4)))
    same(run(F.tile, X, repeats=(2, 1, 3)), np.tile(X, (2, 1, 3)))
    same(run(lambda b, *ts: F.concat(b, ts, -1), X, X[..., :1].copy()),
         np.concatenate([X, X[..., :1]], -1))  # fmt: skip
    same(run(lambda b, *ts: F.stack(b, ts, 1), X, X), np.stack([X, X], 1))
    b = GraphBuilder("g")
    assert F.full(b, (2, 2), 7, i32).array.tolist() == [[7, 7], [7, 7]]


def test_what_changes_nothing_emits_nothing() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(f32, (2, 3)))
    assert F.reshape(b, x, (2, -1)) is x
    assert F.transpose(b, x, (0, -1)) is x
    assert F.tile(b, x, (1, 1)) is x
    assert F.concat(b, [x]) is x
    assert F.slice(b, x, (0,), (99,)) is x
    assert F.pad(b, x, ((0, 0), (0, 0))) is x
    assert F.broadcast_to(b, x, (2, 3)) is x
    assert F.resize(b, x, scales=(1.0, 1.0)) is x


def test_dequantized_constants_stay_so() -> None:
    scales = np.array([1, 2, 3], np.float32)

    def weights(b: GraphBuilder, x: Tensor) -> Tensor:
        stored = b.constant(integers(3, 4, dtype=np.int8))
        real = F.dequantize(b, stored, b.constant(scales), axis=0)
        turned = F.transpose(b, F.reshape(b, real, (3, 2, 2)), (2, 0, 1))
        return F.mul(b, x, turned)

    graph = graph_of(weights, floats(1))
    assert [n.op.name for n in graph.nodes] == ["dequantize", "pointwise"]
    assert graph.nodes[0].attrs["axis"] == 1
    want = (integers(3, 4) * scales[:, None]).reshape(3, 2, 2).transpose(2, 0, 1) * floats(1)
    same(run(weights, floats(1)), want.astype(np.float32))


@pytest.mark.parametrize("start", [-99, -2, 0, 1, 99])
@pytest.mark.parametrize("end", [-99, -1, 2, 99])
@pytest.mark.parametrize("step", [1, 2, -1, -2])
def test_slices_are_numpys(start: int, end: int, step: int) -> None:
    got = run(F.slice, X, starts=(start,), ends=(end,), axes=(2,), steps=(step,))
    if step < 0 and start == -99:
        start = 0  # the one rule that is not NumPy's
    if step < 0 and end == -99:
        same(got, X[:, :, start::step])
    else:
        same(got, X[:, :, start:end:step])


def test_parts() -> None:
    same(run(F.narrow, X, axis=-1, start=1, length=2), X[..., 1:3])
    same(run(F.select, X, axis=1, index=-1), X[:, -1])
    for got, want in zip(run_all(F.split, X, sizes=(1, 2, 1), axis=2),
                         np.split(X, (1, 3), 2), strict=True):  # fmt: skip
        same(got, want)
    assert F.equal_parts(7, 3) == (3, 3, 1)
    for indices in (1, -1, [0, 2], [2, 0, -1], np.array([[0, 1], [2, 2]])):
        same(run(F.take, X, indices=indices, axis=1), X.take(np.asarray(indices), 1))
    index = np.array([[0, 3], [1, -1]])
    same(run(F.take, X, index, axis=2), X.take(index, 2))
    same(run(F.triu, X, diagonal=1), np.triu(X, 1))
    same(run(F.tril, X, diagonal=-1), np.tril(X, -1))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad(mode: str) -> None:
    widths = ((0, 1), (2, 0), (1, 2))
    more: dict[str, Any] = {"constant_values": 9} if mode == "constant" else {}
    same(run(F.pad, X, widths=widths, mode=mode, value=9.0), np.pad(X, widths, mode, **more))
    cut = ((0, 0), (-1, 0), (1, -2))
    same(run(F.pad, X, widths=cut), np.pad(X[:, 1:, :2], ((0, 0), (0, 0), (1, 0))))


def test_blocks_become_channels_and_back() -> None:
    x = floats(2, 8, 3, 4)
    for order, perm in (("CRD", (0, 1, 4, 2, 5, 3)), ("DCR", (0, 3, 4, 1, 5, 2))):
        parts = (2, 2, 2, 2, 3, 4)
        want = x.reshape(parts).transpose(perm).reshape(2, 2, 6, 8)
        same(run(F.depth_to_space, x, block=2, order=order), want)
        same(run(F.space_to_depth, want, block=2, order=order), x)


Reduction = Callable[..., np.ndarray]
REDUCTIONS: dict[Callable[..., Tensor], Reduction] = {
    F.sum: np.sum,
    F.prod: np.prod,
    F.mean: np.mean,
    F.amax: np.max,
    F.amin: np.min,
    F.l1_norm: lambda x, **k: np.sum(np.abs(x), **k),
    F.l2_norm: lambda x, **k: np.sqrt(np.sum(x * x, **k)),
    F.sum_of_squares: lambda x, **k: np.sum(x * x, **k),
    F.log_sum: lambda x, **k: np.log(np.sum(x, **k)),
    F.logsumexp: lambda x, **k: np.log(np.sum(np.exp(x), **k)),
}


@pytest.mark.parametrize("function", REDUCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("axes", [None, 1, (0, -1), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(function: Callable[..., Tensor], axes: Any, keepdims: bool) -> None:
    x = np.abs(X) + 1
    want = REDUCTIONS[function](x, axis=axes, keepdims=keepdims)
    same(run(function, x, axes=axes, keepdims=keepdims), np.asarray(want, np.float32))


def test_reductions_of_no_axes_and_of_nothing() -> None:
    same(run(F.sum, X, axes=()), X)
    same(run(F.l1_norm, X, axes=()), np.abs(X))
    same(run(F.logsumexp, X, axes=()), X)
    empty = floats(2, 0)
    same(run(F.sum, empty, axes=1), np.zeros(2, np.float32))
    same(run(F.amax, empty, axes=1), np.full(2, -np.inf, np.float32))
    same(run(F.amax, X > 0, axes=1), (X > 0).any(1))
    same(run(F.mean, integers(3, 5), axes=1), np.trunc(integers(3, 5).sum(1) / 5).astype(np.int64))
    big = np.array([[1e4, 1e4], [-np.inf, -np.inf]], np.float32)
    same(run(F.logsumexp, big, axes=1), np.array([1e4 + np.log(2), -np.inf], np.float32))


def test_positions_of_extremes_and_softmax() -> None:
    x = integers(4, 9).astype(np.float32)
    same(run(F.argmax, x, axis=1), x.argmax(1))
    same(run(F.argmin, x, axis=0, keepdims=True), x.argmin(0)[None])
    same(run(F.argmax, x, axis=1, last=True), 8 - x[:, ::-1].argmax(1))
    same(run(F.hardmax, x, axis=1), (np.arange(x.shape[1]) == x.argmax(1)[:, None]).astype(x.dtype))
    e = np.exp(X - X.max(1, keepdims=True))
    same(run(F.softmax, X, axis=1), e / e.sum(1, keepdims=True))
    same(run(F.log_softmax, X, axis=1), np.log(e / e.sum(1, keepdims=True)))


def test_arguments_are_checked() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(f32, (2, 3, 4)))
    calls: list[tuple[str, Callable[[], object]]] = [
        ("cannot take shape", lambda: F.reshape(b, x, (5, -1))),
        ("cannot take shape", lambda: F.reshape(b, x, (-1, -1))),
        ("cannot take shape", lambda: F.reshape(b, x, (5, 5))),
        ("no permutation", lambda: F.transpose(b, x, (0, 0, 1))),
        ("not all 1 long", lambda: F.squeeze(b, x, 0)),
        ("repeat", lambda: F.unsqueeze(b, x, (0, 0))),
        ("does not exist", lambda: F.unsqueeze(b, x, 7)),
        ("lies behind", lambda: F.flatten(b, x, 2, 1)),
        ("do not fit", lambda: F.tile(b, x, (2,))),
        ("no inputs", lambda: F.concat(b, [])),
        ("not of one type", lambda: F.stack(b, [x, F.reshape(b, x, (24,))])),
        ("does not broadcast|do not broadcast", lambda: F.broadcast_to(b, x, (2, 3, 5))),
        ("step of 0", lambda: F.slice(b, x, (0,), (1,), (0,), (0,))),
        ("equally many", lambda: F.slice(b, x, (0,), (1, 2))),
        ("leaves the extent", lambda: F.narrow(b, x, 0, 1, 2)),
        ("index 3 leaves axis 1", lambda: F.select(b, x, 1, 3)),
        ("do not split", lambda: F.split(b, x, (1, 1), 1)),
        ("leaves axis", lambda: F.take(b, x, [0, 3], 1)),
        ("unknown padding mode", lambda: F.pad(b, x, ((0, 0),) * 3, "mirror")),
        ("cut more", lambda: F.pad(b, x, ((0, 0), (-2, -2), (0, 0)))),
        ("must have rank 4", lambda: F.depth_to_space(b, x, 2)),
        ("does not exist", lambda: F.sum(b, x, 3)),
        ("does not exist", lambda: F.softmax(b, x, 3)),
        ("no axis", lambda: F.argmax(b, F.sum(b, x), 0)),
        ("more than", lambda: F.broadcast_to(b, x, (1 << 30, 2, 3, 4))),
    ]
    for says, call in calls:
        with pytest.raises(ModelError, match=says):
            call()


# --- symbolic extents -----------------------------------------------------------------------

N, T, H = (extent_of(Symbol(name, 1, 8)) for name in ("n", "t", "h"))


def shape_of(function: Callable[..., Tensor], *shape: Extent, **more: Any) -> tuple[Extent, ...]:
    b = GraphBuilder("open")
    x = b.input("x", TensorType(f32, shape))
    return tuple(function(b, x, **more).shape)


def test_open_batches_and_lengths() -> None:
    assert shape_of(F.relu, N, T) == (N, T)
    assert shape_of(F.reshape, N, T, 6, shape=(N, -1, 2)) == (N, T * 3, 2)
    assert shape_of(F.reshape, N, T, 6, shape=(N * T, 6)) == (N * T, 6)
    assert shape_of(F.flatten, N, T, 6, start_dim=1) == (N, T * 6)
    assert shape_of(F.transpose, N, T, 6) == (6, T, N)
    assert shape_of(F.unsqueeze, N, T, axes=1) == (N, 1, T)
    assert shape_of(F.tile, N, T, repeats=(1, 2)) == (N, T * 2)
    assert shape_of(F.sum, N, T, 6, axes=1, keepdims=True) == (N, 1, 6)
    assert shape_of(F.mean, N, T, 6, axes=1) == (N, 6)
    assert shape_of(F.instance_norm, N, 3, T) == (N, 3, T)
    assert shape_of(F.softmax, N, T) == (N, T)
    assert shape_of(F.layer_norm, N, T, 6) == (N, T, 6)
    assert shape_of(F.narrow, N, T, axis=1, start=0, length=T) == (N, T)
    assert shape_of(F.select, N, T, 6, axis=1, index=0) == (N, 6)
    assert shape_of(F.slice, N, T, 6, starts=(0, 1), ends=(99, 3), axes=(2, 2))[:2] == (N, T)
    assert shape_of(F.slice, N, T, starts=(0,), ends=(-1,), axes=(1,)) == (N, T - 1)
    assert shape_of(F.take, N, T, 6, indices=[0, 2, 4], axis=2) == (N, T, 3)
    assert shape_of(F.take, N, T, 6, indices=0, axis=1) == (N, 6)
    assert shape_of(F.pad, N, T, widths=((0, 0), (1, 2))) == (N, T + 3)
    assert shape_of(lambda b, x: F.concat(b, [x, x], 1), N, T) == (N, T * 2)
    assert shape_of(lambda b, x: F.einsum(b, "nti,nsi->nts", x, x), N, T, 6) == (N, T, T)
    assert shape_of(lambda b, x: F.linear(b, x, b.constant(floats(3, 6))), N, T, 6) == (N, T, 3)


def test_open_images() -> None:
    def conv(b: GraphBuilder, x: Tensor, **more: Any) -> Tensor:
        return F.conv(b, x, b.constant(floats(5, 3, 3, 3)), **more)

    assert shape_of(conv, N, 3, H, 8, padding=1) == (N, 5, H, 8)
    assert shape_of(conv, N, 3, H * 2, 8, padding=1, stride=2) == (N, 5, H, 4)
    assert shape_of(conv, N, 3, H * 2, 8, padding="same", stride=2) == (N, 5, H, 4)
    assert shape_of(F.max_pool, N, 3, H * 2, 8, kernel_size=2) == (N, 3, H, 4)
    assert shape_of(F.global_avg_pool, N, 3, 8, 8) == (N, 3, 1, 1)
    assert shape_of(F.depth_to_space, N, 8, H, 4, block=2) == (N, 2, H * 2, 8)
    assert shape_of(F.space_to_depth, N, 2, H * 2, 8, block=2) == (N, 8, H, 4)
    assert shape_of(F.resize, N, 3, 4, 4, scales=(1, 1, 2, 2)) == (N, 3, 8, 8)


def test_what_needs_known_extents_says_so() -> None:
    def positions(b: GraphBuilder, x: Tensor) -> Tensor:
        return F.max_pool_with_indices(b, x, 2)[1]

    with pytest.raises(UndecidedExtent, match="not decided"):
        shape_of(positions, N, 3, H, H)


def test_positions_in_open_axes() -> None:
    """Functions that count along an axis compute their numbers where its extent is open."""
    cases = (
        (lambda b, x: F.triu(b, x, diagonal=1), lambda x: np.triu(x, 1)),
        (lambda b, x: F.tril(b, x, diagonal=-1), lambda x: np.tril(x, -1)),
        (lambda b, x: F.slice(b, x, [-1], [-(1 << 40)], [1], [-1]), lambda x: x[:, ::-1]),
        (lambda b, x: F.argmax(b, x, axis=1), lambda x: x.argmax(1)),
        (lambda b, x: F.argmin(b, x, axis=0, last=True), lambda x: len(x) - 1 - x[::-1].argmin(0)),
        (lambda b, x: F.arange(b, 1, x.shape[0] + x.shape[1], 2), lambda x: np.arange(1, sum(x.shape), 2)),
        (lambda b, x: F.arange(b, x.shape[0], -3, -2), lambda x: np.arange(len(x), -3, -2)),
        (lambda b, x: F.eye(b, *x.shape, 2), lambda x: np.eye(*x.shape, 2, np.float32)),
    )  # fmt: skip
    for function, want in cases:
        b = GraphBuilder("positions")
        x = b.input("x", TensorType(f32, (H, T)))
        graph = b.graph({"y": function(b, x)})  # type: ignore[no-untyped-call]
        for size in ((1, 1), (4, 7), (9, 3)):
            data = floats(*size)
            same(interpreted(graph, {"x": data}), want(data))  # type: ignore[no-untyped-call]
