"""What flags say of single tensors and layers of a network: types, formats, ranges."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.building.calibrators import IInt8EntropyCalibrator2
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.trtexec.flags.values import every
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.shapes import found, unused

_QUANTIZERS = tuple(every(LayerType, name) for name in ("QUANTIZE", "DEQUANTIZE"))
_CONCATENATION, _POOLING = every(LayerType, "CONCATENATION"), every(LayerType, "POOLING")
_RANGED = tuple(every(DataType, name) for name in ("FLOAT", "HALF", "BF16", "INT8"))
"""Types of tensors that have ranges: inputs and outputs may be INT8 without Q/DQ layers."""
_READ, _WRITTEN = 2.0, 4.0
"""Magnitudes of ranges that are made up, as trtexec does: of what layers read and of what they write."""


def set_ends(network: INetworkDefinition, options: Options, log: Log) -> None:
    """Types and formats of inputs and outputs.  ValueError for more or fewer than there are."""
    sides = (
        ("inputIOFormats", network.num_inputs, network.get_input),
        ("outputIOFormats", network.num_outputs, network.get_output),
    )
    for flag, number, tensor_of in sides:
        formats = options[flag]
        if formats is None:
            continue
        if len(formats) not in (1, number):
            raise ValueError(
                f"--{flag} has {len(formats)} formats, and the network {number} such tensors; give one, or one of each"
            )
        for index in range(number):
            tensor: Any = tensor_of(index)
            tensor.dtype, tensor.allowed_formats = formats[index if len(formats) > 1 else 0]


def set_layers(network: INetworkDefinition, options: Options, log: Log) -> None:
    """Types that layers compute in and give.  ValueError where they give more than types are said."""
    precisions, outputs = options["layerPrecisions"] or {}, options["layerOutputTypes"] or {}
    if not (precisions or outputs):
        return
    if options["precisionConstraints"] == "none":
        log.warning(
            "types of layers are hints only, since --precisionConstraints is none; give prefer or obey"
        )
    layers = [*network]
    names = [layer.name for layer in layers]
    for flag, told in (("layerPrecisions", precisions), ("layerOutputTypes", outputs)):
        for name in unused(told, names):
            log.warning(f"--{flag}: the network has no layer {name!r}")
    for layer in layers:
        precision, kinds = found(precisions, layer.name), found(outputs, layer.name)
        if precision is not None:
            layer.precision = precision
        if kinds is None:
            continue
        if len(kinds) not in (1, layer.num_outputs):
            raise ValueError(
                f"--layerOutputTypes: layer {layer.name!r} has {layer.num_outputs} outputs, and {len(kinds)} types are said"
            )
        for index in range(layer.num_outputs):
            layer.set_output_type(index, kinds[index if len(kinds) > 1 else 0])


def make_up_ranges(network: INetworkDefinition) -> bool:
    """Give all tensors that have no range one; False, and none, where there are Q/DQ layers."""
    layers = [*network]
    if any(layer.type in _QUANTIZERS for layer in layers):
        return False
    for layer in layers:
        for index in range(layer.num_inputs):
            _range(layer.get_input(index), _WRITTEN if layer.type == _CONCATENATION else _READ)
        for index in range(layer.num_outputs):
            _range(layer.get_output(index), _READ if layer.type == _POOLING else _WRITTEN)
    return True


def _range(tensor: Any, most: float) -> None:
    if tensor is not None and tensor.dynamic_range is None and tensor.dtype in _RANGED:
        tensor.set_dynamic_range(-most, most)


class CacheCalibrator(IInt8EntropyCalibrator2):
    """Ranges from a cache; it has no batches.  is_refused: whether the cache could not be used."""

    def __init__(self, cache: bytes) -> None:
        super().__init__()
        self._cache = cache
        self.is_refused = False

    def get_batch_size(self) -> int:
        """1."""
        return 1

    def get_batch(self, names: list[str]) -> None:
        """None: a cache that cannot be used is an error."""
        self.is_refused = True

    def read_calibration_cache(self) -> bytes:
        """The cache."""
        return self._cache

    def write_calibration_cache(self, cache: memoryview) -> None:
        """Nothing: the cache is only read."""
