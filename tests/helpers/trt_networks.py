"""Networks of TensorRT's API in tests: an empty one, and what one computes."""

from __future__ import annotations

from typing import Any

import numpy as np

import camshaft
import camshaft.tensorrt as trt
from camshaft.tensorrt.errors import Reports

Array = np.ndarray[Any, Any]


class Log(trt.ILogger):
    """Keeps messages: (severity's name, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def log(self, severity: Any, msg: str) -> None:
        self.lines.append((severity.name, msg))

    @property
    def errors(self) -> list[str]:
        """Texts of errors."""
        return [text for severity, text in self.lines if severity == "ERROR"]


def network(flags: int = 0, log: Log | None = None) -> trt.INetworkDefinition:
    """An empty network."""
    return trt.INetworkDefinition._made(Reports(log or Log()), flags)


def computed(net: trt.INetworkDefinition, **inputs: Array) -> dict[str, Array]:
    """What a network gives, by output."""
    model = net._lowered().model
    return dict(camshaft.build(model, optimization_level=0)(inputs))


class Bench:
    """A network of float32 inputs that hold random numbers.  log: what it said."""

    def __init__(self, *shapes: tuple[int, ...], opened: tuple[int, ...] = ()) -> None:
        """opened: axes that the network leaves open, of all inputs."""
        self.log = Log()
        self.net = network(log=self.log)
        rng = np.random.default_rng(3)
        self.arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
        said = [tuple(-1 if a in opened else d for a, d in enumerate(s)) for s in shapes]
        made = [self.net.add_input(f"x{i}", trt.float32, s) for i, s in enumerate(said)]
        self.tensors: list[Any] = made

    def constant(self, value: Any) -> Any:
        """A constant's tensor."""
        array = np.ascontiguousarray(value)
        layer = self.net.add_constant(np.shape(value), array)
        assert layer is not None
        return layer.get_output(0)

    def outputs(self, layer: Any) -> list[Array]:
        """What a layer gives, after its shapes and types were found to be those that the network says."""
        assert not self.log.errors
        tensors = [layer.get_output(i) for i in range(layer.num_outputs)]
        for tensor in tensors:
            self.net.mark_output(tensor)
        got = computed(self.net, **{f"x{i}": a for i, a in enumerate(self.arrays)})
        for tensor in tensors:
            array = got[tensor.name]
            said = tuple(tensor.shape)
            assert len(said) == array.ndim
            assert all(d in (-1, n) for d, n in zip(said, array.shape, strict=True)), (
                said,
                array.shape,
            )
            assert array.dtype == trt.nptype(tensor.dtype), (array.dtype, tensor.dtype)
        return [got[t.name] for t in tensors]

    def output(self, layer: Any) -> Array:
        """The only one."""
        (array,) = self.outputs(layer)
        return array
