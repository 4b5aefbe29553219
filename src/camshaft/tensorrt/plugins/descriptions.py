"""Descriptions of a plugin's tensors."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType, TensorFormat
from camshaft.tensorrt.plugins.stored import Stored


class PluginTensorDesc:
    """A tensor: dims, type, format, scale."""

    def __init__(self) -> None:
        self.dims, self.type = Dims(), DataType.FLOAT
        self.format, self.scale = TensorFormat.LINEAR, 1.0

    dims = Stored("The shape; -1 for an open extent.")
    type = Stored("The type of the elements.")
    format = Stored("The layout: LINEAR.")
    scale = Stored("Of INT8: what a level stands for.")


class DynamicPluginTensorDesc:
    """A tensor whose shape may be open: its description, and the least, typical and largest shape."""

    def __init__(self) -> None:
        self.desc = PluginTensorDesc()
        self.min, self.opt, self.max = Dims(), Dims(), Dims()

    desc = Stored("The description.")
    min = Stored("The least shape.")
    opt = Stored("The typical shape.")
    max = Stored("The largest shape.")


def description(dtype: DataType, shape: Any) -> PluginTensorDesc:
    """A tensor of these ints."""
    made = PluginTensorDesc()
    made.type, made.dims = dtype, Dims(tuple(shape))
    return made
