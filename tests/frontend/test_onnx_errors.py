"""Broken models: one ModelError that names the culprit, whatever is wrong; nothing else, ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx import import_onnx
from onnx_models import model_of, one_node

RNG = np.random.default_rng(4)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def small() -> ModelProto:
    """A bit of everything: weights, windows, tables, shape arithmetic, a host step."""
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["c"], name="conv1", pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("BatchNormalization", ["c", "b", "b", "b", "ones"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["p", "", "by"], ["u"], mode="linear"),
        helper.make_node("Concat", ["u", "r"], ["k"], axis=1),
        helper.make_node("Slice", ["k", "one", "six", "one"], ["s"]),
        helper.make_node("Shape", ["s"], ["size"]),
        helper.make_node("Gather", ["size", "zero"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["s", "to"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fw", "fb"], ["fc"], transB=1),
        helper.make_node("TopK", ["fc", "one"], ["best", "at"]),
        helper.make_node("Softmax", ["fc"], ["y"], axis=1),
    ]
    constants = {
        "w": f(4, 3, 3, 3),
        "b": f(4),
        "ones": np.ones(4, np.float32),
        "by": np.array([1, 1, 2, 2], np.float32),
        "one": ints(1),
        "six": ints(6),
        "zero": ints(0),
        "minus": ints(-1),
        "fw": f(7, 5 * 16),
        "fb": f(7),
    }
    return model_of(nodes, {"x": f(1, 3, 8, 8)}, ["y", "best"], constants)


def says(model: Any, *words: str, **options: Any) -> None:
    with pytest.raises(ModelError) as caught:
        import_onnx(model, **options)
    for word in words:
        assert word in str(caught.value)


def test_files_that_hold_no_model(tmp_path: Path) -> None:
    says(tmp_path / "none.onnx", "none.onnx", "no file")
    says(tmp_path, str(tmp_path), "directory")
    path = tmp_path / "empty.onnx"
    path.touch()
    says(path, "empty.onnx", "is empty")
    path.write_text("a photo, not a model" * 40)
    says(path, "empty.onnx")
    whole = small().SerializeToString()
    path.write_bytes(whole[: len(whole) // 2])
    says(path, "empty.onnx")
    says(b"", "no data")
    says(ModelProto(), "no graph")
    says(3.5, "float", "path, bytes, a ModelProto")
    says("\0", "cannot read")


def test_missing_external_data(tmp_path: Path) -> None:
    model, path = small(), tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    data = path.read_bytes()
    (tmp_path / "w.bin").unlink()
    says(path, "m.onnx", "w.bin")
    says(data, "external file", "path")


def test_external_data_of_attributes(tmp_path: Path) -> None:
    value = numpy_helper.from_array(f(3), "held")
    data = value.raw_data
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="held.bin")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=value),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    model = model_of(nodes, {"x": f(3)}, ["y"], {})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    says(tmp_path / "m.onnx", "m.onnx", "held.bin")
    (tmp_path / "held.bin").write_bytes(data)
    assert import_onnx(tmp_path / "m.onnx").outputs[0].shape == (3,)


def test_every_error_is_one_line(tmp_path: Path) -> None:
    for nodes in (
        [helper.make_node("Frobnicate", ["x"], ["y"])],
        [helper.make_node("Relu", ["y"], ["z"]), helper.make_node("Relu", ["z"], ["y"])],
    ):
        with pytest.raises(ModelError) as caught:
            import_onnx(model_of(nodes, {"x": f(3)}, ["y"], {}))
        assert "\n" not in str(caught.value)


def test_outputs_are_there_and_of_the_declared_type() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": f(3)}, ["y"], {})
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    says(model, "'y'", "INT64", "f32")
    del model.graph.output[:]
    says(model, "no outputs")


def test_tensors_that_lie_about_themselves_are_named() -> None:
    model = small()
    model.graph.initializer[0].dims[0] = -4
    says(model, "'w'", "[-4, 3, 3, 3]")
    model.graph.initializer[0].data_type = TensorProto.COMPLEX64
    says(model, "'w'", "COMPLEX64")


def test_opset_and_operator_from_the_future() -> None:
    model = small()
    model.opset_import[0].version = 99
    says(model, "opset 99", "upgrade onnx")
    model = small()
    model.graph.node[2].op_type = "Rellu"
    says(model, "Rellu")
    model = small()
    model.graph.node[2].domain = "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    says(model, "node 'r'", "com.acme", "Relu")


def edit(change: Callable[[ModelProto], Any]) -> ModelProto:
    model = small()
    change(model)
    return model


def rename(index: int, to: str) -> ModelProto:
    def change(model: ModelProto) -> None:
        model.graph.node[0].input[index] = to

    return edit(change)


def test_broken_graphs() -> None:
    says(rename(0, "nowhere"), "nowhere")
    says(rename(0, "y"), "y")  # a cycle
    says(edit(lambda m: m.graph.node[3].output.__setitem__(0, "r")), "r")
    says(edit(lambda m: m.graph.output[0].__setattr__("name", "ghost")), "ghost")
    says(edit(lambda m: m.graph.initializer.append(m.graph.initializer[0])), "w")
    says(edit(lambda m: m.graph.node[0].input.pop(1) and m.graph.node[0].input.pop(1)), "Conv")


def replaced(name: str, array: np.ndarray) -> ModelProto:
    def change(model: ModelProto) -> None:
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(array, name))

    return edit(change)


def test_operands_that_do_not_fit_name_the_node() -> None:
    says(replaced("w", f(4, 2, 3, 3)), "node 'conv1' (Conv)", "3 channels")
    says(replaced("w", f(4, 3, 3)), "node 'conv1' (Conv)", "rank")
    says(replaced("w", f(4, 3, 11, 11)), "node 'conv1'", "window")
    says(replaced("ones", f(5)), "node 'n'")
    says(replaced("by", np.array([1, 1, 0, 2], np.float32)), "node 'u' (Resize)", "scales")
    says(replaced("fw", f(7, 99)), "node 'fc' (Gemm)")
    says(replaced("minus", ints(-2)), "node 'flat' (Reshape)", "-2")


def test_unknown_ranks_show_what_to_give() -> None:
    def rankless(model: ModelProto) -> None:
        model.graph.input[0].type.tensor_type.ClearField("shape")

    says(edit(rankless), "'x'", "shapes={'x': [...]}")


def test_wrong_shapes_option() -> None:
    for shapes, words in (
        ({"z": [1]}, r"'z'.*\['x'\]"),
        ({"x": [1, 3]}, "'x'.*rank 2.*rank 4"),
        ({"x": [1, 3, -8, 8]}, "'x'.*negative"),
    ):
        with pytest.raises(ConfigError, match=words):
            import_onnx(small(), shapes=shapes)
    says(small(), "node 'fc' (Gemm)", shapes={"x": [1, 3, 16, 16]})


def test_types_that_are_not_supported() -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    for elem_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        info = [helper.make_tensor_value_info(n, elem_type, [2]) for n in "xy"]
        graph = helper.make_graph([node], "g", info[:1], info[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        says(model, "'x'", "not supported")


def test_a_model_that_is_no_single_graph_names_the_node() -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    node = helper.make_node("Identity", ["x"], ["y"], "same")
    graph = helper.make_graph([node], "g", [sequence], [sequence])
    graph.output[0].name = "y"
    opsets = [helper.make_opsetid("", 19)]
    says(helper.make_model(graph, opset_imports=opsets), "node 'same' (Identity)", "no tensor")
    says(one_node("NonZero", [f(3, 4)])[0], "node 'node' (NonZero)", "depends on")
    nodes = [
        helper.make_node("Cast", ["w"], ["to"], "rounded", to=TensorProto.INT64),
        helper.make_node("Reshape", ["x", "to"], ["y"], "node"),
    ]
    model = model_of(nodes, {"x": f(3, 4), "w": f(2)}, ["y"])
    says(model, "node 'node' (Reshape)", "'to'", "depends on")
    boxes, scores = f(1, 5, 4), f(1, 1, 5)
    says(one_node("NonMaxSuppression", [boxes, scores])[0], "NonMaxSuppression", "depends on")


def test_constant_indices_outside_their_axis_are_named() -> None:
    for index in (np.array(5), ints(0, 3), np.array([[0, 1], [2, -4]], np.int64)):
        model, _ = one_node("Gather", [f(3, 4)], {1: np.asarray(index, np.int64)})
        says(model, "node 'node' (Gather)", f"index {index.flat[-1]} leaves axis 0")


def test_training_mode_is_refused() -> None:
    model = one_node("Dropout", [f(2, 3)], {1: np.float32(0.1), 2: np.array(True)})[0]
    says(model, "node 'node' (Dropout)", "training mode", "model.eval()")


def test_sizes_out_of_proportion_are_refused_at_once() -> None:
    start = time.perf_counter()
    says(replaced("by", np.array([1, 1, 2e9, 2e9], np.float32)), "node 'u' (Resize)")
    says(one_node("ConstantOfShape", [], {0: ints(10**6, 10**6)})[0], "ConstantOfShape")
    says(one_node("Expand", [f(1)], {1: ints(10**9, 10**3)})[0], "Expand")
    assert time.perf_counter() - start < 2


def bytes_mutated(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at, kind = int(rng.integers(0, len(changed))), rng.integers(0, 4)
        if kind == 0:
            changed[at] = int(rng.integers(0, 256))
        elif kind == 1:
            changed[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 20))]
        else:
            other = int(rng.integers(0, len(changed)))
            changed[at:at] = changed[other : other + int(rng.integers(1, 30))]
    return bytes(changed)


EXTREMES = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 100, 2**31 - 1, 2**40, 2**62, 2**63 - 1)
OPERATORS = sorted({s.name for s in onnx.defs.get_all_schemas() if not s.domain})


def fields_mutated(model: ModelProto, rng: np.random.Generator) -> None:
    """Change an operator, an attribute, an edge, a constant or an extent."""

    def pick(items: Any) -> Any:
        return items[int(rng.integers(0, len(items)))]

    graph, kind = model.graph, int(rng.integers(0, 7))
    node = pick(graph.node)
    names = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output]
    if kind == 0:
        node.op_type = pick(OPERATORS)
    elif kind == 1 and node.attribute:
        attribute = pick(node.attribute)
        attribute.i = pick(EXTREMES)
        if attribute.ints:
            attribute.ints[int(rng.integers(0, len(attribute.ints)))] = pick(EXTREMES)
    elif kind == 2:
        node.input[int(rng.integers(0, len(node.input)))] = pick(["", *names])
    elif kind == 3:
        tensor = pick(graph.initializer)
        array = numpy_helper.to_array(tensor).copy()
        if array.dtype == np.int64:
            array.reshape(-1)[0] = pick(EXTREMES)
        tensor.CopyFrom(numpy_helper.from_array(array.reshape(pick([(-1,), (1, -1)])), tensor.name))
    elif kind == 4:
        pick(graph.input[0].type.tensor_type.shape.dim).dim_value = pick(EXTREMES)
    elif kind == 5:
        graph.node.remove(node)
    else:
        names_ = ["axis", "pads", "group", "kernel_shape", "auto_pad", "output_shape", "to", "p"]
        values = [1, -1, [1, 1], [0, 0, 0, 0], [2**40, 2**40], "SAME_UPPER", 1.5]
        node.attribute.append(helper.make_attribute(pick(names_), pick(values)))


def imports_or_says_why(model: bytes | ModelProto) -> bool:
    try:
        import_onnx(model)
    except ModelError as error:
        assert str(error)
        return False
    return True


def test_mutated_files_never_raise_anything_else() -> None:
    data, rng = small().SerializeToString(), np.random.default_rng(1)
    until, results = time.perf_counter() + 3.0, []
    while time.perf_counter() < until or len(results) < 700:  # on a busy machine too
        results.append(imports_or_says_why(bytes_mutated(data, rng)))
    assert results.count(False) > 100
    assert results.count(True) > 20


def test_mutated_models_never_raise_anything_else() -> None:
    whole, rng = small(), np.random.default_rng(2)
    until, results = time.perf_counter() + 4.0, []
    while time.perf_counter() < until or len(results) < 700:  # on a busy machine too
        model = ModelProto()
        model.CopyFrom(whole)
        for _ in range(rng.integers(1, 4)):
            fields_mutated(model, rng)
        results.append(imports_or_says_why(model))
    assert results.count(False) > 100
    assert results.count(True) > 20
