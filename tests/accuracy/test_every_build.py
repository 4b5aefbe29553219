"""What a build with calibration data does about noise where nothing is demanded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.builder.engine_builder import Builder
from camshaft.config import BuildConfig
from camshaft.session import BuildSession
from loud_net import images, net

OPTIONS: dict[str, Any] = {"threads": 1, "optimization_level": 1, "precision": {"int8"}}


def built(**more: Any) -> tuple[BuildSession, camshaft.Engine]:
    session = BuildSession(net(), BuildConfig.of(None, {**OPTIONS, **more}), images(8))
    return session, session.run()


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a level where kernels are timed, and all take no time, so that INT8 is taken everywhere."""
    monkeypatch.setattr(Builder, "times", True)


@pytest.mark.usefixtures("timed")
def test_a_layer_that_dominates_the_noise_stays_float() -> None:
    session, engine = built()
    assert "kept in fp32 for noise" in session.precision_summary
    assert session.reasons["conv1"].startswith("fp32: its noise at the outputs")
    assert session.reasons["conv2"].startswith("int8")
    plain = camshaft.build(net(), threads=1, optimization_level=1)
    _, everywhere = built(layer_precision={"conv1": "int8"})

    def off(other: camshaft.Engine) -> float:
        batches = images(8, seed=3)
        return sum(float(np.square(plain(b)["y"] - other(b)["y"]).sum()) for b in batches)

    assert off(engine) < 0.3 * off(everywhere)


@pytest.mark.usefixtures("timed")
def test_what_must_be_int8_is_no_candidate() -> None:
    session, _ = built(layer_precision={"conv1": "int8"})
    assert session.reasons["conv1"].startswith("int8: layer_precision")


def test_an_untimed_build_measures_nothing() -> None:
    session, _ = built()
    assert session.account is not None and session.account.total is None
    assert session.reasons["conv1"].startswith("int8")


def test_the_model_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = camshaft.build_files.import_model

    def counted(*args: Any, **options: Any) -> Any:
        read.append(1)
        return real(*args, **options)

    monkeypatch.setattr(camshaft.build_files, "import_model", counted)
    built()
    assert len(read) == 1
