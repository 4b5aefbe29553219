"""Other files of a zoo transformer, made of its float ONNX file: what peers run best, and INT4 forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx import helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

from benchmarks.transformers.attention import ATTENTION_SIZE, HEADS
from benchmarks.zoo_model import ZooModel

Write = Callable[[ZooModel, Path, Path], None]


def fuse(model: ZooModel, source: Path, path: Path) -> None:
    """ONNX Runtime's transformer optimizer: Attention, SkipLayerNormalization, BiasGelu and others where
    it recognises them."""
    if model.transformer is None:
        raise ValueError(f"ONNX Runtime's optimizer knows no type of transformer for {model.name}")
    kind, heads, width = model.transformer
    fused = optimize_model(
        str(source),
        model_type=kind,
        num_heads=heads,
        hidden_size=width,
        optimization_options=FusionOptions(kind),
        opt_level=0,
    )
    fused.save_model_to_file(str(path))


def quantize_at_run_time(model: ZooModel, source: Path, path: Path) -> None:
    """ONNX Runtime's dynamic quantization: weights s8 per channel, activations at run time."""
    quantize_dynamic(
        str(source),
        str(path),
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # behind fused operators
    )


def to_nbits(block: int) -> Write:
    """Makes MatMulNBits: 4 bits, symmetric, blocks of `block`, activations in INT8 (accuracy_level 4),
    with which ONNX Runtime is fastest."""

    def write(model: ZooModel, source: Path, path: Path) -> None:
        config = DefaultWeightOnlyQuantConfig(block, is_symmetric=True, accuracy_level=4)
        quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), algo_config=config)
        quantizer.process()
        onnx.save(quantizer.model.model, str(path))

    return write


def attention_op(model: ZooModel, source: Path, path: Path) -> None:
    """ONNX's own Attention of opset 23, of q, k, v [1, 12, S, 64]."""
    shape = model.feeds(1)[0]["q"].shape
    node = helper.make_node("Attention", ["q", "k", "v"], ["output"])
    _save([node], dict.fromkeys("qkv", shape), shape, [("", 23)], path)


def multi_head_attention(model: ZooModel, source: Path, path: Path) -> None:
    """The contributed MultiHeadAttention, of q, k, v [1, S, 12 x 64]."""
    shape = (1, model.feeds(1)[0]["q"].shape[2], HEADS * ATTENTION_SIZE)
    node = helper.make_node(
        "MultiHeadAttention", ["q", "k", "v"], ["output"], domain="com.microsoft", num_heads=HEADS
    )
    _save([node], dict.fromkeys("qkv", shape), shape, [("", 17), ("com.microsoft", 1)], path)


def _save(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, ...]],
    output: tuple[int, ...],
    opsets: list[tuple[str, int]],
    path: Path,
) -> None:
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(n, real, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info("output", real, output)],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), str(path))


VARIANTS: dict[str, tuple[str, Write]] = {
    "fused": ("", fuse),
    "dynamic": ("", quantize_at_run_time),
    "fused-dynamic": (".fused", quantize_at_run_time),
    "nbits32": ("", to_nbits(32)),
    "nbits128": ("", to_nbits(128)),
    "op23": ("", attention_op),
    "mha": ("", multi_head_attention),
}
"""Suffix of an ONNX file -> suffix of the file it is made of, and how."""
