"""What trtexec writes: JSON that other programs read, and raw bytes.  Files are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from camshaft.atomic import write_atomically
from camshaft.tensorrt.enums.runtime import LayerInformationFormat
from camshaft.tensorrt.running.ends import End
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.trtexec.bindings import Array, Tensors
from camshaft.tensorrt.trtexec.inference import Trace
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.reports.profiler import LayerTimes
from camshaft.tensorrt.trtexec.shapes import said

_JSON, _LINES = LayerInformationFormat.JSON, LayerInformationFormat.ONELINE
_FILE_LETTERS = str.maketrans(dict.fromkeys('/\\:*?"<>| ', "_"))


def write_times(path: str, traces: Sequence[Trace]) -> None:
    """A list of calls: when each part began and ended, and how long it took, in milliseconds."""
    _write(
        path,
        [
            {
                "startEnqMs": t.start_compute,
                "endEnqMs": t.end_compute,
                "startH2dMs": t.start_h2d,
                "endH2dMs": t.end_h2d,
                "startComputeMs": t.start_compute,
                "endComputeMs": t.end_compute,
                "startD2hMs": t.start_d2h,
                "endD2hMs": t.end_d2h,
                "h2dMs": t.h2d,
                "computeMs": t.compute,
                "d2hMs": t.d2h,
                "latencyMs": t.latency,
            }
            for t in traces
        ],
    )


def write_profile(path: str, times: LayerTimes) -> None:
    """How many calls there were, then layers."""
    rows: list[dict[str, Any]] = [{"count": times.count}]
    rows += [
        {
            "name": row.name,
            "timeMs": row.total,
            "averageMs": row.average,
            "medianMs": row.median,
            "percentage": row.percentage,
        }
        for row in times.rows()
    ]
    _write(path, rows)


def write_outputs(path: str, tensors: Tensors) -> None:
    """A list of outputs: name, extents as `1x3x4`, elements in C order."""
    _write(
        path,
        [
            {
                "name": end.name,
                "dimensions": said(tensors.array(end).shape),
                "values": elements(tensors.array(end)),
            }
            for end in tensors.outputs
        ],
    )


def elements(array: Array) -> list[Any]:
    """Numbers of Python's, those of half types widened; booleans as 0 and 1."""
    if array.dtype.kind == "b":
        return array.astype("u1").ravel().tolist()
    if array.dtype.kind in "iuf":
        return array.ravel().tolist()
    return array.astype("f4").ravel().tolist()


def dump_outputs(tensors: Tensors, log: Log) -> None:
    """Print outputs."""
    log.info("Output Tensors:")
    for end in tensors.outputs:
        log.info(f"{end.name}: ({said(tensors.array(end).shape)})")
        log.info(" ".join(f"{x:g}" for x in elements(tensors.array(end))))


def write_raw(tensors: Tensors, log: Log) -> None:
    """Write inputs and outputs to files of the current folder, which are called as they, their extents and their type are."""
    for kind, ends in (("input", tensors.inputs), ("output", tensors.outputs)):
        for end in ends:
            array = tensors.array(end)
            name = f"{end.name}.{kind}.{said(array.shape)}.{_type_name(end)}.raw"
            path = file_name(name)
            write_atomically(path, array.tobytes())
            log.info(
                f"Writing file for {kind} binding {end.name} (with datatype {_type_name(end)} and dimensions {said(array.shape)}) to {path}"
            )


def file_name(name: str) -> str:
    """A name of a file without letters that folders and shells read."""
    return name.translate(_FILE_LETTERS)


def _type_name(end: End) -> str:
    return end.kind.name.capitalize()


def tell_layers(engine: ICudaEngine, options: Options, log: Log) -> None:
    """Print or write what layers the engine has, as far as its verbosity permits."""
    inspector = engine.create_engine_inspector()
    if options["dumpLayerInfo"]:
        log.info("Layer Information:")
        log.info(inspector.get_engine_information(_LINES))
    if options["exportLayerInfo"] is not None:
        text = inspector.get_engine_information(_JSON)
        _put(options["exportLayerInfo"], text.encode())


def tell_profiles(engine: ICudaEngine, log: Log) -> None:
    """Print shapes of inputs in all optimization profiles."""
    log.info("Optimization Profile Information:")
    for number, profile in enumerate(engine._profiles):
        for name, (low, typical, high) in profile.shapes.items():
            log.info(
                f"Model input {name} (profile {number}): min={said(low)}, opt={said(typical)}, max={said(high)}"
            )


def _write(path: str, content: list[dict[str, Any]]) -> None:
    rows = ",\n".join(json.dumps(row) for row in content)
    _put(path, f"[\n{rows}\n]\n".encode())


def _put(path: str, data: bytes) -> None:
    """Write a file whole or not at all.

    An empty file stays the same one: callers make a temporary file, name it on the command line, and read it through the handle that they
    hold, which a file put in its place would not reach.
    """
    if not (os.path.isfile(path) and os.path.getsize(path) == 0):
        write_atomically(path, data)
        return
    with open(path, "r+b", buffering=0) as file:
        try:
            written = 0
            while written < len(data):
                written += file.write(memoryview(data)[written:])
        except OSError:
            file.truncate(0)
            raise
