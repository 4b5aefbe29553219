"""Precisions beside FP32 on real models: the answers that must not change (slow), and how they are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.packages import GENSIM, MAGIKA, MINILM, OCRUST, PIPECAT, RAPIDOCR, FetchError
from benchmarks.small_models import write_mlp
from benchmarks.transformer_accuracy import PRECISIONS, evaluate, markdown
from benchmarks.transformers.subjects import ENDS, PADDING, Subject, file_ends, ranks, subjects

MISSED = {
    ("MiniLM, SimLex-999", "int8"),
    # One file of 94 scores 0.50001 where 0.5 is the tool's threshold: met or missed by the order of sums.
    ("magika", "int8"),
    ("PP-OCR, ppocr4_rec", "bf16"),
    ("PP-OCR, ppocr4_rec", "int8"),
    ("PP-OCR, ppocr6_rec", "bf16"),
    ("PP-OCR, ppocr6_rec", "int8"),
    ("smart-turn", "fp32"),
    ("smart-turn", "bf16"),
    ("smart-turn", "int8"),
}
"""Targets that are not met yet."""
PACKAGES = (GENSIM, MAGIKA, MINILM, OCRUST, PIPECAT, RAPIDOCR)


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    np.testing.assert_array_equal(ranks(np.array([3.0, 1.0, 3.0, 2.0])), [2.5, 0.0, 2.5, 1.0])


def test_a_short_file_is_padded_in_the_middle() -> None:
    got = file_ends(b"  abc \n")[0]
    assert got.shape == (2 * ENDS,)
    np.testing.assert_array_equal(got[:4], [*b"abc", PADDING])
    np.testing.assert_array_equal(got[-4:], [PADDING, *b"abc"])
    assert file_ends(bytes(9000)).tolist() == [[0] * 2 * ENDS]


def test_what_is_missed_or_not_built_is_said(tmp_path: Path) -> None:
    write_mlp(path := tmp_path / "mlp.onnx")
    feeds = {"input": np.ones((1, 64), np.float32)}
    subject = Subject(
        "mlp",
        "all of it",
        lambda: path,
        {},
        lambda model: model(feeds),
        lambda got, want: float(np.abs(got - want).max()),
        {"fp32": 1e-3, "int8": -1.0, "fp4": 1.0},
        lambda: [feeds],
    )
    rows = evaluate(subject, ["fp32", "bf16", "int8"])
    assert [(r.precision, r.verdict) for r in rows] == [("fp32", "MET"), ("int8", "MISSED")]
    assert "| mlp | int8 |" in markdown(rows)


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("subject", subjects(), ids=lambda s: s.name)
def test_answers_stay(subject: Subject, precision: str, request: pytest.FixtureRequest) -> None:
    for module in ("onnxruntime", "torch", "transformers", "tokenizers"):
        pytest.importorskip(module, reason="exports and tokens need torch and transformers")
    if precision not in subject.targets:
        pytest.skip(f"{subject.name} is quantized already: nothing to ask of {precision}")
    if missing := [p.name for p in PACKAGES if not p.place.is_dir()]:
        pytest.skip(f"{', '.join(missing)} not there: `make models` fetches packages")
    try:
        (row,) = evaluate(subject, [precision])
    except FetchError as error:
        pytest.skip(str(error))
    if row.difference is None and row.why.startswith("not built"):
        pytest.skip(row.why)
    if (subject.name, precision) in MISSED and row.verdict == "MISSED":
        pytest.xfail(f"{row.difference:.2g} where {row.target:g} is wanted: known")
    assert row.verdict == "MET"
