"""TensorRT's plugins in Python: both generations, the registry, ONNX nodes, plans."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import camshaft.tensorrt as trt
from trt_engines import RNG, Workshop, run_v3
from trt_networks import Log
from trt_plugins import (
    CircPadV2,
    CircPadV2Creator,
    CircPadV3,
    CircPadV3Creator,
    NonZeroV3,
    padded,
)

PADS = np.array([1, 2, 0, 1], np.int32)
REGISTRY = trt.get_plugin_registry()


@pytest.fixture
def creators() -> Iterator[None]:
    made = CircPadV2Creator(), CircPadV3Creator()
    for creator in made:
        assert REGISTRY.register_creator(creator, "")
        assert not REGISTRY.register_creator(creator, "")
    yield
    for creator in made:
        assert REGISTRY.deregister_creator(creator)


def engine_of(plugin: Any, shape: tuple[int, ...] = (-1, 3, 4)) -> tuple[Workshop, Any]:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, shape)
    if isinstance(plugin, trt.IPluginV2):
        layer = shop.network.add_plugin_v2([x], plugin)
    else:
        layer = shop.network.add_plugin_v3([x], [], plugin)
    assert layer is not None, shop.log.errors
    shop.output(layer, "y")
    if -1 in shape:
        shop.profile(*((n, 3, 4) for n in (1, 2, 5)))
    return shop, shop.engine()


def as_plugin_layer(shop: Workshop) -> Any:
    """The first layer, as scripts look at it."""
    layer: Any = shop.network.get_layer(0)
    second = layer.type == trt.LayerType.PLUGIN_V2
    layer.__class__ = trt.IPluginV2Layer if second else trt.IPluginV3Layer
    return layer


@pytest.mark.parametrize("plugin", [CircPadV2(PADS), CircPadV3(PADS)], ids=["v2", "v3"])
def test_a_plugin_layer_has_shapes_and_runs_at_any(plugin: Any) -> None:
    shop, engine = engine_of(plugin)
    layer = as_plugin_layer(shop)
    assert layer.type in (trt.LayerType.PLUGIN_V2, trt.LayerType.PLUGIN_V3)
    assert layer.plugin is plugin
    assert tuple(layer.get_output(0).shape) == (-1, 4, 7)
    context = engine.create_execution_context()
    for rows in (2, 5):
        x = RNG.standard_normal((rows, 3, 4)).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(run_v3(context, {"x": x})["y"], padded(x, PADS))


@pytest.mark.parametrize("kind", ["CircPadV2", "CircPadV3"])
def test_onnx_nodes_are_looked_up_in_the_registry(kind: str, creators: None) -> None:
    node = helper.make_node(kind, ["x"], ["y"], pads=PADS.tolist(), plugin_version="1")
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (2, 3, 4)), ("y", None))]  # fmt: skip
    graph = helper.make_graph([node], "g", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    shop = Workshop()
    parser = trt.OnnxParser(shop.network, shop.log)
    data = model.SerializeToString()
    assert parser.supports_model(data)[0]
    assert parser.parse(data), shop.log.errors
    assert isinstance(as_plugin_layer(shop).plugin, CircPadV2 | CircPadV3)
    x = RNG.standard_normal((2, 3, 4)).astype(np.float16).astype(np.float32)
    context = shop.engine().create_execution_context()
    np.testing.assert_array_equal(run_v3(context, {"x": x})["y"], padded(x, PADS))


def test_an_unregistered_type_is_an_unsupported_node() -> None:
    node = helper.make_node("NobodysPlugin", ["x"], ["y"])
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, (2,))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([node], "g", [info], [out]))
    shop = Workshop()
    parser = trt.OnnxParser(shop.network, shop.log)
    assert not parser.parse(model.SerializeToString())
    assert parser.get_error(0).code() == trt.ErrorCode.UNSUPPORTED_NODE


@pytest.mark.parametrize("kind", ["V2", "V3"])
def test_plans_run_in_other_processes_that_have_the_creator(kind: str, tmp_path: Path) -> None:
    shop, _ = engine_of({"V2": CircPadV2, "V3": CircPadV3}[kind](PADS), (2, 3, 4))
    plan = tmp_path / "plan"
    plan.write_bytes(bytes(shop.plan()))
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
import numpy as np
import camshaft.tensorrt as trt
from trt_engines import run_v3
from trt_plugins import CircPad{kind}Creator, padded
if len(sys.argv) > 2:
    trt.get_plugin_registry().register_creator(CircPad{kind}Creator(), "")
engine = trt.Runtime(trt.Logger()).deserialize_cuda_engine(open(sys.argv[1], "rb").read())
if engine is None:
    sys.exit(3)
x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
y = run_v3(engine.create_execution_context(), {{"x": x}})["y"]
assert np.array_equal(y, padded(x, [1, 2, 0, 1]))
"""
    command = [sys.executable, "-c", script, str(plan)]
    without = subprocess.run(command, capture_output=True, text=True)
    assert without.returncode == 3, without.stderr
    assert f"'CircPad{kind}'" in without.stdout and "register it" in without.stdout
    subprocess.run([*command, "registered"], check=True)


def test_sizes_that_a_plugin_finds_when_it_runs() -> None:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (4, 5))
    layer = shop.network.add_plugin_v3([x], [], NonZeroV3())
    assert tuple(layer.get_output(0).shape) == (-1, 2)
    shop.output(layer, "y")
    layer.get_output(1).name = "count"
    shop.network.mark_output(layer.get_output(1))
    array = (RNG.random((4, 5)) > 0.5).astype(np.float32)

    class Outputs(trt.IOutputAllocator):
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.shapes: dict[str, Any] = {}
            self.memory: dict[str, np.ndarray] = {}

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:
            self.memory[name] = np.zeros(max(1, size), np.uint8)
            return int(self.memory[name].ctypes.data)

        def notify_shape(self, name: str, shape: Any) -> None:
            self.shapes[name] = tuple(shape)

    outputs = Outputs()
    context = shop.engine().create_execution_context()
    context.set_tensor_address("x", array.ctypes.data)
    for name in ("y", "count"):
        context.set_output_allocator(name, outputs)
    assert context.execute_async_v3(0), shop.log.errors
    want = np.argwhere(array)
    assert outputs.shapes["y"] == want.shape
    got = outputs.memory["y"][: want.size * 4].view(np.int32).reshape(want.shape)
    np.testing.assert_array_equal(got, want)


def test_what_a_plugin_raises_is_logged() -> None:
    class Failing(CircPadV2):
        def enqueue(self, *args: Any) -> int:
            raise RuntimeError("no such kernel")

    shop, engine = engine_of(Failing(PADS), (2, 3, 4))
    x = np.zeros((2, 3, 4), np.float32)
    context = engine.create_execution_context()
    context.set_tensor_address("x", x.ctypes.data)
    context.set_tensor_address("y", np.zeros(100, np.float32).ctypes.data)
    assert not context.execute_async_v3(0)
    assert "no such kernel" in shop.log.errors[-1]

    class Picky(CircPadV2):
        def supports_format_combination(self, *args: Any) -> bool:
            return False

    other = Workshop()
    layer = other.network.add_plugin_v2(
        [other.network.add_input("x", trt.float32, (2, 3))], Picky(PADS)
    )
    other.output(layer, "y")
    assert other.plan() is None
    assert "supports_format_combination" in other.log.errors[-1]


def test_fields_keep_elements_by_their_type() -> None:
    field = trt.PluginField("a", b"\x01\x02", trt.PluginFieldType.CHAR)
    assert field.data.tolist() == [1, 2] and field.data.dtype == np.int8
    assert trt.PluginField("b").data.size == 0
    ints = trt.PluginField("c", np.array([1, 2]), trt.PluginFieldType.INT32)
    assert ints.data.dtype == np.int32 and ints.size == 2
    fields = trt.PluginFieldCollection([field])
    fields.append(ints)
    fields.insert(0, trt.PluginField("z"))
    assert [f.name for f in fields] == ["z", "a", "c"] and len(fields) == 3
    assert fields.pop().name == "c"
    with pytest.raises(TypeError):
        fields.append("a")


def test_the_registry_finds_creators_and_shares_resources(creators: None) -> None:
    assert REGISTRY.get_creator("CircPadV3", "1", "").name == "CircPadV3"
    assert REGISTRY.get_plugin_creator("CircPadV3", "1", "") is None
    assert REGISTRY.get_plugin_creator("CircPadV2", "1").name == "CircPadV2"
    assert REGISTRY.get_creator("CircPadV2", "2", "") is None
    names = {c.name for c in REGISTRY.plugin_creator_list}
    assert "CircPadV2" in names and "CircPadV3" not in names
    assert {"CircPadV2", "CircPadV3"} <= {c.name for c in REGISTRY.all_creators}

    class Resource(trt.IPluginResource):
        released = 0

        def clone(self) -> Any:
            return Resource()

        def release(self) -> None:
            Resource.released += 1

    first = REGISTRY.acquire_plugin_resource("key", Resource())
    assert REGISTRY.acquire_plugin_resource("key", Resource()) is first
    assert REGISTRY.release_plugin_resource("key") and not Resource.released
    assert REGISTRY.release_plugin_resource("key") and Resource.released == 1
    assert not REGISTRY.release_plugin_resource("key")
    assert trt.init_libnvinfer_plugins(Log(), "")
    assert onnx.__version__
