"""Polygraphy's own tests on the stand-ins: run from a checkout of NVIDIA/TensorRT, never part of the project.

POLYGRAPHY_TESTS names its folder tools/Polygraphy.  POLYGRAPHY_PYTHON names a Python that has what the suite asks for: polygraphy, numpy,
onnx, onnxruntime, torch, onnx_graphsurgeon, pytest below 9, pytest-timeout, pytest-console-scripts, pytest-virtualenv.  The tests run beside
the installed Polygraphy, not the checkout's: a newer one differs from what they expect in the places listed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import pytest

from camshaft.tensorrt.standins.activation import FOLDER

CHECKOUT = os.environ.get("POLYGRAPHY_TESTS", "")
PYTHON = os.environ.get("POLYGRAPHY_PYTHON", sys.executable)
SOURCE = Path(__file__).parents[2] / "src"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOUT, reason="POLYGRAPHY_TESTS names no checkout of Polygraphy"),
]

TRT, ARGS = "backend/trt", "tools/args/backend/trt"
FILES = (
    *(f"{TRT}/test_{name}.py" for name in ("util", "profile", "config", "loader", "calibrator", "runner", "algorithm_selector")),
    *(f"{ARGS}/test_{name}.py" for name in ("config", "loader", "runner")),
    "backend/common/test_loader.py",
    "common/test_datatype.py",
    "comparator/test_comparator.py",
    *(f"tools/test_{name}.py" for name in ("convert", "template", "inspect", "run", "debug")),
)  # fmt: skip
NEED_TENSORRT = 398
"""Cases of these files that fail where TensorRT has its names and builds nothing, those of ELSEWHERE left out."""
LEAST = 0.95

_NO_DLA = "there is no DLA, which newer Polygraphy looks for before it sets options of it"
_NO_CUDA = "PyTorch has no CUDA"
_NEWER = "the tests are older than Polygraphy: it "
_FILES = _NEWER + "takes files without an ending for folders"

ELSEWHERE: dict[str, str] = {
    f"{TRT}/test_util.py::test_str_from_config[[]dla]": _NO_DLA,
    f"{TRT}/test_config.py::test_flags[[]True-allow_gpu_fallback-*": _NO_DLA,
    f"{TRT}/test_config.py::test_use_dla": _NO_DLA,
    f"{ARGS}/test_config.py::test_flags[[]*-GPU_FALLBACK]": _NO_DLA,
    f"{ARGS}/test_config.py::test_*dla": _NO_DLA,
    f"{TRT}/test_loader.py::test_load_lean_runtime": "there is no libnvinfer_lean",
    f"{ARGS}/test_loader.py::test_load_engine_with_custom_runtime": "there is no libnvinfer_lean",
    f"{TRT}/test_runner.py::test_torch_tensors[[]cuda-*": _NO_CUDA,
    f"{TRT}/test_runner.py::test_torch_tensors[[]cpu-False]": _NO_CUDA,
    f"{TRT}/test_runner.py::test_warn_if_impl_methods_called": "pytest takes what it looks for",
    "common/test_datatype.py::*[[]float8e8m0]": _NEWER + "knows a type that they do not",
    "tools/test_inspect.py::test_outputs[[]*": _FILES,
    "tools/test_inspect.py::test_inputs[[]*": _FILES,
    "tools/test_inspect.py::test_num_items[[]*": _FILES,
    "tools/test_run.py::*layerwise*": _FILES,
    "tools/test_run.py::test_save_load_inputs[[]*": _FILES,
    "tools/test_run.py::test_subprocess_sanity[[]*": _NEWER + "asks for --sequential-runners too",
}
"""Cases that no TensorRT could pass here -> why."""

OURS: dict[str, str] = {
    "tools/test_inspect.py::test_show_tactics[[]*-pow_scalar]": "a layer that TensorRT's parser adds, for a scalar's axes, is expected",
    "tools/test_inspect.py::test_capability[[]*-capability]": "a sum of float64 and float32 is expected to be one layer, and TensorRT's words of an error",
    "tools/test_inspect.py::test_unfused_debug_tensors[[]*": "statistics are counted: TensorRT's engine names one tensor more than the two that kernels pass on",
}
"""Cases that a working TensorRT passes and camshaft does not -> why."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tests without the checkout's own Polygraphy."""
    folder = tmp_path_factory.mktemp("suite")
    for part in ("tests", "examples", "bin"):
        shutil.copytree(Path(CHECKOUT) / part, folder / part)
    return folder


@pytest.fixture(scope="module")
def outcomes(suite: Path) -> dict[str, bool]:
    """Case -> whether it passed, without those that were left out or are expected to fail."""
    found: dict[str, bool] = {}
    for file in FILES:
        found |= _run(suite, file)
    return found


def _run(suite: Path, file: str) -> dict[str, bool]:
    report = suite / "report.xml"
    report.unlink(missing_ok=True)
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FOLDER), str(SOURCE)]),
        "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ["PATH"]]),
        "POLYGRAPHY_INTERNAL_CORRECTNESS_CHECKS": "1",
        "CAMSHAFT_TRT_NOTICE": "0",
    }
    options = ["-q", "--timeout=300", "-p", "no:cacheprovider", "--junitxml", str(report)]
    done = subprocess.run(
        [PYTHON, "-m", "pytest", f"tests/{file}", *options],
        cwd=suite,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), f"{file}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    found: dict[str, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            name = f"{file}::{case.get('name')}"
            passed = case.find("failure") is None and case.find("error") is None
            found[name] = found.get(name, True) and passed
    return found


def _why(case: str, reasons: dict[str, str]) -> str | None:
    return next((why for pattern, why in reasons.items() if fnmatchcase(case, pattern)), None)


def test_only_known_cases_fail(outcomes: dict[str, bool]) -> None:
    failed = [case for case, passed in outcomes.items() if not passed]
    unknown = [case for case in failed if _why(case, ELSEWHERE | OURS) is None]
    assert not unknown, "\n".join(unknown)


def test_of_cases_that_need_tensorrt_enough_pass(outcomes: dict[str, bool]) -> None:
    failed = [c for c, passed in outcomes.items() if not passed and _why(c, ELSEWHERE) is None]
    assert len(outcomes) > 2 * NEED_TENSORRT - NEED_TENSORRT // 2
    assert len(failed) <= (1 - LEAST) * NEED_TENSORRT, "\n".join(failed)
