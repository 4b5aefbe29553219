"""The values of one run of a model, which become the inputs of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from camshaft.compare.cuts import declared
from camshaft.compare.others import run_other
from camshaft.compare.reduction.source import Arrays, inferred
from camshaft.errors import ModelError

_NUMBERS = "fiub"
"""Kinds of arrays that can be inputs of a part: no strings, no sequences."""


def recorded(proto: ModelProto, feeds: Arrays, other: str) -> tuple[dict[str, np.ndarray], str]:
    """The tensors that nodes of the model compute from `feeds` in the runtime `other`, and `feeds`.

    Where that cannot run the model: random values of the types that can be inferred, and why, else "".
    """
    names = [o for n in proto.graph.node if n.op_type != "Constant" for o in n.output if o]
    try:
        found: Mapping[str, Any] = run_other(other, proto, feeds, names)
        fault = ""
    except ModelError as error:
        found, fault = _random(proto, feeds), str(error)
    kept = {n: np.asarray(a) for n, a in found.items() if _is_array(a)}
    return {**kept, **feeds}, fault


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in _NUMBERS


def _random(proto: ModelProto, feeds: Arrays) -> dict[str, np.ndarray]:
    """Floats from N(0, 1), ones of other types, where shapes can be inferred."""
    fixed = ModelProto()
    fixed.CopyFrom(proto)
    for value in fixed.graph.input:
        if value.name in feeds:
            value.CopyFrom(declared(value.name, feeds[value.name]))
    rng = np.random.default_rng(0)
    found = {}
    for value in inferred(fixed).graph.value_info:
        kind = value.type.tensor_type
        if not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
            continue
        shape = [d.dim_value for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind in _NUMBERS:
            drawn = rng.standard_normal(shape) if dtype.kind == "f" else np.ones(shape)
            found[value.name] = drawn.astype(dtype)
    return found
