"""Debug tensors, written as they are computed: raw under names that were given, and all of them in formats."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from camshaft.atomic import write_atomically
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType, TensorLocation
from camshaft.tensorrt.network.element_types import stored_type
from camshaft.tensorrt.running.allocators import IDebugListener
from camshaft.tensorrt.running.context import IExecutionContext
from camshaft.tensorrt.running.device import array_at
from camshaft.tensorrt.trtexec.building import Failed
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.reports.exports import file_name

_SUMMARY = "tensor_summary.json"
_SHOWN = 5
"""Elements of a tensor that a summary shows from its begin, and from its end."""


class DebugTensors(IDebugListener):
    """Writes each tensor the first time that it sees it.

    Files of all tensors are in the current folder, and are called after their number and the tensor: `0003_conv.npy`.
    """

    def __init__(self, options: Options, engine_name: str, log: Log) -> None:
        self._files = dict(options["saveDebugTensors"] or {})
        self._formats = options["saveAllDebugTensors"] or ()
        self._about = {"engine_name": engine_name, "command_line": options.command}
        self._log = log
        self._seen: set[str] = set()
        self._rows: list[dict[str, Any]] = []

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
        if name not in self._seen:
            array = array_at(addr, tuple(shape), stored_type(type), f"debug tensor {name!r}")
            self._write(name, type, array)
            self._seen.add(name)
        return True

    def finish(self) -> None:
        """Write the summary, if it is asked for."""
        if "summary" not in self._formats:
            return
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        about = {"title": "Tensor Summary Report", "time_generated": when, **self._about}
        write_atomically(
            _SUMMARY, json.dumps({"metadata": about, "tensors": self._rows}, indent=2).encode()
        )
        self._log.info(f"Writing tensor summary to file: {_SUMMARY}")

    def _write(self, name: str, kind: DataType, array: np.ndarray[Any, Any]) -> None:
        files: dict[str, str] = {}
        if name in self._files:
            files["assigned"] = self._put(name, self._files[name], array.tobytes())
        start = f"{len(self._seen):04}_{name}"
        # NumPy's files, and text, have no type that NumPy lacks.
        plain = array if array.dtype.kind in "biuf" else array.astype(np.float32)
        if "numpy" in self._formats:
            is_other = "" if plain is array else "_to_float"
            np.save(held := io.BytesIO(), plain)
            files["numpy"] = self._put(name, file_name(f"{start}{is_other}.npy"), held.getvalue())
        if "string" in self._formats:
            text = "\n".join(_lines(plain)) + "\n"
            files["string"] = self._put(name, file_name(f"{start}.str"), text.encode())
        if "raw" in self._formats:
            files["raw"] = self._put(name, file_name(f"{start}.raw"), array.tobytes())
        row = {"name": name, "shape": [*array.shape], "type": kind.name}
        self._rows.append(
            {**row, "statistics": _statistics(plain), **({"files": files} if files else {})}
        )

    def _put(self, name: str, path: str, data: bytes) -> str:
        self._log.detail(f"Writing debug tensor '{name}' to file '{path}'")
        write_atomically(path, data)
        return path


def watch(context: IExecutionContext, options: Options, log: Log) -> DebugTensors | None:
    """Let the context write debug tensors as flags say; None: they say nothing.

    Failed for tensors that the engine does not show; the log says why.
    """
    files, formats = options["saveDebugTensors"] or {}, options["saveAllDebugTensors"] or ()
    if not (files or formats):
        return None
    plan = context.engine._plan
    if formats and not (plan.debug or plan.unfused):
        raise Failed(
            "--saveAllDebugTensors: the engine shows none; build it with --markDebug or --markUnfusedTensorsAsDebugTensors"
        )
    writer = DebugTensors(options, context.engine.name, log)
    context.set_debug_listener(writer)
    for name in files:
        if not context.set_tensor_debug_state(name, True):
            raise Failed(f"--saveDebugTensors: {name} was not named by --markDebug")
    if formats:
        context.set_all_tensors_debug_state(True)
    return writer


def _statistics(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    flat = array.ravel()
    shown = [_number(x) for x in flat.tolist()]
    count = len(shown)
    if count > 2 * _SHOWN:
        shown = [*shown[:_SHOWN], "...", *shown[-_SHOWN:]]
    elements = ", ".join(shown)
    if not count:
        return {"elements": elements}
    least, most, mean = flat.min(), flat.max(), flat.mean(dtype=np.float64)
    named = {"min": least.item(), "max": most.item(), "avg": float(mean)}
    return {**{name: _finite(x) for name, x in named.items()}, "elements": elements}


def _number(x: Any) -> str:
    return f"{x:g}" if isinstance(x, float) else f"{int(x)}"


def _finite(x: Any) -> Any:
    """A number as JSON has it: those that are not finite are texts, and truth values 0 and 1."""
    if isinstance(x, float):
        return x if math.isfinite(x) else f"{x:g}"
    return int(x)


def _lines(array: np.ndarray[Any, Any], indent: int = 0, width: int | None = None) -> Iterator[str]:
    """A line for each row of the last axis, brackets around each axis."""
    if not array.size or not array.ndim:
        yield "[]" if not array.size else f"[{_element(array.item(), 0)}]"
        return
    if width is None:
        width = max(len(_element(x, 0)) for x in array.ravel().tolist())
    pad = " " * indent
    if array.ndim == 1:
        yield f"{pad}[{' '.join(_element(x, width) for x in array.tolist())}]"
        return
    yield f"{pad}["
    for part in array:
        yield from _lines(part, indent + 1, width)
    yield f"{pad}]"


def _element(x: Any, width: int) -> str:
    return f"{x:13.6e}" if isinstance(x, float) else f"{int(x):{width}}"
