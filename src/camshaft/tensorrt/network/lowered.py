"""What a network asks of a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto

from camshaft.tensorrt.plan import Held


@dataclass(frozen=True)
class Lowered:
    """model: the network as ONNX.  precision, output_type: layer name -> "fp32", "fp16", "bf16" or "int8", as `BuildConfig.layer_precision` and
    `.layer_output_type` take them.  ranges: tensor name -> amax, of ITensor.dynamic_range.  debug: tensors marked for debugging, in order.
    strongly_typed: whether the network was made so.  origins: name of an ONNX node -> name of the layer it came from, where they differ.
    held: the weights of layers.  assertions: bools that must hold, and what to say if they do not.  hidden: those of them that are outputs of the
    model and none of the network."""

    model: ModelProto
    precision: Mapping[str, str]
    output_type: Mapping[str, str]
    ranges: Mapping[str, float]
    debug: tuple[str, ...]
    strongly_typed: bool
    origins: Mapping[str, str]
    held: tuple[Held, ...]
    assertions: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]
