"""Really training: what few bits break is given back, and the engine answers as the trained module."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("pycocotools", reason="needs the extra coco")

from benchmarks.packages import FetchError  # noqa: E402
from benchmarks.qat.__main__ import QUICK, run  # noqa: E402
from benchmarks.qat.data import fashion  # noqa: E402

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(("task", "bits"), [("classes", 3), ("boxes", 4)])
def test_training_gives_back_what_few_bits_break(task: str, bits: int) -> None:
    try:
        fashion()
    except FetchError as error:
        pytest.skip(str(error))
    found = run(task, QUICK[task], (8, bits))
    assert found.rounded[bits] < found.floats - 4
    assert found.regained(bits) >= 0.8
    assert found.trained[8] >= found.floats - 1.0
    assert min(found.alike.values()) >= 0.999
