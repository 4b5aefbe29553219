"""Engine files that are built anew where they are loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, parser

import camshaft
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import ConfigError, EngineFileError, RefitError
from camshaft.portable import parts, rebuild
from camshaft.runtime.file import engine_file
from refit_nets import Net, arrays, convolutions, feed, random


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this machine another."""

    def become(name: str) -> None:
        for module in (parts, rebuild):
            monkeypatch.setattr(module, "machine_named", lambda target: f"{name}")

    return become


def batches() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(4)
    return [{"x": rng.standard_normal((2, 3, 14, 14)).astype(np.float32)} for _ in range(6)]


def built_anew(data: bytes, **options: int) -> camshaft.Engine:
    with pytest.warns(UserWarning, match="was built anew in .* since it was built on another"):
        return camshaft.load(data, **options)


WAYS = {
    "fp32": {},
    "int8": {"precision": {"int8"}, "calibration": batches()},
    "half": {"precision": {"fp16", "bf16"}, "threads": 1},
    "open": {"shapes": {"x": ("n=1..4", 3, 14, 14)}, "optimization_level": 1},
    "by hand": {"precision": {"int8"}, "dynamic_ranges": {"x": (-3.0, 4.0)}, "calibration": batches(), "layer_precision": {"Conv_2": "fp32"}},
}  # fmt: skip


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_an_engine_built_anew_is_the_same(
    options: dict[str, object], elsewhere: Callable[[str], None]
) -> None:
    model = convolutions(random(1))
    engine = camshaft.build(model, portable=True, **options)
    x = feed(engine)
    data = engine.to_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here = camshaft.load(data)
    assert np.array_equal(here(x)["y"], engine(x)["y"])
    elsewhere("another")
    other = built_anew(data)
    assert np.array_equal(other(x)["y"], engine(x)["y"])
    assert other.fingerprint.config == engine.fingerprint.config
    assert [n.tactic for n in other.notes] == [n.tactic for n in engine.notes]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = camshaft.load(other.to_bytes())
    assert np.array_equal(again(x)["y"], engine(x)["y"])


def test_rows_apart_and_layers_left_in_floats_are_found_again(
    elsewhere: Callable[[str], None],
) -> None:
    rng = np.random.default_rng(0)
    n = Net(random(1))
    x = n.add("Relu", n.add("MatMul", "x", n.w("a", 160, 96)))
    model = n.model(n.add("MatMul", x, n.w("b", 96, 64)), [4, 8, 160])
    data = [{"x": rng.standard_normal((4, 8, 160)).astype(np.float32)} for _ in range(4)]
    for batch in data:
        batch["x"][..., ::40] *= 60  # channels that INT8 carries apart
    engine = camshaft.build(model, portable=True, precision={"int8"}, calibration=data, optimization_level=1)  # fmt: skip
    assert any("apart" in note.reason or "apart" in note.name for note in engine.notes)
    elsewhere("another")
    other = built_anew(engine.to_bytes())
    assert np.array_equal(other(data[0])["y"], engine(data[0])["y"])


def test_timings_of_several_machines_are_kept(
    elsewhere: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = camshaft.build(convolutions(random(1)), portable=True)
    first = parts.parts_of(engine.attached, "it").timings
    assert first.entries
    elsewhere("another")
    timed = []
    monkeypatch.setattr(TimingCache, "store", lambda *given: timed.append(given))
    other = built_anew(engine.to_bytes())
    assert not timed  # the processor is the same after all, and so are its timings
    assert first.entries.keys() <= parts.parts_of(other.attached, "it").timings.entries.keys()


def test_another_version_of_camshaft_builds_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = camshaft.build(convolutions(random(1)), portable=True, optimization_level=1)
    plain = camshaft.build(convolutions(random(1)), optimization_level=1).to_bytes()
    x, data = feed(engine), engine.to_bytes()
    monkeypatch.setattr(engine_file, "VERSION", "99.0")
    with pytest.warns(
        UserWarning, match=r"built by camshaft .*, and this is camshaft 99\.0; engine\.save"
    ):
        assert np.array_equal(camshaft.load(data)(x)["y"], engine(x)["y"])
    with pytest.raises(EngineFileError, match="built by camshaft"):
        camshaft.load(plain)


def test_weights_that_were_exchanged_are_built_in(elsewhere: Callable[[str], None]) -> None:
    first, second = convolutions(random(1)), convolutions(random(2))
    engine = camshaft.build(first, portable=True, refittable=True, optimization_level=1)
    x = feed(engine)
    copy = engine.refit(second, copy=True)
    engine.refit({"fc": arrays(second)["fc"]})
    with pytest.raises(RefitError, match="carries its model with all weights"):
        engine.to_bytes(strip_weights=True)
    elsewhere("another")
    for one in (engine, copy):
        other = built_anew(one.to_bytes())
        np.testing.assert_allclose(other(x)["y"], one(x)["y"], rtol=1e-5, atol=1e-6)
        assert np.array_equal(other.refit(first)(x)["y"], engine.refit(first, copy=True)(x)["y"])


def test_threads_of_an_engine_built_anew(elsewhere: Callable[[str], None], tmp_path: Path) -> None:
    engine = camshaft.build(convolutions(random(1)), portable=True, threads=2, optimization_level=1)
    engine.save(tmp_path / "net.engine")
    elsewhere("another")
    with pytest.warns(UserWarning, match=r"net\.engine.* was built anew"):
        other = camshaft.load(tmp_path / "net.engine", threads=1)
    assert other.threads == 1 and other.program.max_threads == 2


def decided() -> ModelProto:
    """A model that asks its data where to go."""
    return parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        net (bool b, float[2, 3, 4, 4] x) => (float[N, M, H, W] y) <float[4, 3, 1, 1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> {
            y = If (b) <then_branch = t () => (p) { p = Conv (x, w) }, else_branch = e () => (q) { q = Relu (x) }>
        }"""
    )


def test_models_of_several_graphs(elsewhere: Callable[[str], None]) -> None:
    engine = camshaft.build(decided(), portable=True, optimization_level=1)
    feeds = {"b": np.array(True), "x": np.ones((2, 3, 4, 4), np.float32)}
    with pytest.raises(ConfigError, match="one graph"):
        camshaft.build(decided(), portable=True, precision={"int8"}, calibration=[feeds])
    elsewhere("another")
    assert np.array_equal(built_anew(engine.to_bytes())(feeds)["y"], engine(feeds)["y"])


def test_what_cannot_be_carried_is_refused() -> None:
    model = convolutions(random(1))
    with pytest.raises(ConfigError, match="select_kernels"):
        camshaft.build(model, portable=True, select_kernels=lambda choice: None)
    with pytest.raises(ConfigError, match="portable=True is for build"):
        camshaft.quantize(model, calibration=batches(), portable=True)
    with pytest.raises(ConfigError, match="portable is 1"):
        camshaft.build(model, portable=1)


@pytest.mark.parametrize("name", ["portable options", "portable timings", "portable machine", "portable calibration"])  # fmt: skip
def test_damage_is_an_error_of_the_file(name: str, elsewhere: Callable[[str], None]) -> None:
    engine = camshaft.build(convolutions(random(1)), portable=True, optimization_level=1)
    engine.attached[name] = b'{"threads": "many"}'
    data = engine.to_bytes()
    elsewhere("another")
    with pytest.raises(EngineFileError, match="what it was built from is malformed"):
        camshaft.load(data)
