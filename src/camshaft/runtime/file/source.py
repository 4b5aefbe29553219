"""Where the bytes of an engine file come from: a path, which is mapped, memory, or a file that is open."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from camshaft.errors import EngineFileError

Given = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A path, bytes, or a file that is open for reading."""
_MODEL = ".onnx"
_SECOND_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"
"""How fields 2 to 8 of ONNX's `ModelProto` begin."""


@dataclass(frozen=True)
class Source:
    """data: the bytes.  title: what messages call them.  rebuild: how to make them anew."""

    data: memoryview
    title: str = "the engine in memory"
    rebuild: str = "build it again"

    def refuse(self, fault: str, error: type[EngineFileError] = EngineFileError) -> NoReturn:
        """Raise EngineFileError, or a kind of it."""
        raise error(f"{self.title}: {fault}; {self.rebuild}")


def source_of(given: Given) -> Source:
    """EngineFileError for anything but what `given` may be, for a file that cannot be read, and for a model."""
    data = given.read() if hasattr(given, "read") else given
    if not isinstance(data, bytes | bytearray | memoryview):
        return _mapped(path_of(data))
    kept = data if isinstance(data, bytes) else bytes(data)  # which nobody changes
    source = Source(memoryview(kept))
    _require_length(source)
    return source


def path_of(path: object) -> str:
    """The path as text; EngineFileError if it cannot be one."""
    if not isinstance(path, str | os.PathLike):
        raise EngineFileError(
            f"an engine file is given by its path, as bytes or as an open file, not by something of type {type(path).__name__}"
        )
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise EngineFileError(f"{name!r} is no path of an engine file")
    return name


def _require_length(source: Source) -> None:
    size = len(source.data)
    if size == 0:
        source.refuse("it is empty")
    if size < 8:
        source.refuse(f"it is cut off after {size} bytes")


def _refuse_model(path: str, data: memoryview) -> None:
    """EngineFileError says how to build it if the file is an ONNX model.

    Its first bytes are the version of the format, then another field of `ModelProto`.
    """
    ends_so = path.lower().endswith(_MODEL)
    begins_so = data[0] == 0x08 and data[1] < 0x40 and data[2] in _SECOND_FIELDS
    if data[8:9].tobytes() != b"{" and (ends_so or begins_so):
        raise EngineFileError(
            f"{path!r} is an ONNX model, no engine; build one from it with "
            f"camshaft.build({path!r}) or `camshaft build {path} -o {_beside(path)}`"
        )


def _beside(path: str) -> str:
    """Where an engine goes by default that is built from the model `path`."""
    engine = os.path.splitext(path)[0] + ".engine"
    return engine if engine != path else path + ".engine"


def _mapped(path: str) -> Source:
    """The file, mapped."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = memoryview(_map(file.fileno(), size) if size else b"")
    except FileNotFoundError:
        model, engine = "MODEL.onnx", path
        if path.lower().endswith(_MODEL):
            model, engine = path, _beside(path)
        raise EngineFileError(
            f"engine file {path!r} does not exist; check the path or build it with "
            f"`camshaft build {model} -o {engine}`"
        ) from None
    except IsADirectoryError:
        raise EngineFileError(f"{path!r} is a directory; name the engine file in it") from None
    except PermissionError:
        raise EngineFileError(
            f"engine file {path!r} may not be read by this user; change its permissions"
        ) from None
    except OSError as error:
        raise EngineFileError(f"engine file {path!r} cannot be read: {error}") from error
    source = Source(
        data, f"engine file {path!r}", f"rebuild it with `camshaft build MODEL.onnx -o {path}`"
    )
    _require_length(source)
    _refuse_model(path, data)
    return source


def _map(descriptor: int, size: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_POPULATE"):  # one system call instead of a fault per page
        flags = mmap.MAP_PRIVATE | mmap.MAP_POPULATE
        return mmap.mmap(descriptor, size, flags=flags, prot=mmap.PROT_READ)
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
