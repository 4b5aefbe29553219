"""Outputs beside those of files: how far they are off, as TensorRT 11 counts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from camshaft.tensorrt.trtexec.bindings import Array, Tensors
from camshaft.tensorrt.trtexec.building import Failed
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.shapes import said

_LEAST_NORMS = 1e-12
"""Below it the product of two norms says nothing of an angle."""


def _cosine(a: Array, b: Array, options: Options) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1.0 if norms < _LEAST_NORMS else 1.0 - float(a @ b) / norms


def _share_off(a: Array, b: Array, options: Options) -> float:
    """The share of elements that are farther off than the tolerance; NaN is."""
    near = np.abs(a - b) <= options["atol"] + options["rtol"] * np.abs(b)
    return float(np.mean(~near))


_LOSSES: dict[str, Callable[[Array, Array, Options], float]] = {
    "l0": _share_off,
    "l1": lambda a, b, options: float(np.mean(np.abs(a - b))),
    "l2": lambda a, b, options: float(np.mean((a - b) ** 2)),
    "lInf": lambda a, b, options: float(np.max(np.abs(a - b))),
    "cos": _cosine,
}


def check_outputs(tensors: Tensors, options: Options, log: Log) -> None:
    """Print how far each output is off.  Failed where that is --accuracyThreshold or more; ValueError for files of another size."""
    files, threshold = options["loadRefOutputs"] or {}, options["accuracyThreshold"]
    ends = {end.name: end for end in tensors.outputs}
    off = []
    for name, path in files.items():
        if name not in ends:
            raise ValueError(
                f"--loadRefOutputs: the engine has no output {name!r}; it has {', '.join(ends)}"
            )
        loss = _loss(name, tensors.array(ends[name]), path, options)
        # A loss that is no number is above every threshold.
        is_off = threshold > 0 and not loss < threshold
        mark = f" [FAIL: >= threshold {threshold:g}]" if is_off else ""
        log.info(
            f"Accuracy loss for tensor {name} ({options['accuracyAlgorithm']}): {loss:.6f}{mark}"
        )
        off += [name] if is_off else []
    if off:
        raise Failed(f"Accuracy validation failed for {', '.join(off)}")


def _loss(name: str, array: Array, path: str, options: Options) -> float:
    data = Path(path).read_bytes()
    if len(data) != array.nbytes:
        raise ValueError(
            f"--loadRefOutputs: {path} has {len(data)} bytes, and output {name} of type {array.dtype} and shape "
            f"{said(array.shape)} has {array.nbytes}"
        )
    if not array.size:
        return 0.0
    reference: Any = np.frombuffer(data, array.dtype).astype(np.float64)
    return _LOSSES[options["accuracyAlgorithm"]](
        array.ravel().astype(np.float64), reference, options
    )
