"""What becomes of a quantized file: does it load, are its products of integers, is it right, how fast is it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

import camshaft
from benchmarks.zoo_model import Feeds
from camshaft.bench.interleave import Plan, interleave
from camshaft.bench.runners import CamshaftRunner, OnnxRuntimeRunner
from camshaft.errors import CalibrationError, CamshaftError, PeerError
from camshaft.runtime.engine import Engine

PRODUCTS = ("Conv", "MatMul", "Gemm")
INTEGER_OPERATORS = ("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger")
MOVES = ("Reshape", "Transpose", "Concat", "Slice", "Split", "Flatten", "MaxPool", "Relu", "Clip")
CONVERSIONS = ("Cast", "QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Verdict:
    """refused: why camshaft does not load the file.  also: ONNX Runtime refuses it too.

    quantized: products both of whose operands are integers; integer: how many of them camshaft computes so.
    error: root mean square of the difference from the file's definition, of its answer.  theirs: the same of ONNX
    Runtime with its optimizations.  lost: the same of the definition from the float net; nets that lose much amplify
    one rounding.  ratio: ONNX Runtime's time by camshaft's.  steps: of the engine.
    """

    refused: str = ""
    also: bool = False
    quantized: int = 0
    integer: int = 0
    error: float = np.nan
    theirs: float = np.nan
    lost: float = np.nan
    ratio: float = np.nan
    steps: int = 0


def judge(path: Path, source: Path, feeds: Feeds, level: int, seconds: float) -> Verdict:
    """The verdict on one file.  source: the float net.  level: of optimization.  seconds: to time it for."""
    model = onnx.load(str(path))
    types = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    given = {n: a.astype(helper.tensor_dtype_to_np_dtype(types[n])) for n, a in feeds.items()}
    wanted = _definition(path, given)
    try:
        engine = _built(path, model, level)
    except CamshaftError as error:
        return Verdict(refused=str(error), also=wanted is None)
    steps = [s for s in engine.inspect()["steps"] if s["typical"]]
    products = _quantized_products(model)
    found = sum(_is_integer(steps, name, both) for name, both in products.items())
    verdict = Verdict(quantized=len(products), integer=found, steps=len(steps))
    if wanted is None:
        return verdict
    ours, plain = CamshaftRunner(engine, given, 1), _definition(source, feeds)
    verdict = replace(
        verdict,
        error=_distance(ours.outputs()[0], wanted),
        lost=np.nan if plain is None else _distance(wanted, plain),
    )
    try:
        theirs = OnnxRuntimeRunner(path, given, 1)
        theirs.run()
    except PeerError as error:  # its optimizations do not take the file
        print(f"  {error}", file=sys.stderr)
        return verdict
    return replace(
        verdict,
        theirs=_distance(theirs.outputs()[0], wanted),
        ratio=interleave([ours, theirs], Plan(seconds), process_time).ratio(theirs.name, ours.name),
    )


def _built(path: Path, model: onnx.ModelProto, level: int) -> Engine:
    """INT8 is permitted where the file is not of 8-bit floats, and needs no data."""
    eight = any(t.data_type == onnx.TensorProto.FLOAT8E4M3FN for t in model.graph.initializer)
    try:
        precision = set() if eight else {"int8"}
        return camshaft.build(str(path), precision=precision, optimization_level=level, threads=1)
    except CalibrationError:
        return camshaft.build(str(path), optimization_level=level, threads=1)


def _definition(path: Path, feeds: Feeds) -> np.ndarray | None:
    """What ONNX Runtime gives without optimizations, in floats where a file has Q/DQ; None where it refuses the file."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        return np.asarray(session.run(None, dict(feeds))[0])
    except Exception as error:  # noqa: BLE001 - its errors have no common base
        print(f"  ONNX Runtime: {str(error)[:300]}", file=sys.stderr)
        return None


def _distance(got: np.ndarray, wanted: np.ndarray) -> float:
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    return float(np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)))


def _quantized_products(model: onnx.ModelProto) -> dict[str, bool]:
    """Name of each product of integers -> whether both its operands are computed."""
    constants = {t.name for t in model.graph.initializer}
    made = {o: n for n in model.graph.node for o in n.output}

    def dequantized(name: str) -> bool:
        node = made.get(name)
        while node is not None and node.op_type in (*MOVES, "Cast"):
            node = made.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    def computed(name: str) -> bool:
        node = made.get(name)
        while node is not None and node.op_type in (*MOVES, *CONVERSIONS):
            name = node.input[0]
            node = made.get(name)
        return name not in constants and node is not None

    found = {}
    for n in model.graph.node:
        if n.op_type in INTEGER_OPERATORS:
            weights = n.input[3] if n.op_type.startswith("Q") else n.input[1]
            found[n.name] = computed(weights)
        elif n.op_type in PRODUCTS and dequantized(n.input[0]) and dequantized(n.input[1]):
            found[n.name] = computed(n.input[1])
    return found


def _is_integer(steps: list[dict[str, Any]], name: str, both: bool) -> bool:
    """Whether a product is computed in integers.  both: of two activations, which no convolution computes."""
    ops = ("matmul", "attention") if both else ("conv", "matmul", "matmul_nbits")
    mine = [s for s in steps if name in s["origin"] and s["op"] in ops]
    return any(s["precision"].startswith(("u8", "i8")) for s in mine)
