"""Reducing models that fail: search, subsets of nodes, stages, checks."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from camshaft.compare.others import run_other
from camshaft.compare.reduction.check import Check, Outcome, Rule, command_words
from camshaft.compare.reduction.record import recorded
from camshaft.compare.reduction.reduce import Reduced, reduce_model
from camshaft.compare.reduction.search import smallest
from camshaft.compare.reduction.source import Candidate, Source
from camshaft.errors import ConfigError
from cli_models import RNG, residual_net

X = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> ModelProto:
    return onnx.load(residual_net(tmp_path_factory.mktemp("reduce") / "net.onnx"))


def has(*operators: str) -> Callable[[Candidate], bool]:
    """A check that a model fails which has all these operators in its graph or bodies, and that others run it."""

    def fails(candidate: Candidate) -> bool:
        onnx.checker.check_model(candidate.model, full_check=True)
        names = [v.name for v in candidate.model.graph.output]
        run_other("reference", candidate.model, candidate.feeds, names)
        return set(operators) <= set(types(candidate.model.graph))

    return fails


def types(graph: Any) -> list[str]:
    found = []
    for node in graph.node:
        found.append(node.op_type)
        for a in node.attribute:
            found += types(a.g) if a.HasField("g") else []
    return found


def reduced(
    model: ModelProto, feeds: Any, fails: Callable[[Candidate], bool], **more: Any
) -> Reduced:
    found = reduce_model(model, feeds, fails, other="reference", **more)
    assert found is not None
    assert fails(found.candidate), "the result must fail"
    return found


def model_of(
    nodes: list[Any],
    inputs: dict[str, Any],
    outputs: Sequence[str],
    weights: dict[str, Any] | None = None,
) -> ModelProto:
    infos = [
        helper.make_tensor_value_info(
            n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape if hasattr(a, "shape") else a
        )
        for n, a in inputs.items()
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    constants = [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", infos, ends, constants)
    typed = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)],
        ir_version=8,
    )
    inferred = onnx.shape_inference.infer_shapes(typed)
    for value in inferred.graph.output:
        value.type.tensor_type.shape.SetInParent()
    return inferred


# -- search --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "culprits", [{0}, {49}, {24, 25}, {3, 40}, {0, 25, 49}, set(range(0, 50, 10))]
)
def test_the_culprits_alone_remain(culprits: set[int]) -> None:
    checks = 0

    def fails(part: Sequence[int]) -> bool:
        nonlocal checks
        checks += 1
        return culprits <= set(part)

    assert set(smallest(range(50), fails)) == culprits
    assert checks < 15 if len(culprits) == 1 else checks < 140


def test_failures_that_come_and_go_with_size_are_minimal_too() -> None:
    def fails(part: Sequence[int]) -> bool:  # not monotonous: an even number of items, 7 among them
        return 7 in part and len(part) % 2 == 0

    found = smallest(range(20), fails)
    assert fails(found) and len(found) == 2


# -- subsets of nodes ----------------------------------------------------------------------------


def test_any_subset_of_nodes_computes_what_the_whole_model_does(net: ModelProto) -> None:
    values, fault = recorded(net, X, "reference")
    assert not fault
    source = Source(net, values)
    for kept in ([0], [3], [1, 3], [2, 5], [0, 4, 7], list(range(8))):
        candidate = source.piece(kept)
        assert candidate is not None and candidate.nodes == len(kept)
        onnx.checker.check_model(candidate.model, full_check=True)
        names = [v.name for v in candidate.model.graph.output]
        found = run_other("reference", candidate.model, candidate.feeds, names)
        for name in names:
            np.testing.assert_allclose(found[name], values[name], rtol=1e-5, atol=1e-6)
    only = source.piece([3])
    assert only is not None and set(only.feeds) == {"c2", "r1"} and not only.model.graph.initializer


def test_what_hangs_on_shapes_becomes_a_constant() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "first"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("Reshape", ["e", "to"], ["y"]),
    ]
    weights = {"first": np.array([0]), "rest": np.array([-1])}
    x = np.ones((4, 2, 3), np.float32)
    found = reduced(model_of(nodes, {"x": x}, ["y"], weights), {"x": x}, has("Reshape"))
    assert types(found.candidate.model.graph) == ["Reshape"]
    assert set(found.candidate.feeds) == {"e"}
    assert [t.name for t in found.candidate.model.graph.initializer] == ["to"]


# -- stages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["Conv", "Add", "GlobalAveragePool", "Gemm"])
def test_one_operator_at_fault_is_all_that_remains(net: ModelProto, operator: str) -> None:
    found = reduced(net, X, has(operator))
    assert types(found.candidate.model.graph) == [operator]
    assert found.complete and found.before == 8 and found.checks < 60
    assert all(max(a.shape, default=1) <= 8 for a in found.candidate.feeds.values())


def test_operators_that_fail_together_stay_together(net: ModelProto) -> None:
    found = reduced(net, X, has("Add", "Gemm"))
    assert sorted(types(found.candidate.model.graph)) == ["Add", "Gemm"]


def test_sizes_shrink_as_far_as_the_failure_and_the_operators_let_them(net: ModelProto) -> None:
    def fails(candidate: Candidate) -> bool:
        shapes = [t.dims for t in candidate.model.graph.initializer if len(t.dims) == 4]
        return has("Conv")(candidate) and any(s[0] >= 3 for s in shapes)

    graph = reduced(net, X, fails).candidate.model.graph
    (weights,) = graph.initializer
    assert weights.dims[0] == 4 and weights.dims[1] <= 4  # 8 halved once
    assert types(graph) == ["Conv"]


def test_large_weights_lose_their_data_where_their_size_matters() -> None:
    x, w = np.ones((2, 64), np.float32), RNG.standard_normal((64, 64)).astype(np.float32)

    def fails(candidate: Candidate) -> bool:
        return has("MatMul")(candidate) and candidate.feeds["x"].shape == (2, 64)

    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": x}, ["y"], {"w": w})
    found = reduced(model, {"x": x}, fails).candidate
    assert types(found.model.graph) == ["ConstantOfShape", "MatMul"] and found.nodes == 1
    assert len(found.model.SerializeToString()) < 1000


def test_optional_inputs_are_left_out() -> None:
    x = np.ones((2, 4), np.float32)
    nodes = [helper.make_node("Clip", ["x", "low", "high"], ["y"], "clip")]
    weights = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    graph = reduced(
        model_of(nodes, {"x": x}, ["y"], weights), {"x": x}, has("Clip")
    ).candidate.model.graph
    assert list(graph.node[0].input) == ["x"] and not graph.initializer


def test_outputs_that_do_not_matter_go() -> None:
    x = np.ones((2, 4), np.float32)
    nodes = [helper.make_node("Split", ["x"], ["a", "b"], "split", axis=1)]
    found = reduced(model_of(nodes, {"x": x}, ["a", "b"]), {"x": x}, has("Split"))
    assert len(found.candidate.model.graph.output) == 1


@pytest.mark.parametrize("kind", ["If", "Loop", "Scan"])
def test_faults_in_bodies_are_taken_out_of_them(kind: str) -> None:
    x = np.ones((3, 4), np.float32)
    empty = helper.make_empty_tensor_value_info
    given = {"If": [], "Loop": ["i", "more", "s"], "Scan": ["s", "row"]}[kind]
    first = "e" if kind == "If" else "s"
    nodes = [helper.make_node("Exp", [first], ["n"]), helper.make_node("Tan", ["n"], ["o"])]
    ends = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    formal = [empty(n) for n in given]
    if kind == "Loop":
        formal[:2] = [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
        ]
        nodes.append(helper.make_node("Identity", ["more"], ["on"]))
        ends.insert(0, helper.make_tensor_value_info("on", TensorProto.BOOL, []))
    if kind == "Scan":
        nodes.append(helper.make_node("Add", ["o", "row"], ["r"]))
        ends.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, None))
    formal = [
        v if v.HasField("type") else helper.make_tensor_value_info(v.name, TensorProto.FLOAT, None)
        for v in formal
    ]
    body = helper.make_graph(nodes, "body", formal, ends)
    holder = {
        "If": lambda: helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        "Loop": lambda: helper.make_node("Loop", ["k", "", "e"], ["y"], body=body),
        "Scan": lambda: helper.make_node(
            "Scan", ["e0", "e"], ["y", "z"], body=body, num_scan_inputs=1
        ),
    }[kind]()
    outer = [
        helper.make_node("Neg", ["x"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axis"], ["e0"], keepdims=0),
        holder,
    ]
    weights = {"k": np.array(2), "axis": np.array([0]), "c": np.array(True)}
    model = model_of(outer, {"x": x}, ["y"], weights)
    found = reduced(model, {"x": x}, has("Tan"))
    assert types(found.candidate.model.graph) == ["Tan"]


def test_models_that_do_not_fail_are_told_and_broken_ends_too(net: ModelProto) -> None:
    assert reduce_model(net, X, has("Det"), other="reference") is None
    found = reduced(net, X, has("Gemm"), most_checks=3)
    assert not found.complete and found.checks == 3


def test_open_sizes_stay_open_where_they_are_at_fault(tmp_path: Path) -> None:
    model = onnx.load(residual_net(tmp_path / "open.onnx", batch="batch"))

    def fails(candidate: Candidate) -> bool:
        inputs = candidate.model.graph.input
        dims = [d.dim_param for v in inputs for d in v.type.tensor_type.shape.dim]
        return has("Gemm")(candidate) and "batch" in dims

    found = reduced(model, X, fails)
    assert types(found.candidate.model.graph) == ["Gemm"]
    (value,) = found.candidate.model.graph.input
    batch, channels = value.type.tensor_type.shape.dim
    assert (batch.dim_param, channels.dim_value) == ("batch", 8)


def test_a_model_that_nothing_else_runs_is_cut_at_types_that_can_be_inferred() -> None:
    x = np.ones((2, 4), np.float32)
    odd = helper.make_node("Odd", ["r"], ["o"], domain="com.example")
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Exp", ["r"], ["e"]), odd]
    nodes += [helper.make_node("Tan", ["e"], ["y"]), helper.make_node("Neg", ["o"], ["z"])]
    model = model_of(nodes, {"x": x}, ["y", "z"])
    found = reduce_model(
        model, {"x": x}, lambda c: "Odd" in types(c.model.graph), other="reference"
    )
    assert found is not None and "cannot run" in found.remark
    assert types(found.candidate.model.graph)[-1] == "Neg" and "Tan" not in types(
        found.candidate.model.graph
    )


# -- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "code", "output", "fails"),
    [
        (Rule(), 0, "", False),
        (Rule(), 3, "", True),
        (Rule(), None, "", True),
        (Rule(), -11, "", True),
        (Rule(fail_codes=[3]), 3, "", True),
        (Rule(fail_codes=[3]), 4, "", False),
        (Rule(ignored_codes=[4]), 4, "", False),
        (Rule(ignored_codes=[4]), 5, "", True),
        (Rule(patterns=["off by [0-9]"]), 0, "y is off by 3", True),
        (Rule(patterns=["off by [0-9]"]), 1, "not found", False),
        (Rule(fail_codes=[1], patterns=["off"]), 2, "off", False),
    ],
)
def test_which_ends_count(rule: Rule, code: int | None, output: str, fails: bool) -> None:
    assert rule.fails(Outcome(code, output)) is fails


def test_other_errors_are_not_the_same_failure() -> None:
    first = Outcome(3, "note\nerror: node 'det' takes 3 axes")
    assert first.signature == Outcome(3, "error: node 'det' takes 12 axes").signature
    assert first.signature != Outcome(3, "error: node 'other' takes 3 axes").signature
    assert first.signature != Outcome(4, "error: node 'det' takes 3 axes").signature
    trace = "Traceback (most recent call last):\n  File\nKeyError: 'x'"
    assert Outcome(1, trace).signature != Outcome(1, "failed: y is off by 3").signature


def python(code: str) -> str:
    return shlex.join([sys.executable, "-S", "-c", code, "{model}", "{inputs}"])


def test_commands_are_run_on_files(net: ModelProto) -> None:
    code = "import sys; sys.exit(5 * (b'GlobalAveragePool' in open(sys.argv[1], 'rb').read()))"
    check = Check(lambda c: command_words(python(code)), Rule(fail_codes=[5]))
    found = reduce_model(net, X, check.fails, other="reference")
    assert found is not None
    assert types(found.candidate.model.graph) == ["GlobalAveragePool"]
    assert check.first is not None and check.first.code == 5


@pytest.mark.parametrize(
    ("code", "expected"),
    [("import time; time.sleep(60)", None), ("import os; os.kill(os.getpid(), 11)", -11)],
)
def test_hangs_and_crashes_are_ends_too(net: ModelProto, code: str, expected: int | None) -> None:
    check = Check(lambda c: command_words(python(code)), limit=0.5)
    outcome = check.outcome(Candidate(net, X))
    assert outcome.code == expected and Rule().fails(outcome)
    assert outcome.words in ("does not end in time", "dies of SIGSEGV")


def test_inputs_may_be_called_anything(net: ModelProto) -> None:
    code = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[2]).namelist())"
    check = Check(lambda c: command_words(python(code)))
    feeds = {"file": X["x"], "a/b:0": X["x"]}
    assert check.outcome(Candidate(net, feeds)).output.strip() == "['file.npy', 'a/b:0.npy']"


def test_commands_that_cannot_be_are_refused(net: ModelProto) -> None:
    with pytest.raises(ConfigError, match=r"\{model\}"):
        command_words("polygraphy run model.onnx")
    with pytest.raises(ConfigError, match="--check"):
        command_words("run '{model}")
    with pytest.raises(ConfigError, match="regular expression"):
        Rule(patterns=["("])
    with pytest.raises(ConfigError, match="no-such-program"):
        Check(lambda c: ["no-such-program", "{model}"]).outcome(Candidate(net, X))
