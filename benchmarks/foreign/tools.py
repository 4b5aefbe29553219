"""How each tool quantizes a network: one function for each setting that is tried.

The tools are optional and imported when used.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

from benchmarks.foreign.nets import Net, export
from benchmarks.zoo_model import Feeds

Quantize = Callable[[Net, Path, Path], None]
"""(A network, its float model, where the quantized one is written)."""


class _Batches:
    """Calibration data as ONNX Runtime's and others' readers give them."""

    def __init__(self, net: Net) -> None:
        self._feeds = net.feeds()
        self.rewind()

    def rewind(self) -> None:
        self._left: Iterator[Feeds] = iter(self._feeds)

    def get_first(self) -> Feeds:
        return self._feeds[0]

    def get_next(self) -> dict[str, Any] | None:
        return dict(feeds) if (feeds := next(self._left, None)) else None


# --- ONNX Runtime ---------------------------------------------------------------------------------


def ort_static(
    activations: str = "QUInt8",
    weights: str = "QInt8",
    *,
    form: str = "QDQ",
    per_channel: bool = True,
    prepared: bool = True,
    **extra: Any,
) -> Quantize:
    """quantize_static; extra: its extra_options.  prepared: behind quant_pre_process."""

    def write(net: Net, source: Path, path: Path) -> None:
        q = importlib.import_module("onnxruntime.quantization")
        with tempfile.TemporaryDirectory() as scratch:
            if prepared:
                q.quant_pre_process(str(source), f"{scratch}/prepared.onnx")
                source = Path(scratch) / "prepared.onnx"
            q.quantize_static(
                str(source),
                str(path),
                type("Batches", (_Batches, q.CalibrationDataReader), {})(net),
                quant_format=q.QuantFormat[form],
                activation_type=q.QuantType[activations],
                weight_type=q.QuantType[weights],
                per_channel=per_channel,
                extra_options=extra,
            )

    return write


def ort_dynamic(weights: str, *, per_channel: bool) -> Quantize:
    """quantize_dynamic."""

    def write(net: Net, source: Path, path: Path) -> None:
        q = importlib.import_module("onnxruntime.quantization")
        kind = q.QuantType[weights]
        q.quantize_dynamic(str(source), str(path), weight_type=kind, per_channel=per_channel)

    return write


def ort_nbits(form: str, bits: int, accuracy: int | None = None) -> Quantize:
    """MatMulNBitsQuantizer, blocks of 32."""

    def write(net: Net, source: Path, path: Path) -> None:
        q = importlib.import_module("onnxruntime.quantization")
        nbits = importlib.import_module("onnxruntime.quantization.matmul_nbits_quantizer")
        made = nbits.MatMulNBitsQuantizer(
            onnx.load(str(source)),
            bits=bits,
            block_size=32,
            accuracy_level=accuracy,
            quant_format=q.QuantFormat[form],
        )
        made.process()
        made.model.save_model_to_file(str(path))

    return write


# --- NNCF -----------------------------------------------------------------------------------------


def nncf_static(preset: str | None = None) -> Quantize:
    """nncf.quantize of the ONNX model."""

    def write(net: Net, source: Path, path: Path) -> None:
        nncf = importlib.import_module("nncf")
        made = nncf.quantize(
            onnx.load(str(source)),
            nncf.Dataset(net.feeds(), dict),
            preset=None if preset is None else nncf.QuantizationPreset[preset],
            model_type=nncf.ModelType.TRANSFORMER if net.transformer else None,
        )
        onnx.save(made, str(path))

    return write


def nncf_weights(mode: str) -> Quantize:
    """nncf.compress_weights of the ONNX model, in an opset that has blocks."""

    def write(net: Net, source: Path, path: Path) -> None:
        nncf = importlib.import_module("nncf")
        model = onnx.version_converter.convert_version(onnx.load(str(source)), 21)
        groups = {"group_size": 64, "all_layers": True} if "4" in mode else {}
        onnx.save(
            nncf.compress_weights(model, mode=nncf.CompressWeightsMode[mode], **groups), str(path)
        )

    return write


# --- NVIDIA ModelOpt ------------------------------------------------------------------------------


def modelopt(mode: str, precision: str = "fp32", **more: Any) -> Quantize:
    """modelopt.onnx.quantization.quantize on the CPU."""

    def write(net: Net, source: Path, path: Path) -> None:
        q = importlib.import_module("modelopt.onnx.quantization")
        q.quantize(
            str(source),
            quantize_mode=mode,
            calibration_data_reader=None if mode == "int4" else _Batches(net),
            calibration_data=dict(net.feeds()[0]) if mode == "int4" else None,
            calibration_eps=["cpu"],
            output_path=str(path),
            high_precision_dtype=precision,
            log_level="ERROR",
            **more,
        )

    return write


# --- Intel Neural Compressor's ONNX successor -----------------------------------------------------


def neural_compressor(form: str) -> Quantize:
    """onnx-neural-compressor's static quantization."""

    def write(net: Net, source: Path, path: Path) -> None:
        nc = importlib.import_module("onnx_neural_compressor.quantization")
        config = importlib.import_module("onnx_neural_compressor.quantization.config")
        reader = importlib.import_module("onnx_neural_compressor.data_reader")
        batches = type("Batches", (_Batches, reader.CalibrationDataReader), {})(net)
        options = config.StaticQuantConfig(
            batches, quant_format=nc.QuantFormat[form], per_channel=True
        )
        nc.quantize(str(source), str(path), options)

    return write


# --- PyTorch --------------------------------------------------------------------------------------


def pt2e(*, dynamic: bool = False) -> Quantize:
    """X86InductorQuantizer on the exported program, then PyTorch's ONNX exporter."""

    def write(net: Net, source: Path, path: Path) -> None:
        torch = importlib.import_module("torch")
        flow = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
        x86 = importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
        ao = importlib.import_module("torchao.quantization.pt2e")
        feeds = net.feeds()
        batches = [tuple(torch.from_numpy(a) for a in f.values()) for f in feeds]
        program = torch.export.export(net.built(), batches[0]).module()
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_dynamic=dynamic))
        prepared = flow.prepare_pt2e(program, quantizer)
        for batch in batches:
            prepared(*batch)
        module = flow.convert_pt2e(prepared)
        ao.move_exported_model_to_eval(module)
        with torch.no_grad():
            export(module, feeds[0], path, dynamo=True)

    return write


def torchao(config: str) -> Quantize:
    """torchao's quantize_ with one of its configurations, then PyTorch's ONNX exporter."""

    def write(net: Net, source: Path, path: Path) -> None:
        torch = importlib.import_module("torch")
        ao = importlib.import_module("torchao.quantization")
        module = net.built()
        ao.quantize_(module, getattr(ao, config)())
        with torch.no_grad():
            export(module, net.draw(1)[0], path, dynamo=True)

    return write


TOOLS: dict[str, Quantize] = {
    "onnxruntime u8 s8": ort_static(),
    "onnxruntime u8 s8, unprepared": ort_static(prepared=False),
    "onnxruntime s8 s8, ActivationSymmetric": ort_static("QInt8", ActivationSymmetric=True),
    "onnxruntime s8 s8": ort_static("QInt8"),
    "onnxruntime u8 s8 per tensor": ort_static(per_channel=False),
    "onnxruntime u8 u8 per tensor": ort_static(weights="QUInt8", per_channel=False),
    "onnxruntime DedicatedQDQPair": ort_static(DedicatedQDQPair=True),
    "onnxruntime QuantizeBias=False": ort_static(QuantizeBias=False),
    "onnxruntime AddQDQPairToWeight": ort_static(AddQDQPairToWeight=True),
    "onnxruntime UseQDQContribOps": ort_static(UseQDQContribOps=True),
    "onnxruntime s8 s4": ort_static("QInt8", "QInt4"),
    "onnxruntime u16 s8": ort_static("QUInt16"),
    "onnxruntime s16 s8": ort_static("QInt16"),
    "onnxruntime QOperator u8 s8": ort_static(form="QOperator"),
    "onnxruntime QOperator s8 s8": ort_static("QInt8", form="QOperator"),
    "onnxruntime QOperator u8 u8 per tensor": ort_static(
        weights="QUInt8", form="QOperator", per_channel=False
    ),
    "onnxruntime dynamic s8": ort_dynamic("QInt8", per_channel=True),
    "onnxruntime dynamic u8 per tensor": ort_dynamic("QUInt8", per_channel=False),
    "onnxruntime MatMulNBits": ort_nbits("QOperator", 4),
    "onnxruntime MatMulNBits, accuracy_level=4": ort_nbits("QOperator", 4, 4),
    "onnxruntime int4 QDQ": ort_nbits("QDQ", 4),
    "nncf performance": nncf_static("PERFORMANCE"),
    "nncf mixed": nncf_static("MIXED"),
    "nncf INT8_ASYM weights": nncf_weights("INT8_ASYM"),
    "nncf INT4_SYM weights": nncf_weights("INT4_SYM"),
    "modelopt int8": modelopt("int8"),
    "modelopt int8, fp16": modelopt("int8", "fp16"),
    "modelopt int8, dq_only": modelopt("int8", dq_only=True),
    "modelopt fp8": modelopt("fp8"),
    "modelopt int4": modelopt("int4"),
    "onnx-neural-compressor QDQ": neural_compressor("QDQ"),
    "onnx-neural-compressor QOperator": neural_compressor("QOperator"),
    "pt2e static": pt2e(),
    "pt2e dynamic": pt2e(dynamic=True),
    "torchao int8 weights": torchao("Int8WeightOnlyConfig"),
    "torchao int8 dynamic": torchao("Int8DynamicActivationInt8WeightConfig"),
}
"""Tool and setting -> what writes the quantized file."""
