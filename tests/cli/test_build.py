"""`camshaft build` and `camshaft run`, and the options that all commands share."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import camshaft
from camshaft.cli.options import BuildOptions
from camshaft.config import BuildConfig
from cli_models import (
    QUICK,
    RNG,
    call,
    call_json,
    complaint,
    host_net,
    residual_net,
    save,
    two_inputs,
)

ONES = np.ones((2, 3), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, net.engine, x.npy, calibration.npz (4 batches)."""
    path = tmp_path_factory.mktemp("cli")
    residual_net(path / "net.onnx")
    call("build", path / "net.onnx", "-o", path / "net.engine", *QUICK)
    np.save(path / "x.npy", RNG.standard_normal((1, 3, 8, 8)).astype(np.float32))
    batches = RNG.standard_normal((4, 3, 8, 8)).astype(np.float32)
    np.savez(path / "calibration.npz", x=batches)
    return path


def test_build_writes_an_engine_and_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    engine = tmp_path / "e.engine"
    data = call_json("build", folder / "net.onnx", "-o", engine, *QUICK)
    assert data["engine_bytes"] == engine.stat().st_size
    assert data["steps"] == len(camshaft.load(engine).notes)
    assert data["arena_bytes"] >= data["lower_bound_bytes"] > 0
    assert data["host_steps"] == [] and data["precision_summary"] == "fp32"
    assert {"importing", "optimizing", "tuning", "assembling"} <= set(data["seconds"])
    text = call("build", folder / "net.onnx", "-o", engine, *QUICK).stdout
    for word in ("steps", "precision  fp32", "lower bound", str(engine)):
        assert word in text


def test_build_defaults_to_an_engine_beside_the_model(tmp_path: Path) -> None:
    call("build", residual_net(tmp_path / "some.onnx"), *QUICK)
    assert (tmp_path / "some.engine").is_file()


def test_export_writes_a_standard_model_and_no_engine_unless_asked(
    folder: Path, tmp_path: Path
) -> None:
    exported, engine = tmp_path / "qdq.onnx", tmp_path / "e.engine"
    int8 = ("--int8", "--calibration", folder / "calibration.npz", *QUICK)
    model = residual_net(tmp_path / "net.onnx")
    data = call_json("build", model, "--export", exported, *int8)
    assert data["engine"] is None and data["export"] == str(exported)
    assert data["export_bytes"] == exported.stat().st_size
    assert not (tmp_path / "net.engine").exists()
    kinds = [n.op_type for n in onnx.load(exported).graph.node]
    assert "QuantizeLinear" in kinds and "DequantizeLinear" in kinds
    text = call("build", model, "--export", exported, "-o", engine, *int8).stdout
    assert engine.is_file() and f"export     {exported}" in text and "Q/DQ nodes" in text
    again = tmp_path / "again.engine"
    call("build", exported, "-o", again, "--int8", *QUICK)
    x = ("--input", folder / "x.npy")
    first, second = (call_json("run", e, *x)["outputs"]["y"] for e in (engine, again))
    assert first == second
    assert "floats" in call("build", model, "--export", exported, *QUICK).stdout


def test_an_export_that_cannot_be_written_is_refused_before_the_build(
    folder: Path, tmp_path: Path
) -> None:
    model = folder / "net.onnx"
    said = complaint("build", model, "--export", tmp_path / "none" / "qdq.onnx", *QUICK, code=2)
    assert "cannot write the ONNX file" in said
    assert "same file" in complaint("build", model, "--export", model, *QUICK, code=2)


def test_json_goes_to_a_file_beside_the_tables(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    result = call("run", folder / "net.engine", "--json", out)
    assert "mean" in result.stdout
    assert set(json.loads(out.read_text())["outputs"]) == {"y"}


def test_host_steps_are_a_warning(tmp_path: Path) -> None:
    host_net(tmp_path / "det.onnx")
    result = call("build", tmp_path / "det.onnx", *QUICK)
    assert "run in Python: determinant" in result.stderr
    values = call_json("run", tmp_path / "det.engine")["outputs"]["y"]
    assert values["shape"] == [2]


def test_int8_from_calibration_data_then_from_its_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "ranges.cache"
    options = ("--int8", "--calibration-cache", cache, *QUICK, "--calibrator", "minmax")
    options = (*options, "--no-bias-correction")  # which a cache holds nothing for
    model, engines = folder / "net.onnx", (tmp_path / "a.engine", tmp_path / "b.engine")
    data = call_json(
        "build", model, "-o", engines[0], *options, "--calib", folder / "calibration.npz"
    )
    assert data["precision_summary"].startswith("int8") and data["arithmetic"]["u8"] >= 2
    assert cache.is_file()
    call("build", model, "-o", engines[1], *options)
    x = np.load(folder / "x.npy")
    first, second = (camshaft.load(e)(x)["y"] for e in engines)
    np.testing.assert_array_equal(first, second)


def test_calibration_from_a_folder_equals_that_from_one_file(folder: Path, tmp_path: Path) -> None:
    batches = np.load(folder / "calibration.npz")["x"]
    data = tmp_path / "data"
    data.mkdir()
    np.savez(data / "0.npz", x=batches[:1])
    np.save(data / "1.npy", batches[1:3])
    np.save(data / "2.npy", batches[3:].reshape(1, 1, 3, 8, 8))
    caches = tmp_path / "a.cache", tmp_path / "b.cache"
    for cache, source in zip(caches, (folder / "calibration.npz", data), strict=True):
        call(
            *("build", folder / "net.onnx", "-o", tmp_path / "e.engine", *QUICK, "--int8"),
            *("--calibration", source, "--calibration-cache", cache),
        )
    assert caches[0].read_bytes() == caches[1].read_bytes()


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"z": np.zeros((1, 3, 8, 8), np.float32)}, "holds z; the"),
        ({"x": np.zeros((1, 3, 9, 9), np.float32)}, "[1, 3, 9, 9]"),
        ({"x": np.zeros((1, 3, 8, 8), np.float64)}, "float64"),
        ({"x": np.full((1, 3, 8, 8), np.nan, np.float32)}, "NaN"),
        ({"x": np.zeros((0, 3, 8, 8), np.float32)}, "no batch"),
        ({}, "x"),
    ],
)
def test_unfit_calibration_data_is_named(
    folder: Path, tmp_path: Path, arrays: dict[str, np.ndarray], named: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    options = ("--int8", *QUICK, "--calib", tmp_path / "bad.npz", "-o", tmp_path / "e.engine")
    assert named in complaint("build", folder / "net.onnx", *options, code=4)


def test_calibration_of_several_inputs_needs_names_and_equal_counts(tmp_path: Path) -> None:
    model = two_inputs(tmp_path / "sum.onnx")
    np.save(tmp_path / "one.npy", ONES)
    np.savez(tmp_path / "odd.npz", **{"a:0": ONES, "b": np.stack([ONES, ONES])})  # type: ignore[arg-type]
    options = ("build", model, "--int8", *QUICK, "--calib")
    assert "a:0, b" in complaint(*options, tmp_path / "one.npy", code=4)
    assert "different numbers" in complaint(*options, tmp_path / "odd.npz", code=4)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no .npz" in complaint(*options, empty, code=4)


def test_layer_precision_is_obeyed(folder: Path, tmp_path: Path) -> None:
    engine = tmp_path / "e.engine"
    call(
        *("build", folder / "net.onnx", "-o", engine, *QUICK, "--int8"),
        *("--calib", folder / "calibration.npz", "--layer-precisions", "conv1:fp32,conv2:int8"),
    )
    steps = {s.origin: s.precision for s in camshaft.load(engine).notes}
    assert next(p for o, p in steps.items() if "conv1" in o) == "f32"
    assert next(p for o, p in steps.items() if "conv2" in o) == "u8"


def test_timing_cache_and_frozen_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "timings.json"
    common = ("build", folder / "net.onnx", "-o", tmp_path / "e.engine", "-t", 1, "--level", 2)
    frozen = ("--timing-cache", cache, "--frozen-cache")
    complaint(*common, *frozen, code=5)
    call(*common, "--timing-cache", cache)
    first = (tmp_path / "e.engine").read_bytes()
    call(*common, *frozen)
    assert (tmp_path / "e.engine").read_bytes() == first


def test_shapes_fix_what_the_model_leaves_open(tmp_path: Path) -> None:
    model = residual_net(tmp_path / "free.onnx", "batch")
    call("build", model, *QUICK, "--shapes", "x:2x3x8x8")
    assert camshaft.load(tmp_path / "free.engine").inputs["x"].shape == (2, 3, 8, 8)


def test_run_reads_arrays_and_writes_them(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "x.npy")
    engine, out = folder / "net.engine", tmp_path / "y.npz"
    want = camshaft.load(engine)(x)["y"]
    np.savez(tmp_path / "x.npz", x=x)
    for given in (
        ("--input", f"x={folder / 'x.npy'}"),
        ("-i", folder / "x.npy"),
        ("--inputs", tmp_path / "x.npz"),
    ):
        data = call_json("run", engine, *given, "--output", out)
        np.testing.assert_array_equal(np.load(out)["y"], want)
        assert data["outputs"]["y"]["max"] == float(want.max())
        assert not data["random_inputs"]


def test_run_without_inputs_says_that_they_are_random(folder: Path) -> None:
    first, again, other = (call("run", folder / "net.engine", "--seed", seed) for seed in (1, 1, 2))
    assert "random" in first.stderr and "seed 1" in first.stderr
    assert first.stdout == again.stdout != other.stdout


def test_run_builds_a_model_and_takes_names_with_colons(tmp_path: Path) -> None:
    model = two_inputs(tmp_path / "sum.onnx")
    np.save(tmp_path / "a.npy", ONES)
    file = tmp_path / "a.npy"
    outputs = call_json("run", model, *QUICK, "-i", f"a:0={file}", "-i", f"b={file}")["outputs"]
    assert outputs["y"]["min"] == outputs["y"]["max"] == 2.0
    assert "which" in complaint("run", model, *QUICK, "-i", file, code=7)
    assert "missing input 'b'" in complaint("run", model, *QUICK, "-i", f"a:0={file}", code=7)


def test_nan_is_counted_or_refused(tmp_path: Path) -> None:
    call("build", two_inputs(tmp_path / "sum.onnx"), *QUICK)
    np.savez(tmp_path / "nan.npz", **{"a:0": np.full((2, 3), np.nan, np.float32), "b": ONES})
    command = ("run", tmp_path / "sum.engine", "--inputs", tmp_path / "nan.npz")
    assert "nan" in complaint(*command, "--check-finite", code=7)
    outputs = call_json(*command)["outputs"]
    assert outputs["y"]["nan"] == 6 and outputs["y"]["max"] is None


def test_scalar_inputs_are_numbers_on_the_command_line(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "by"], ["y"], "scale")]
    model = save(tmp_path / "scale.onnx", nodes, {"x": (2, 3), "by": ()}, {"y": (2, 3)}, [])
    np.save(tmp_path / "x.npy", ONES)
    command = ("run", model, *QUICK, "-i", f"x={tmp_path / 'x.npy'}", "-i")
    assert call_json(*command, "by=2.5")["outputs"]["y"]["max"] == 2.5
    assert "by" in complaint(*command, "by=two", code=7)


def test_every_kind_of_error_has_its_exit_code(folder: Path, tmp_path: Path) -> None:
    model, engine = folder / "net.onnx", folder / "net.engine"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    short = tmp_path / "short.engine"
    short.write_bytes(engine.read_bytes()[:-10])
    e = ("-o", tmp_path / "e.engine")
    assert "broken.onnx" in complaint("build", broken, *e, code=3)
    assert "nix.onnx" in complaint("build", tmp_path / "nix.onnx", *e, code=3)
    assert "ranges" in complaint("build", model, *e, "--int8", *QUICK, code=4)
    assert "missing.npz" in complaint(
        "build", model, *e, "--int8", *QUICK, "--calib", tmp_path / "missing.npz", code=4
    )
    assert "short.engine" in complaint("run", short, code=6)
    assert "nix.engine" in complaint("run", tmp_path / "nix.engine", code=6)
    assert "x.npz" in complaint("run", engine, "--inputs", tmp_path / "x.npz", code=7)
    assert not (tmp_path / "e.engine").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--shapes", "x"), "--shapes"),
        (("--shapes", "x:1xtwo=three"), "two=three"),
        (("--shapes", "x:4..1x3"), "4..1x3"),
        (("--profile", "x:1..4x3"), "1..4"),
        (("--min-shapes", "x:1x3"), "--opt-shapes 0 times"),
        (("--layer-precisions", "conv1:int8"), "int8"),
        (("--layer-precisions", "conv1:int3"), "int3"),
        (("--calibrator", "best"), "best"),
        (("--level", "9"), "9"),
        (("--target", "z80"), "z80"),
        (("--frozen-cache",), "--frozen-cache needs --timing-cache"),
        (("--calib", "data.npz"), "add --int8"),
        (("-o", "/nowhere/at/all.engine"), "/nowhere/at/all.engine"),
    ],
)
def test_wrong_options_are_named(folder: Path, options: tuple[str, ...], named: str) -> None:
    code = 6 if "-o" in options else 2
    output = () if "-o" in options else ("-o", folder / "wrong.engine")
    assert named in complaint("build", folder / "net.onnx", *output, *options, code=code)


def test_every_build_option_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text('{"x": [-1, 2]}')
    typed = BuildOptions(
        shapes=["x:1x3x8x8"],
        profile=["x:1..2..4x3x8x8"],
        values=["sr=16000"],
        state=["h=h_next"],
        threads=3,
        level=1,
        goal="throughput",
        time_budget=5.0,
        timing_cache=tmp_path / "cache.json",
        frozen_cache=True,
        error_budget=1e-3,
        workspace=0.5,
        memory_budget=64,
        target="portable",
        weight_only="int4",
        weight_block=64,
        weight_zero_points=True,
        skip_padding=True,
        int8=True,
        calibrator="mse",
        percentile=99.0,
        calibration_cache=tmp_path / "ranges.cache",
        dynamic_ranges=tmp_path / "ranges.json",
        layer_precisions=["conv1:fp32"],
        layer_output_types=["conv1:bf16"],
        precision_constraints="prefer",
        noise_reduction=False,
        bias_correction=False,
        kernel_rounding=False,
        refittable=True,
        portable=True,
    ).config(lambda stage, done, total: None)
    default = BuildConfig(threads=4)
    given = [f.name for f in fields(typed) if f.name != "select_kernels"]  # a function in Python
    same = [name for name in given if getattr(typed, name) == getattr(default, name)]
    typed_alone = BuildOptions(strongly_typed=True).config()  # it takes no other types beside it
    assert typed_alone.strongly_typed and same == ["strongly_typed"], (
        "a build option that the command line cannot set"
    )
    assert typed.workspace_limit == 1 << 19 and typed.memory_budget == 64 << 20
    assert typed.dynamic_ranges == {"x": (-1, 2)}


def test_build_options_for_a_built_engine_are_refused(folder: Path) -> None:
    options = ("--int8", "--level", 2, "--no-noise-reduction", "--threads", 1)
    said = complaint("run", folder / "net.engine", *options, code=2)
    assert "--level, --int8, --no-noise-reduction: " in said
    assert "1 thread a context" in complaint("run", folder / "net.engine", "--threads", 7, code=2)
