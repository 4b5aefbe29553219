"""Formats of inputs and outputs: linear, and channels last for those that allow nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.errors import ConfigError
from camshaft.tensorrt.enums.data import TensorFormat
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.formats import CHANNELS_LAST
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.tensor import ITensor

_LINEAR = 1 << int(TensorFormat.LINEAR)


def formats_of(network: INetworkDefinition, is_order: bool, reports: Reports) -> Mapping[str, int]:
    """Input or output -> its format, where it is not linear.

    is_order: whether what is neither is an error, ConfigError, and no warning.
    """
    found: dict[str, int] = {}
    for tensor in (*network._inputs, *network._outputs):
        if tensor._formats & _LINEAR:
            continue
        chosen = _channels_last(tensor)
        if chosen is not None:
            found[tensor._name] = int(chosen)
            continue
        said = f"tensor {tensor._name!r} allows neither TensorFormat.LINEAR nor one with channels last that it has the axes for"
        if is_order:
            raise ConfigError(f"{said}; allow one")
        reports.warning(f"{said}; it is linear", True)
    return found


def _channels_last(tensor: ITensor) -> TensorFormat | None:
    rank = len(tensor.shape)
    fitting = (f for f, n in CHANNELS_LAST.items() if tensor._formats >> int(f) & 1 and rank >= n)
    return next(fitting, None)
