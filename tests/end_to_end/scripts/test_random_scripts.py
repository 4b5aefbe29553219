"""Random models with nested control flow against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from random_scripts import RandomScript
from script_models import check


@pytest.mark.parametrize("seed", range(12))
def test_random_scripts(seed: int, tmp_path: Path) -> None:
    made = RandomScript(seed)
    check(made.model, [made.feeds(seed * 10 + i) for i in range(4)], tmp_path if seed < 4 else None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 400))
def test_more_random_scripts(seed: int) -> None:
    made = RandomScript(seed)
    check(made.model, [made.feeds(seed * 10 + i) for i in range(4)])
