"""The long tail: any standard ONNX op without a definition here runs in Python, on NumPy arrays.

A host node carries the ONNX NodeProto itself; its output types are recorded by the importer
(from ONNX's own shape inference).  What it means says `hosted`, which holds to the specification of
each opset; what `hosted` has not is left to ONNX's reference.  onnx is imported when such a node is
executed, not before.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.op import Attribute, OpDef
from camshaft.ir.types import DType, TensorType, dtype_named
from camshaft.ops.hosted.call import NUMPY_TYPES, STRING, Call, Function, Value
from camshaft.ops.hosted.table import implementation

Attrs = Mapping[str, Any]

_REGISTERED = 2
"""What `isbuiltin` says of a type that another package has added to NumPy, as ml_dtypes does."""

FAULTS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    MemoryError,
)
"""What NumPy and the reference raise on operators and values they do not take."""


def output_attrs(types: Sequence[TensorType]) -> dict[str, Any]:
    """The attributes that say which types a host node yields: ranks say how `extents` are divided."""
    return {
        "dtypes": tuple(t.dtype.name for t in types),
        "ranks": tuple(t.rank for t in types),
        "extents": tuple(d for t in types for d in t.shape),
    }


def _infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    extents = iter(attrs["extents"])
    return [
        TensorType(dtype_named(name), tuple(next(extents) for _ in range(rank)))
        for name, rank in zip(attrs["dtypes"], attrs["ranks"], strict=True)
    ]


@dataclass(frozen=True)
class _Node:
    """A NodeProto, read.  function: ours, None where ONNX's reference runs it.  store: what its runs keep for
    each other."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    function: Function | None
    store: dict[Any, Any] = field(default_factory=dict)


@lru_cache(maxsize=512)
def _node(proto: bytes, opset: int) -> _Node:
    import onnx

    node = onnx.NodeProto.FromString(proto)
    return _Node(
        node.op_type,
        tuple(node.input),
        tuple(node.output),
        {a.name: attribute_value(onnx, a) for a in node.attribute},
        implementation(node.domain, node.op_type, opset),
    )


def attribute_value(onnx: Any, attribute: Any) -> Any:
    """An attribute's value: strings as str, tensors as arrays, other messages as they are."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
    return value


@lru_cache(maxsize=512)
def _evaluator(proto: bytes, opset: int) -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator

    node = onnx.NodeProto.FromString(proto)
    unknown = onnx.TypeProto()
    graph = onnx.helper.make_graph(
        [node],
        node.op_type,
        [onnx.helper.make_value_info(n, unknown) for n in dict.fromkeys(node.input) if n],
        [onnx.helper.make_value_info(n, unknown) for n in node.output if n],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid(node.domain, opset)]
    )
    return ReferenceEvaluator(model)


def run_proto(
    proto: bytes, opset: int, inputs: Sequence[Value], dtypes: Sequence[DType] = ()
) -> list[Value]:
    """Evaluate one serialized NodeProto: the values of the outputs it names, in order.

    inputs: one for each input of the node, None where it is left out, or only those that are
    present, in order.  A value is an array (strings as objects of str), a list (a sequence), a dictionary
    (a map), or None (an empty optional).  dtypes: of the named outputs, where they are known.  ModelError says what does not fit.
    """
    try:
        node = _node(proto, opset)
        if len(inputs) != len(node.inputs):
            present = iter(inputs)
            inputs = [next(present) if n else None for n in node.inputs]
        if node.function is not None and not _has_narrow(inputs, node.attrs):
            wanted = tuple(bool(n) for n in node.outputs)
            call = Call(
                node.op_type,
                opset,
                node.attrs,
                tuple(inputs),
                wanted,
                tuple(t.name for t in dtypes),
                node.store,
            )
            with np.errstate(all="ignore"):
                results: Sequence[Any] = node.function(call)
            results = [results[i] for i, n in enumerate(node.outputs) if n]
        else:
            feeds = {n: v for n, v in zip(node.inputs, inputs, strict=True) if n}
            with np.errstate(all="ignore"):
                results = _evaluator(proto, opset).run(None, feeds)
    except FAULTS as error:
        raise ModelError(f"cannot be computed: {type(error).__name__}: {error}") from error
    return [_plain(r) for r in results]


def _has_narrow(inputs: Sequence[Value], attrs: Attrs) -> bool:
    """Whether a type is involved that NumPy has not, such as a float of 8 bits."""
    arrays = (v for v in inputs if isinstance(v, np.ndarray))
    to = attrs.get("to", attrs.get("output_dtype", 0))
    return any(a.dtype.isbuiltin == _REGISTERED for a in arrays) or not (
        to in (0, STRING) or to in NUMPY_TYPES
    )


def _plain(value: Any) -> Value:
    """A value in the one form in which camshaft holds it: strings as objects."""
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, list):
        return [_plain(v) for v in value]
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "SU" else array


def has_reference(proto: bytes, opset: int) -> bool:
    """Whether the node in a serialized NodeProto can be evaluated: by ours, or ONNX's reference."""
    try:
        if _node(proto, opset).function is None:
            _evaluator(proto, opset)
    except FAULTS:
        return False
    return True


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    results = run_proto(attrs["proto"], attrs["opset"], arrays)
    dtypes = [dtype_named(name) for name in attrs["dtypes"]]
    return [np.asarray(r).astype(t.numpy, copy=False) for r, t in zip(results, dtypes, strict=True)]


def operator(payload: bytes) -> Callable[[Sequence[Value]], list[Value]]:
    """The callable that a step of a script runs: `{"proto", "opset", "dtypes"}` as JSON, proto the base64 of a
    serialized NodeProto, dtypes the names of its results' element types.

    ModelError if the payload describes none, and when the operator fails.
    """
    try:
        record = json.loads(payload)
        proto, opset = base64.b64decode(record["proto"]), int(record["opset"])
        dtypes = [dtype_named(name) for name in record["dtypes"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the step's payload is damaged: {error}") from error

    def run(values: Sequence[Value]) -> list[Value]:
        results = run_proto(proto, opset, values, dtypes)
        return [_of_type(r, t) for r, t in zip(results, dtypes, strict=False)]

    return run


def refused(payload: bytes) -> Callable[[Sequence[Value]], list[Value]]:
    """The callable of a step that cannot be computed, and only fails if it is run; the payload says why."""
    why = payload.decode("utf-8", "replace")

    def run(values: Sequence[Value]) -> list[Value]:
        raise ModelError(why)

    return run


def _of_type(value: Value, dtype: DType) -> Value:
    """The value with arrays of this element type."""
    if isinstance(value, list):
        return [_of_type(v, dtype) for v in value]
    if value is None or dtype.kind == "s" or isinstance(value, dict):
        return value
    return np.asarray(value).astype(dtype.numpy, copy=False)


HOST = OpDef(
    "host",
    "A standard ONNX operator without an op of its own, run in Python by `ops.hosted` or ONNX's reference.",
    _infer,
    _reference,
    {
        "op_type": Attribute("name of the ONNX operator", drawn=False),
        "proto": Attribute("the serialized NodeProto", drawn=False),
        "opset": Attribute("version of the operator set it belongs to", drawn=False),
        "dtypes": Attribute(
            "element types of the outputs, from ONNX's shape inference", drawn=False
        ),
        "ranks": Attribute("their ranks", drawn=False),
        "extents": Attribute("their extents, one output behind the other", drawn=False),
    },
    "host",
    hosted=True,
    named_by="op_type",
    folds=False,
    deterministic=False,
)

OPS = (HOST,)
