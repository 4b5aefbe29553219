"""INT8 builds written as standard Q/DQ models: ONNX Runtime agrees with the engine, and a build of the written model
is the same engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from camshaft.config import BuildConfig
from camshaft.exporting import exported
from camshaft.frontends.onnx.standard import standard_onnx
from camshaft.ir.graph import Graph
from camshaft.passes.standard.form import standard_form
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from foreign_models import runtime_results
from graph_checks import feeds
from small_nets import NETS

QUICK = {"optimization_level": 1, "threads": 1}
Arrays = Mapping[str, np.ndarray]


def source_of(graph: Graph) -> ModelProto:
    return standard_onnx(standard_form(graph))


def quantized(
    source: ModelProto | bytes, batches: list[Arrays], **options: object
) -> tuple[BuildSession, Engine]:
    config = BuildConfig.of(None, {"precision": {"int8"}, **QUICK, **options})
    session = BuildSession(source, config, batches)
    return session, session.run()


def rebuilt(model: ModelProto) -> tuple[BuildSession, Engine]:
    session = BuildSession(model, BuildConfig.of(None, {"precision": {"int8"}, **QUICK}))
    return session, session.run()


def count(model: ModelProto, op_type: str) -> int:
    return sum(n.op_type == op_type for n in model.graph.node)


def agree(
    source: ModelProto | bytes, batches: list[Arrays], quanta: float = 1.5, **options: object
) -> ModelProto:
    """Assert that engine, written model and engine of the written model agree; return the written model."""
    session, engine = quantized(source, batches, **options)
    model = exported(session)
    onnx.checker.check_model(model, full_check=True)
    assert count(model, "QuantizeLinear") and count(model, "DequantizeLinear")
    again, second = rebuilt(model)
    assert again.final is not None and session.final is not None
    steps = [
        sorted((n.op.name, str(n.outputs[0].type)) for n in s.final.nodes) for s in (session, again)
    ]
    assert steps[0] == steps[1]
    for arrays in batches:
        got, want = second(arrays), engine(arrays)
        assert {k: v.tobytes() for k, v in got.items()} == {k: v.tobytes() for k, v in want.items()}
        theirs = runtime_results(model, dict(arrays))
        for name, there in zip(want, theirs, strict=True):
            near(want[name], there, quanta)
    return model


def near(ours: np.ndarray, theirs: np.ndarray, quanta: float) -> None:
    """Within so many 255ths of the range: where sums are added in another order, a value that lies on the edge of two
    levels may get the other one."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    spread = float(ours.max() - ours.min()) or 1.0
    assert np.abs(ours - theirs).max() <= quanta * spread / 255


def batches_of(graph: Graph, how_many: int = 3) -> list[Arrays]:
    return [feeds(graph, seed) for seed in range(how_many)]


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.__name__)
def test_small_nets(net: Callable[[], Graph]) -> None:
    graph = net()
    agree(source_of(graph), batches_of(graph), quanta=3)
