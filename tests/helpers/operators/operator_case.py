"""One operator with its operands: run by `run_proto`, by ONNX Runtime, compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TypeProto, helper, numpy_helper

from camshaft.ops.host import run_proto

Rng = np.random.Generator
Value = np.ndarray | list[Any] | None


@dataclass(frozen=True)
class Case:
    """A node of one operator.

    inputs: None where one is left out.  outputs: "y" for each that is named, "" for those that are
    not.  rtol, atol: of floats, atol times the greatest finite result.  peer_opset: what ONNX Runtime
    is asked in, where it lacks the operator in `opset`, whose rules are the same.
    """

    op_type: str
    opset: int
    inputs: Sequence[Value]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    rtol: float = 1e-5
    atol: float = 1e-6
    peer_opset: int | None = None

    @property
    def node(self) -> NodeProto:
        inputs = [f"x{i}" if v is not None else "" for i, v in enumerate(self.inputs)]
        outputs = [f"{name}{i}" if name else "" for i, name in enumerate(self.outputs)]
        return helper.make_node(self.op_type, inputs, outputs, **self.attrs)

    def described(self) -> str:
        shapes = [
            None if v is None else len(v) if isinstance(v, list) else f"{v.dtype}{list(v.shape)}"
            for v in self.inputs
        ]
        small = {
            i: v.tolist() for i, v in enumerate(self.inputs)
            if isinstance(v, np.ndarray) and v.size <= 8
        }  # fmt: skip
        return f"{self.op_type}-{self.opset} {dict(self.attrs)} {shapes} {small} -> {list(self.outputs)}"


Generate = Callable[[Rng, int], Case]
"""(source of randomness, opset) -> a case."""


def type_of(value: Value) -> TypeProto:
    """The ONNX type of a value."""
    if isinstance(value, list):
        return helper.make_sequence_type_proto(type_of(value[0]))
    assert value is not None
    strings = value.dtype.kind in "OSU"
    kind = onnx.TensorProto.STRING if strings else helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_type_proto(kind, value.shape)


def model_of_case(case: Case, inputs: Sequence[str], opset: int | None = None) -> onnx.ModelProto:
    """The model of that one node.  inputs: operands that are its inputs; the others are constants."""
    node = case.node
    given = {n: v for n, v in zip(node.input, case.inputs, strict=True) if n}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_value_info(n, type_of(given[n])) for n in inputs],
        [onnx.ValueInfoProto(name=n) for n in node.output if n],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in given.items() if n not in inputs],
    )
    opsets = [helper.make_opsetid("", opset or case.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    for value, found in zip(model.graph.output, inferred.graph.output, strict=True):
        if found.type.WhichOneof("value"):
            value.CopyFrom(found)
        else:  # ONNX infers no types for some functions
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model


def by_ours(case: Case) -> list[Value]:
    """What camshaft's host step gives."""
    return run_proto(case.node.SerializeToString(), case.opset, case.inputs)


def by_onnxruntime(case: Case) -> list[Value]:
    """What ONNX Runtime gives, not optimized, with one thread; it raises what it does not take."""
    import onnxruntime as ort

    feeds = {n: v for n, v in zip(case.node.input, case.inputs, strict=True) if n}
    model = model_of_case(case, list(feeds), case.peer_opset)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)  # type: ignore[no-any-return]


def difference(got: Sequence[Value], want: Sequence[Value], case: Case) -> str | None:
    """Where results differ in kind, type, shape or value; None if nowhere."""
    if len(got) != len(want):
        return f"{len(got)} results, not {len(want)}"
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        fault = _difference(g, w, case)
        if fault:
            return f"output {i}: {fault}"
    return None


def _difference(got: Value, want: Any, case: Case) -> str | None:
    if isinstance(want, list) or isinstance(got, list):
        if not isinstance(want, list) or not isinstance(got, list):
            return f"{type(got).__name__}, not {type(want).__name__}"
        if len(got) != len(want):
            return f"{len(got)} elements, not {len(want)}"
        faults = (_difference(g, w, case) for g, w in zip(got, want, strict=True))
        return next((f for f in faults if f), None)
    if want is None or got is None:
        return None if want is got else f"{got}, not {want}"
    want, got = np.asarray(want), np.asarray(got)
    if got.shape != want.shape:
        return f"shape {list(got.shape)}, not {list(want.shape)}"
    strings = want.dtype.kind in "OSU"
    if got.dtype.kind != "O" if strings else got.dtype != want.dtype:
        return f"type {got.dtype}, not {want.dtype}"
    if want.dtype.kind == "V":  # ml_dtypes' narrow floats
        want, got = want.astype(np.float32), got.astype(np.float32)
        same = np.array_equal(got, want, equal_nan=True)
        return None if same else f"{got.tolist()}, not {want.tolist()}"
    if strings or want.dtype.kind not in "fc":
        return None if np.array_equal(got, want) else f"{got.tolist()}, not {want.tolist()}"
    left, right = got.astype(np.float64), want.astype(np.float64)
    finite = np.abs(right[np.isfinite(right)]).max(initial=0)
    if np.allclose(left, right, case.rtol, case.atol * max(1.0, finite), equal_nan=True):
        return None
    apart = np.nanmax(np.where(np.isfinite(left - right), np.abs(left - right), 0), initial=0)
    if want.size <= 40:
        return f"apart by {apart}: {got.tolist()}, not {want.tolist()}"
    return f"apart by {apart} of {finite}"


# -- drawing ---------------------------------------------------------------------------------------


def floats(rng: Rng, *shape: int) -> np.ndarray:
    """Normal numbers in f32."""
    return rng.standard_normal(shape).astype(np.float32)


def extents(rng: Rng, count: int, low: int = 1, high: int = 5) -> list[int]:
    """`count` extents from `low` to `high`."""
    return [int(n) for n in rng.integers(low, high + 1, count)]


def pick(rng: Rng, *choices: Any) -> Any:
    """One of the choices."""
    return choices[int(rng.integers(len(choices)))]


def maybe(rng: Rng, value: Any, chance: float = 0.5) -> Any:
    """The value, or None."""
    return value if rng.random() < chance else None


def given(**attrs: Any) -> dict[str, Any]:
    """The attributes that are not None."""
    return {k: v for k, v in attrs.items() if v is not None}


def trimmed(values: Sequence[Any]) -> list[Any]:
    """Without what is left out at the end."""
    kept = list(values)
    while kept and (kept[-1] is None or (isinstance(kept[-1], str) and kept[-1] == "")):
        kept.pop()
    return kept
