"""Whole small models: opset spellings, shapes, precision, names, scopes, functions, control flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from camshaft.frontends.onnx import import_model, import_onnx
from camshaft.ir.expr import text
from camshaft.ir.interpret import interpret
from camshaft.ir.script import If, Run
from onnx_models import compare, host_ops, imported, model_of, one_node, run

RNG = np.random.default_rng(2)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X = f(2, 3, 4)


def value(op_type: str, opset: int, *operands: np.ndarray, **attrs: Any) -> np.ndarray:
    """One operator on X and constant operands, through importer and interpreter."""
    constants = dict(enumerate(operands, 1))
    model, feeds = one_node(op_type, [X], constants, opset=opset, **attrs)
    return run(model, feeds)["y0"]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("opset", range(7, 24))
def test_spellings_of_every_opset(opset: int) -> None:
    """Operators whose attributes became inputs mean the same in every opset."""
    if opset >= 13:
        assert value("Unsqueeze", opset, ints(0, 3)).shape == (1, 2, 3, 1, 4)
        np.testing.assert_allclose(
            value("ReduceSum", opset, ints(1)), X.sum(1, keepdims=True), 1e-5
        )
        assert value("Split", opset, ints(1, 2), axis=1, outputs=2).shape == (2, 1, 4)
    else:
        assert value("Unsqueeze", opset, axes=[0, 3]).shape == (1, 2, 3, 1, 4)
        np.testing.assert_allclose(
            value("ReduceSum", opset, axes=[1]), X.sum(1, keepdims=True), 1e-5
        )
        assert value("Split", opset, axis=1, split=[1, 2], outputs=2).shape == (2, 1, 4)
    clipped = X.clip(-0.5, 0.25)
    if opset >= 11:
        bounds = np.array(-0.5, np.float32), np.array(0.25, np.float32)
        np.testing.assert_array_equal(value("Clip", opset, *bounds), clipped)
        padded = value("Pad", opset, ints(0, 1, 0, 0, 0, 2))
    else:
        np.testing.assert_array_equal(value("Clip", opset, min=-0.5, max=0.25), clipped)
        padded = value("Pad", opset, pads=[0, 1, 0, 0, 0, 2])
    np.testing.assert_array_equal(padded, np.pad(X, ((0, 0), (1, 0), (0, 2))))
    if opset >= 10:
        cut = value("Slice", opset, ints(1), ints(3), ints(2))
    else:
        cut = value("Slice", opset, starts=[1], ends=[3], axes=[2])
    np.testing.assert_array_equal(cut, X[:, :, 1:3])


@pytest.mark.parametrize("opset", range(7, 24))
def test_softmax_flattens_before_opset_13(opset: int) -> None:
    rows = X.reshape(2, 12) if opset < 13 else X
    exps = np.exp(rows - rows.max(axis=1, keepdims=True))
    want = (exps / exps.sum(axis=1, keepdims=True)).reshape(X.shape)
    np.testing.assert_allclose(value("Softmax", opset, axis=1), want, rtol=1e-5)


def test_models_older_than_opset_7_are_converted() -> None:
    node = helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=1)
    b = f(3, 4)
    model = model_of([node], {"x": X}, [], {"b": b}, opset=6)
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [3, 4]))
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, X.shape))
    model.ir_version = 3
    np.testing.assert_array_equal(run(model, {"x": X})["y"], X + b)


def test_initializers_that_are_also_inputs_are_constants() -> None:
    model = model_of([helper.make_node("Add", ["x", "b"], ["y"])], {"x": X}, ["y"], {"b": f(4)})
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [4]))
    assert [t.name for t in imported(model).inputs] == ["x"]


def conv_model(shape: list[Any], declared: list[Any]) -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    model = model_of([node], {"x": f(1, 3, 8, 8)}, ["y"], {"w": f(4, 3, 3, 3)})
    del model.graph.input[:], model.graph.output[:]
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, declared))
    return model


def test_shapes_override_declared_ones() -> None:
    for shape in ([10, 3, 32, 32], ["N", 3, "H", None], [1, 3, 8, 8]):
        graph = import_onnx(conv_model(shape, [10, 4, 32, 32]), shapes={"x": [2, 3, 6, 5]})
        assert graph.inputs[0].shape == (2, 3, 6, 5)
        assert graph.outputs[0].shape == (2, 4, 6, 5)


def test_inputs_without_a_shape_take_the_given_one() -> None:
    model = conv_model([1, 3, 8, 8], [1, 4, 8, 8])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert import_onnx(model, shapes={"x": [1, 3, 5, 5]}).outputs[0].shape == (1, 4, 5, 5)


def test_shape_arithmetic_folds() -> None:
    """What exporters write for x.view(x.size(0), -1) leaves one reshape."""
    model = model_of(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
            helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
            helper.make_node("Concat", ["n1", "rest"], ["to"], axis=0),
            helper.make_node("Reshape", ["x", "to"], ["y"], name="flat"),
        ],
        {"x": X},
        ["y"],
        {"zero": np.array(0), "axis": ints(0), "rest": ints(-1)},
    )
    graph = imported(model)
    assert [(n.op.name, n.name, n.output.name) for n in graph.nodes] == [("reshape", "flat", "y")]


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_precision_is_computed_in_f32(half: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(half)
    w = f(4, 5).astype(dtype)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Exp", ["c"], ["e"]),
        helper.make_node("Cast", ["e"], ["y"], to=half),
    ]
    x = (f(3, 4) * 0.3).astype(dtype)
    model = model_of(nodes, {"x": x}, ["y"], {"w": w})
    graph = imported(model)
    assert graph.inputs[0].type.dtype.numpy == dtype
    assert graph.outputs[0].type.dtype.numpy == dtype
    inner = {t.type.dtype.name for n in graph.nodes for t in n.args if t.name != "x"}
    assert inner == {"f32"}
    assert len(graph.nodes) == 4  # cast, matmul, exp, cast
    want = np.exp(x.astype(np.float32) @ w.astype(np.float32)).astype(dtype)
    got = interpret(graph, {"x": x})["y"]
    compare(got, want, 1e-2)


def test_f64_stays_f64() -> None:
    model, feeds = one_node("Elu", [X.astype(np.float64)])
    assert run(model, feeds)["y0"].dtype == np.float64


def test_external_data(tmp_path: Path) -> None:
    model = conv_model([1, 3, 8, 8], [1, 4, 8, 8])
    want = import_onnx(model)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").exists()
    got = import_onnx(path)
    np.testing.assert_array_equal(got.nodes[0].args[1].array, want.nodes[0].args[1].array)
    x = f(1, 3, 8, 8)
    np.testing.assert_array_equal(interpret(got, {"x": x})["y"], interpret(want, {"x": x})["y"])


def test_several_inputs_and_outputs_odd_names_and_unused_inputs() -> None:
    nodes = [
        helper.make_node("Add", ["a b", "ü/x:0"], ["sum 'of' it"], name='node "1"'),
        helper.make_node("Identity", ["a b"], ["same"]),
    ]
    inputs = {"a b": f(2, 3), "ü/x:0": f(3), "unused": f(1)}
    model = model_of(nodes, inputs, ["sum 'of' it", "same", "a b"])
    graph = imported(model)
    assert [t.name for t in graph.inputs] == list(inputs)
    assert graph.output_names == ("sum 'of' it", "same", "a b")
    got = interpret(graph, inputs)
    np.testing.assert_array_equal(got["sum 'of' it"], inputs["a b"] + inputs["ü/x:0"])
    np.testing.assert_array_equal(got["same"], inputs["a b"])


def test_names_and_origins_are_kept() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv1"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Dropout", ["r"], ["y"]),
    ]
    x = f(1, 3, 4, 4)
    model = model_of(nodes, {"x": x}, ["y"], {"w": f(2, 3, 1, 1), "b": f(2)})
    conv, relu = imported(model).nodes
    assert (conv.name, conv.origin, conv.output.name) == ("conv1", ("conv1",), "c")
    assert (relu.name, relu.origin, relu.output.name) == ("r", ("r",), "r")
    assert conv.args[1].name == "w"
    assert conv.args[2].shape == (2, 1, 1)
    assert text(conv.attrs["epilogue"]) == "add(i0,i1)"  # type: ignore[arg-type]


def test_intermediate_names_do_not_collide_with_the_models() -> None:
    """ "flat:pool" is what the importer would call an intermediate of the node "flat"."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["flat:pool"], name="flat", kernel_shape=[2]),
        helper.make_node("Neg", ["flat:pool"], ["y"]),
    ]
    model = model_of(nodes, {"x": X}, ["y"])
    np.testing.assert_array_equal(run(model, {"x": X})["y"], -np.maximum(X[:, :, :-1], X[:, :, 1:]))


def test_local_functions_are_inlined() -> None:
    model = parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17, "mine" : 1]>
        net (float[2,3] x) => (float[2,3] y) { y = mine.twice <k = 3.0> (x) }
        <domain: "mine", opset_import: ["" : 17]>
        twice <k> (a) => (b) {
            c = Constant <value_float: float = @k> ()
            d = Mul (a, c)
            b = Add (d, a)
        }
        """
    )
    x = f(2, 3)
    np.testing.assert_allclose(run(model, {"x": x})["y"], x * 3 + x, rtol=1e-6)


def test_operators_that_onnx_defines_by_others_need_no_host() -> None:
    for op_type, opset, attrs in (
        ("MeanVarianceNormalization", 13, {}),
        ("RMSNormalization", 23, {}),
        ("Mish", 18, {}),
    ):
        operands = {1: f(4)} if op_type == "RMSNormalization" else {}
        model, feeds = one_node(op_type, [f(2, 3, 4, 4)], operands, opset=opset, **attrs)
        graph = imported(model)
        assert not host_ops(graph)
        assert {n.origin for n in graph.nodes} == {("node",)}
        assert graph.nodes[-1].output.name == "y0"
        want = ReferenceEvaluator(model).run(None, feeds)[0]
        compare(interpret(graph, feeds)["y0"], np.asarray(want), 1e-5)


def test_an_operator_the_reference_lacks_runs_by_its_own_rules() -> None:
    """Scatter of opset 9, which became ScatterElements."""
    index, update = np.array([[1, 3]]), np.array([[7.0, 8.0]], np.float32)
    model, feeds = one_node("Scatter", [f(1, 5), index, update], opset=10, axis=1)
    want = feeds["x0"].copy()
    want[0, [1, 3]] = [7, 8]
    graph = imported(model)
    assert host_ops(graph) == ["Scatter"]
    np.testing.assert_array_equal(interpret(graph, feeds)["y0"], want)


def branches(then: str, otherwise: str, condition: str) -> onnx.ModelProto:
    return parser.parse_model(
        f"""
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[2,3] x, bool flag) => (float[2,3] y) {{
            yes = Constant <value = bool[1] {{1}}> ()
            no = Constant <value = bool[1] {{0}}> ()
            twice = Add (x, x)
            y = If ({condition}) <
                then_branch = a () => (float[2,3] p) {{ p = {then} }},
                else_branch = b () => (float[2,3] q) {{ q = {otherwise} }}
            >
        }}
        """
    )


def test_if_takes_the_branch_of_a_constant_condition() -> None:
    x, flag = f(2, 3), np.array(True)
    for condition, want in (("yes", np.exp(x)), ("no", x + x - x)):
        graph = imported(branches("Exp (x)", "Sub (twice, x)", condition))
        np.testing.assert_allclose(interpret(graph, {"x": x, "flag": flag})["y"], want, rtol=1e-5)


def test_if_with_a_condition_known_at_run_time_has_a_graph_for_each_branch() -> None:
    found = import_model(branches("Exp (x)", "Neg (twice)", "flag"))
    assert found.script is not None
    (step,) = (s for s in found.script.steps if isinstance(s, If))
    for branch, ops in ((step.then, 1), (step.otherwise, 1)):
        (run,) = branch.steps
        assert isinstance(run, Run) and len(found.graphs[run.graph].nodes) == ops


def test_loops_are_unrolled() -> None:
    model = parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[3] x) => (float[3] last, float[4,3] all) {
            trips = Constant <value = int64 {4}> ()
            true = Constant <value = bool {1}> ()
            last, all = Loop (trips, true, x) <
                body = step (int64 i, bool go, float[3] h)
                    => (bool go_on, float[3] next, float[3] out) {
                    go_on = Identity (go)
                    number = Cast <to = 1> (i)
                    next = Add (h, number)
                    out = Mul (h, x)
                }
            >
        }
        """
    )
    x = f(3)
    got = run(model, {"x": x})
    states = [x, x, x + 1, x + 3, x + 6]
    np.testing.assert_allclose(got["last"], states[4], rtol=1e-6)
    np.testing.assert_allclose(got["all"], [s * x for s in states[:4]], rtol=1e-6)


def test_scans_are_unrolled() -> None:
    model = parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[2] h, float[3,2] xs) => (float[2] last, float[3,2] sums) {
            last, sums = Scan <
                num_scan_inputs = 1,
                body = step (float[2] a, float[2] b) => (float[2] c, float[2] d) {
                    c = Add (a, b)
                    d = Identity (c)
                }
            > (h, xs)
        }
        """
    )
    h, xs = f(2), f(3, 2)
    got = run(model, {"h": h, "xs": xs})
    np.testing.assert_allclose(got["sums"], h + np.cumsum(xs, axis=0), rtol=1e-5)
    np.testing.assert_allclose(got["last"], h + xs.sum(axis=0), rtol=1e-5)


def test_sparse_initializers() -> None:
    values = numpy_helper.from_array(np.array([5.0, 7.0], np.float32), "b")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(ints(1, 5)), [2, 3])
    model = model_of([helper.make_node("Add", ["x", "b"], ["y"])], {"x": f(2, 3)}, [])
    model.graph.sparse_initializer.append(sparse)
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3]))
    zeros = np.zeros((2, 3), np.float32)
    assert run(model, {"x": zeros})["y"].tolist() == [[0, 5, 0], [0, 0, 7]]


def test_bytes_paths_and_protos_give_the_same(tmp_path: Path) -> None:
    model = conv_model([1, 3, 8, 8], [1, 4, 8, 8])
    path = tmp_path / "a model.onnx"
    path.write_bytes(model.SerializeToString())
    graphs = [import_onnx(m) for m in (model, str(path), path, path.read_bytes())]
    assert len({repr([repr(n) for n in g.nodes]) for g in graphs}) == 1


def test_importing_leaves_the_given_proto_alone() -> None:
    model = branches("Exp (x)", "Neg (x)", "yes")
    before = model.SerializeToString(deterministic=True)
    import_onnx(model)
    assert model.SerializeToString(deterministic=True) == before
