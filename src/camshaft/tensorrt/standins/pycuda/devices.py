"""The device, and contexts, of which nothing needs one."""

from __future__ import annotations

from camshaft.tensorrt import memory
from camshaft.tensorrt.standins import contexts
from camshaft.tensorrt.standins import device as cpu
from camshaft.tensorrt.standins.pycuda.errors import raising
from camshaft.tensorrt.standins.pycuda.flags import device_attribute


def init(flags: int = 0) -> None:
    """Does nothing."""


def get_version() -> tuple[int, int, int]:
    """The version of CUDA: (major, minor, 0)."""
    return cpu.CUDA_VERSION // 1000, cpu.CUDA_VERSION % 1000 // 10, 0


def get_driver_version() -> int:
    """1000 times the major version and 10 times the minor."""
    return cpu.CUDA_VERSION


class Device:
    """The CPU. number: 0; LogicError for another."""

    def __init__(self, number: int) -> None:
        with raising("cuDeviceGet"):
            cpu.check_device(number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    @staticmethod
    def count() -> int:
        """1."""
        return 1

    def name(self) -> str:
        """The processor's name."""
        return cpu.name()

    def pci_bus_id(self) -> str:
        """A bus id: a CPU has none."""
        return cpu.PCI_BUS_ID

    def compute_capability(self) -> tuple[int, int]:
        """(major, minor) of a GPU that has the same types."""
        return cpu.COMPUTE_CAPABILITY

    def total_memory(self) -> int:
        """Bytes of the machine's memory."""
        return cpu.memory_sizes()[1]

    def get_attribute(self, attribute: device_attribute) -> int:
        """An attribute; 0 where it has no meaning here."""
        return cpu.attribute(int(attribute))

    def get_attributes(self) -> dict[device_attribute, int]:
        """All attributes."""
        return {known: self.get_attribute(known) for known in device_attribute}

    def make_context(self, flags: int = 0) -> Context:
        """A new context, current in this thread."""
        return Context(contexts.create())

    def retain_primary_context(self) -> Context:
        """The device's own context."""
        return Context(contexts.PRIMARY)


class Context:
    """A context; `Device.make_context` gives one."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and other.handle == self.handle

    def __hash__(self) -> int:
        return self.handle

    def push(self) -> None:
        """Makes it this thread's current one."""
        with raising("cuCtxPushCurrent"):
            contexts.push(self.handle)

    def detach(self) -> None:
        """Destroys it, but for the device's own."""
        if self.handle != contexts.PRIMARY:
            with raising("cuCtxDestroy"):
                contexts.destroy(self.handle)

    @staticmethod
    def pop() -> None:
        """Takes this thread's current context off. LogicError where there is none."""
        with raising("cuCtxPopCurrent"):
            contexts.pop()

    @staticmethod
    def get_current() -> Context | None:
        """This thread's current context."""
        handle = contexts.current()
        return Context(handle) if handle else None

    @staticmethod
    def get_device() -> Device:
        """The device."""
        return Device(0)

    @staticmethod
    def synchronize() -> None:
        """Returns when the work of all streams is done."""
        with raising("cuCtxSynchronize"):
            memory.synchronize()
