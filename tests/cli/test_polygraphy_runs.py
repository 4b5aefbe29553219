"""camshaft within Polygraphy: runner, loaders, and the options that `polygraphy run` finds by the entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft

pytest.importorskip("polygraphy", reason="needs the extra polygraphy")
from polygraphy.comparator import DataLoader
from polygraphy.datatype import DataType

from camshaft.polygraphy import CamshaftRunner, EngineFromFile, EngineFromOnnx, SaveEngine
from camshaft.tensorrt.standins.activation import FOLDER

ROOT = Path(__file__).parent.parent.parent
RNG = np.random.default_rng(5)
WEIGHTS = RNG.standard_normal((16, 8)).astype(np.float32)
GROUP = "polygraphy.run.plugins"


def product(rows: int | str = "rows") -> onnx.ModelProto:
    """y = relu(x @ w), of any number of rows."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Relu", ["p"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 8])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_runner_builds_when_it_is_activated_and_runs() -> None:
    x = RNG.standard_normal((3, 16)).astype(np.float32)
    runner = CamshaftRunner(EngineFromOnnx(product(), optimization_level=1, precision=None))
    with runner:
        ((name, (dtype, shape)),) = runner.get_input_metadata(use_numpy_dtypes=False).items()
        outputs = runner.infer({"x": x})
        assert runner.last_inference_time() > 0
    assert (name, dtype, list(shape)) == ("x", DataType.FLOAT32, [-1, 16])
    np.testing.assert_allclose(outputs["y"], np.maximum(x @ WEIGHTS, 0), rtol=1e-5, atol=1e-6)
    assert not hasattr(runner, "engine")


def test_tensors_of_torch_come_back_as_such() -> None:
    torch: Any = pytest.importorskip("torch", reason="needs the extra torch")
    with CamshaftRunner(EngineFromOnnx(product(), optimization_level=1)) as runner:
        y = runner.infer({"x": torch.ones(2, 16)})["y"]
    np.testing.assert_allclose(y.numpy(), np.maximum(WEIGHTS.sum(0), 0)[None].repeat(2, 0), rtol=1e-5)  # fmt: skip


def test_engines_are_saved_and_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "a.engine")
    x = RNG.standard_normal((3, 16)).astype(np.float32)
    made = SaveEngine(EngineFromOnnx(product(3).SerializeToString(), optimization_level=1), path)()
    with CamshaftRunner(EngineFromFile(path)) as runner:
        np.testing.assert_array_equal(runner.infer({"x": x})["y"], made({"x": x})["y"])


def test_profiles_are_of_open_inputs() -> None:
    shapes = [(2, 16), (4, 16), (8, 16)]
    engine = EngineFromOnnx(product(), profiles=[{"x": shapes}], optimization_level=1)()
    (size,) = engine.symbols.values()
    assert (size.low, size.typical, size.high) == (2, 4, 8)
    fixed = EngineFromOnnx(product(4), profiles=[{"x": [(4, 16)] * 3}], optimization_level=1)()
    assert fixed.symbols == {}


def test_int8_is_calibrated_once(tmp_path: Path) -> None:
    cache = tmp_path / "ranges"
    options: dict[str, Any] = {
        "precision": {"int8"},
        "calibration_cache": cache,
        "optimization_level": 1,
    }
    EngineFromOnnx(product(64), calibration=DataLoader(iterations=3), **options)()
    said = cache.read_text()
    assert "\nx: " in said
    EngineFromOnnx(product(64), calibration=iter([]), **options)()
    assert cache.read_text() == said


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Environment in which camshaft is installed with the entry points that it declares, whatever the one of the tests has."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    folder = tmp_path / "site" / "camshaft-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: camshaft\nVersion: 0\n")
    lines = [f"{name} = {where}" for name, where in declared[GROUP].items()]
    (folder / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    paths = [str(folder.parent), str(ROOT / "src"), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def polygraphy(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from polygraphy.tools import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_command_line_compares_with_onnx_runtime(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    pytest.importorskip("onnxruntime", reason="compared with ONNX Runtime")
    model, engine = str(tmp_path / "a.onnx"), str(tmp_path / "a.engine")
    onnx.save(product(), model)
    shapes = [f"--trt-{which}-shapes=x:[{rows},16]" for which, rows in (("min", 1), ("opt", 4), ("max", 8))]  # fmt: skip
    common = ["--input-shapes", "x:[5,16]", "--iterations", "2"]
    ours = ["--camshaft", "--camshaft-optimization-level", "1", "--camshaft-save-engine", engine]
    done = polygraphy(installed, "run", model, "--onnxrt", *ours, *shapes, *common)
    assert "Passed: 2/2 iterations" in done.stdout, done.stdout + done.stderr
    assert camshaft.load(engine)({"x": np.ones((8, 16), np.float32)})["y"].shape == (8, 8)
    done = polygraphy(installed, "run", engine, "--camshaft", *common)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "camshaft-runner" in done.stdout


def test_the_command_line_writes_scripts(tmp_path: Path, installed: dict[str, str]) -> None:
    onnx.save(product(4), tmp_path / "a.onnx")
    options = ["--camshaft-precision", "int8", "bf16", "--camshaft-threads", "1"]
    done = polygraphy(
        installed, "run", str(tmp_path / "a.onnx"), "--camshaft", *options, "--gen-script", "-"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    compile(done.stdout, "script", "exec")
    assert (
        "EngineFromOnnx(load_onnx, calibration=DataLoader(), precision=['int8', 'bf16'], threads=1)"
        in done.stdout
    )
    assert "CamshaftRunner(load_camshaft_engine)" in done.stdout


def test_its_own_runner_for_tensorrt_runs_on_the_stand_ins(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    model, tactics, plan = (str(tmp_path / name) for name in ("a.onnx", "a.json", "a.plan"))
    onnx.save(product(4), model)
    env = installed | {"PYTHONPATH": os.pathsep.join([str(FOLDER), installed["PYTHONPATH"]])}
    done = polygraphy(env, "run", model, "--trt", "--save-tactics", tactics, "--save-engine", plan)
    assert done.returncode == 0, done.stdout + done.stderr
    done = polygraphy(env, "run", model, "--trt", "--camshaft", "--load-tactics", tactics)
    assert "Passed: 1/1 iterations" in done.stdout, done.stdout + done.stderr
    done = polygraphy(env, "inspect", "model", plan, "--show", "layers")
    assert "x [dtype=float32, shape=(4, 16)]" in done.stdout, done.stdout + done.stderr
