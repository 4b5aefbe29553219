"""The long tail: any standard ONNX op without a definition here runs through `onnx.reference`.

A host node carries the ONNX NodeProto itself; its output types are recorded by the importer
(from ONNX's own shape inference), so nothing of ONNX is written again.  onnx is imported when such a
node is executed, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.op import Attribute, OpDef
from camshaft.ir.types import TensorType, dtype_named

Attrs = Mapping[str, Any]

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
"""What the reference implementation raises on operators and values it does not take."""


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
    return node, ReferenceEvaluator(model)


def run_proto(proto: bytes, opset: int, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Evaluate one serialized NodeProto with ONNX's reference implementation.

    arrays: the inputs that are present, in order.  ModelError names the op when the reference
    cannot run it.
    """
    try:
        node, evaluator = _evaluator(proto, opset)
        present = dict.fromkeys(n for n in node.input if n)
        feeds = dict(zip([n for n in node.input if n], arrays, strict=True))
        results = evaluator.run(None, {n: feeds[n] for n in present})
    except FAULTS as error:
        raise ModelError(f"ONNX's reference cannot run this op: {error}") from error
    return [_plain(np.asarray(r)) for r in results]


def _plain(array: np.ndarray) -> np.ndarray:
    """Strings as objects, the one form in which camshaft holds them."""
    return array.astype(object) if array.dtype.kind in "SU" else array


def has_reference(proto: bytes, opset: int) -> bool:
    """Whether ONNX's reference implements the node in a serialized NodeProto."""
    try:
        _evaluator(proto, opset)
    except FAULTS:
        return False
    return True


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    results = run_proto(attrs["proto"], attrs["opset"], arrays)
    dtypes = [dtype_named(name) for name in attrs["dtypes"]]
    return [r.astype(t.numpy, copy=False) for r, t in zip(results, dtypes, strict=True)]


HOST = OpDef(
    "host",
    "A standard ONNX operator without an op of its own, run by ONNX's reference in Python.",
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
