"""Tensors of --markDebug, written as they are computed."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.atomic import write_atomically
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType, TensorLocation
from camshaft.tensorrt.network.element_types import stored_type
from camshaft.tensorrt.running.allocators import IDebugListener
from camshaft.tensorrt.running.context import IExecutionContext
from camshaft.tensorrt.running.device import array_at
from camshaft.tensorrt.trtexec.building import Failed


class _Writer(IDebugListener):
    """Writes a tensor the first time that it sees it."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = dict(files)

    def process_debug_tensor(
        self,
        addr: int,
        location: TensorLocation,
        type: DataType,
        shape: Dims,
        name: str,
        stream: int,
    ) -> bool:
        """Write the tensor; True."""
        path = self._files.pop(name, None)
        if path is not None:
            array = array_at(addr, tuple(shape), stored_type(type), f"debug tensor {name!r}")
            write_atomically(path, array.tobytes())
        return True


def save_debug_tensors(context: IExecutionContext, files: Mapping[str, str]) -> None:
    """Let the context write tensors.  files: by name.  Failed for tensors that the engine does not show; the log says why."""
    context.set_debug_listener(_Writer(files))
    for name in files:
        if not context.set_tensor_debug_state(name, True):
            raise Failed(f"--saveDebugTensors: {name} was not named by --markDebug")
