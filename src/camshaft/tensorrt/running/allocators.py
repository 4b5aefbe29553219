"""Allocators, listeners and profilers that scripts implement."""

from __future__ import annotations

from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType, TensorLocation
from camshaft.tensorrt.enums.runtime import APILanguage
from camshaft.tensorrt.eras import CURRENT
from camshaft.tensorrt.kept import Kept
from camshaft.tensorrt.network.params import text, whole
from camshaft.tensorrt.objects import Result

_PYTHON = APILanguage.PYTHON


def _missing(this: object, method: str) -> NotImplementedError:
    return NotImplementedError(f"{type(this).__name__} must override {method}")


class InterfaceInfo(Result):
    """Which interface a class implements, and its version."""

    _kept: dict[str, object]

    kind = Kept(text, "", "Name of the interface.")
    major = Kept(whole, 1, "Version before the dot.")
    minor = Kept(whole, 0, "Version behind the dot.")

    @classmethod
    def _made(cls, kind: str) -> InterfaceInfo:
        made = cls.__new__(cls)
        made._kept = {"kind": kind}
        return made


class IVersionedInterface(Result):
    """Base of interfaces that have a version."""

    @property
    def api_language(self) -> APILanguage:
        """PYTHON."""
        return _PYTHON

    @property
    def interface_info(self) -> InterfaceInfo:
        """Name and version."""
        return InterfaceInfo._made(type(self).__name__)


class IGpuAllocator(IVersionedInterface):
    """Base of allocators, which are kept and not asked: memory is the process's own."""

    def __init__(self) -> None:
        pass

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """An address of `size` bytes; 0: there are none."""
        raise _missing(self, "allocate")

    def reallocate(self, address: int, alignment: int, new_size: int) -> int:
        """0: memory of another size has to be allocated anew."""
        return 0

    def free(self, memory: int) -> None:
        """Give memory back."""
        raise _missing(self, "free")

    def deallocate(self, memory: int) -> bool:
        """Give memory back; whether it could be."""
        raise _missing(self, "deallocate")

    def allocate_async(self, size: int, alignment: int, flags: int, stream: int) -> int:
        """As `allocate`, in a stream's order."""
        raise _missing(self, "allocate_async")

    def deallocate_async(self, memory: int, stream: int) -> bool:
        """As `deallocate`, in a stream's order."""
        raise _missing(self, "deallocate_async")


class IGpuAsyncAllocator(IGpuAllocator):
    """Base of allocators that work in a stream's order."""

    def __init__(self) -> None:
        pass

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """As `allocate_async`, in the default stream."""
        return self.allocate_async(size, alignment, flags, 0)

    def deallocate(self, memory: int) -> bool:
        """As `deallocate_async`, in the default stream."""
        return self.deallocate_async(memory, 0)

    def allocate_async(self, size: int, alignment: int, flags: int, stream: int) -> int:
        """An address of `size` bytes; 0: there are none."""
        raise _missing(self, "allocate_async")

    def deallocate_async(self, memory: int, stream: int) -> bool:
        """Give memory back; whether it could be."""
        raise _missing(self, "deallocate_async")


class IOutputAllocator:
    """Base of what gives memory to outputs when a context runs, and learns their shapes."""

    @property
    def tensorrt_version(self) -> int:
        """As `get_nv_onnx_parser_version`."""
        return CURRENT.parser_version

    def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
        """An address of at least `size` bytes.  memory: the one that the output has so far; 0: it cannot be."""
        raise _missing(self, "reallocate_output")

    def reallocate_output_async(
        self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
    ) -> int:
        """As `reallocate_output`, which is what this calls unless it is overridden, in a stream's order."""
        return self.reallocate_output(tensor_name, memory, size, alignment)

    def notify_shape(self, tensor_name: str, shape: Dims) -> None:
        """The shape that the output has."""
        raise _missing(self, "notify_shape")


class IDebugListener:
    """Base of what sees tensors that a network marked for debugging."""

    def process_debug_tensor(
        self,
        addr: int,
        location: TensorLocation,
        type: DataType,
        shape: Dims,
        name: str,
        stream: int,
    ) -> bool:
        """Look at a tensor.  What is returned does not matter."""
        raise _missing(self, "process_debug_tensor")


class IProfiler:
    """Base of profilers."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        """How long a layer ran, in milliseconds."""
        raise _missing(self, "report_layer_time")


class Profiler(IProfiler):
    """Prints times."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        """Print a line."""
        print(f"{layer_name}: {ms}ms", flush=True)
