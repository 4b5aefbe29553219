"""onnx-tensorrt's own selection of ONNX's tests through parser, builder and engine.  ONNX_TENSORRT names a clone of onnx/onnx-tensorrt."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from checkouts import checkout, under

pytestmark = pytest.mark.slow
VARIABLE, REVISION = "ONNX_TENSORRT", "release/10.1-GA"
HELPERS = Path(__file__).parents[1] / "helpers"

NO_TENSORS = {
    r"identity_(opt|sequence)": "an optional and a sequence are no tensors, which is all that a binding can be",
    r"equal_string(_broadcast)?": "DataType has no strings",
}
"""What fails through any backend: pattern of tests -> why."""
NO_TYPES = {
    r".*_(uint8|uint16|uint32|uint64|int16)(_expanded)?": "its table of bindings has no such integers",
    r".*_bfloat16(_expanded)?": "its table of bindings lacks BF16",
    r"(max|min)_float64|reduce_log_sum_exp_(?!empty).*": "TensorRT has no float64, and it does not cast what it feeds",
}
"""What fails in the helper of onnx-tensorrt's tests, before the engine runs: pattern of tests -> why."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(VARIABLE, tmp_path_factory.mktemp("suite"), REVISION)


def outcomes(suite: Path, plugin: str, path: Path, report: Path) -> dict[str, bool]:
    """Whether each selected test passed, by name.  path: the plugin's folder."""
    command = [sys.executable, "-m", "camshaft.tensorrt", "-m", "pytest", "onnx_backend_test.py"]
    options = ["-q", "-k", "cuda", "-p", plugin, "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *options],
        cwd=suite,
        env=os.environ | {"PYTHONPATH": under(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            name = re.fullmatch(r"test_(.*)_cuda", case.attrib["name"])
            assert name, case.attrib["name"]
            found[name[1]] = case.find("failure") is None and case.find("error") is None
    return found


def failed(found: dict[str, bool], *excepted: dict[str, str]) -> list[str]:
    """Names of tests that failed and are no exceptions."""
    known = re.compile("|".join(f"({p})" for table in excepted for p in table))
    return [name for name, passed in found.items() if not passed and not known.fullmatch(name)]


def test_the_selected_tests_pass_through_parser_builder_and_engine(
    suite: Path, tmp_path: Path
) -> None:
    found = outcomes(suite, "onnx_through_tensorrt", HELPERS / "models", tmp_path / "report.xml")
    assert len(found) > 650
    assert failed(found, NO_TENSORS) == []
    assert sum(found.values()) / len(found) >= 0.98, f"{sum(found.values())} of {len(found)}"


def test_the_suite_passes_unchanged_where_its_types_allow(suite: Path, tmp_path: Path) -> None:
    pytest.importorskip("six", reason="onnx-tensorrt's backend needs six")
    found = outcomes(suite, "onnx_tensorrt_fast", HELPERS, tmp_path / "report.xml")
    assert len(found) > 650
    assert failed(found, NO_TENSORS, NO_TYPES) == []
