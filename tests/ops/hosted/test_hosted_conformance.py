"""Host steps on ONNX's own node cases: all of them whose model is one node that `hosted` implements."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from camshaft.errors import ModelError
from camshaft.ops.host import run_proto
from camshaft.ops.hosted.table import implementation
from operator_case import Case, difference

_WHOLE = "the extents that align_corners aligns are whole, as in PyTorch and ONNX Runtime"
ELSEWISE = {
    "test_resize_downsample_scales_cubic_align_corners": _WHOLE,
    "test_resize_downsample_scales_linear_align_corners": _WHOLE,
    "test_maxunpool_export_with_output_shape": "indices count in output_shape, as in PyTorch and "
    "ONNX Runtime: MaxUnpool is to undo MaxPool, whose indices count in that very image",
}
"""Cases that are not followed, and why."""


@cache
def cases() -> dict[str, Any]:
    """Name -> case, of one node that `hosted` implements."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    ours = {}
    for case in found:
        graph = case.model.graph
        opsets = {o.domain: o.version for o in case.model.opset_import}
        if len(graph.node) == 1 and not graph.initializer and not case.model.functions:
            node = graph.node[0]
            if implementation(node.domain, node.op_type, opsets.get(node.domain, 1)) is not None:
                ours[case.name] = case
    return ours


def value_of(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list):
        return [value_of(v) for v in value]
    if value is None or not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "SU" else array


def fault_of(case: Any) -> str | None:
    node = case.model.graph.node[0]
    opset = next(o.version for o in case.model.opset_import if o.domain == node.domain)
    for given, wanted in case.data_sets:
        named = dict(
            zip([i.name for i in case.model.graph.input], map(value_of, given), strict=False)
        )
        shape = Case(node.op_type, opset, (), rtol=max(case.rtol, 1e-4), atol=max(case.atol, 1e-5))
        try:
            got = run_proto(node.SerializeToString(), opset, [named.get(n) for n in node.input])
        except ModelError as error:
            return str(error)
        fault = difference(got, [value_of(v) for v in wanted], shape)
        if fault:
            return fault
    return None


@pytest.mark.slow
def test_all_cases() -> None:
    faults = {name: fault_of(case) for name, case in cases().items()}
    assert {n: f for n, f in faults.items() if f and n not in ELSEWISE} == {}
    assert [n for n in ELSEWISE if faults[n] is None] == []
    assert len(faults) > 400 or onnx.__version__ < "1.23"


def test_a_wrong_result_is_seen() -> None:
    case = Case("Relu", 14, ())
    one, two = np.ones(2, np.float32), np.array([1, 2], np.float32)
    assert difference([one], [two], case) and not difference([one], [one], case)
    with pytest.raises(ModelError, match="missing"):
        run_proto(onnx.helper.make_node("Softmax", [], ["y"]).SerializeToString(), 13, [])
