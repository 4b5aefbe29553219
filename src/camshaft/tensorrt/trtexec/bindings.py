"""The tensors of one context: on the host, and where the engine reads and writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from camshaft.feeds import random_feeds
from camshaft.ir.types import TensorType
from camshaft.runtime.engine import Engine
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.running.allocators import IOutputAllocator
from camshaft.tensorrt.running.context import IExecutionContext
from camshaft.tensorrt.running.ends import End
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.trtexec.building import Failed
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.shapes import found, said, unused

Array = np.ndarray[Any, np.dtype[Any]]


class _Growing(IOutputAllocator):
    """Memory for an output whose shape only a run finds."""

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.shape: tuple[int, ...] = ()

    def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
        """The memory, which grows where it is too small."""
        if size > self.memory.nbytes or not self.memory.nbytes:
            self.memory = np.empty(max(size, 1), np.uint8)
        return int(self.memory.ctypes.data)

    def notify_shape(self, tensor_name: str, shape: Dims) -> None:
        """Note the shape."""
        self.shape = tuple(shape)


class Tensors:
    """Inputs and outputs of a context, which is told where they are.

    inputs, outputs: ends of the engine in its order.  Each tensor is there twice, as on a machine with a device: `fetch` and `send` copy.
    """

    def __init__(self, context: IExecutionContext, arrays: Mapping[str, Array]) -> None:
        """arrays: of all inputs.  Failed for shapes that the engine does not take; the log says why."""
        self._context = context
        ends = visible_ends(context.engine)
        self.inputs = [end for end in ends if end.is_input]
        self.outputs = [end for end in ends if not end.is_input]
        self._host = dict(arrays)
        self._device: dict[str, Array] = {}
        self._growing: dict[str, _Growing] = {}
        for end in self.inputs:
            if not context.set_input_shape(end.name, arrays[end.name].shape):
                raise Failed(
                    f"input {end.name} cannot have the shape {said(arrays[end.name].shape)}; give another in --shapes"
                )
            self._place(end.name, arrays[end.name].copy())
        self.send()
        for end in self.outputs:
            shape = tuple(context.get_tensor_shape(end.name))
            if -1 in shape:
                self._growing[end.name] = _Growing()
                context.set_output_allocator(end.name, self._growing[end.name])
            else:
                self._place(end.name, np.empty(shape, end.dtype))
                self._host[end.name] = np.empty(shape, end.dtype)

    def _place(self, name: str, array: Array) -> None:
        self._device[name] = array
        self._context.set_tensor_address(name, array.ctypes.data)

    def send(self) -> None:
        """Copy inputs to where the engine reads them."""
        for end in self.inputs:
            np.copyto(self._device[end.name], self._host[end.name])

    def fetch(self) -> None:
        """Copy outputs from where the engine writes them."""
        for end in self.outputs:
            grown = self._growing.get(end.name)
            if grown is None:
                np.copyto(self._host[end.name], self._device[end.name])
            else:
                size = math.prod(grown.shape) * end.dtype.itemsize
                raw = grown.memory[:size]
                self._host[end.name] = raw.view(end.dtype).reshape(grown.shape).copy()

    def array(self, end: End) -> Array:
        """What the host has of a tensor."""
        return self._host[end.name]


def visible_ends(engine: ICudaEngine) -> list[End]:
    """Inputs and outputs that the engine shows."""
    return [engine._all[name] for name in engine._names]


def inputs_for(engine: ICudaEngine, options: Options, log: Log) -> dict[str, Array]:
    """Arrays for all inputs: from files, or random.  ValueError for names that are none, files of another size, and shapes that are missing."""
    ends = [end for end in visible_ends(engine) if end.is_input]
    names = [end.name for end in ends]
    asked, files = options["shapes"] or {}, options["loadInputs"] or {}
    for flag, told in (("shapes", asked), ("loadInputs", files)):
        for name in unused(told, names):
            raise ValueError(
                f"--{flag}: the engine has no input {name!r}; it has {', '.join(names)}"
            )
    profile = _profile(engine, options["useProfile"])
    types: dict[str, TensorType] = {}
    elements: dict[str, tuple[int, ...]] = {}
    for end in ends:
        told = found(asked, end.name)
        typical = profile.shapes.get(end.name, (end.shape,) * 3)[1]
        if end.says_shapes:
            values = profile.values.get(end.name)
            if told is not None or values is not None:
                elements[end.name] = told if told is not None else values[1]
            told = None
        types[end.name] = _type(engine, end, told if told is not None else typical)
    arrays = random_feeds(types, elements=elements)
    for end in ends:
        path = found(files, end.name)
        if path is None:
            log.info(f"Using random values for input {end.name}")
        else:
            arrays[end.name] = _loaded(end, arrays[end.name].shape, path)
            log.info(f"Using values loaded from {path} for input {end.name}")
        log.info(
            f"Input binding for {end.name} with dimensions {said(arrays[end.name].shape)} is created."
        )
    return arrays


def _profile(engine: ICudaEngine, index: int) -> Any:
    if index >= len(engine._profiles):
        raise ValueError(f"--useProfile={index}: the engine has {len(engine._profiles)} profiles")
    return engine._profiles[index]


def _type(engine: ICudaEngine, end: End, shape: tuple[int, ...]) -> TensorType:
    inner: Engine = engine._engine
    fixed = {f.name: f.type for f in inner.program.fixed}
    return replace({**inner.inputs, **fixed}[end.name], shape=shape)


def _loaded(end: End, shape: tuple[int, ...], path: str) -> Array:
    data = Path(path).read_bytes()
    size = math.prod(shape) * end.dtype.itemsize
    if len(data) != size:
        raise ValueError(
            f"--loadInputs: {path} has {len(data)} bytes, and input {end.name} of type {end.dtype} and shape {said(shape)} "
            f"has {size}; give --shapes, or another file"
        )
    return np.frombuffer(data, end.dtype).reshape(shape).copy()
