"""ONNX's own node cases, interpreted and as engines; what does not pass is listed by reason."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from camshaft.config import BuildConfig
from camshaft.errors import CamshaftError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.session import BuildSession

pytestmark = pytest.mark.slow

NOT_PASSING = {
    "sequences and optionals are not supported": r"sequence|seq|optional|_opt$",
    "8-, 6- and 4-bit floats are not supported": r"FLOAT(4|6|8)|e8m0|float4|float6|_e[45]m[23]",
    "inputs of fewer than 8 bits are not supported": r"U?INT[24](_|$)|u?int[24]$",
    "training mode is refused": r"training",
    "random numbers differ": r"bernoulli",
    "bfloat16 is computed in f32, more exactly": r"attention.*bf16",
    "Scan of opset 8 is not supported": r"^test_scan_sum$",
    "output extents in align_corners are whole, as in PyTorch and ONNX Runtime":
        r"resize_downsample_scales_(linear|cubic)_align_corners",
}  # fmt: skip
NOT_BUILT = {
    "engines neither take nor give strings": r"string|strnorm|regex|label_encoder_tensor",
}
Arrays = Mapping[str, np.ndarray]
Run = Callable[[ModelProto, Graph, Arrays], Arrays]


def interpreted(_model: ModelProto, graph: Graph, feeds: Arrays) -> Arrays:
    return interpret(graph, feeds)


def as_engine(model: ModelProto, graph: Graph, feeds: Arrays) -> Arrays:
    """The graph built; cases hold NaN and infinity, which an engine's inputs are searched for."""
    session = BuildSession(model, BuildConfig(optimization_level=1))
    session.imported = graph
    return session.run().create_context(1, check_finite=False).run(feeds)


def array_of(value: Any) -> np.ndarray | None:
    if isinstance(value, TensorProto):
        return np.asarray(numpy_helper.to_array(value))
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else None


def graph_of(model: ModelProto, arrays: dict[str, np.ndarray]) -> Graph:
    """Imported with operands as graph inputs; if sizes hang on their elements, as constants.

    The cases give shapes and axes as inputs, which real models have as constants.
    """
    names = list(arrays)
    fixed: list[list[str]] = [[], names[1:], names]
    for constant in fixed:
        copy = ModelProto()
        copy.CopyFrom(model)
        copy.graph.initializer.extend(numpy_helper.from_array(arrays[n], n) for n in constant)
        shapes = {n: arrays[n].shape for n in names if n not in constant}
        try:
            graph = import_onnx(copy, shapes=shapes)
        except CamshaftError:
            if constant == names:
                raise
            continue
        if not any(t.values for t in graph.inputs):
            return graph
    raise AssertionError("unreachable")


def fault_of(case: Any, run: Run) -> str | None:
    """Why a case does not pass, None if it does."""
    given, wanted = case.data_sets[0]
    arrays: dict[str, np.ndarray] = {}
    for info, value in zip(case.model.graph.input, given, strict=False):
        array = array_of(value)
        if array is None:
            return "an input is no tensor"
        arrays[info.name] = array
    try:
        graph = graph_of(case.model, arrays)
        feeds = {t.name: arrays[t.name].astype(t.type.dtype.numpy) for t in graph.inputs}
        got = run(case.model, graph, feeds)
    except CamshaftError as error:
        return str(error)
    for name, value in zip(graph.output_names, wanted, strict=False):
        want = array_of(value)
        if want is None or got[name].shape != want.shape:
            return f"{name}: another shape or kind"
        if want.dtype.kind in "fV":
            left, right = (a.astype(np.float64) for a in (got[name], want))
            if not np.allclose(left, right, rtol=case.rtol, atol=case.atol, equal_nan=True):
                return f"{name}: values differ"
        elif not np.array_equal(got[name], want):
            return f"{name}: values differ"
    return None


@pytest.mark.parametrize(
    ("run", "excused", "least"),
    [(interpreted, NOT_PASSING, 1650), (as_engine, {**NOT_PASSING, **NOT_BUILT}, 1620)],
)
def test_onnx_node_cases(run: Run, excused: Mapping[str, str], least: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
        faults = {c.name: fault for c in cases if (fault := fault_of(c, run)) is not None}
    known = re.compile("|".join(excused.values()))
    assert {n: why for n, why in faults.items() if not known.search(n)} == {}
    assert len(cases) - len(faults) >= least or onnx.__version__ < "1.23"
