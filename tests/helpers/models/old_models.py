"""Models of opsets 1 to 6, built as their exporters did: initializers are inputs too, IR version 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify


def old_model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    opset: int,
    constants: Mapping[str, np.ndarray] | None = None,
) -> ModelProto:
    """The model; its outputs are declared without types."""
    weights = {n: np.asarray(a) for n, a in (constants or {}).items()}
    graph = helper.make_graph(
        nodes,
        f"opset {opset}",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in {**inputs, **weights}.items()
        ],
        [helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)


def old_node(
    op_type: str,
    operands: Sequence[np.ndarray],
    opset: int,
    *,
    constant: Sequence[int] = (),
    outputs: int = 1,
    **attributes: Any,
) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """(model, feeds) of one node; operands numbered in `constant` are initializers."""
    names = [f"x{i}" for i in range(len(operands))]
    made = [f"y{i}" for i in range(outputs)]
    fixed = {n: a for i, (n, a) in enumerate(zip(names, operands, strict=True)) if i in constant}
    feeds = {n: a for n, a in zip(names, operands, strict=True) if n not in fixed}
    node = helper.make_node(op_type, names, made, name="node", **attributes)
    return old_model([node], feeds, made, opset, fixed), feeds


def computed(model: ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs, through importer and interpreter."""
    graph = import_onnx(model)
    verify(graph)
    return list(interpret(graph, feeds).values())


def value_of(op_type: str, operands: Sequence[np.ndarray], opset: int, **more: Any) -> np.ndarray:
    """The first output of one node, with operands that are inputs and ones that are constants alike."""
    made = [
        computed(*old_node(op_type, operands, opset, **{"constant": fixed, **more}))[0]
        for fixed in ((), range(1, len(operands)))
    ]
    np.testing.assert_allclose(made[0], made[1], rtol=1e-5, atol=1e-6)
    return made[0]


def theirs(
    op_type: str, operands: Sequence[np.ndarray], opset: int, **more: Any
) -> list[np.ndarray]:
    """What ONNX Runtime, which begins at opset 7, makes of a node."""
    ort = pytest.importorskip("onnxruntime", reason="compared with ONNX Runtime")
    model, feeds = old_node(op_type, operands, opset, **more)
    for value in model.graph.output:
        value.ClearField("type")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))
