"""What users may declare of plugins and kernels, and what errors say of the rest."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import camshaft
from camshaft.errors import ModelError
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins import registry


def same(x: np.ndarray, **attrs: Any) -> np.ndarray:
    return x


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda: camshaft.plugin(5), "by its name, @camshaft.plugin"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin(same), "by its name, @camshaft.plugin"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", types="f32"), r"types is 'f32', not a list.*as \['f32'\]"),
        (lambda: camshaft.plugin("d::A", types=5), "types is 5, not a list"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", types=[5]), "types has 5: Cannot interpret"),
        (lambda: camshaft.plugin("d::A", types=["f33"]), "types has 'f33': unknown element type"),
        (lambda: camshaft.plugin("d::A", types=[]), "types is empty.*leave it out"),
        (lambda: camshaft.plugin("d::A", attributes=["a"]), r"attributes is \['a'\], not a dict"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", infer=5), "infer is 5, not a function"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", integers={}), "integers is {}, not a function"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", samples=[]), r"samples is \[\], not a function"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", moves="no"), "moves is 'no', not True or False"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", version="2"), "version is '2', not an int"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A", tolerance=-1.0), "tolerance is -1.0, not a number from 0"),
        (lambda: camshaft.plugin("d::A", int8="b"), "int8 is 'b', not a plugin"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("d::A")(5), "the reference is 5, not a function"),  # type: ignore[arg-type]
        (lambda: camshaft.plugin("::Relu"), "'::Relu' is no name.*'domain::type'"),
        (lambda: camshaft.plugin("a::b::c"), "'a::b::c' is no name"),
        (lambda: camshaft.plugin("a::"), "'a::' is no name"),
        (lambda: camshaft.plugin("a b::c"), "'a b::c' is no name"),
        (lambda: camshaft.plugin("ai.onnx::Mine"), "ONNX's own operators; give a domain of your own"),
    ],
)  # fmt: skip
def test_declarations_that_cannot_be(declare: Callable[[], Any], says: str) -> None:
    before = registry.registered()
    with pytest.raises(ModelError, match=says):
        declare()(same)
    assert registry.registered() == before


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (lambda p: p.kernel(items=5)(same), "items is 5, not a function of the work; give lambda"),
        (lambda p: p.kernel(when=True)(same), "when is True, not a function"),
        (lambda p: p.kernel(scratch=64)(same), "scratch is 64, not a function"),
        (lambda p: p.kernel(types="f32")(same), "kernel 'same' of plugin 'd::Kernels': types is"),
        (lambda p: p.kernel(params={"lanes": 1})(same), "params is .* not a list"),
        (lambda p: p.kernel(params=[5])(same), "params has 5, not a dictionary"),
        (lambda p: p.kernel(params=[{"by": 0.5}])(same), "params has 'by': 0.5; give ints"),
        (lambda p: p.kernel(params=[{"kernel": 1}])(same), "'kernel' in params is taken"),
        (lambda p: p.kernel(params=[])(same), "has no variants; leave params out"),
        (lambda p: p.kernel()(5), "a kernel is 5, not a function"),
        (lambda p: p.kernel(same), r"write @Kernels.kernel\(\)"),
        (lambda p: p.llvm(5, "f"), "text is 5"),
        (lambda p: p.llvm("define", 5), "symbol is 5, not a text"),
        (lambda p: p.llvm("define", "f", arguments=[1]), r"arguments is \[1\], not a function"),
        (lambda p: p.function(-5, types=None), "-5 is no address"),
        (lambda p: p.function(1 << 64, types=None), "18446744073709551616 is no address"),
        (lambda p: p.function(4096, types="f32"), "kernel 'function' of plugin .*: types is"),
    ],
)  # fmt: skip
def test_kernels_that_cannot_be(declare: Callable[[Any], Any], says: str) -> None:
    plugin = camshaft.plugin("d::Kernels")(same)
    with pytest.raises(ModelError, match=says):
        declare(plugin)
    assert not plugin.kernels


def test_element_types_are_names_or_numpys() -> None:
    plugin = camshaft.plugin("d::Types", types=[np.float32, ("f64", np.int64)])(same)
    assert plugin.types == (("f32",), ("f64", "i64"))


@pytest.mark.parametrize("given", ["f16", np.float16, ("i64", "bf16")])
def test_types_that_inputs_never_have_are_refused(given: Any) -> None:
    """Graphs hold floats of 16 bits as f32: such an entry would never be met."""
    with pytest.raises(ModelError, match=r"plugin 'd::Halves': types has .* come as f32"):
        camshaft.plugin("d::Halves", types=[given])(same)


def test_another_modules_plugin_is_replaced_with_a_warning() -> None:
    """A notebook's cell that runs again replaces its own without one."""

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        camshaft.plugin("d::Taken")(same)
        camshaft.plugin("d::Taken")(same)
    elsewhere = {"__name__": "elsewhere", "camshaft": camshaft, "same": same}
    with pytest.warns(UserWarning, match="'d::Taken' of module .* by that of module elsewhere"):
        exec("camshaft.plugin('d::Taken')(same)", elsewhere)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"number": np.float32(0.25)}, 0.25),
        ({"number": np.array(0.25)}, 0.25),
        ({"number": np.int8(2)}, 2.0),
        ({"count": np.int64(3)}, 3),
        ({"flag": np.bool_(False)}, False),
        ({"numbers": np.array([1, 2.5], np.float32)}, (1.0, 2.5)),
        ({"numbers": [np.float32(1), 2.0]}, (1.0, 2.0)),
        ({"numbers": []}, ()),
        ({"any": np.uint8(7)}, 7),
    ],
)
def test_numpys_numbers_are_attributes(given: dict[str, Any], value: Any) -> None:
    seen = []

    @camshaft.plugin(
        "d::Attributes",
        attributes={"number": 1.5, "count": 1, "flag": True, "numbers": (1.0,), "any": None},
    )
    def attributes(x: np.ndarray, **attrs: Any) -> np.ndarray:
        seen.append(attrs)
        return x

    x = np.ones(2, np.float32)
    attributes(x, **given)
    n = camshaft.Network()
    n.output(n.plugin(attributes, n.input("x", (2,)), **given), "y")
    n.build(optimization_level=0)({"x": x})
    (name,) = given
    assert len(seen) == 2
    for attrs in seen:
        assert attrs[name] == value and type(attrs[name]) is type(value)


def test_lists_become_arrays_where_the_default_is_one() -> None:
    plugin = camshaft.plugin("d::Array", attributes={"a": np.zeros(2, np.float32)})(same)
    made = plugin.complete({"a": [1, 2]})["a"]
    assert made.dtype == np.float32 and made.tolist() == [1, 2]
    with pytest.raises(ModelError, match=r"attribute 'a' is \('x',\), and no array of float32"):
        plugin.complete({"a": ["x"]})
    with pytest.raises(ModelError, match="'a' is 'x', and one of type ndarray is needed"):
        plugin.complete({"a": "x"})


def test_what_has_no_default_is_taken_as_given() -> None:
    plugin = camshaft.plugin("d::Required", attributes={"a": REQUIRED})(same)
    assert plugin.complete({"a": [np.int32(1), [2.0]]}) == {"a": (1, (2.0,))}


@pytest.mark.parametrize("value", [{"x": 1}, object(), same])
def test_what_is_no_value_is_refused(value: Any) -> None:
    plugin = camshaft.plugin("d::Values", attributes={"a": REQUIRED})(same)
    n = camshaft.Network()
    with pytest.raises(ModelError, match=r"attribute .a. is a .*; give numbers, texts"):
        n.plugin(plugin, n.input("x", (2,)), a=value)


def test_what_is_no_plugin_is_refused() -> None:
    n = camshaft.Network()
    with pytest.raises(ModelError, match=r"5 is no plugin; give what @camshaft\.plugin made"):
        n.plugin(5, n.input("x", (2,)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (("f32", (2.5,)), "2.5 is no extent"),
        (("f32", ("rows",)), "'rows' is no extent"),
        (("f99", (2,)), "unknown element type 'f99'"),
        ((5, (2,)), "Cannot interpret '5'"),
        (("f32", 5), "not a type, a pair"),
        (None, "None, not a type"),
    ],
)
def test_what_inference_may_give(made: Any, says: str) -> None:
    plugin = camshaft.plugin("d::Inferred", infer=lambda x: made)(same)
    n = camshaft.Network()
    with pytest.raises(ModelError, match=f"the inference of plugin 'd::Inferred' gives .*{says}"):
        n.plugin(plugin, n.input("x", (2,)))


def test_numpys_integers_are_extents() -> None:
    plugin = camshaft.plugin("d::Extents", infer=lambda x: (np.float32, (np.int64(2),)))(same)
    n = camshaft.Network()
    assert n.plugin(plugin, n.input("x", (2,))).shape == (2,)


def test_plugins_without_inputs_need_inference() -> None:
    ones = camshaft.plugin("d::Ones")(lambda: np.ones(3, np.float32))
    n = camshaft.Network()
    with pytest.raises(ModelError, match=r"'d::Ones' has no first input.*give it infer"):
        n.plugin(ones)
    ones.infer = lambda: ("f32", (3,))
    n.output(n.plugin(ones), "y")
    assert n.build(optimization_level=0)({})["y"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["Relu", "RoiAlign", "ai.onnx.ml::Scaler"])
def test_operators_of_onnx_are_not_replaced(name: str) -> None:
    plugin = camshaft.plugin(name)(same)
    domain, op_type = registry.split(name)
    try:
        node = helper.make_node(op_type, ["x"], ["y"], domain=domain)
        values = [helper.make_tensor_value_info(v, TensorProto.FLOAT, (2,)) for v in "xy"]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(
            helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=opsets
        )
        with pytest.raises(
            ModelError, match=f"plugin {name!r} has the name of an operator of ONNX"
        ):
            camshaft.build(model, optimization_level=0)
        n = camshaft.Network()
        with pytest.raises(ModelError, match=f"give it a domain of its own, as 'mine::{op_type}'"):
            n.plugin(plugin, n.input("x", (2,)))
    finally:
        registry.unregister(name)


def test_operators_that_a_files_opset_lacks_may_be_plugins() -> None:
    """NegativeLogLikelihoodLoss came with opset 12."""
    name = "NegativeLogLikelihoodLoss"
    camshaft.plugin(name)(lambda x: x + 1)
    try:
        node = helper.make_node(name, ["x"], ["y"])
        values = [helper.make_tensor_value_info(v, TensorProto.FLOAT, (2,)) for v in "xy"]
        graph = helper.make_graph([node], "g", values[:1], values[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
        engine = camshaft.build(model, optimization_level=0)
        assert engine({"x": np.ones(2, np.float32)})["y"].tolist() == [2, 2]
        model.opset_import[0].version = 12
        with pytest.raises(ModelError, match="has the name of an operator of ONNX"):
            camshaft.build(model, optimization_level=0)
    finally:
        registry.unregister(name)


def test_operators_of_camshaft_are_not_replaced() -> None:
    camshaft.plugin("com.microsoft::Gelu")(same)
    try:
        n = camshaft.Network()
        with pytest.raises(ModelError, match="an operator of camshaft's own; give"):
            n.plugin("com.microsoft::Gelu", n.input("x", (2,)))
    finally:
        registry.unregister("com.microsoft::Gelu")


def test_a_type_alone_is_of_nodes_without_a_domain() -> None:
    camshaft.plugin("Homeless_TRT")(lambda x: x + 1)
    node = onnx.helper.make_node("Homeless_TRT", ["x"], ["y"])
    values = [helper.make_tensor_value_info(v, TensorProto.FLOAT, (2,)) for v in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]))
    engine = camshaft.build(model, optimization_level=0)
    assert engine({"x": np.ones(2, np.float32)})["y"].tolist() == [2, 2]
