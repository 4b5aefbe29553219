"""Graphs whose tensors are half floats: fused, built, run, saved with their weights as halves, loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import camshaft
from camshaft.backends.cpu.target import AVX512_BF16, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import DType, TensorType, bf16, f16, f32
from camshaft.ops import CONV, MATMUL, POINTWISE, RESHAPE
from camshaft.passes.pipeline import optimize
from camshaft.runtime.file.engine_file import read_engine_file
from random_builds import built, same_bits_however_run
from targets import PLAIN

X = E.inp(0)
RELU = E.maximum(X, E.const(0.0))
RNG = np.random.default_rng(7)

each_target = pytest.mark.parametrize("target", [AVX512_BF16, *PLAIN], ids=lambda t: t.name)
each_half = pytest.mark.parametrize("half", [bf16, f16], ids=str)


def weights(b: GraphBuilder, half: DType, *shape: int) -> Tensor:
    scale = np.sqrt(np.prod(shape[1:]))
    return b.constant((RNG.standard_normal(shape) / scale).astype(half.numpy))


def cast(b: GraphBuilder, x: Tensor, dtype: DType) -> Tensor:
    return b.emit(POINTWISE, [x], {"expr": E.cast(X, dtype)})


def network(half: DType, activations: bool) -> Graph:
    """Convolutions, a depthwise one and a product, each rounded to halves behind a ReLU if `activations`."""
    b = GraphBuilder("halves")

    def layer(x: Tensor, w: Tensor, **attrs: object) -> Tensor:
        y = b.emit(CONV, [cast(b, x, half) if activations else x, w], {"layout": "NCHW", **attrs})
        return b.emit(POINTWISE, [y], {"expr": RELU})

    x = b.input("x", TensorType(f32, (2, 5, 9, 7)))
    y = layer(x, weights(b, half, 24, 5, 3, 3), pads=(1, 1, 1, 1))
    y = layer(y, weights(b, half, 24, 1, 3, 3), groups=24, strides=(2, 2), pads=(1, 1, 1, 1))
    y = layer(y, weights(b, half, 40, 24, 1, 1))
    flat = b.emit(RESHAPE, [y], {"shape": (2, 40 * 5 * 4)})
    flat = cast(b, flat, half) if activations else flat
    z = b.emit(MATMUL, [flat, weights(b, half, 40 * 5 * 4, 33)])
    return b.graph({"y": z})


@each_target
@each_half
@pytest.mark.parametrize("activations", [True, False], ids=["all", "weights"])
@pytest.mark.parametrize("level", [1, 2])
def test_graphs_of_halves(
    target: CpuTarget, half: DType, activations: bool, level: int, tmp_path: Path
) -> None:
    graph = optimize(network(half, activations))
    engine = built(graph, target, level, 2)
    assert all(note.tactic for note in engine.notes)
    x = {"x": RNG.standard_normal((2, 5, 9, 7)).astype(np.float32)}
    got = same_bits_however_run(engine, x)["y"]
    (want,) = interpret(graph, x).values()
    error = (
        4 * half.step if activations else 1e-5
    )  # a tie rounded otherwise, some layers further on
    np.testing.assert_allclose(got, want, rtol=error, atol=error * np.abs(want).max())
    engine.save(tmp_path / "half.engine")
    stored = read_engine_file(tmp_path / "half.engine").constants.values()
    large = [a for a in stored if a.size > 40]
    assert large and all(a.dtype == half.numpy for a in large)
    np.testing.assert_array_equal(camshaft.load(tmp_path / "half.engine")(x)["y"], got)


@each_half
def test_rounding_to_halves_is_no_step_of_its_own(half: DType) -> None:
    """It ends up in the epilogue of what made the tensor; only the model's input is cast alone."""
    graph = optimize(network(half, True))
    alone = [n for n in graph.nodes if n.op is POINTWISE]
    assert len(alone) <= 1, [n.output.name for n in alone]
    assert sum(n.output.type.dtype == half for n in graph.nodes) >= 3
