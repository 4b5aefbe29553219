"""`IHostMemory`: the bytes that builds and serializations return."""

from __future__ import annotations

from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.objects import Result, Scoped


class IHostMemory(Result, Scoped, bytes):
    """Bytes: for `f.write`, `bytes`, `memoryview`, `numpy.frombuffer`."""

    @classmethod
    def _made(cls, data: bytes) -> IHostMemory:
        """With these bytes, which are copied."""
        return cls.__new__(cls, data)

    @property
    def nbytes(self) -> int:
        """How many bytes there are."""
        return len(self)

    @property
    def dtype(self) -> DataType:
        """Of a byte: INT8."""
        return DataType.INT8

    def __repr__(self) -> str:
        return f"<IHostMemory of {len(self)} bytes>"

    __str__ = __repr__

    def __bool__(self) -> bool:
        """True, of no bytes as well, so that `if plan:` asks whether there is one."""
        return True
