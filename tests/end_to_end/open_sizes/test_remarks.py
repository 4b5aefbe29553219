"""What a build says of sizes that it moved, and sizes that only one branch takes."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

import camshaft
from camshaft import ShapeError
from camshaft.session import BuildSession
from cli_models import call, call_json
from value_models import small_model

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
WINDOW = small_model(
    "p = MaxPool <kernel_shape = [7, 7]> (x) y = GlobalAveragePool (p)",
    "float[n, 3, h, w] x",
    "float[n, 3, 1, 1] y",
)
FRAMES = small_model(
    "y = Reshape (x, to)", "float[n] x, int64[2] to", "float[a, b] y"
)  # of any size; with to = [-1, 31] of multiples of 31


def remarks(model: ModelProto, **options: Any) -> tuple[str, ...]:
    """What a build warns of, which is what its session says."""
    session = BuildSession(model, camshaft.BuildConfig(**options, **QUICK))
    session.import_model()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        camshaft.build(model, **options, **QUICK)
    assert tuple(str(w.message) for w in caught) == session.remarks
    assert all(w.category is UserWarning and w.filename == __file__ for w in caught)
    return session.remarks


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (
            FRAMES,
            {"shapes": {"x": ("1..30..62",)}, "values": {"to": (-1, 31)}},
            [r"input 'x', axis 0 \(n\): typical 30 becomes 31, since node 'y' needs"],
        ),
        (
            WINDOW,
            {"profiles": [{"x": ((1, 3, 1, 9), (1, 3, 4, 9), (1, 3, 9, 9))}]},
            [r"input 'x', axis 2 \(h\): least 1 becomes 7, typical 4 becomes 7, since the model"],
        ),
        (
            WINDOW,
            {"shapes": {"x": ("1..2", 3, "s=1..4..9", "s=1..4..9")}},
            [r"axis 2 \(s\): least 1 becomes 7, typical 4 becomes 7"],
        ),
        (
            small_model("y = Add (a, b)", "float[n, 2] a, float[5, 2] b", "float[5, 2] y"),
            {"shapes": {"a": ("2..8", 2)}},
            [r"input 'a', axis 0 \(5\): least 2 becomes 5, most 8 becomes 5"],
        ),
        (WINDOW, {"shapes": {"x": ("1..2", 3, "7..9", "8..9..12")}}, []),
        (WINDOW, {}, []),
        (FRAMES, {"values": {"to": ((1, 1), (2, 4), (64, 8))}}, []),  # n moves, which nobody said
        (WINDOW, {"shapes": {"x": ("n", 3, "h", "w")}}, []),
    ],
)
def test_a_size_that_is_moved_is_said(
    model: ModelProto, options: dict[str, Any], words: list[str]
) -> None:
    found = remarks(model, **options)
    assert len(found) == len(words), found
    for said, pattern in zip(found, words, strict=True):
        assert re.search(pattern, said), said


def pooled(condition: str, kind: str) -> ModelProto:
    """The mean over windows of 8 or, where the condition is false, over the least of 4."""
    return parser.parse_model(
        f"""
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[batch, 1, n] audio, {kind} sr) => (float[batch, 1, 1] y) {{
            {condition}
            y = If (flag) <
                then_branch = wide () => (float[p, 1, 1] l) {{
                    a = MaxPool <kernel_shape = [8]> (audio)
                    l = GlobalAveragePool (a)
                }},
                else_branch = narrow () => (float[q, 1, 1] r) {{
                    b = MaxPool <kernel_shape = [4]> (audio)
                    r = GlobalAveragePool (b)
                }}
            >
        }}
        """
    )


INTEGER = pooled("rate = Constant <value = int64 {16000}> () flag = Equal (sr, rate)", "int64")
BOOLEAN = pooled("flag = Identity (sr)", "bool")


@pytest.mark.parametrize(
    ("model", "wide", "narrow"), [(INTEGER, 16000, 8000), (BOOLEAN, True, False)]
)
def test_what_a_branch_needs_of_sizes_holds_in_it_alone(
    model: ModelProto, wide: Any, narrow: Any, tmp_path: Path
) -> None:
    assert remarks(model) == ()
    engine = camshaft.build(model, **QUICK)
    engine.save(tmp_path / "e.engine")
    small = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    for each in (engine, camshaft.load(tmp_path / "e.engine")):
        assert each({"audio": small, "sr": narrow})["y"] == 3.5
        with pytest.raises(ShapeError, match=r"n = 8\.\."):
            each({"audio": small, "sr": wide})
        assert each({"audio": np.ones((2, 1, 8), np.float32), "sr": wide})["y"].shape == (2, 1, 1)
        with pytest.raises(ShapeError, match=r"rank is 3$"):
            each({"audio": small[0], "sr": narrow})
    (said,) = remarks(model, shapes={"audio": ("1..2", 1, "2..64")}, values={"sr": wide})
    assert "axis 2 (n): least 2 becomes 8" in said


def test_a_size_that_one_branch_fixes_stays_open() -> None:
    model = parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[n] x, bool flag) => (float[m] y) <float[6] w = {1, 2, 3, 4, 5, 6}> {
            y = If (flag) <
                then_branch = a () => (float[p] l) { l = Add (x, w) },
                else_branch = b () => (float[q] r) { r = Neg (x) }
            >
        }
        """
    )
    engine = camshaft.build(model, **QUICK)
    assert repr(engine.inputs["x"]) == "f32[n]"
    five, six = np.ones(5, np.float32), np.ones(6, np.float32)
    np.testing.assert_array_equal(engine({"x": five, "flag": False})["y"], -five)
    np.testing.assert_array_equal(engine({"x": six, "flag": True})["y"], np.arange(2.0, 8))
    with pytest.raises(ShapeError, match=r"expected \(6,\)"):
        engine({"x": five, "flag": True})
    with pytest.raises(ShapeError, match="hangs on data"):
        engine.output_shapes({"x": (5,), "flag": ()})


def test_the_command_line_says_it_too(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(INTEGER.SerializeToString())
    command = ("build", tmp_path / "m.onnx", "--level", 1, "--threads", 1)
    assert call_json(*command)["remarks"] == []
    moved = call(*command, "--values", "sr=16000", "--shapes", "audio:1/1/n=2..4..20").stderr
    assert "warning: input 'audio', axis 2 (n): least 2 becomes 8, typical 4 becomes 8" in moved
