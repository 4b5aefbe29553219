"""The engine file: a safetensors file that holds a manifest, weights and object code.

Tensors `weights/NAME` are the constants and `code/NAME` (u8) the object files; the file's
metadata holds the manifest as JSON, versions, and a checksum over every other byte of the file.  It
opens in any safetensors tool.  Loading maps the file and copies nothing but tensors that would
start off a 64-byte boundary: those whose size is no multiple of 64 come last, and of them only
the small odd ones (biases, mostly) exist in practice.

Saving is atomic: a file is whole or absent.  Every way in which a file can be wrong is one
`EngineFileError` that names the file, the fault and the fix.  The checksum finds damage, not
malice: an engine file holds machine code and deserves the trust a shared library gets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from camshaft.atomic import write_atomically
from camshaft.errors import EngineFileError, ModelError
from camshaft.ir.types import NARROW_FLOATS, NARROW_INTS, DType, dtype_named, dtype_of
from camshaft.program.arena import ALIGNMENT
from camshaft.runtime.driver import RUNNER
from camshaft.runtime.file.checksum import tree_digest
from camshaft.runtime.file.codec import manifest_from_json, manifest_to_json
from camshaft.runtime.file.manifest import Manifest, ScriptManifest
from camshaft.runtime.file.source import Given, Source, path_of, source_of
from camshaft.version import FORMAT, VERSION

_KIND = "camshaft-engine"
_NO_SUM = "0" * 64
_MAX_HEADER = 100_000_000  # the safetensors library's own limit
_TO_FILE = {
    "f16": "F16",
    "bf16": "BF16",
    "f32": "F32",
    "f64": "F64",
    "i8": "I8",
    "i16": "I16",
    "i32": "I32",
    "i64": "I64",
    "u8": "U8",
    "u16": "U16",
    "u32": "U32",
    "u64": "U64",
    "bool": "BOOL",
}
_FROM_FILE = {theirs: ours for ours, theirs in _TO_FILE.items()}
_TO_FILE.update(
    {d.name: "U8" for d in (*NARROW_FLOATS, *NARROW_INTS)}
)  # the program knows what they are


class OtherVersion(EngineFileError):
    """A file of another version of camshaft, or of the format."""


@dataclass(frozen=True)
class EngineContents:
    """What an engine file holds.  constants and code are read-only arrays over the mapped file.  attached: see
    `Engine.attached`.  source: where it was read."""

    manifest: Manifest | ScriptManifest
    constants: dict[str, np.ndarray]
    code: dict[str, np.ndarray]
    attached: dict[str, bytes]
    source: Source


# --- writing --------------------------------------------------------------------------------


def write_engine_file(
    target: str | os.PathLike[str] | BinaryIO,
    manifest: Manifest | ScriptManifest,
    constants: Mapping[str, np.ndarray],
    code: Mapping[str, bytes | np.ndarray],
    attached: Mapping[str, bytes] = MappingProxyType({}),
) -> int:
    """Write an engine file, replacing the path `target` only once the new file is complete, or to an open file.

    Other arguments as of `engine_parts`.  Returns the file's size in bytes.  EngineFileError if it cannot be written;
    the old file, if any, is then untouched and nothing else is left behind.
    """
    parts = engine_parts(manifest, constants, code, attached)
    if hasattr(target, "write"):
        for part in parts:
            target.write(part)
    else:
        name = path_of(target)
        try:
            write_atomically(name, *parts, durable=True)
        except OSError as error:
            raise unwritable_engine(name, error) from error
    return sum(len(part) for part in parts)


def engine_parts(
    manifest: Manifest | ScriptManifest,
    constants: Mapping[str, np.ndarray],
    code: Mapping[str, bytes | np.ndarray],
    attached: Mapping[str, bytes],
) -> list[bytes | memoryview]:
    """The bytes of an engine file, in parts.

    constants: any C-contiguous arrays.  code: object files.  attached: see `Engine.attached`.  Equal arguments give equal
    bytes.
    """
    tensors = {f"weights/{n}": np.asarray(a, order="C") for n, a in constants.items()}
    tensors |= {f"code/{n}": np.frombuffer(c, np.uint8) for n, c in code.items()}
    tensors |= {f"attached/{n}": np.frombuffer(a, np.uint8) for n, a in attached.items()}
    order = sorted(tensors, key=lambda n: _file_order(n, tensors[n]))
    header = _header(manifest, {n: tensors[n] for n in order})
    parts = [_raw(tensors[n]).data for n in order]
    digest = tree_digest([header, *parts])
    return [header.replace(_checksum_field(_NO_SUM), _checksum_field(digest), 1), *parts]


def unwritable_engine(path: str, error: OSError) -> EngineFileError:
    """The error for an engine file that cannot be written."""
    return EngineFileError(
        f"cannot write the engine file {path!r}: {error.strerror or error}; "
        "choose a directory that exists, is writable and has room"
    )


def _file_order(name: str, array: np.ndarray) -> tuple[bool, int, str]:
    return array.nbytes % ALIGNMENT != 0, -array.itemsize, name


def _raw(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def _checksum_field(digest: str) -> bytes:
    return f'"checksum":"{digest}"'.encode()


def _header(manifest: Manifest | ScriptManifest, tensors: Mapping[str, np.ndarray]) -> bytes:
    """Length word and JSON header, padded so that tensor data starts on a 64-byte boundary."""
    entries: dict[str, Any] = {
        "__metadata__": {
            "format": _KIND,
            "format_version": str(FORMAT),
            "camshaft": VERSION,
            "checksum": _NO_SUM,
            "manifest": manifest_to_json(manifest),
        }
    }
    at = 0
    for name, array in tensors.items():
        entries[name] = {
            "dtype": _TO_FILE[dtype_of(array).name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


# --- reading --------------------------------------------------------------------------------


def read_engine_file(given: Given | Source) -> EngineContents:
    """Read and verify an engine file, by its path, which maps it, of its bytes, or of a file that is open for reading.

    EngineFileError names the file, the fault and the fix.
    The file must not be truncated in place while it is in use (replacing it, as saving does, is
    fine): memory mapped from it would then be gone.  `Engine` checks the program and
    `loading.load` whether this machine can run it, so the file of another CPU can still be read.
    """
    source = given if isinstance(given, Source) else source_of(given)
    length, header = _parsed_header(source)
    text = _verified_metadata(source, length, header)
    arrays = _tensors(source, source.data[8 + length :], header)
    try:
        manifest = manifest_from_json(text)
    except ValueError as error:
        source.refuse(f"its manifest is malformed: {error}")
    code = _named(arrays, "code/")
    if RUNNER not in code:
        source.refuse(f"the object code {RUNNER!r} of the step loop is missing")
    return EngineContents(manifest, _named(arrays, "weights/"), code, _attached(arrays), source)


def read_attached(source: Source) -> dict[str, bytes]:
    """What is attached to an engine file of whatever version.  Errors as in `read_engine_file`."""
    length, header = _parsed_header(source)
    header.pop("__metadata__", None)
    return _attached(_tensors(source, source.data[8 + length :], header))


def _attached(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {n: a.tobytes() for n, a in _named(arrays, "attached/").items()}


def _parsed_header(source: Source) -> tuple[int, dict[str, Any]]:
    data = source.data
    length = int.from_bytes(data[:8], "little")
    if length > _MAX_HEADER or data[8:9].tobytes() not in (b"{", b""):
        source.refuse("it is no safetensors file, hence no engine")
    if 8 + length > len(data):
        source.refuse(f"it is cut off ({len(data)} bytes, of which {8 + length} are header)")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        source.refuse(f"its header is damaged ({error!s:.100})")
    if not isinstance(header, dict) or not all(isinstance(v, dict) for v in header.values()):
        source.refuse("its header is damaged")
    return length, header


def _verified_metadata(source: Source, length: int, header: dict[str, Any]) -> str:
    """Check kind, versions and checksum; returns the manifest's text."""
    metadata = header.pop("__metadata__", {})
    if metadata.get("format") != _KIND:
        source.refuse("it is a safetensors file but no camshaft engine")
    if metadata.get("format_version") != str(FORMAT):
        found = metadata.get("format_version")
        source.refuse(
            f"it has format {found!s:.20}, and this camshaft reads format {FORMAT}", OtherVersion
        )
    stored = metadata.get("checksum")
    raw = bytes(source.data[: 8 + length])
    if not isinstance(stored, str) or raw.count(_checksum_field(stored)) != 1:
        source.refuse("it has no checksum")
    blank = raw.replace(_checksum_field(stored), _checksum_field(_NO_SUM), 1)
    tensors = source.data[8 + length :]
    expected = _declared_bytes(header)
    if expected is not None and len(tensors) < expected:
        source.refuse(f"it is cut off: {len(tensors)} of {expected} bytes of tensors are there")
    if _tree_of(blank, tensors, header) != stored:
        source.refuse("its checksum does not match, so it was damaged or changed")
    if metadata.get("camshaft") != VERSION:
        found = metadata.get("camshaft")
        source.refuse(
            f"it was built by camshaft {found!s:.20}, and this is camshaft {VERSION}", OtherVersion
        )
    manifest = metadata.get("manifest")
    if not isinstance(manifest, str):
        source.refuse("it holds no manifest")
    return manifest


def _spans(header: Mapping[str, Any]) -> list[tuple[int, int]] | None:
    """The tensors' (begin, end) in file order, or None where an entry is malformed."""
    spans = [entry.get("data_offsets") for entry in header.values()]
    for span in spans:
        if type(span) is not list or len(span) != 2 or any(type(v) is not int for v in span):
            return None
    return sorted((begin, end) for begin, end in spans)


def _declared_bytes(header: Mapping[str, Any]) -> int | None:
    spans = _spans(header)
    return None if spans is None else max((end for _, end in spans), default=0)


def _tree_of(header: bytes, data: memoryview, tensors: Mapping[str, Any]) -> str:
    """The digest as the writer made it: one part per tensor, which must tile the data exactly."""
    at = 0
    parts: list[bytes | memoryview] = [header]
    for begin, end in _spans(tensors) or []:
        if begin != at or end < begin:
            return ""
        parts.append(data[begin:end])
        at = end
    return tree_digest(parts) if at == len(data) else ""


def _tensors(source: Source, data: memoryview, header: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, entry in header.items():
        try:
            dtype = dtype_named(_FROM_FILE[entry["dtype"]])
            begin, end = entry["data_offsets"]
            arrays[name] = _array(data[begin:end], dtype, entry["shape"])
        except (KeyError, TypeError, ValueError, ModelError) as error:
            source.refuse(f"its tensor {name!r:.80} is malformed ({error!s:.80})")
    return arrays


def _array(data: memoryview, dtype: DType, shape: list[int]) -> np.ndarray:
    if type(shape) is not list or any(type(d) is not int or d < 0 for d in shape):
        raise ValueError(f"shape {shape!r:.40}")  # NumPy would make something of -1
    array = aligned(np.frombuffer(data, np.uint8)) if data else np.empty(0, np.uint8)
    array.flags.writeable = False
    return array.view(dtype.numpy).reshape(shape)


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def aligned(array: np.ndarray) -> np.ndarray:
    """`array` if it is C-contiguous and starts on a 64-byte boundary, else a copy that does."""
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0:
        return array
    room = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
