"""What trtexec's flags make of networks: types, formats, ranges, debug tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

import camshaft.tensorrt as trt
from trtexec_runs import QUICK, Trtexec, save_net

pytestmark = pytest.mark.codegen


@pytest.fixture
def trtexec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Trtexec:
    monkeypatch.chdir(tmp_path)
    save_net(tmp_path / "net.onnx")
    return Trtexec(tmp_path, capsys)


def engine(path: str) -> trt.ICudaEngine:
    found = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(
        Path(path).read_bytes()
    )
    assert found is not None
    return found


def test_types_of_inputs_and_outputs(trtexec: Trtexec) -> None:
    flags = (
        "--inputIOFormats=fp16:chw",
        "--outputIOFormats=fp16:chw",
        "--fp16",
        "--exportOutput=y.json",
    )
    assert trtexec("--onnx=net.onnx", "--saveEngine=e.plan", *flags, *QUICK) == 0
    made = engine("e.plan")
    assert made.get_tensor_dtype("x") == made.get_tensor_dtype("y") == trt.float16
    values = np.array(trtexec.json("y.json")[0]["values"])
    assert np.isfinite(values).all() and values.any()
    assert trtexec("--onnx=net.onnx", "--inputIOFormats=fp16:chw,fp32:chw", *QUICK) == 1
    assert "--inputIOFormats has 2 formats, and the network 1 such tensors" in trtexec.err


def test_orders_of_layers_are_obeyed(trtexec: Trtexec) -> None:
    flags = (
        "--fp16",
        "--precisionConstraints=obey",
        "--layerPrecisions=*:fp32",
        "--layerOutputTypes=conv:fp16",
    )
    verbose = ("--profilingVerbosity=detailed", "--exportLayerInfo=l.json")
    assert trtexec("--onnx=net.onnx", *flags, *verbose, *QUICK) == 0
    layers = trtexec.json("l.json")["Layers"]
    convolutions = [la for la in layers if la["ParameterType"] == "Convolution"]
    assert [la["Precision"] for la in convolutions] == ["f32"]
    formats = {tensor["Format/Datatype"] for la in layers for tensor in la["Outputs"]}
    assert any("FP16" in name for name in formats)
    assert trtexec("--onnx=net.onnx", "--layerPrecisions=cnov:fp32", "--skipInference", *QUICK) == 0
    assert "--layerPrecisions: the network has no layer 'cnov'" in trtexec.err
    assert "--precisionConstraints is none" in trtexec.err
    assert trtexec("--onnx=net.onnx", "--layerOutputTypes=conv:fp32+fp32", *QUICK) == 1
    assert "layer 'conv' has 1 outputs, and 2 types are said" in trtexec.err


def test_ranges_are_made_up_or_read(trtexec: Trtexec, tmp_path: Path) -> None:
    assert trtexec("--onnx=net.onnx", "--int8", "--skipInference", *QUICK) == 0
    assert "INT8 ranges are made up" in trtexec.err
    (tmp_path / "c.cache").write_bytes(b"no cache")
    assert trtexec("--onnx=net.onnx", "--int8", "--calib=c.cache", "--skipInference", *QUICK) == 1
    assert "--calib=c.cache is no calibration cache of this model" in trtexec.err
    assert "Engine could not be created from network" in trtexec.err
    assert trtexec("--onnx=net.onnx", "--calib=c.cache", *QUICK) == 1
    assert "--calib needs --int8 or --best" in trtexec.err


def test_a_calibration_cache_of_the_api_is_read(trtexec: Trtexec, tmp_path: Path) -> None:
    class Calibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self) -> None:
            super().__init__()
            self.batches = [np.ones((1, 3, 8, 8), np.float32)]

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> list[int] | None:
            if not self.batches:
                return None
            self.current = self.batches.pop()
            return [self.current.ctypes.data]

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: memoryview) -> None:
            (tmp_path / "c.cache").write_bytes(cache)

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    assert trt.OnnxParser(network, logger).parse_from_file("net.onnx")
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.INT8)
    config.builder_optimization_level = 0
    config.int8_calibrator = Calibrator()
    assert builder.build_serialized_network(network, config)
    assert trtexec("--onnx=net.onnx", "--int8", "--calib=c.cache", "--skipInference", *QUICK) == 0
    assert "made up" not in trtexec.err
    assert trtexec.section("Build Options")["Calibration"] == "c.cache"


def test_debug_tensors_are_written(trtexec: Trtexec) -> None:
    flags = (
        "--markDebug=c",
        "--saveDebugTensors=c:c.bin",
        "--dumpRawBindingsToFile",
        "--exportOutput=y.json",
    )
    assert trtexec("--onnx=net.onnx", *flags, *QUICK) == 0
    middle = np.fromfile("c.bin", np.float32).reshape(1, 4, 8, 8)
    y = np.fromfile("y.output.1x4x8x8.Float.raw", np.float32).reshape(1, 4, 8, 8)
    np.testing.assert_allclose(y, np.maximum(middle, 0), rtol=1e-6)
    np.testing.assert_array_equal(
        y.ravel(), np.array(trtexec.json("y.json")[0]["values"], np.float32)
    )
    assert trtexec("--onnx=net.onnx", "--markDebug=nothing", *QUICK) == 1
    assert "--markDebug: the network has no tensor 'nothing'" in trtexec.err


def test_all_debug_tensors_are_written_in_formats(trtexec: Trtexec) -> None:
    marks = ("--markDebug=c", "--markUnfusedTensorsAsDebugTensors", "--saveEngine=e.plan")
    assert trtexec("--onnx=net.onnx", *marks, *QUICK, "--skipInference") == 0
    flags = ("--loadEngine=e.plan", *QUICK, "--exportOutput=y.json")
    formats = "--saveAllDebugTensors=summary,numpy,string,raw"
    assert trtexec(*flags, formats, "--saveDebugTensors=c:c.bin") == 0
    middle = np.load("0000_c.npy")
    assert middle.shape == (1, 4, 8, 8)
    y = np.reshape(trtexec.json("y.json")[0]["values"], middle.shape)
    np.testing.assert_allclose(y, np.maximum(middle, 0), rtol=1e-6)
    for name in ("0000_c.raw", "c.bin"):
        np.testing.assert_array_equal(np.fromfile(name, np.float32), middle.ravel())
    text = Path("0000_c.str").read_text(encoding="utf-8")
    said = [float(x) for x in text.replace("[", " ").replace("]", " ").split()]
    np.testing.assert_allclose(said, middle.ravel(), rtol=1e-6)
    assert text.startswith("[\n [\n  [")
    summary = trtexec.json("tensor_summary.json")
    assert summary["metadata"]["command_line"].startswith("trtexec --loadEngine=e.plan")
    (row,) = summary["tensors"]
    assert (row["name"], row["shape"], row["type"]) == ("c", [1, 4, 8, 8], "FLOAT")
    assert row["statistics"]["max"] == pytest.approx(float(middle.max()))
    assert row["statistics"]["elements"].count(",") == 10
    assert row["files"]["numpy"] == "0000_c.npy"


def test_tensors_between_fused_layers_are_debug_tensors_where_asked(trtexec: Trtexec) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], "first"),
        helper.make_node("Softmax", ["a"], ["y"], "second", axis=1),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 5, 6)) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "two.onnx")
    flags = ("--onnx=two.onnx", *QUICK, "--saveAllDebugTensors=numpy")
    assert trtexec(*flags, "--markUnfusedTensorsAsDebugTensors") == 0
    np.testing.assert_allclose(np.load("0000_a.npy").sum(-1), 1, rtol=1e-5)
    assert trtexec(*flags) == 1
    assert "--saveAllDebugTensors needs --markDebug or" in trtexec.err


def test_the_build_says_what_it_cannot(trtexec: Trtexec) -> None:
    odd = ("--inputIOFormats=fp32:chw32", "--directIO")
    assert trtexec("--onnx=net.onnx", *odd, *QUICK) == 1
    assert "tensor 'x' allows neither chw nor" in trtexec.err  # not what TensorRT's API calls it
    assert trtexec("--onnx=net.onnx", "--shapes=z:1", *QUICK) == 1
    assert "shapes are given of 'z', and the model has the inputs x" in trtexec.err


def test_an_output_whose_shape_a_run_finds(trtexec: Trtexec, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"], "nonzero")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "k"])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "nonzero.onnx")
    np.array([[0, 5, 0], [1, 0, 2]], np.float32).tofile("x.bin")
    flags = ("--loadInputs=x:x.bin", "--exportOutput=y.json")
    assert trtexec("--onnx=nonzero.onnx", *flags, *QUICK) == 0
    assert trtexec.json("y.json") == [
        {"name": "y", "dimensions": "2x3", "values": [0, 1, 1, 1, 0, 2]}
    ]


def test_elements_of_an_input_that_says_shapes(trtexec: Trtexec) -> None:
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "size"], ["y"], "expand")],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("size", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "expand.onnx")
    sizes = ("--minShapes=size:1x3", "--optShapes=size:4x3", "--maxShapes=size:8x3")
    assert (
        trtexec("--onnx=expand.onnx", *sizes, "--shapes=size:5x3", "--exportOutput=y.json", *QUICK)
        == 0
    )
    assert trtexec.json("y.json")[0]["dimensions"] == "5x3"
