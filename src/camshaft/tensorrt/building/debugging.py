"""Tensors that debug listeners see, and conditions that must hold: outputs of the engine that are none of the network's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ModelProto, helper

from camshaft.tensorrt.building.fused import graphs_of, tensors_left
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.element_types import onnx_type
from camshaft.tensorrt.network.lowered import Lowered


def hidden(lowered: Lowered) -> tuple[str, ...]:
    """Outputs that are none of the network's: tensors marked one by one, and conditions that must hold."""
    shown = _ends(lowered.model)
    return (*(name for name in lowered.debug if name not in shown), *lowered.hidden)


def left_unfused(
    network: INetworkDefinition, model: ModelProto, options: Mapping[str, Any]
) -> tuple[str, ...]:
    """Tensors of layers that fused layers leave, apart from inputs and outputs.  options: of `camshaft.build`."""
    left = set(tensors_left(graphs_of(model, options)).values()) - _ends(model)
    computed = {output for node in model.graph.node for output in node.output}
    every = [t._name for record in network._records for t in record.outputs]
    return tuple(name for name in dict.fromkeys(every) if name in left and name in computed)


def with_outputs(
    model: ModelProto, network: INetworkDefinition, names: Sequence[str]
) -> ModelProto:
    """The model, which also gives these tensors."""
    there = {v.name for v in model.graph.output}
    names = [name for name in names if name not in there]
    if not names:
        return model
    made = ModelProto()
    made.CopyFrom(model)
    tensors = [*network._debug, *(t for record in network._records for t in record.outputs)]
    kinds = {t._name: network._type_of(t) for t in tensors if t._name in names}
    made.graph.output.extend(
        helper.make_tensor_value_info(name, onnx_type(kinds[name]), None) for name in names
    )
    return made


def _ends(model: ModelProto) -> set[str]:
    return {v.name for v in (*model.graph.output, *model.graph.input)}
