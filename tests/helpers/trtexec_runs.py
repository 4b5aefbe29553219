"""Runs of trtexec in tests: small models, the command in this process, what other tools read of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from camshaft.tensorrt.trtexec.main import main

RNG = np.random.default_rng(7)
WEIGHTS = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
QUICK = ("--builderOptimizationLevel=0", "--duration=0", "--warmUp=0", "--iterations=12")
"""Flags of short builds and short runs."""

_LINE = re.compile(r"\[\d+/\d+/\d+-\d+:\d+:\d+\] \[I\] (.*)")


def save_net(path: Path, shape: tuple[Any, ...] = (1, 3, 8, 8)) -> str:
    """x -> convolution `conv` -> relu `relu` -> y."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    return _save(
        path, nodes, shape, (shape[0], 4, *shape[2:]), [numpy_helper.from_array(WEIGHTS, "w")]
    )


def save_double(path: Path, name: str = "x", shape: tuple[Any, ...] = ("n", 3)) -> str:
    """An input of any name -> x + x -> y."""
    return _save(
        path, [helper.make_node("Add", [name, name], ["y"], "sum")], shape, shape, [], name
    )


def _save(path: Path, nodes: Any, given: Any, made: Any, constants: Any, name: str = "x") -> str:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return str(path)


class Trtexec:
    """Runs the command in a folder.  out, err: what the last run printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.out = self.err = ""

    def __call__(self, *flags: str) -> int:
        """The exit code."""
        code = main(flags)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, name: str) -> Any:
        """The content of a file of the folder."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def section(self, title: str) -> dict[str, str]:
        """Keys and values of a section, read as the engine explorer does: up to the first line that has no colon."""
        lines = iter(self.out.splitlines())
        for line in lines:
            if f"=== {title} ===" in line:
                break
        found = {}
        for line in lines:
            match = _LINE.match(line)
            if match is None or ":" not in match[1]:
                break
            words = match[1].strip().split(":")
            found[words[0]] = words[1][1:]
        return found

    @property
    def latency(self) -> dict[str, float]:
        """Statistics of the first line with `Latency:`, read as Polygraphy's extension for trtexec does."""
        line = next(line for line in self.out.split("\n") if "Latency:" in line)
        parts = line[line.index("Latency:") + len("Latency:") :].split(",")
        pairs = (part.split("=") for part in parts)
        return {name.strip(): float(value.strip().split(" ")[0]) for name, value in pairs}
