"""Plugins of TensorRT's API in tests: circular padding in both generations, and nonzero elements."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import camshaft.tensorrt as trt
from camshaft.tensorrt import memory

SUM = trt.DimensionOperation.SUM


def view(address: int, desc: Any) -> np.ndarray:
    """Memory at an address, as a plugin sees it."""
    found: np.ndarray = memory.as_array(address, tuple(desc.dims), trt.nptype(desc.type), "test")
    return found


def padded_dims(pads: Any, dims: Any, builder: Any) -> Any:
    made = trt.DimsExprs(dims)
    for i in range(np.size(pads) // 2):
        more = builder.constant(int(pads[2 * i] + pads[2 * i + 1]))
        at = len(made) - i - 1
        made[at] = builder.operation(SUM, dims[at], more)
    return made


def padded(x: np.ndarray, pads: Any) -> np.ndarray:
    widths = [(0, 0)] * x.ndim
    for i in range(np.size(pads) // 2):
        widths[x.ndim - i - 1] = (int(pads[2 * i]), int(pads[2 * i + 1]))
    return np.pad(x, widths, "wrap")


class CircPadV2(trt.IPluginV2DynamicExt):
    def __init__(self, pads: Any = ()) -> None:
        trt.IPluginV2DynamicExt.__init__(self)
        self.pads = pads
        self.num_outputs = 1
        self.plugin_namespace, self.plugin_type, self.plugin_version = "", "CircPadV2", "1"
        self.shape: tuple[int, ...] = ()

    def get_output_datatype(self, index: int, input_types: Any) -> Any:
        return input_types[0]

    def get_output_dimensions(self, output_index: int, inputs: Any, expr_builder: Any) -> Any:
        return padded_dims(self.pads, inputs[0], expr_builder)

    def serialize(self) -> Any:
        return json.dumps([int(p) for p in self.pads])

    def configure_plugin(self, pos: Any, in_out: Any) -> None:
        self.shape = tuple(pos[0].desc.dims)

    def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:
        linear = in_out[pos].format == trt.TensorFormat.LINEAR
        kinds = (trt.float32, trt.float16)
        return linear and in_out[pos].type in kinds and in_out[0].type == in_out[pos].type

    def enqueue(
        self,
        input_desc: Any,
        output_desc: Any,
        inputs: Any,
        outputs: Any,
        workspace: int,
        stream: int,
    ) -> int:
        assert self.shape == tuple(input_desc[0].dims)
        view(outputs[0], output_desc[0])[...] = padded(view(inputs[0], input_desc[0]), self.pads)
        return 0

    def clone(self) -> Any:
        made = CircPadV2()
        made.__dict__.update(self.__dict__)
        return made


class CircPadV2Creator(trt.IPluginCreator):
    def __init__(self) -> None:
        trt.IPluginCreator.__init__(self)
        self.name, self.plugin_namespace, self.plugin_version = "CircPadV2", "", "1"
        field = trt.PluginField("pads", np.array([]), trt.PluginFieldType.INT32)
        self.field_names = trt.PluginFieldCollection([field])

    def create_plugin(self, name: str, field_collection: Any) -> Any:
        return CircPadV2(field_collection[0].data)

    def deserialize_plugin(self, name: str, serialized_plugin: bytes) -> Any:
        return CircPadV2(json.loads(serialized_plugin.decode()))


class CircPadV3(
    trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime
):
    def __init__(self, pads: Any = (), phase: Any = None) -> None:
        trt.IPluginV3.__init__(self)
        trt.IPluginV3OneCore.__init__(self)
        trt.IPluginV3OneBuild.__init__(self)
        trt.IPluginV3OneRuntime.__init__(self)
        self.pads, self.phase, self.tactic = pads, phase, 0
        self.num_outputs = 1
        self.plugin_name, self.plugin_version, self.plugin_namespace = "CircPadV3", "1", ""

    def get_capability_interface(self, type: Any) -> Any:
        return self

    def get_output_data_types(self, input_types: Any) -> Any:
        return [input_types[0]]

    def get_output_shapes(self, inputs: Any, shape_inputs: Any, expr_builder: Any) -> Any:
        return [padded_dims(self.pads, inputs[0], expr_builder)]

    def get_fields_to_serialize(self) -> Any:
        pads = np.asarray(self.pads, np.int32)
        return trt.PluginFieldCollection([trt.PluginField("pads", pads, trt.PluginFieldType.INT32)])

    def get_valid_tactics(self) -> Any:
        return [7, 8]

    def set_tactic(self, tactic: int) -> None:
        self.tactic = tactic

    def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:
        return bool(in_out[pos].desc.type == trt.float16)

    def on_shape_change(self, in_: Any, out: Any) -> None:
        self.shape = tuple(in_[0].dims)

    def enqueue(
        self,
        input_desc: Any,
        output_desc: Any,
        inputs: Any,
        outputs: Any,
        workspace: int,
        stream: int,
    ) -> None:
        assert self.tactic == 7 and self.shape == tuple(input_desc[0].dims)
        assert input_desc[0].type == trt.float16
        view(outputs[0], output_desc[0])[...] = padded(view(inputs[0], input_desc[0]), self.pads)

    def attach_to_context(self, resource_context: Any) -> Any:
        return self.clone()

    def clone(self) -> Any:
        made = CircPadV3()
        made.__dict__.update(self.__dict__)
        return made


class CircPadV3Creator(trt.IPluginCreatorV3One):
    def __init__(self) -> None:
        trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_namespace, self.plugin_version = "CircPadV3", "", "1"
        field = trt.PluginField("pads", np.array([]), trt.PluginFieldType.INT32)
        self.field_names = trt.PluginFieldCollection([field])

    def create_plugin(self, name: str, field_collection: Any, phase: Any) -> Any:
        return CircPadV3(field_collection[0].data, phase)


class NonZeroV3(CircPadV3):
    """Indices of the elements that are not 0, and how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.num_outputs, self.plugin_name = 2, "NonZeroV3"

    def get_output_data_types(self, input_types: Any) -> Any:
        return [trt.int32, trt.int64]

    def get_output_shapes(self, inputs: Any, shape_inputs: Any, expr_builder: Any) -> Any:
        upper = expr_builder.operation(trt.DimensionOperation.PROD, inputs[0][0], inputs[0][1])
        typical = expr_builder.operation(
            trt.DimensionOperation.FLOOR_DIV, upper, expr_builder.constant(2)
        )
        made = [trt.DimsExprs(2), trt.DimsExprs(0)]
        made[0][0] = expr_builder.declare_size_tensor(1, typical, upper)
        made[0][1] = expr_builder.constant(2)
        return made

    def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:
        return bool(in_out[pos].desc.type == (trt.float32, trt.int32, trt.int64)[pos])

    def enqueue(
        self,
        input_desc: Any,
        output_desc: Any,
        inputs: Any,
        outputs: Any,
        workspace: int,
        stream: int,
    ) -> None:
        found = np.argwhere(view(inputs[0], input_desc[0]))
        view(outputs[0], output_desc[0])[: len(found)] = found
        view(outputs[1], output_desc[1])[...] = len(found)

    def clone(self) -> Any:
        made = NonZeroV3()
        made.__dict__.update(self.__dict__)
        return made
