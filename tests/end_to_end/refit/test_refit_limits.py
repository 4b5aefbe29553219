"""What an exchange refuses because the engine would not be right, and weights of halves."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.errors import RefitError
from refit_nets import Net, arrays, close, feed, normalized, random


def net(**changed: float) -> ModelProto:
    """A convolution, whose bias is another operator's, behind and before normalizations; weights times factors."""
    n = Net(random(1))
    x = normalized(n, "x", "before", 3)
    x = normalized(n, n.add("Conv", x, n.w("c", 8, 3, 3, 3), n.w("c.b", 8)), "behind", 8)
    model = n.model(n.add("Relu", x), [1, 3, 6, 6])
    for t in model.graph.initializer:
        by = changed.get(t.name.replace(".", "_"), 1.0)
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t) * np.float32(by), t.name))
    return model


@pytest.mark.parametrize(
    "changed", [{"behind_mean": 1e7}, {"before_mean": 1e7}, {"c": 1e32}, {"behind_scale": 1e32}],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_weights_for_which_a_build_would_take_another_form_are_refused(
    changed: dict[str, float],
) -> None:
    engine = camshaft.build(net(), refittable=True, optimization_level=1)
    x = feed(engine)
    before = engine(x)["y"]
    with pytest.raises(RefitError, match="is right for weights of which"):
        engine.refit(net(**changed))
    assert np.array_equal(engine(x)["y"], before)
    built = camshaft.build(net(**changed), refittable=True, optimization_level=1)
    assert close(built.refit(net())(x)["y"], before)  # the careful form is right for all


@pytest.mark.parametrize(
    "changed", [{"behind_mean": 40}, {"c": 1000}, {"c_b": 0, "behind_bias": 0}, {"behind_bias": 1e-9}],
    ids=str,
)  # fmt: skip
def test_weights_that_are_only_other_ones_are_not(changed: dict[str, float]) -> None:
    engine = camshaft.build(net(), refittable=True, optimization_level=1)
    x = feed(engine)
    wanted = camshaft.build(net(**changed), optimization_level=1)(x)["y"]
    assert close(engine.refit(net(**changed))(x)["y"], wanted)


def halves(type: int, seed: int) -> ModelProto:
    """A product in halves."""
    rng = np.random.default_rng(seed)
    w = helper.make_tensor("w", type, (6, 5), rng.standard_normal(30).tolist())
    ends = [[helper.make_tensor_value_info(n, type, s)] for n, s in (("x", (2, 6)), ("y", (2, 5)))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", *ends, [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("type", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_weights_in_halves_are_exchanged_as_halves(type: int) -> None:
    first, second = halves(type, 1), halves(type, 2)
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    x = {"x": np.ones((2, 6), np.float32).astype(engine.inputs["x"].dtype.numpy)}
    assert str(engine.refittable["w"].dtype) == str(engine.inputs["x"].dtype)
    wanted = camshaft.build(second, optimization_level=1)(x)["y"]
    with pytest.raises(RefitError, match="'w' is given as float32"):
        engine.refit({"w": np.ones((6, 5), np.float32)})
    values = numpy_helper.to_array(second.graph.initializer[0])
    given = {"w": values.astype(engine.refittable["w"].dtype.numpy)}
    assert np.array_equal(engine.refit(given, copy=True)(x)["y"], wanted)
    assert np.array_equal(engine.refit(second)(x)["y"], wanted)


def test_what_is_no_array_is_refused() -> None:
    engine = camshaft.build(net(), refittable=True, optimization_level=1)
    with pytest.raises(RefitError, match=r"'c.b' is no array"):
        engine.refit({"c.b": [[1.0], [1.0, 2.0]]})


def test_parameters_of_torch_are_arrays() -> None:
    torch = pytest.importorskip("torch")
    first, second = net(), net(c=2)
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    x = feed(engine)
    given = {"c": torch.nn.Parameter(torch.from_numpy(arrays(second)["c"].copy()))}
    assert close(engine.refit(given)(x)["y"], camshaft.build(second, optimization_level=1)(x)["y"])


def test_initializers_that_nothing_reads_may_be_others() -> None:
    first, second = net(), net(c=2)
    for model, value in ((first, 1.0), (second, 2.0)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32([value]), "unused"))
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    x = feed(engine)
    wanted = camshaft.build(second, optimization_level=1)(x)["y"]
    assert close(engine.refit(second)(x)["y"], wanted)
    assert close(engine.refit(arrays(second))(x)["y"], wanted)


def test_weights_that_are_no_numbers_are_named() -> None:
    engine = camshaft.build(net(), refittable=True, optimization_level=1)
    wild = arrays(net())
    wild["behind.mean"] = np.full(8, np.nan, np.float32)
    with pytest.raises(RefitError, match=r"not true of 'behind\.mean': build"):
        engine.refit(wild)
    with pytest.raises(RefitError, match="names of weights are texts"):
        engine.refit({3: np.zeros(1)})
