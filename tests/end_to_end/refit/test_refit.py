"""Engines whose weights are exchanged answer as engines built with these weights."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

import camshaft
from camshaft.errors import ConfigError, RefitError
from refit_nets import (
    Draw,
    Net,
    arrays,
    attention,
    close,
    convolutions,
    feed,
    flattened,
    fresh,
    normalized,
    random,
    recurrent,
)

NETS = (convolutions, flattened, attention, recurrent)
LEVELS = (1, 3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("before", [random(1), fresh], ids=["random", "fresh"])
@pytest.mark.parametrize("net", NETS, ids=lambda f: f.__name__)
def test_other_weights_give_the_answers_of_other_weights(
    net: Callable[[Draw], ModelProto], before: Draw, level: int
) -> None:
    first, second = net(before), net(random(2))
    engine = camshaft.build(first, refittable=True, optimization_level=level)
    wanted = camshaft.build(second, optimization_level=level)
    assert engine.refittable.keys() == arrays(first).keys()
    x = feed(engine)
    old, new = engine(x)["y"], wanted(x)["y"]
    assert close(old, camshaft.build(first, optimization_level=level)(x)["y"])
    assert not close(old, new)
    other = engine.refit(second, copy=True)
    assert close(other(x)["y"], new)
    assert np.array_equal(engine(x)["y"], old)
    with engine.create_context() as context:
        context.run(x)
        assert engine.refit(second) is engine
        assert close(context.run(x)["y"], new)
    assert np.array_equal(engine.refit(first)(x)["y"], old)


@pytest.mark.parametrize("net", NETS, ids=lambda f: f.__name__)
def test_files_with_and_without_weights(net: Callable[[Draw], ModelProto], tmp_path: Path) -> None:
    first, second = net(random(1)), net(random(2))
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    x = feed(engine)
    old = engine(x)["y"]
    new = engine.refit(second, copy=True)(x)["y"]
    engine.save(tmp_path / "whole.engine")
    size = engine.save(tmp_path / "stripped.engine", strip_weights=True)
    assert size == (tmp_path / "stripped.engine").stat().st_size
    assert size < (tmp_path / "whole.engine").stat().st_size
    whole = camshaft.load(tmp_path / "whole.engine")
    assert np.array_equal(whole(x)["y"], old)
    assert np.array_equal(whole.refit(second)(x)["y"], new)
    again = camshaft.load(whole.to_bytes())
    assert np.array_equal(again(x)["y"], new)
    stripped = camshaft.load(tmp_path / "stripped.engine")
    with pytest.raises(RefitError, match="saved without weights"):
        stripped(x)
    with pytest.raises(RefitError, match="needs all of them"):
        stripped.refit({})
    assert camshaft.load(io.BytesIO(stripped.to_bytes())).lacks_weights
    assert np.array_equal(stripped.refit(second.SerializeToString())(x)["y"], new)
    assert not camshaft.load(stripped.to_bytes()).lacks_weights


def test_a_file_without_weights_holds_none() -> None:
    engine = camshaft.build(convolutions(random(1)), refittable=True, optimization_level=1)
    data = engine.to_bytes(strip_weights=True)
    for name, array in arrays(convolutions(random(1))).items():
        assert array.tobytes()[:64] not in data or array.nbytes < 16, name


def test_one_weight_by_name_and_those_that_it_needs() -> None:
    first = convolutions(random(1))
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    x = feed(engine)
    for name, array in arrays(first).items():
        changed = convolutions(random(1))
        for t in changed.graph.initializer:
            if t.name == name:
                t.CopyFrom(numpy_helper.from_array(np.asarray(1.5 * array, np.float32), name))
        other = engine.refit(
            {name: 1.5 * array}, copy=True
        )  # the rest is small, so the engine has it
        assert close(other(x)["y"], camshaft.build(changed, optimization_level=1)(x)["y"]), name


def test_a_copy_has_weights_of_its_own() -> None:
    first = convolutions(random(1))
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    x = feed(engine)
    old, values = engine(x)["y"], arrays(first)
    other = engine.refit({"fc.b": values["fc.b"] + 1}, copy=True)
    other.refit({"fc": 2 * values["fc"]})
    assert np.array_equal(engine(x)["y"], old)
    third = other.refit({}, copy=True)
    wanted = third(x)["y"]
    other.refit(first)
    assert np.array_equal(other(x)["y"], old)
    assert np.array_equal(third(x)["y"], wanted)
    assert not close(wanted, old)


def test_large_partners_are_asked_for() -> None:
    def net(draw: Draw) -> ModelProto:
        n = Net(draw)
        x = normalized(n, n.add("Conv", "x", n.w("big", 256, 128, 1, 1)), "b", 256)
        return n.model(x, [1, 128, 2, 2])

    first, second = net(random(1)), net(random(2))
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    values = arrays(second)
    with pytest.raises(RefitError, match=r"give 'big' too"):
        engine.refit({"b.scale": values["b.scale"]})
    only = {n: values[n] for n in ("b.scale", "big")}
    mixed = net(random(1))
    for t in mixed.graph.initializer:
        if t.name in only:
            t.CopyFrom(numpy_helper.from_array(only[t.name], t.name))
    x = feed(engine)
    wanted = camshaft.build(mixed, optimization_level=1)(x)["y"]
    assert close(engine.refit(only)(x)["y"], wanted)
    engine.refit({"big": values["big"]})  # of the small ones, it knows what it was given
    assert close(engine(x)["y"], wanted)


def test_what_is_wrong_is_named_and_changes_nothing() -> None:
    first = convolutions(random(1))
    engine = camshaft.build(first, refittable=True, optimization_level=1)
    x = feed(engine)
    before = engine(x)["y"]
    values = arrays(first)
    other = convolutions(random(2))
    for given, said in (
        ({"c3": values["c2"]}, r"no weight of the engine is called 'c3': did you mean"),
        ({"c2": values["c2"][:4]}, r"'c2' is given as float32\[4, 16, 3, 3\]"),
        ({"c2": values["c2"].astype(np.float64)}, r"'c2' is given as float64"),
        ({"c2.b": np.zeros(16, np.float32), "fc": None}, r"'fc' is given as object"),
        ([values["c2"]], r"weights is of type list"),
        (flattened(random(1)), r"the model is another than the engine was built from"),
    ):
        with pytest.raises(RefitError, match=said):
            engine.refit(given)
    assert np.array_equal(engine(x)["y"], before)
    plain = camshaft.build(first, optimization_level=1)
    assert plain.refittable == {}
    with pytest.raises(RefitError, match="build it with refittable=True"):
        plain.refit(other)
    with pytest.raises(RefitError, match="build it with refittable=True"):
        plain.save("never", strip_weights=True)
    assert not Path("never").exists()
    with pytest.raises(ConfigError, match="refittable"):
        camshaft.build(first, refittable="yes")


def test_weights_that_decide_what_is_computed_stay() -> None:
    n = Net(random(1))
    x = n.add("Conv", "x", n.w("c", 4, 3, 1, 1))
    n.weights |= {"times": np.array([1, 1, 2, 2], np.float32), "one": np.ones(1, np.float32)}
    sizes = n.add("Cast", n.add("Mul", "times", "one"), to=TensorProto.FLOAT)
    x = n.add("Resize", x, "", sizes, mode="nearest")
    engine = camshaft.build(n.model(x, [1, 3, 4, 4]), refittable=True, optimization_level=1)
    assert engine.refittable.keys() == {"c"}
    with pytest.raises(RefitError, match="'times' cannot be exchanged"):
        engine.refit({"times": np.array([1, 1, 3, 3], np.float32)})


def test_the_same_kernels_as_without() -> None:
    model = convolutions(random(1))
    steps = [
        [(note.op, note.tactic) for note in camshaft.build(model, optimization_level=1, **o).notes]
        for o in ({}, {"refittable": True})
    ]
    assert steps[0] == steps[1]


def _scaled(w: np.ndarray, by: float, op: str = "Mul") -> ModelProto:
    n = Net(random(1))
    n.weights |= {"w": w, "by": np.float32(by)}
    return n.model(n.add(op, n.add("MatMul", "x", "w"), "by"), [2, 4])


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("only", [True, {"w"}])
def test_a_model_that_differs_in_more_is_refused(only: bool | set[str], strip: bool) -> None:
    w = np.arange(12, dtype=np.float32).reshape(4, 3)
    engine = camshaft.build(_scaled(w, 1), refittable=only, optimization_level=1)
    if strip:
        engine = camshaft.load(engine.to_bytes(strip_weights=True))
    with pytest.raises(RefitError, match="'by': the model has other values"):
        engine.refit(_scaled(w + 1, 5))
    with pytest.raises(RefitError, match="another than the engine was built from"):
        engine.refit(_scaled(w + 1, 1, "Add"))
    x = feed(engine)
    assert close(engine.refit(_scaled(w + 1, 1))(x)["y"], x["x"] @ (w + 1))


def test_an_engine_without_weights_to_exchange_says_so() -> None:
    n = Net(random(1))
    n.weights |= {"low": np.float32(0), "high": np.float32(6)}
    model = n.model(n.add("Clip", "x", "low", "high"), [2, 4])
    engine = camshaft.build(model, refittable=True, optimization_level=1)
    with pytest.raises(RefitError, match="none of the engine's weights can be exchanged"):
        engine.refit(model)
