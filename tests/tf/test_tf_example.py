"""The example of quantization-aware training runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
pytest.importorskip("tf2onnx", reason="needs the extra tensorflow")
pytestmark = [pytest.mark.peers, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "examples" / "qat_resnet50_tensorflow.py"


def test_resnet50_from_fake_quant_to_int8() -> None:
    command = [sys.executable, str(EXAMPLE), "--quick", "--threads", "1"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    rows = {line[:24].strip(): line[24:].split() for line in made.stdout.splitlines()}
    assert "1 engine with" in made.stdout and "0 operators in TensorFlow" in made.stdout
    assert rows["TensorFlow, FP32"][0] == rows["camshaft, FP32"][0]
    off = float(rows["TensorFlow, FakeQuant"][0]) - float(rows["camshaft, INT8"][0])
    assert abs(off) <= 0.1
