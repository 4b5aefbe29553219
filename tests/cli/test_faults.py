"""The command line when things go wrong around it: unwritable files, full disks, interruptions,
closed pipes.  The old file stays whole, no draft is left, one line says why."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_models import QUICK, RNG, call, call_json, complaint, residual_net

START = (sys.executable, "-c", "from camshaft.cli import main; main()")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, net.engine, calibration.npz."""
    path = tmp_path_factory.mktemp("faults")
    residual_net(path / "net.onnx")
    call("build", path / "net.onnx", "-o", path / "net.engine", *QUICK)
    batches = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
    np.savez(path / "calibration.npz", x=batches)
    return path


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("the work was begun")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("build", "MODEL", "-o", "no/e.engine"), 6),
        (("build", "MODEL", "-o", "."), 6),
        (("build", "MODEL", "-o", "e.engine", "--json", "no/r.json"), 2),
        (("build", "MODEL", "-o", "e.engine", "--timing-cache", "no/t.json"), 5),
        (("build", "MODEL", "-o", "e.engine", *QUICK, "--workspace", "nan"), 2),
        (("build", "."), 2),
        (("build", "ENGINE"), 2),
        (("run", "MODEL", "--output", "no/o.npz"), 2),
        (("inspect", "MODEL", "--graph", "after", "-o", "no/g.dot"), 2),
        (("inspect", "MODEL", "--graph", "after", "-o", "g.png"), 2),
        (("compare", "MODEL", "--against", "tvm"), 2),
        (("bench", "MODEL", "--against", "tvm"), 2),
    ],
)
def test_what_cannot_end_well_is_not_begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("camshaft.builder.engine_builder.Builder.tune", never)
    names = {"MODEL": "net.onnx", "ENGINE": "net.engine"}
    before = sorted(os.listdir(folder))
    complaint(*(names.get(o, o) for o in options), code=code)
    assert sorted(os.listdir(folder)) == before


def test_calibration_files_that_are_none_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"...")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    whole = (folder / "calibration.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for i, extent in enumerate((8, 9)):
        np.save(mixed / f"{i}.npy", np.zeros((1, 3, extent, 8), np.float32))
    for name, said in (
        ("photos", "convert pictures"),
        ("junk.npz", "junk.npz"),
        ("cut.npz", "cut.npz"),
        ("objects.npy", "plain arrays"),
        ("mixed", "1.npy"),
        ("absent", "absent"),
    ):
        options = ("-o", tmp_path / "e.engine", "--int8", *QUICK, "--calib", tmp_path / name)
        assert said in complaint("build", folder / "net.onnx", *options, code=4)


# -- a process of its own ------------------------------------------------------------------------


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*START, *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, **options)


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_full_disk_leaves_the_old_engine(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "e.engine"
    target.write_bytes(b"old")
    # Python would keep the first 4096 bytes of compiled modules.
    limited = {"preexec_fn": small_files, "env": {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}}
    done = process("build", folder / "net.onnx", "-o", target, *QUICK, **limited)
    assert done.returncode == 6 and str(target) in done.stderr
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["e.engine"]


INTERRUPT = """
import os, pkgutil, signal
from camshaft.cli import main
owner, name = pkgutil.resolve_name("{owner}"), "{name}"
inner = getattr(owner, name)
def interrupted(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
    return inner(*arguments, **options)
setattr(owner, name, interrupted)
main()
"""


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("camshaft.quant.implicit", "observe"),
        ("camshaft.builder.tuning.contest:Contests", "_timed"),
        ("camshaft.builder.engine_builder:Builder", "finish"),
        ("camshaft.atomic:os", "replace"),
        ("camshaft.atomic:os", "fsync"),
    ],
)
def test_an_interruption_leaves_the_old_files(
    folder: Path, tmp_path: Path, owner: str, name: str
) -> None:
    engine = tmp_path / "e.engine"
    engine.write_bytes(b"old")
    program = INTERRUPT.format(owner=owner, name=name)
    arguments = ["build", folder / "net.onnx", "-o", engine, "--threads", 1, "--int8", "--level", 2]
    arguments += ["--calibration", folder / "calibration.npz"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
    assert engine.read_bytes() == b"old" and os.listdir(tmp_path) == ["e.engine"]


def closed_pipe() -> int:
    """The end to write to of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_closed_pipe_is_no_fault_and_keeps_the_exit_code(
    folder: Path, tmp_path: Path, json: tuple[str, ...]
) -> None:
    engine = folder / "net.engine"
    out = tmp_path / "o.npz"
    writer = closed_pipe()
    try:
        done = process("run", engine, "--output", out, *json, stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == 0 and "Error" not in done.stderr and "Traceback" not in done.stderr
    assert out.is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_that_takes_nothing_is_an_error(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = process("run", folder / "net.engine", "--json", stdout=full)
    assert done.returncode == 2 and "cannot write standard output" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.peers
def test_a_model_newer_than_onnxruntime_is_lowered_and_said(
    folder: Path, tmp_path: Path, change_ir: Callable[[Path, int], Path]
) -> None:
    model = change_ir(folder / "net.onnx", 13)
    quick = ("--seconds", 0.01, "--rounds", 1)
    for command in (("compare", model), ("bench", model, "--against", "onnxruntime", *quick)):
        result = call(*command, *QUICK)
        assert "IR version 13" in result.stderr


@pytest.fixture
def change_ir(tmp_path: Path) -> Callable[[Path, int], Path]:
    """Copies a model file and gives the copy another IR version."""
    onnx = pytest.importorskip("onnx")

    def change(path: Path, version: int) -> Path:
        proto = onnx.load(str(path))
        proto.ir_version = version
        (tmp_path / "newer.onnx").write_bytes(proto.SerializeToString())
        return tmp_path / "newer.onnx"

    return change


def test_int8_is_judged_on_calibration_data_by_a_wide_tolerance(folder: Path) -> None:
    options = ("--int8", "--calib", folder / "calibration.npz", *QUICK)
    command = ("compare", folder / "net.onnx", "--with", "reference", *options)
    data = call_json(*command)
    assert data["passed"] and data["tolerance"] == 0.5 and not data["random_inputs"]
    assert "the first calibration batch" in call(*command).stderr
    call(*command, "--tolerance", 1e-6, code=1)
