"""Small models from public bug reports of other runtimes, as engines: right answers lie beside them.

NAME.npz holds `in:<input>` and `out:<output>`: what ONNX Runtime gives without optimizations, checked
against the specification.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camshaft.config import BuildConfig
from camshaft.session import BuildSession

FOLDER = Path(__file__).parent.parent / "data" / "situations"
NAMES = sorted(p.stem for p in FOLDER.glob("*.onnx"))


@pytest.mark.parametrize("name", NAMES)
def test_situation(name: str) -> None:
    with np.load(FOLDER / f"{name}.npz") as stored:
        arrays = dict(stored)
    feeds = {n.removeprefix("in:"): a for n, a in arrays.items() if n.startswith("in:")}
    wanted = {n.removeprefix("out:"): a for n, a in arrays.items() if n.startswith("out:")}
    context = BuildSession(FOLDER / f"{name}.onnx", BuildConfig()).run().create_context(1)
    got = context.run(feeds)
    assert got.keys() == wanted.keys()
    for output, want in wanted.items():
        assert got[output].shape == want.shape
        np.testing.assert_allclose(got[output], want, rtol=1e-5, atol=2e-6)


def test_there_are_some() -> None:
    assert len(NAMES) >= 11
