"""States on the command line: how they are said, and what commands do with an engine that has some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from camshaft.cli.shapes import said_states
from camshaft.errors import ConfigError
from cli_models import QUICK, call, call_json, complaint
from decoders import KEY_HEADS, MOST, PASTS, SIZE, decoder

SAID = (
    "--state",
    "past.*=present.*",
    "--shapes",
    f"past.0.key:batch/{KEY_HEADS}/p=0..16..{MOST}/{SIZE}",
)
ONE = ("--shapes", f"x:1x1x64,positions:1x1,past.0.key:1x{KEY_HEADS}x20x{SIZE}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """decoder.onnx, decoder.engine."""
    path = tmp_path_factory.mktemp("states")
    onnx.save(decoder("operator"), path / "decoder.onnx")
    call("build", path / "decoder.onnx", *QUICK, *SAID)
    return path


def test_states_as_typed() -> None:
    assert said_states(["a.*=b.*", "h=h_next"]) == {"a.*": "b.*", "h": "h_next"}
    assert said_states(None) == {}
    for wrong in ("a", "=b", "a=", "a=b=c"):
        with pytest.raises(ConfigError, match="INPUT=OUTPUT"):
            said_states([wrong])
    with pytest.raises(ConfigError, match="twice"):
        said_states(["a=b", "a=c"])


def test_states_are_told(folder: Path) -> None:
    shown = call("inspect", folder / "decoder.engine").stdout
    assert f"past.0.key: f32[batch,{KEY_HEADS},p,{SIZE}], {MOST} long at most" in shown
    data = call_json("inspect", folder / "decoder.engine")
    assert list(data["states"]) == PASTS and list(data["outputs"]) == ["y"]
    built = call("build", folder / "decoder.onnx", *QUICK, *SAID, "-o", folder / "again.engine")
    assert "states     32.8 kB a context" in built.stdout


def test_runs_and_measurements_find_states_of_one_length(folder: Path) -> None:
    engine = folder / "decoder.engine"
    shown = call("run", engine, *ONE)
    assert f"past.0.value 1x{KEY_HEADS}x20x{SIZE}" in shown.stderr and "1x1x64" in shown.stdout
    many = ("--iterations", 2 * MOST, "--warm-up", 0)
    data = call_json("bench", engine, *ONE, *many, "--dump-profile")
    assert data["latency"]["calls"] == 2 * MOST and data["profile"]["sizes"]["p"] == 20
    measured = call_json("inspect", engine, "--dump-profile", "--runs", 2 * MOST, *ONE)
    assert measured["profile"]["sizes"]["p"] == 20
    longer = ("--shapes", f"x:1x50x64,past.0.key:1x{KEY_HEADS}x20x{SIZE}")
    assert (
        f"would be 70 long along axis 2 (p + s), and the engine was built for p = 0..{MOST}"
        in complaint("run", engine, *longer, code=7)
    )


def test_files_set_states(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((1, 1, 64)).astype(np.float32), "positions": np.array([[2]])}
    feeds |= {n: rng.standard_normal((1, KEY_HEADS, 2, SIZE)).astype(np.float32) for n in PASTS}
    np.savez(tmp_path / "feeds.npz", **feeds)  # type: ignore[arg-type]
    made = tmp_path / "made.npz"
    call("run", folder / "decoder.engine", "--inputs", tmp_path / "feeds.npz", "-o", made)
    plain = tmp_path / "plain.npz"
    call("run", folder / "decoder.onnx", *QUICK, "--inputs", tmp_path / "feeds.npz", "-o", plain)
    np.testing.assert_allclose(np.load(made)["y"], np.load(plain)["y"], rtol=1e-5, atol=1e-6)


def test_comparisons_feed_and_read_states(folder: Path) -> None:
    said = ("--state", "past.*=present.*", "--shapes")
    shapes = f"x:1x1x64,positions:1x1,past.0.key:1/{KEY_HEADS}/p=0..16..{MOST}/{SIZE}"
    data = call_json("compare", folder / "decoder.onnx", *QUICK, *said, shapes)
    names = {e["name"] for e in data["tensors"] if e["is_output"]}
    assert names == {"y", *(n.replace("past", "present") for n in PASTS)}


def test_states_of_an_engine_cannot_be_changed(folder: Path) -> None:
    command = ("run", folder / "decoder.engine", "--state", "past.*=present.*")
    assert "--state: " in complaint(*command, code=2)
    wrong = ("build", folder / "decoder.onnx", *QUICK, "--state", "pest.*=present.*")
    assert "the model has no such input" in complaint(*wrong, "-o", folder / "no.engine", code=2)
