"""Operators of ONNX Runtime's own domain: one-node models, open extents, and the runtime as judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.frontends.onnx.importer import import_model
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from onnx_models import compare, host_ops, imported

DOMAIN = "com.microsoft"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Fixed:
    """An operand that is an initializer."""

    array: np.ndarray


Operand = np.ndarray | Fixed | None


def foreign(
    op_type: str,
    operands: Sequence[Operand],
    *,
    outputs: Sequence[str] = ("y0",),
    dims: Mapping[int, str] | None = None,
    domain: str = DOMAIN,
    version: int = 1,
    model_opset: int = 17,
    types: Sequence[int] = (),
    **attrs: Any,
) -> tuple[ModelProto, Arrays]:
    """(model, feeds) of one operator, whose inputs are called x0, x1, ...

    dims: the declared extents of some inputs, as "batch 3 n"; those of the arrays where not given.
    version: of the domain.  types: of the outputs, floats where not given.
    """
    names, inputs, fixed, feeds = [], [], [], {}
    for i, operand in enumerate(operands):
        names.append("" if operand is None else f"x{i}")
        if isinstance(operand, Fixed):
            fixed.append(numpy_helper.from_array(np.asarray(operand.array), f"x{i}"))
        elif operand is not None:
            feeds[f"x{i}"] = operand
            shape: list[int | str] = list(operand.shape)
            if dims and i in dims:
                shape = [int(d) if d.isdigit() else d for d in dims[i].split()]
            kind = helper.np_dtype_to_tensor_dtype(operand.dtype)
            inputs.append(helper.make_tensor_value_info(f"x{i}", kind, shape))
    node = helper.make_node(op_type, names, outputs, name="node", domain=domain, **attrs)
    kinds = [*types, *[TensorProto.FLOAT] * len(outputs)]
    made = [
        helper.make_tensor_value_info(n, k, None) for n, k in zip(outputs, kinds, strict=False) if n
    ]
    graph = helper.make_graph([node], "test", inputs, made, fixed)
    opsets = [helper.make_opsetid("", model_opset), helper.make_opsetid(domain or DOMAIN, version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), feeds


def runtime_results(model: ModelProto, feeds: Arrays) -> list[np.ndarray]:
    """What ONNX Runtime computes, not optimized, on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results: list[np.ndarray] = session.run(None, feeds)
    return results


def check_foreign(
    op_type: str,
    operands: Sequence[Operand],
    *,
    dims: Mapping[int, str] | None = None,
    tolerance: float = 2e-5,
    want: Sequence[np.ndarray] | None = None,
    off: int = 0,
    host: bool = False,
    **more: Any,
) -> None:
    """Assert that importer and interpreter give what ONNX Runtime gives, or `want`; with the extents
    that `dims` leaves open too.  off: by how much integers may differ.  host: whether host steps may
    occur."""
    model, feeds = foreign(op_type, operands, **more)
    expected = runtime_results(model, feeds) if want is None else want
    models = [model] if dims is None else [model, foreign(op_type, operands, dims=dims, **more)[0]]
    for made in models:
        got, graph = _computed(made, feeds)
        assert host or graph is None or not host_ops(graph)
        for value, there in zip(made.graph.output, expected, strict=True):
            here = got[value.name]
            if off and there.dtype.kind in "iu":
                assert here.dtype == there.dtype
                assert np.abs(here.astype(np.int64) - there).max(initial=0) <= off
            else:
                compare(here, there, tolerance)


def _computed(model: ModelProto, feeds: Arrays) -> tuple[Arrays, Graph | None]:
    """What a model gives, and its graph; None for one with strings, which takes a script."""
    if import_model(model).script is None:
        graph = imported(model)
        return interpret(graph, feeds), graph
    return dict(camshaft.build(model)(feeds)), None
