"""Maps, and sequences of them, at the ends of models: ai.onnx.ml's ZipMap, CastMap, DictVectorizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, TypeProto, helper

import camshaft
from camshaft import BindingError, ModelError
from camshaft.compare.comparison import compare
from camshaft.errors import BuildError
from camshaft.feeds import arrays_of
from camshaft.runtime.file.codec import manifest_from_json, manifest_to_json
from script_models import QUICK, check, same

DOMAIN = "ai.onnx.ml"
FLOAT, DOUBLE, INT64, STRING = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT64,
    TensorProto.STRING,
)
tensor, sequence = helper.make_tensor_type_proto, helper.make_sequence_type_proto


def mapping(key: int, value: int) -> TypeProto:
    return helper.make_map_type_proto(key, tensor(value, []))


def model(nodes: list[Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> ModelProto:
    ends = [[helper.make_value_info(n, t) for n, t in types.items()] for types in (inputs, outputs)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    graph = helper.make_graph(nodes, "maps", *ends)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def one(op_type: str, given: TypeProto, made: TypeProto, **attrs: Any) -> ModelProto:
    node = helper.make_node(op_type, ["x"], ["y"], name="node", domain=DOMAIN, **attrs)
    return model([node], {"x": given}, {"y": made})


def classifier(names: str, labels: list[Any]) -> ModelProto:
    """As skl2onnx writes them: labels, and a map of probabilities for each row."""
    key = STRING if "strings" in names else INT64
    named = {"classlabels_strings" if key == STRING else "classlabels_ints": labels}
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "scores"],
            domain=DOMAIN,
            coefficients=rng.standard_normal(12).tolist(),
            intercepts=[0.1, 0.2, 0.3],
            post_transform="SOFTMAX",
            **named,
        ),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain=DOMAIN, **{names: labels}),
    ]
    outputs = {"label": tensor(key, ["n"]), "maps": sequence(mapping(key, FLOAT))}
    return model(nodes, {"x": tensor(FLOAT, ["n", 4])}, outputs)


@pytest.mark.parametrize(
    ("names", "labels"),
    [("classlabels_strings", ["setosa", "iris", "é"]), ("classlabels_int64s", [7, -1, 4])],
)
def test_zip_map(names: str, labels: list[Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    calls = [{"x": rng.standard_normal((n, 4)).astype(np.float32)} for n in (3, 1)]
    engine = check(classifier(names, labels), calls, tmp_path)
    key = "str" if "strings" in names else "i64"
    assert repr(engine.outputs["maps"]) == f"sequence of maps from {key} to f32"
    (found,) = engine(calls[1])["maps"]
    assert type(found) is dict and all(type(v) is float for v in found.values())
    with pytest.raises(camshaft.ShapeError, match="only a run finds its shape"):
        engine.output_shapes(calls[0])


def test_zip_map_of_one_row_and_of_equal_labels() -> None:
    out = sequence(mapping(INT64, FLOAT))
    for shape, labels in (([2], [3, 1]), (["n", 2], [5, 5])):
        x = np.array([0.5, 0.25], np.float32).reshape([1 if d == "n" else d for d in shape])
        check(one("ZipMap", tensor(FLOAT, shape), out, classlabels_int64s=labels), [{"x": x}])
    free = one("ZipMap", tensor(FLOAT, ["n", "c"]), out, classlabels_int64s=[1, 2])
    with pytest.raises(ModelError, match=r"node 'node' \(ZipMap\).*\[1, 3\] are not rows of 2"):
        camshaft.build(free, **QUICK)(np.ones((1, 3), np.float32))


def test_dict_vectorizer(tmp_path: Path) -> None:
    """ONNX Runtime's Python takes maps to floats only; the others follow from what it says of these."""
    words = {"string_vocabulary": ["a", "b", "z"]}
    made = one("DictVectorizer", mapping(STRING, FLOAT), tensor(FLOAT, [1, 3]), **words)
    engine = check(made, [{"x": {"z": 0.1, "a": 2.0}}, {"x": {"q": 1.0}}], tmp_path)
    assert engine.output_shapes({"x": {}}) == {"y": (1, 3)}
    same(engine({"x": {}})["y"], np.zeros((1, 3), np.float32))
    same(engine({"x": {"b": np.float64(0.1)}})["y"], np.array([[0, 0.1, 0]], np.float32))
    numbers = {"int64_vocabulary": [4, 2]}
    made = one("DictVectorizer", mapping(INT64, FLOAT), tensor(FLOAT, [1, 2]), **numbers)
    check(made, [{"x": {2: 0.5}}], tmp_path)
    for value, held, want in (
        (INT64, {"b": 2**60 + 1}, np.array([[0, 2**60 + 1, 0]])),
        (DOUBLE, {"a": 0.1}, np.array([[0.1, 0, 0]])),
    ):
        made = one("DictVectorizer", mapping(STRING, value), tensor(value, [1, 3]), **words)
        np.testing.assert_array_equal(camshaft.build(made, **QUICK)({"x": held})["y"], want)
    made = one("DictVectorizer", mapping(INT64, STRING), tensor(STRING, [1, 2]), **numbers)
    engine = camshaft.build(made, **QUICK)
    assert engine({"x": {4: "u"}})["y"].tolist() == [["u", ""]]
    assert engine({"x": {}})["y"].tolist() == [["", ""]]


@pytest.mark.parametrize("form", ["DENSE", "SPARSE"])
@pytest.mark.parametrize(("to", "kind"), [("FLOAT", FLOAT), ("INT64", INT64), ("STRING", STRING)])
def test_cast_map(form: str, to: str, kind: int, tmp_path: Path) -> None:
    attrs = {"map_form": form, "max_map": 5, "cast_to": f"TO_{to}"}
    calls = [{"x": {3: 1.5, 1: 0.1}}, {"x": {9: -1e10, 2: 1e-5, 0: 7.0}}]
    shape = [1, 5 if form == "SPARSE" else "k"]
    made = one("CastMap", mapping(INT64, FLOAT), tensor(kind, shape), **attrs)
    engine = check(made, calls, tmp_path)
    if form == "SPARSE":
        with pytest.raises(ModelError, match=r"node 'node' \(CastMap\).*key -1"):
            engine({"x": {-1: 1.0}})
    texts = one("CastMap", mapping(INT64, STRING), tensor(kind, shape), **attrs)
    (row,) = camshaft.build(texts, **QUICK)({"x": {1: "7"}})["y"].tolist()
    assert ("7" if to == "STRING" else 7) in row


def test_results_that_are_no_arrays_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of a sequence of maps with equal keys, else element by element."""
    x = np.ones((2, 4), np.float32)
    made = classifier("classlabels_strings", ["a", "b", "c"])
    engine = camshaft.build(made, **QUICK)
    found = compare(made, engine, {"x": x})
    shapes = {t.name: t.shape for t in found.outputs}
    assert shapes == {"label": (2,), "maps['a']": (2,), "maps['b']": (2,), "maps['c']": (2,)}
    assert not found.beyond(1e-5)
    mixed = dict(arrays_of({"m": [{"a": 1.0}, {"b": 2.0}], "s": [x], "none": None}))
    assert {*mixed} == {"m[0]['a']", "m[1]['b']", "s[0]"}
    longer = {"label": engine({"x": x})["label"], "maps": engine({"x": x})["maps"][:1]}
    monkeypatch.setattr("camshaft.compare.comparison.run_other", lambda *a: longer)
    assert {t.name for t in compare(made, engine, {"x": x}).beyond(1e9)} == {*shapes} - {"label"}


def test_a_graph_behind_a_map() -> None:
    nodes = [
        helper.make_node("DictVectorizer", ["x"], ["v"], domain=DOMAIN, string_vocabulary=["a"]),
        helper.make_node("Exp", ["v"], ["y"]),
    ]
    made = model(nodes, {"x": mapping(STRING, FLOAT)}, {"y": tensor(FLOAT, [1, 1])})
    check(made, [{"x": {"a": 1.0}}])


def test_maps_go_through() -> None:
    out = sequence(mapping(STRING, FLOAT))
    nodes = [helper.make_node("Exp", ["z"], ["y"])]
    made = model(nodes, {"x": out, "z": tensor(FLOAT, [1])}, {"x": out, "y": tensor(FLOAT, [1])})
    engine = camshaft.build(made, **QUICK)
    given = [{"a": 1.0}, {}]
    z = np.ones(1, np.float32)
    found = engine({"x": given, "z": z})
    assert found["x"] == given and found["x"][0] is not given[0]
    for wrong in ({"a": 1.0}, [1.0], "ab", [{"a": "b"}], [{1: 1.0}]):
        with pytest.raises(BindingError, match="'x'"):
            engine({"x": wrong, "z": z})


def test_wrong_values_name_the_input() -> None:
    words, numbers = {"string_vocabulary": ["a"]}, {"int64_vocabulary": [1]}
    for key, value, attrs, wrongs in (
        (STRING, FLOAT, words, [1.0, None, [{"a": 1.0}], {1: 1.0}, {"a": "b"}, {"a": True}]),
        (INT64, INT64, numbers, [{"a": 1}, {1: 1.5}, {True: 1}, {1: 2**63}, np.ones(1)]),
        (INT64, STRING, numbers, [{1: 1}, {1.0: "a"}, {1: b"a"}]),
    ):
        made = one("DictVectorizer", mapping(key, value), tensor(value, [1, 1]), **attrs)
        engine = camshaft.build(made, **QUICK)
        for wrong in wrongs:
            with pytest.raises(BindingError, match="input 'x' is map from"):
                engine({"x": wrong})
        with pytest.raises(BindingError, match="missing input 'x'"):
            engine({})


def test_refusals_name_the_node_or_the_input() -> None:
    maps, rows = mapping(STRING, FLOAT), tensor(FLOAT, ["n", 2])
    out = sequence(maps)
    both: dict[str, Any] = {"classlabels_strings": ["a"], "classlabels_int64s": [1]}
    for made, text in (
        (one("ZipMap", rows, out), "node 'node'.*one of classlabels_strings"),
        (one("ZipMap", rows, out, **both), "node 'node'.*and not both"),
        (one("ZipMap", rows, out, classlabels_strings=["a"]), "node 'node'.*each of 1 labels"),
        (one("ZipMap", maps, out, classlabels_strings=["a"]), "node 'node'.*must be scores"),
        (one("DictVectorizer", maps, rows, int64_vocabulary=[1]), "node 'node'.*holds i64"),
        (one("CastMap", maps, rows), "node 'node'.*must lead from i64"),
        (one("CastMap", out, rows), "node 'node'.*must be a map"),
        (one("ZipMap", sequence(out), rows), "input 'x'.*a sequence of sequence of maps"),
        (one("ZipMap", mapping(TensorProto.INT8, FLOAT), rows), "input 'x'.*from i8 to f32"),
        (one("ZipMap", helper.make_map_type_proto(INT64, out), rows), "input 'x'.*no scalars"),
        (
            one("ZipMap", helper.make_sparse_tensor_type_proto(FLOAT, [2]), rows),
            "input 'x'.*sparse",
        ),
    ):
        with pytest.raises(ModelError, match=text):
            camshaft.build(made, **QUICK)


def test_a_damaged_type_of_a_map(tmp_path: Path) -> None:
    made = one(
        "DictVectorizer", mapping(STRING, FLOAT), tensor(FLOAT, [1, 1]), string_vocabulary=["a"]
    )
    data = json.loads(manifest_to_json(camshaft.build(made, **QUICK).scripted))  # type: ignore[attr-defined]
    del data["inputs"][0]["type"]["keys"]
    with pytest.raises((ValueError, BuildError), match=r"manifest.inputs\[0\]"):
        manifest_from_json(json.dumps(data))
