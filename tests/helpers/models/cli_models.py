"""Small ONNX models and a runner for the tests of the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from camshaft.cli.app import app

RNG = np.random.default_rng(0)
QUICK = ("--level", "1", "--threads", "1")


def weight(name: str, *shape: int) -> TensorProto:
    values = RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return numpy_helper.from_array(values.astype(np.float32), name)


def residual_net(path: Path, batch: int | str = 1) -> Path:
    """conv1 + relu1, conv2 + add + relu2, global average, fc: x [batch, 3, 8, 8] -> y [batch, 10]."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["a"], "add"),
        helper.make_node("Relu", ["a"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], "gap"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3"], ["y"], "fc", transB=1),
    ]
    weights = [weight("w1", 8, 3, 3, 3), weight("w2", 8, 8, 3, 3), weight("w3", 10, 8)]
    return save(path, nodes, {"x": (batch, 3, 8, 8)}, {"y": (batch, 10)}, weights)


def host_net(path: Path) -> Path:
    """A model with an operator that has no kernel: y = det(x)."""
    nodes = [helper.make_node("Det", ["x"], ["y"], "determinant")]
    return save(path, nodes, {"x": (2, 3, 3)}, {"y": (2,)}, [])


def two_inputs(path: Path) -> Path:
    nodes = [helper.make_node("Add", ["a:0", "b"], ["y"], "sum")]
    return save(path, nodes, {"a:0": (2, 3), "b": (2, 3)}, {"y": (2, 3)}, [])


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[Any, ...]],
    outputs: dict[str, tuple[Any, ...]],
    weights: list[TensorProto],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def call(*arguments: object, code: int = 0) -> Any:
    """Run `camshaft ARGUMENTS`, which must exit with `code`; what it printed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    shown = f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    assert result.exit_code == code, shown
    return result


def call_json(*arguments: object) -> dict[str, Any]:
    """Run with `--json`; standard output, which must hold one JSON object and nothing else."""
    data: dict[str, Any] = json.loads(call(*arguments, "--json").stdout)
    return data


def complaint(*arguments: object, code: int) -> str:
    """The one line on standard error of a command that must fail with `code`."""
    result = call(*arguments, code=code)
    lines: list[str] = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert result.stdout == ""
    return lines[0]
