"""INT8 builds written as standard Q/DQ models: ONNX Runtime agrees with the engine, and a build of the written model
is the same engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from camshaft.config import BuildConfig
from camshaft.errors import BuildError, ConfigError
from camshaft.exporting import exported
from camshaft.frontends.onnx import import_model
from camshaft.frontends.onnx.standard import standard_onnx
from camshaft.ir.graph import Graph
from camshaft.ops import ATTENTION
from camshaft.passes.pipeline import optimize
from camshaft.passes.standard.form import standard_form
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from foreign_models import runtime_results
from graph_checks import feeds
from onnx_models import encoder_layer
from script_models import text_model
from small_nets import NETS, Net, deconvolution
from thinning import every_second

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
    source: ModelProto | bytes,
    batches: list[Arrays],
    quanta: float,
    *,
    same_steps: bool = True,
    **options: object,
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
    assert steps[0] == steps[1] or not same_steps
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


@every_second(("net", NETS))
def test_small_nets(net: Callable[[], Graph]) -> None:
    graph = net()
    interleaves = net is deconvolution  # which comes back as a concatenation, transposed
    agree(source_of(graph), batches_of(graph), quanta=3, same_steps=not interleaves)


def gated() -> Graph:
    """Depthwise and grouped convolutions, a hard swish, a gate, a resize, and what is added and joined."""
    n = Net("gated", 7)
    x = n.relu6(n.conv(n.input((2, 4, 10, 12)), 8, 3, pads=(1, 1, 1, 1), bias=True))
    y = n.swish(n.conv(x, 8, 3, pads=(1, 1, 1, 1), groups=8, bias=True))
    gate = n.sigmoid(n.conv(n.relu(n.conv(n.mean(y), 4, bias=True)), 8, bias=True))
    y = n.add(n.conv(n.mul(gate, y), 8, groups=2), x)
    y = n.concat(n.upsample(n.pool(y, "max", 2, 2)), n.pool(y, "avg", 3, 1, 1))
    return n.done(n.conv(n.relu(n.conv(y, 6, bias=True)), 3))


def test_a_net_of_gates_joins_and_resizes() -> None:
    graph = gated()
    model = agree(source_of(graph), batches_of(graph), quanta=4)
    assert count(model, "Resize") == 1 and not count(model, "Transpose")


def test_weights_are_integers_by_channel_and_activations_bytes() -> None:
    graph = gated()
    model = agree(source_of(graph), batches_of(graph), quanta=4)
    stored = {t.name: t for t in model.graph.initializer}
    made = {n.output[0]: n for n in model.graph.node}
    convs = [n for n in model.graph.node if n.op_type == "Conv"]
    quantized_ones = [made[n.input[1]] for n in convs if n.input[1] in made]
    assert len(quantized_ones) == len(convs) == 7
    for dequantize in quantized_ones:
        w, scale = (stored[i] for i in dequantize.input[:2])
        assert w.data_type == onnx.TensorProto.INT8 and list(scale.dims) == [w.dims[0]]
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert stored[node.input[2]].data_type == onnx.TensorProto.UINT8


def test_biases_are_those_that_the_engine_adds() -> None:
    """Corrected ones, at their places in Conv."""
    n = Net("bias")
    x = n.relu(n.conv(n.input((1, 8, 9, 9)), 8, 3, bias=True))
    graph = n.done(n.conv(n.relu(n.conv(x, 8, 3, bias=True)), 4))
    source, batches = source_of(graph), batches_of(graph)
    biases = []
    for correction in (True, False):
        model = agree(source, batches, quanta=3, bias_correction=correction)
        named = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        biases.append(
            [
                named[c.input[2]]
                for c in model.graph.node
                if len(c.input) == 3 and c.op_type == "Conv"
            ]
        )
    corrected, plain = biases
    assert len(plain) == 2 and len(corrected) == 3  # the last convolution has none in the model
    assert not any(np.array_equal(a, b) for a, b in zip(corrected, plain, strict=False))


def test_a_transformer_with_fixed_ranges() -> None:
    source = encoder_layer()
    graph = import_model(source).graphs[0]
    convs = [n.name for n in optimize(graph).nodes if n.op.name == "conv"]
    layers = {n.split(" + ")[0]: "int8" for n in convs}
    quantization = quantized_by_ranges(source, batches_of(graph), layers)
    model = exported(quantization)
    assert count(model, "QuantizeLinear") and count(model, "Softmax") == 1
    _, engine = rebuilt(model)
    arrays = batches_of(graph)[0]
    theirs = runtime_results(model, dict(arrays))
    for ours, there in zip(engine(arrays).values(), theirs, strict=True):
        near(ours, there, 3)


def quantized_by_ranges(
    source: bytes, batches: list[Arrays], layers: Mapping[str, str]
) -> BuildSession:
    """A session whose graph with fixed ranges is kept, whichever way of INT8 is taken."""
    config = BuildConfig.of(None, {"precision": {"int8"}, **QUICK, "layer_precision": layers})
    session = BuildSession(source, config, batches)
    session.run()
    optimized = optimize(import_model(source).graphs[0])
    quantization = ImplicitQuantization(optimized, layers, True, True, True)
    quantization.set_by_hand(dict.fromkeys(optimized.tensors, (-4.0, 4.0)))
    session.quantized, _ = quantization.quantized()
    return session


def test_rows_quantized_as_they_run_are_integer_products() -> None:
    source = encoder_layer(tokens=8)  # attention of so few queries stays float
    graph = import_model(source).graphs[0]
    config = BuildConfig.of(None, {"precision": {"int8"}, **QUICK})
    session = BuildSession(source, config)
    engine = session.run()
    model = exported(session)
    assert count(model, "MatMulInteger") and not count(model, "QuantizeLinear")
    for arrays in batches_of(graph):
        theirs = runtime_results(model, dict(arrays))
        for ours, there in zip(engine(arrays).values(), theirs, strict=True):
            near(ours, there, 3)


def test_a_float_build_is_a_float_model() -> None:
    graph = gated()
    source = source_of(graph)
    session = BuildSession(source, BuildConfig.of(None, QUICK))
    engine = session.run()
    model = exported(session)
    assert not count(model, "QuantizeLinear")
    arrays = feeds(graph)
    (ours,) = engine(arrays).values()
    (theirs,) = runtime_results(model, arrays)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(np.abs(ours).max()))


def test_a_model_that_is_quantized_already_is_written_again() -> None:
    graph = gated()
    first = agree(source_of(graph), batches_of(graph), quanta=4)
    session, _ = rebuilt(first)
    second = exported(session)
    for op_type in ("QuantizeLinear", "DequantizeLinear", "Conv"):
        assert count(first, op_type) == count(second, op_type)


def test_attention_of_bytes_is_of_standard_operators() -> None:
    wide = encoder_layer(width=128)
    session = BuildSession(wide, BuildConfig.of(None, {"precision": {"int8"}, **QUICK}))
    engine = session.run()
    assert session.final is not None
    assert [n.attrs["products"] for n in session.final.nodes if n.op is ATTENTION] == ["i8"]
    model = exported(session)
    assert count(model, "Softmax") == 1
    arrays = batches_of(import_model(wide).graphs[0])[0]
    theirs = runtime_results(model, dict(arrays))
    for ours, there in zip(engine(arrays).values(), theirs, strict=True):
        near(ours, there, 3)


def test_nothing_is_exported_before_the_build_or_of_several_graphs() -> None:
    session = BuildSession(source_of(gated()), BuildConfig.of(None, QUICK))
    with pytest.raises(BuildError, match="before run"):
        exported(session)
    text = """
        (float[3] x, bool c) => (float[3] y) {
            y = If (c) <then_branch = a () => (float[3] p) { p = Relu (x) },
                        else_branch = b () => (float[3] q) { q = Neg (x) }>
        }"""
    branches = BuildSession(text_model(text), BuildConfig.of(None, QUICK))
    branches.run()
    with pytest.raises(ConfigError, match="several graphs"):
        exported(branches)
