"""`camshaft inspect`, the command's own help and version, and its behaviour as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from camshaft.cli.app import COMMANDS, EXIT_CODES, with_json_target
from camshaft.cli.inspect import written
from cli_models import QUICK, call, call_json, complaint, residual_net

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return residual_net(tmp_path_factory.mktemp("cli") / "net.onnx")


@pytest.fixture(scope="module")
def engine(model: Path) -> Path:
    call("build", model, "--level", "2", "--threads", "1")
    return model.with_suffix(".engine")


def test_inspect_shows_every_step(engine: Path) -> None:
    data = call_json("inspect", engine)
    steps = data["steps"]
    assert [s["index"] for s in steps] == list(range(len(steps))) and len(steps) >= 4
    assert sum(s["share"] for s in steps) == pytest.approx(1.0)
    conv = next(s for s in steps if "conv2" in s["origin"])
    assert set(conv["origin"]) == {"conv2", "add", "relu2"}
    assert conv["macs"] == 8 * 8 * 8 * 8 * 9
    assert conv["gflops"] == pytest.approx(2e-3 * conv["macs"] / conv["time_us"])
    assert conv["tactic"] and conv["reason"] and conv["precision"] == "f32"
    assert conv["output"]["bytes"] == 8 * 8 * 8 * 4
    assert steps[-1]["output"]["space"] == "output"
    assert data["totals"]["macs"] == sum(s["macs"] for s in steps)
    assert data["arena_bytes"] >= data["lower_bound_bytes"]


def test_inspect_prints_what_json_holds(engine: Path) -> None:
    text = call("inspect", engine).stdout
    conv = next(s for s in call_json("inspect", engine)["steps"] if "conv2" in s["origin"])
    for word in (conv["name"], conv["tactic"], f"arena +{conv['output']['offset']}", "lower bound"):
        assert word in text


def test_profile_measures_again(engine: Path) -> None:
    data = call_json("inspect", engine, "--dump-profile", "--runs", 5)
    assert data["profile"]["runs"] == 5 and data["profile"]["total_us"] > 0
    assert all(s["measured_us"] >= s["min_us"] for s in data["steps"])
    assert data["totals"]["time_us"] == pytest.approx(sum(s["measured_us"] for s in data["steps"]))
    assert "whole call takes" in call("inspect", engine, "--dump-profile", "--runs", 2).stdout


def test_layers_are_chosen_by_source_name(engine: Path) -> None:
    data = call_json("inspect", engine, "--layers", "^relu2$")
    assert ["relu2" in s["origin"] for s in data["steps"]] == [True]
    assert data["totals"]["steps"] >= 4, "totals are the whole engine's"
    assert "--layers" in complaint("inspect", engine, "--layers", "(", code=2)


def test_graphs_before_and_after(model: Path, tmp_path: Path) -> None:
    before = call("inspect", model, "--graph", "before").stdout
    assert "c1: f32[1,8,8,8] = conv(x" in before and "layout='NCHW'" in before
    call("inspect", model, *QUICK, "--graph", "after", "-o", tmp_path / "after.onnx")
    loaded = onnx.load(tmp_path / "after.onnx")
    assert any("conv2" in n.name and "relu2" in n.name for n in loaded.graph.node)
    call("inspect", model, "--graph", "before", "-o", tmp_path / "before.dot")
    assert (tmp_path / "before.dot").read_text().startswith("digraph")
    assert ".dot" in complaint("inspect", model, "--graph", "before", "-o", "g.png", code=2)


def test_graph_needs_a_model_and_output_a_graph(engine: Path, model: Path) -> None:
    assert "needs the model" in complaint("inspect", engine, "--graph", "after", code=2)
    assert "--graph" in complaint("inspect", model, "-o", "g.dot", code=2)


def test_written_operand_is_found_before_constants_and_workspace() -> None:
    def operand(space: str, name: str) -> dict[str, object]:
        return {"space": space, "name": name, "offset": 0, "bytes": 0}

    x, y = operand("arena", "x"), operand("arena", "y")
    w, scratch = operand("constant", "w"), operand("scratch", "workspace:0")
    assert written({"kind": "kernel", "operands": [x, y, w, w, scratch]}) is y
    assert written({"kind": "host", "operands": [x, y]}) is y


# -- the command itself --------------------------------------------------------------------------


def test_help_lists_commands_and_exit_codes() -> None:
    text = " ".join(call("--help").stdout.split())
    assert all(name in text for name in COMMANDS)
    assert all(f"; {code} " in text for _, code in EXIT_CODES)
    for name in COMMANDS:
        assert "Exit codes" in call(name, "--help").stdout
    assert "camshaft 0." in call("--version").stdout


def test_wrong_command_lines_exit_with_2() -> None:
    for line in (["nonsense"], ["build"], ["build", "a", "b"], ["run", "--nonsense"]):
        call(*line, code=2)


def test_json_without_a_file_is_standard_output() -> None:
    assert with_json_target(["m", "--json"]) == ["m", "--json", "-"]
    assert with_json_target(["--json", "--int8", "m"]) == ["--json", "-", "--int8", "m"]
    assert with_json_target(["m", "--json", "-"]) == ["m", "--json", "-"]
    assert with_json_target(["m", "--json", "f"]) == ["m", "--json", "f"]


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from camshaft.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("inspect", "untimed.engine"), 0),
        (("build", "net.onnx", "-o", "untimed.engine", *QUICK), 0),
        (("run", "net.engine"), 0),
        (("run", "nix.engine"), 6),
        (("run", "nix.engine", "--debug"), 6),
    ],
)
def test_readers_that_leave_do_not_change_the_exit_code(
    model: Path, engine: Path, words: tuple[str, ...], code: int
) -> None:
    folder = engine.parent
    call("build", model, "-o", folder / "untimed.engine", *QUICK)
    reader, writer = os.pipe()
    os.close(reader)
    script = "from camshaft.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        stdout=writer,
        stderr=writer,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    os.close(writer)
    assert done.returncode == code


def test_an_error_is_one_line_and_debug_shows_where(tmp_path: Path) -> None:
    plain = process("run", tmp_path / "nix.engine")
    assert plain.returncode == 6 and plain.stderr.count("\n") == 1 and "nix.engine" in plain.stderr
    debug = process("run", tmp_path / "nix.engine", "--debug")
    assert debug.returncode == 6 and "Traceback" in debug.stderr


def test_help_answers_at_once_without_heavy_imports() -> None:
    code = (
        "import sys, time\nfrom camshaft.cli import main\ntry: main()\nfinally: "
        "print(time.process_time(), *[n for n in ('numpy', 'onnx', 'llvmlite') if n in sys.modules],"
        " file=sys.stderr)"
    )
    best = float("inf")
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", code, "--help"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        taken, *heavy = done.stderr.split()
        best = min(best, float(taken))
        assert not heavy and "inspect" in done.stdout
    assert best < 0.8, f"camshaft --help takes {best:.2f} s of the processor"
