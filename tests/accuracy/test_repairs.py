"""What is done about noise before layers go back to float: which repairs are kept, and that what is built and written is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft
from joined_net import images, net

QUICK: dict[str, Any] = {"threads": 1, "optimization_level": 1}


@pytest.fixture(scope="module")
def made() -> camshaft.Quantized:
    """More is asked for than the channels of the join alone give."""
    return camshaft.quantize(net(), calibration=images(8), metric="noise", max_drop=1.6, **QUICK)


def test_a_quiet_branch_is_repaired_without_floats(made: camshaft.Quantized) -> None:
    assert {why.partition(":")[0] for why in made.reasons.values()} == {"int8"}
    assert made.trials[0].score < 70 < 98.4 <= made.score


def gain(words: str) -> float:
    """Decibels that a repair says it gained."""
    return float(words.rpartition(": ")[2].partition(" dB")[0])


def test_repairs_say_what_they_gained(made: camshaft.Quantized) -> None:
    joined = next(r for r in made.repairs if r.startswith("channels of "))
    assert joined.endswith(" dB, kept") and gain(joined) > 20
    fine = [r for r in made.repairs if "reads its input in two parts of 8 bits" in r]
    assert any(r.endswith(", kept") and gain(r) > 0.4 for r in fine)
    assert "input channels scaled by 1 to" in made.reasons["both"]
    assert any("its input in two parts of 8 bits" in why for why in made.reasons.values())


def test_two_parts_are_tried_where_what_costs_nothing_does_not_do() -> None:
    free = camshaft.quantize(net(), calibration=images(8), metric="noise", max_drop=10, **QUICK)
    assert any(r.endswith(", kept") for r in free.repairs)
    assert not any("in two parts" in r for r in free.repairs)


def test_the_written_model_is_the_engine(made: camshaft.Quantized, tmp_path: Path) -> None:
    made.export(tmp_path / "qdq.onnx")
    again = camshaft.build(tmp_path / "qdq.onnx", precision={"int8"}, **QUICK)
    for feeds in images(3, seed=7):
        assert np.array_equal(again(feeds)["y"], made.engine(feeds)["y"])
