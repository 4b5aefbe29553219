"""`tensorrt.plugin`: plugins of decorated functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

import camshaft.tensorrt as trt
import camshaft.tensorrt.plugin as trtp
from camshaft.errors import ModelError
from camshaft.tensorrt.plugins.quick.definitions import definition_named
from camshaft.tensorrt.standins import FOLDER
from trt_engines import RNG, Workshop, run_v3

PADS = np.array([1, 2, 0, 1], np.int32)
SEEN: list[Any] = []


@trtp.register("test::circ_pad")
def circ_pad_desc(inp0: trtp.TensorDesc, pads: npt.NDArray[np.int32]) -> trtp.TensorDesc:
    made = inp0.like()
    for i in range(np.size(pads) // 2):
        made.shape_expr[inp0.ndim - i - 1] += int(pads[i * 2] + pads[i * 2 + 1])
    return made


@trtp.impl("test::circ_pad")
def circ_pad(inp0: Any, pads: Any, outputs: Any, stream: int, tactic: int) -> None:
    SEEN.append((inp0.dtype, tactic, inp0.data_ptr != 0, tuple(inp0.shape)))
    widths = [(0, 0)] * (inp0.ndim - 2) + [(pads[2], pads[3]), (pads[0], pads[1])]
    np.asarray(outputs[0])[...] = np.pad(np.asarray(inp0), widths, "wrap")


@trtp.register("test::add_")
def add_desc(inp0: trtp.TensorDesc, delta: int) -> trtp.TensorDesc:
    return inp0.aliased()


@trtp.impl("test::add_")
def add(inp0: Any, delta: int, outputs: Any, stream: int) -> None:
    assert inp0.data_ptr == outputs[0].data_ptr
    np.asarray(inp0)[...] += delta


@trtp.register("test::non_zero")
def non_zero_desc(inp0: trtp.TensorDesc) -> tuple[trtp.TensorDesc, trtp.TensorDesc]:
    upper = inp0.shape_expr[0] * inp0.shape_expr[1]
    size = trtp.size_tensor(upper // 2, upper)
    size.dtype = trt.int64
    return trtp.from_shape_expr((size.expr(), 2), dtype=trt.int32), size


@trtp.impl("test::non_zero")
def non_zero(inp0: Any, outputs: Any, stream: int) -> None:
    found = np.argwhere(np.asarray(inp0))
    np.asarray(outputs[0].aliased(found.shape))[...] = found
    np.asarray(outputs[1])[...] = len(found)


def network(shape: tuple[int, ...], use: Any) -> tuple[Workshop, Any]:
    shop = Workshop()
    layer = shop.network.add_plugin(use(shop.network.add_input("x", trt.float32, shape)))
    assert layer is not None, shop.log.errors
    shop.output(layer, "y")
    return shop, layer


def test_a_plugin_of_functions_runs_at_open_shapes() -> None:
    shop, layer = network((-1, 3, 4), lambda x: trtp.op.test.circ_pad(x, pads=PADS))
    assert tuple(layer.get_output(0).shape) == (-1, 4, 7)
    shop.profile((1, 3, 4), (2, 3, 4), (5, 3, 4))
    context = shop.engine().create_execution_context()
    for rows in (1, 5):
        x = RNG.standard_normal((rows, 3, 4)).astype(np.float32)
        want = np.pad(x, [(0, 0), (0, 1), (1, 2)], "wrap")
        np.testing.assert_array_equal(run_v3(context, {"x": x})["y"], want)
        assert SEEN[-1] == (trt.float32, 0, True, (rows, 3, 4))


def test_autotune_says_types_and_tactics() -> None:
    @trtp.autotune("test::circ_pad")
    def types(inp0: Any, outputs: Any) -> Any:
        assert tuple(inp0.shape) == (2, 3, 4) and tuple(outputs[0].shape) == (2, 4, 7)
        made = trtp.AutoTuneCombination()
        made.pos([0, 1], "FP16")
        made.tactics([3, 4])
        return [made]

    shop, _ = network((2, 3, 4), lambda x: trtp.op.test.circ_pad(x, pads=PADS))
    try:
        run_v3(shop.engine().create_execution_context(), {"x": np.ones((2, 3, 4), np.float32)})
    finally:
        definition_named("test::circ_pad").tune = None
    assert SEEN[-1][:2] == (trt.float16, 3)


def test_combinations_are_dependent_or_not() -> None:
    F, H = trt.float32, trt.float16
    both = trtp.AutoTuneCombination("FP32|FP16, FP32|FP16, INT8")
    assert both._combinations() == [(F, F, trt.int8), (H, H, trt.int8)]
    free = trtp.AutoTuneCombination("FP32*FP16, FP32*FP16", "LINEAR*HWC")
    assert sorted(map(str, free._combinations())) == sorted(
        map(str, [(F, F), (F, H), (H, F), (H, H)])
    )
    assert trtp.AutoTuneCombination("FP32, FP32", "HWC")._combinations() == []


def test_functions_that_compile_kernels_ahead_are_taken_and_not_called() -> None:
    @trtp.aot_impl("test::add_")
    def ahead(inp0: Any) -> tuple[bytes, bytes, trtp.KernelLaunchParams, trtp.SymExprs]:
        raise AssertionError("there is no GPU")

    shop, _ = network((4,), lambda x: trtp.op.test.add_(x, delta=2))
    got = run_v3(shop.engine().create_execution_context(), {"x": np.zeros(4, np.float32)})
    np.testing.assert_array_equal(got["y"], np.full(4, 2))
    size = trtp.ShapeExpr(7)
    assert (trtp.cdiv(size, 2).constant_value(), trtp.cdiv(7, 2)) == (4, 4)
    assert trtp.max(size, 9).constant_value() == 9 and trtp.min(3, size).constant_value() == 3
    assert (10 - size * 2 // 4).constant_value() == 7 and size < 8


def test_inputs_changed_in_place() -> None:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (4,))
    first = shop.network.add_plugin(trtp.op.test.add_(x, delta=2))
    second = shop.network.add_plugin(trtp.op.test.add_(first.get_output(0), delta=3))
    shop.output(second, "y")
    array = np.arange(4, dtype=np.float32)
    context = shop.engine().create_execution_context()
    context.set_tensor_address("x", array.ctypes.data)
    context.set_tensor_address("y", array.ctypes.data)
    assert context.execute_async_v3(0), shop.log.errors
    np.testing.assert_array_equal(array, np.arange(4) + 5)


def test_size_tensors_and_mistakes() -> None:
    shop, layer = network((3, 4), lambda x: trtp.op.test.non_zero(x))
    assert layer.num_outputs == 2 and tuple(layer.get_output(0).shape) == (-1, 2)
    assert layer.get_output(1).dtype == trt.int64
    assert shop.plan() is not None, shop.log.errors
    use = trtp.op.test.circ_pad(shop.network.get_input(0), pads=PADS)
    assert shop.network.add_plugin(use, aot=True) is None
    assert "CUDA kernel" in shop.log.errors[-1]
    with pytest.raises(AttributeError):
        trtp.op.test.nothing()
    with pytest.raises(ModelError, match="pads"):
        trtp.op.test.circ_pad(shop.network.get_input(0))


def test_onnx_nodes_are_plugins_of_functions() -> None:
    node = helper.make_node(
        "circ_pad", ["x"], ["y"], pads=PADS.tolist(), plugin_namespace="test", aot=False
    )
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 4))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph([node], "g", [info], [out]),
        opset_imports=[helper.make_opsetid("", 16)],
    )
    shop = Workshop()
    assert trt.OnnxParser(shop.network, shop.log).parse(model.SerializeToString()), shop.log.errors
    x = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    got = run_v3(shop.engine().create_execution_context(), {"x": x})["y"]
    np.testing.assert_array_equal(got, np.pad(x, [(0, 0), (0, 1), (1, 2)], "wrap"))


def test_the_standin_has_the_module(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(FOLDER)!r}]; import tensorrt.plugin as trtp;"
        "import camshaft.tensorrt.plugin as ours; assert trtp is ours and trtp.op"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_attributes_that_are_no_numbers_of_their_type_are_refused() -> None:
    @trtp.register("test::times")
    def desc(inp0: trtp.TensorDesc, k: int) -> trtp.TensorDesc:
        return inp0.like()

    definition = definition_named("test::times")
    assert definition.complete({"k": np.array([3], np.int32)}) == {"k": 3}
    for wrong in (2.5, "a"):
        with pytest.raises(ModelError, match="a number of type int is wanted"):
            definition.complete({"k": wrong})


def test_what_functions_raise_names_the_plugin() -> None:
    @trtp.register("test::fails")
    def describe(x: trtp.TensorDesc) -> trtp.TensorDesc:
        return x.like()

    @trtp.impl("test::fails")
    def compute(x: Any, outputs: Any, stream: int) -> None:
        raise OSError("no such device")

    shop = Workshop()
    layer = shop.network.add_plugin(
        trtp.op.test.fails(shop.network.add_input("x", trt.float32, (3,)))
    )
    shop.network.mark_output(layer.get_output(0))
    engine = shop.engine()
    context = engine.create_execution_context()
    with pytest.raises(
        ModelError, match="implementation of plugin 'test::fails' failed: OSError: no such"
    ):
        engine._engine({"x": np.ones(3, np.float32)})
    del context
