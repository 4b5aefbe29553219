"""The comparison library: error figures by hand, matching of built tensors with the model's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from camshaft.compare.comparison import compare
from camshaft.compare.others import run_other, with_outputs
from camshaft.compare.stored import stored_tensors
from camshaft.compare.tensor_error import in_model_order, tensor_error
from camshaft.config import BuildConfig
from camshaft.errors import BuildError, ConfigError, ModelError
from camshaft.frontends.onnx.model import load_model
from camshaft.session import BuildSession
from cli_models import RNG, residual_net
from placed_models import Placed

pytestmark = pytest.mark.codegen
X = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return residual_net(tmp_path_factory.mktemp("compare") / "net.onnx")


def session_of(model: Path, int8: bool = False) -> BuildSession:
    precision = frozenset({"int8"} if int8 else ())
    config = BuildConfig(
        precision=precision, optimization_level=1, threads=1, noise_reduction=False
    )
    return BuildSession(model, config, [X] if int8 else None)


# -- figures -------------------------------------------------------------------------------------


def test_figures_by_hand() -> None:
    want = np.array([3.0, -4.0, 0.0, 0.0], np.float32)
    error = tensor_error("t", want + np.array([0, 0, 0.5, 0], np.float32), want)
    assert (error.max_abs, error.mean_abs, error.relative) == (0.5, 0.125, 0.125)
    assert error.sqnr_db == pytest.approx(20.0)
    assert error.cosine == pytest.approx(5 / math.sqrt(25.25))
    assert error.shape == (4,) and error.stored == "float32"


def test_equal_tensors_have_no_error() -> None:
    for array in (np.zeros(3), np.array([1, 2]), np.array([np.nan, np.inf, -np.inf, 1.0])):
        error = tensor_error("t", array, array.copy())
        assert (error.max_abs, error.relative) == (0.0, 0.0)
        assert error.cosine == pytest.approx(1.0)
        assert error.sqnr_db == np.inf
        assert error.to_json()["sqnr_db"] is None


@pytest.mark.parametrize(
    ("got", "want"),
    [([np.nan, 1], [1, 1]), ([1, 1], [np.nan, 1]), ([np.inf], [-np.inf]), ([1, 2], [[1, 2]])],
)
def test_what_cannot_be_measured_is_infinitely_wrong(got: list[float], want: list[float]) -> None:
    error = tensor_error("t", np.array(got), np.array(want), is_output=True)
    assert error.relative == np.inf and error.cosine == 0.0


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 4, 4, 4), (1, 2, 3, 2, 2)])
def test_axes_go_where_the_model_has_them(shape: tuple[int, ...]) -> None:
    want = RNG.standard_normal(shape)  # some fit in several orders
    for stored in (want, np.moveaxis(want, 1, -1), np.swapaxes(want, 1, 2)):
        found = in_model_order(stored + 1e-3, want)
        assert found is not None
        np.testing.assert_allclose(found, want, atol=2e-3)


def test_axes_of_wrong_values_are_those_that_go_with_the_models() -> None:
    want = RNG.standard_normal((1, 6, 6, 6))
    for wrong in (np.tanh(want) * 3, np.maximum(want, 0) + 9, np.where(want > 2, np.nan, want / 7)):
        found = in_model_order(np.moveaxis(wrong, 1, -1), want)
        np.testing.assert_array_equal(found, wrong)


def test_axes_of_other_extents_cannot_be_compared() -> None:
    squeezed = in_model_order(np.ones((1, 1, 1, 7)), np.ones((1, 7)))
    assert squeezed is not None and squeezed.shape == (1, 7)
    assert in_model_order(np.ones((3, 4)), np.ones((12,))) is None
    assert in_model_order(np.ones((3, 4)), np.ones((2, 6))) is None


# -- the other side ------------------------------------------------------------------------------


def test_outputs_replaced_in_a_copy(model: Path) -> None:
    proto = load_model(model)
    before = proto.SerializeToString()
    changed = with_outputs(proto, ["r1", "y"])
    assert [v.name for v in changed.graph.output] == ["r1", "y"]
    assert proto.SerializeToString() == before


def test_the_reference_computes_intermediate_tensors(model: Path) -> None:
    found = run_other("reference", load_model(model), X, ["y", "c1", "r1"])
    np.testing.assert_array_equal(found["r1"], np.maximum(found["c1"], 0))
    assert found["y"].shape == (1, 10)


def test_faults_of_the_other_side(model: Path) -> None:
    proto = load_model(model)
    with pytest.raises(ConfigError, match=r"'tvm'.*onnxruntime, reference"):
        run_other("tvm", proto, X, ["y"])
    with pytest.raises(ModelError, match="reference cannot run the model"):
        run_other("reference", proto, {}, ["y"])
    with pytest.raises(ModelError, match="onnxruntime cannot run the model"):
        run_other("onnxruntime", proto, {}, ["y"])


# -- whole models --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other", [pytest.param("onnxruntime", marks=pytest.mark.peers), "reference"]
)
def test_float_layers_agree(model: Path, other: str) -> None:
    session = session_of(model)
    found = compare(model, session.run(), X, other, session)
    assert {t.name for t in found.tensors} == {"y", "r1", "r2", "g"}
    assert [t.name for t in found.outputs] == ["y"]
    assert max(t.relative for t in found.tensors) < 1e-5
    assert found.beyond(1e-5) == () and found.beyond(0.0) == found.outputs


def test_a_wrong_engine_is_seen_and_located(model: Path, tmp_path: Path) -> None:
    session = session_of(model)
    other_model = residual_net(tmp_path / "other.onnx")  # the same shapes, other weights
    found = compare(other_model, session.run(), X, "reference", session)
    assert found.beyond(0.1) == found.outputs
    errors = [t.relative for t in found.tensors]
    assert errors == sorted(errors, reverse=True) and min(errors) > 0.01
    assert {t.order for t in found.tensors} > {t.order for t in found.outputs}


def test_int8_tensors_are_compared_as_the_numbers_they_stand_for(model: Path) -> None:
    session = session_of(model, int8=True)
    found = compare(model, session.run(), X, "reference", session)
    stored = {t.name: t for t in found.tensors}
    for name in ("r1", "r2"):
        assert stored[name].stored == "uint8"
        assert stored[name].sqnr_db > 20, f"{name}: {stored[name].sqnr_db} dB"
    assert stored["y"].cosine > 0.99
    kinds = stored_tensors(session)
    assert all(s.scale > 0 for s in kinds.values()) and any(s.scale != 1 for s in kinds.values())


def test_averages_of_bytes_have_a_scale_of_their_own(tmp_path: Path) -> None:
    """A pool whose result is reshaped before it is quantized; the scale of what it reads is another."""
    m = Placed()
    x = m.node("Conv", m.qdq(m.input(1, 16, 8, 8), 1 / 9, 128), m.weight(16, 16, 3, 3))
    y = m.node("Flatten", m.node("GlobalAveragePool", m.qdq(x, 1 / 3, 128)))
    path = tmp_path / "pool.onnx"
    model = m.model(str(m.node("MatMul", m.qdq(y, 1 / 90, 128), m.weight(16, 5, axis=1))))
    path.write_bytes(model.SerializeToString())
    session = BuildSession(path, BuildConfig(precision=frozenset({"int8"}), optimization_level=1))
    feeds = {"x0": RNG.standard_normal((1, 16, 8, 8)).astype(np.float32)}
    found = compare(path, session.run(), feeds, "reference", session)
    assert len(found.tensors) > 1
    assert all(t.relative < 0.02 for t in found.tensors), found.tensors


def test_taps_need_a_finished_build_and_known_names(model: Path) -> None:
    session = session_of(model)
    with pytest.raises(BuildError, match="run"):
        session.tapped(["r1"])
    session.run()
    with pytest.raises(ModelError, match="'c1'"):
        session.tapped(["c1"])  # fused away
    assert set(session.tapped(["r2", "r1"]).outputs) == {"r1", "r2"}
