"""camshaft behind ONNX's backend protocol, through which ONNX's own test suite runs it.

    import camshaft.backend

    outputs = camshaft.backend.run_model(model, [x])
    tests = onnx.backend.test.BackendTest(camshaft.backend, __name__)

The model is met as runtimes meet it: what the graph declares as an input stays one, and no operand is
turned into a constant.  Values are those of `onnx.numpy_helper`: arrays (of ml_dtypes' types where
NumPy has none, strings as objects), lists for sequences, None for an empty optional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from camshaft.config import BuildConfig
from camshaft.errors import BindingError, ConfigError
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession

HEURISTICS = 1
"""The default optimization level: fusions, and kernels chosen without timing them."""

_TOLERANCES = ("rtol", "atol")
"""Arguments of `onnx.backend.test` that it passes on to `prepare`."""


class CamshaftRep(BackendRep):
    """A model that has been built.

    engine: the engine.  host_steps: names of the steps that Python runs, not machine code.
    """

    def __init__(self, engine: Engine, model: ModelProto, host_steps: Sequence[str]) -> None:
        self.engine = engine
        self.host_steps = tuple(host_steps)
        held = {t.name for t in model.graph.initializer}
        held |= {s.values.name for s in model.graph.sparse_initializer}
        self._required = [v.name for v in model.graph.input if v.name not in held]
        self._outputs = [v.name for v in model.graph.output]
        self._results = namedtupledict("Outputs", self._outputs)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run on a sequence of values in the model's order, on {name: value}, or on the only input.

        Returns a named tuple of the outputs, which takes their names as keys too.
        Errors as in `Engine.__call__`; ConfigError for an option.
        """
        if kwargs:
            raise ConfigError(f"run takes no options {sorted(kwargs)}; prepare does")
        outputs = self.engine({name: _value(v) for name, v in self._named(inputs).items()})
        return self._results(*(outputs[name] for name in self._outputs))

    def _named(self, inputs: Any) -> Mapping[str, Any]:
        """Inputs by name; BindingError if there are too many or too few."""
        if isinstance(inputs, Mapping):
            return inputs
        if not isinstance(inputs, list | tuple):
            inputs = [inputs]
        if len(inputs) != len(self._required):
            raise BindingError(
                f"{len(inputs)} inputs given, and the model takes {len(self._required)}: "
                f"{', '.join(self._required)}"
            )
        return dict(zip(self._required, inputs, strict=True))


class CamshaftBackend(Backend):
    """ONNX's backend protocol; `prepare` builds an engine."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the device is there and the installed onnx knows the model's opset.  (Whether
        every operator is supported is found out by `prepare`.)"""
        newest = onnx.defs.onnx_opset_version()
        opsets = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
        return cls.supports_device(device) and all(version <= newest for version in opsets)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `device` ("CPU", "CUDA:1") is one that engines run on: the CPU."""
        try:
            return bool(Device(device).type == DeviceType.CPU)
        except (AttributeError, ValueError):
            return False

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> CamshaftRep:
        """Build an engine.

        kwargs: options of `camshaft.build`; optimization_level is 1 if not given, so that nothing is
            timed.  `onnx.backend.test`'s rtol and atol are left alone.
        Raises ConfigError for a device or an option, and what `camshaft.build` raises.
        """
        if not cls.supports_device(device):
            raise ConfigError(f"device {device!r} is not supported; there is 'CPU'")
        options = {n: v for n, v in kwargs.items() if n not in _TOLERANCES}
        config = BuildConfig.of(None, {"optimization_level": HEURISTICS, **options})
        session = BuildSession(model, config)
        return CamshaftRep(session.run(), model, session.host_steps)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Build and run one node, of the newest opset or of the one given as opset_version.

        inputs: values of the node's inputs that are not left out, in order.
        outputs_info: (dtype, shape) of the outputs; inferred where it is not given.
        """
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        names = list(dict.fromkeys(n for n in node.input if n))
        values = dict(zip(names, given, strict=True))
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(
            onnx.helper.make_graph(
                [node],
                node.name or node.op_type,
                [onnx.helper.make_value_info(n, _type_proto(v)) for n, v in values.items()],
                _outputs_of(node, outputs_info),
            ),
            opset_imports=[onnx.helper.make_opsetid(node.domain, opset)],
        )
        if outputs_info is None:
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        return cls.prepare(model, device, **kwargs).run(values)


def _value(value: Any) -> Any:
    """A value as engines take it: arrays in row-major order, strings as objects."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [_value(v) for v in value]
    if isinstance(value, dict):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "SU":
        return array.astype(object)
    return array if array.flags.c_contiguous else array.copy()


def _type_proto(value: Any) -> onnx.TypeProto:
    """The ONNX type of a value; of an empty list's elements nothing is known: float32."""
    if isinstance(value, list | tuple):
        element = value[0] if len(value) else np.zeros(0, np.float32)
        return onnx.helper.make_sequence_type_proto(_type_proto(element))
    array = _value(value)
    element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_type_proto(element, array.shape)


def _outputs_of(
    node: NodeProto, info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None
) -> list[onnx.ValueInfoProto]:
    named = [n for n in node.output if n]
    if info is None:
        return [onnx.ValueInfoProto(name=n) for n in named]
    return [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(dtype), shape)
        for n, (dtype, shape) in zip(named, info, strict=True)
    ]


is_compatible = CamshaftBackend.is_compatible
supports_device = CamshaftBackend.supports_device
prepare = CamshaftBackend.prepare
run_model = CamshaftBackend.run_model
run_node = CamshaftBackend.run_node
