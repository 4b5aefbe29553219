"""Open shapes on the command line: how they are said, what is assumed, sizes of random inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import camshaft
from camshaft.cli.arrays import calibration_batches
from camshaft.cli.shapes import said_shapes, said_values, typed_profiles
from camshaft.errors import CalibrationError, ConfigError
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import TensorType, f32
from cli_models import QUICK, RNG, call, call_json, complaint, residual_net
from open_engines import open_model
from value_models import small_model, voice

EXACT = ("--iterations", 2, "--warm-up", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """open.onnx with its batch open, open.engine (batch 1 to 8), x5.npy (batch 5)."""
    path = tmp_path_factory.mktemp("open")
    residual_net(path / "open.onnx", "batch")
    call("build", path / "open.onnx", *QUICK, "--shapes", "x:batch=1..2..8x3x8x8")
    np.save(path / "x5.npy", RNG.standard_normal((5, 3, 8, 8)).astype(np.float32))
    return path


def test_shapes_as_typed() -> None:
    assert said_shapes("--shapes", ["x:1x3", "y:n=1..16X3,z:scalar"]) == {
        "x": (1, 3),
        "y": ("n=1..16", 3),
        "z": (),
    }
    assert said_shapes("--shapes", ["a:0:1..4x8"]) == {"a:0": ("1..4", 8)}
    assert said_shapes("--shapes", ["x:batch/max_len=1..9/8"]) == {
        "x": ("batch", "max_len=1..9", 8)
    }
    assert said_shapes("--shapes", ["x:max_len=1../,y:4/"]) == {"x": ("max_len=1..",), "y": (4,)}
    assert said_shapes("--shapes", ["x:s=7x..9xn=..4"]) == {"x": ("s=7", "..9", "n=..4")}
    assert said_shapes("--shapes", ["x:?x3xn=1..4", "y:?/max_len"]) == {
        "x": (None, 3, "n=1..4"),
        "y": (None, "max_len"),
    }
    for wrong in ("x:", "x:/", "x:1//", "x:1x", "x:1x-3", "x:1x2x3..1", "x:1,x:2"):
        with pytest.raises(ConfigError, match="--shapes"):
            said_shapes("--shapes", [wrong])


def test_profiles_as_typed() -> None:
    first = {"x": ((1, 3), (4, 3), (16, 3)), "y": ((2,), (2,), (2,))}
    second = {"x": ((1, 3), (1, 3), (2, 3))}
    assert typed_profiles(["x:1..4..16x3,y:2"], None, None, None) == [first]
    least, typical, most = ["x:1x3,y:2", "x:1x3"], ["x:4x3,y:2", "x:1x3"], ["y:2,x:16x3", "x:2x3"]
    assert typed_profiles(None, least, typical, most) == [first, second]
    assert typed_profiles(["0", "1"], least, typical, most) == [first, second]
    assert typed_profiles(None, None, None, None) == []
    for wrong, words in (
        ((["x:1..4x3"], None, None, None), "least, typical and most"),
        ((None, ["x:1"], ["x:1"], None), "--max-shapes 0 times"),
        ((None, ["x:1"], ["y:1"], ["x:1"]), "the same inputs"),
        ((None, ["x:n"], ["x:1"], ["x:1"]), "must be numbers"),
    ):
        with pytest.raises(ConfigError, match=words):
            typed_profiles(*wrong)


def test_what_is_assumed_is_said_once_with_how_to_say_better(folder: Path, tmp_path: Path) -> None:
    model, engine = folder / "open.onnx", tmp_path / "e.engine"
    said = call("build", model, "-o", engine, *QUICK).stderr
    assert said.count("assumed") == 1
    assert "assumed: batch 1 (1..); set with --shapes x:batch=1..8x3x8x8" in said
    option = said.split("set with ")[1].split()
    better = call("build", model, "-o", engine, *QUICK, *option)
    assert better.stderr == "" and "batch 1..8, typically 1" in better.stdout
    assert (
        "batch 1 (1..)"
        in call("build", model, "-o", engine, *QUICK, "--shapes", "x:batchx3x8x8").stderr
    )
    for exact in (
        ("--shapes", "x:batch=1..2..8x3x8x8"),
        ("--shapes", "x:1..2..8x3x8x8"),
        ("--profile", "x:1..2..8x3x8x8"),
        ("--min-shapes", "x:1x3x8x8", "--opt-shapes", "x:2x3x8x8", "--max-shapes", "x:8x3x8x8"),
    ):
        assert "assumed" not in call("build", model, "-o", engine, *QUICK, *exact).stderr
        assert camshaft.load(engine).symbols == {"batch": Symbol("batch", 1, 2, 8)}
    data = call_json("build", model, "-o", engine, *QUICK)
    assert data["assumed"] == ["batch"] and data["arena"]["most"] is None
    assert data["symbols"] == [{"name": "batch", "least": 1, "typical": 1, "most": None}]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("float[1, 3, H, W] x", ("--shapes", "x:1/3/max_side/max_side")),
        ("float[max_len] x", ()),
        ("float[max_len, batch_axis] x, float[batch_axis, max_len] y", ()),
        ("float[?, 3] x", ()),
    ],
)
def test_what_is_advised_keeps_names(tmp_path: Path, inputs: str, said: tuple[str, ...]) -> None:
    names = [text.split()[-1] for text in inputs.split(", float")]
    body = " ".join(f"z{n} = Relu ({n})" for n in names)
    outputs = ", ".join(f"float[{','.join('abcd'[: i.count(',') + 1])}] z{n}"
                        for i, n in zip(inputs.split(", float"), names, strict=True))  # fmt: skip
    onnx.save(small_model(body, inputs, outputs), tmp_path / "m.onnx")
    command = ("build", tmp_path / "m.onnx", *QUICK)
    first = call(*command, *said)
    assumed = camshaft.load(tmp_path / "m.engine")
    option = first.stderr.split("set with ")[1].split()
    assert call(*command, *option).stderr == ""
    better = camshaft.load(tmp_path / "m.engine")
    assert {n: repr(t) for n, t in better.inputs.items()} == {
        n: repr(t) for n, t in assumed.inputs.items()
    }
    assert [s.typical for s in better.symbols.values()] == [
        s.typical for s in assumed.symbols.values()
    ]


def test_calibration_files_may_hold_what_is_fixed(tmp_path: Path) -> None:
    want, fixed = {"x": TensorType(f32, (1, 2))}, {"sr": np.array(8000)}
    np.savez(tmp_path / "0.npz", x=np.ones((3, 1, 2), np.float32), sr=np.full(3, 8000))
    assert [list(b) for b in calibration_batches(tmp_path, want, fixed)] == [["x"]] * 3
    np.savez(tmp_path / "1.npz", x=np.ones((1, 2), np.float32), sr=16000)
    with pytest.raises(CalibrationError, match=r"1\.npz.*other values of 'sr'"):
        list(calibration_batches(tmp_path, want, fixed))


def test_a_misfit_is_named(folder: Path) -> None:
    command = ("build", folder / "open.onnx", *QUICK, "-o", folder / "no.engine")
    assert "'z'" in complaint(*command, "--shapes", "z:1x3", code=2)
    assert "rank 2" in complaint(*command, "--profile", "x:1..2..4x3", code=2)
    assert "must ascend" in complaint(*command, "--profile", "x:4..2..8x3x8x8", code=2)


def test_run_takes_sizes_from_the_data(folder: Path) -> None:
    file = f"x={folder / 'x5.npy'}"
    for source in (folder / "open.engine", folder / "open.onnx"):
        options = QUICK if source.suffix == ".onnx" else ()
        result = call("run", source, *options, "-i", file)
        assert "5x10" in result.stdout and "assumed" not in result.stderr
    data = call_json("bench", folder / "open.onnx", *QUICK, *EXACT, "-i", file)
    assert data["shapes"] == {"x": [5, 3, 8, 8]} and not data["random_inputs"]


def test_calibration_data_of_any_sizes(tmp_path: Path) -> None:
    batch, side = (extent_of(Symbol(n, 1, 1)) for n in ("batch", "side"))
    want = {"x": TensorType(f32, (batch, 3, side, side))}
    np.save(tmp_path / "0.npy", np.zeros((5, 3, 8, 8), np.float32))
    np.save(tmp_path / "1.npy", np.zeros((2, 1, 3, 6, 6), np.float32))
    found = [b["x"].shape for b in calibration_batches(tmp_path, want)]
    assert found == [(5, 3, 8, 8), (1, 3, 6, 6), (1, 3, 6, 6)]
    np.save(tmp_path / "2.npy", np.zeros((5, 4, 8, 8), np.float32))
    with pytest.raises(CalibrationError, match=r"2\.npy"):
        list(calibration_batches(tmp_path, want))


def test_shapes_of_an_engine_are_those_of_random_inputs(folder: Path) -> None:
    engine = folder / "open.engine"
    result = call("run", engine, "--shapes", "x:3x3x8x8")
    assert "3x10" in result.stdout and "x 3x3x8x8" in result.stderr
    assert "2x10" in call("run", engine).stdout, "the typical size"
    data = call_json("bench", engine, *EXACT, "--shapes", "x:7x3x8x8", "--dump-profile")
    assert data["shapes"] == {"x": [7, 3, 8, 8]} and data["profile"]["layers"]
    measured = call_json("inspect", engine, "--dump-profile", "--runs", 2, "--shapes", "x:8x3x8x8")
    assert measured["profile"]["runs"] == 2
    assert "1..8" in complaint("run", engine, "--shapes", "x:9x3x8x8", code=7)
    assert "'z'" in complaint("run", engine, "--shapes", "z:9x3x8x8", code=2)
    assert "numbers" in complaint("run", engine, "--shapes", "x:nx3x8x8", code=2)
    given = ("-i", folder / "x5.npy", "--shapes", "x:5x3x8x8")
    assert "leave one" in complaint("run", engine, *given, code=2)
    assert "--profile" in complaint("run", engine, "--profile", "x:1..2..3x3x8x8", code=2)


def test_values_as_typed() -> None:
    typed = ["sr=16000", "s=0.5", "on=True", "to=batch=1..8,1..2..4,64,n"]
    assert said_values(typed) == {
        "sr": 16000,
        "s": 0.5,
        "on": True,
        "to": ("batch=1..8", "1..2..4", 64, "n"),
    }
    assert said_values(None) == {}
    for wrong in (["sr"], ["sr="], ["=3"], ["sr=1", "sr=2"]):
        with pytest.raises(ConfigError, match="--values"):
            said_values(wrong)


def test_an_input_of_a_given_value(tmp_path: Path) -> None:
    model, engine = tmp_path / "voice.onnx", tmp_path / "voice.engine"
    onnx.save(voice(), model)
    fixed = ("--values", "sr=16000", "--shapes", "audio:batch=1..2x512")
    call("build", model, "-o", engine, *QUICK, *fixed)
    for source in ((model, *QUICK, *fixed), (engine,)):
        assert "1x512" in call("run", *source).stdout
        assert "1x512" in call("run", *source, "-i", "sr=16000", "-i", audio(tmp_path)).stdout
        other = ("-i", "sr=8000", "-i", audio(tmp_path))
        assert "fixed it to 16000" in call("run", *source, *other, code=7).stderr
    assert call_json("inspect", engine)["fixed_inputs"] == {"sr": 16000}
    assert "sr = 16000" in call("inspect", engine).stdout
    assert call_json("bench", engine, *EXACT, "--dump-profile")["profile"]["layers"]


def test_inputs_whose_elements_say_sizes(tmp_path: Path) -> None:
    model, engine = tmp_path / "net.onnx", tmp_path / "net.engine"
    onnx.save(small_model("y = Reshape(x, to)", "float[n] x, int64[2] to", "float[a,b] y"), model)
    elements = ("--values", "to=to_0,to_1")
    said = call("build", model, "-o", engine, *QUICK, *elements).stderr
    assert "to_0 1 (1..)" in said and "--values to=to_0=1..8,to_1=1..128..256" in said
    option = said.split("set with ")[1].split()
    better = call("build", model, "-o", engine, *QUICK, *option)
    assert better.stderr == "" and "to_0 1..8, typically 1" in better.stdout
    assert "1x128" in call("run", engine).stdout
    sizes = ("--shapes", "x:12", "--values", "to=2,6")
    assert "2x6" in call("run", engine, *sizes).stdout
    assert call_json("bench", engine, *EXACT, *sizes)["shapes"] == {"x": [12], "to": [2]}
    for wrong, words, code in (
        ("to=2,5", "needs to_0*to_1 == n", 7),
        ("to=9,6", "element 0 is 9", 7),
        ("to=a,6", "whole numbers", 2),
        ("x=2,6", "input 'x' holds f32[n]; give it with --input", 2),
    ):
        assert words in complaint("run", engine, *sizes[:2], "--values", wrong, code=code)
    np.save(tmp_path / "x.npy", np.ones(12, np.float32))
    np.save(tmp_path / "to.npy", np.array([3, 4]))
    given = ("-i", f"x={tmp_path / 'x.npy'}", "-i", f"to={tmp_path / 'to.npy'}")
    for source in ((engine,), (model, *QUICK)):
        assert "3x4" in call("run", *source, *given).stdout
    assert "leave one" in complaint("run", engine, *given, "--values", "to=3,4", code=2)


@pytest.mark.peers
def test_peers_get_elements_that_say_sizes(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    onnx.save(small_model("y = Reshape(x, to)", "float[n] x, int64[2] to", "float[a,b] y"), model)
    options = (*QUICK, "--values", "to=to_0,to_1")
    found = call_json("bench", model, *options, *EXACT, "--against", "onnxruntime", "--rounds", 2)
    assert found["against"]["onnxruntime"]["difference"] == 0
    assert call_json("compare", model, *options, "--layers")["passed"]


def audio(folder: Path) -> str:
    np.save(folder / "audio.npy", np.ones((1, 512), np.float32))
    return f"audio={folder / 'audio.npy'}"


@pytest.mark.peers
def test_peers_get_the_values_that_are_fixed(tmp_path: Path) -> None:
    model = tmp_path / "voice.onnx"
    onnx.save(voice(), model)
    options = (*QUICK, "--values", "sr=8000", "--shapes", "audio:1x512")
    found = call_json("bench", model, *options, *EXACT, "--against", "onnxruntime", "--rounds", 2)
    assert found["against"]["onnxruntime"]["difference"] == 0
    assert call_json("compare", model, *options)["passed"]


@pytest.mark.peers
def test_peers_get_the_same_sizes(folder: Path) -> None:
    model, engine = folder / "open.onnx", folder / "open.engine"
    against = ("--against", "onnxruntime", "--rounds", 2)
    for command in (
        ("bench", engine, "--model", model, "--shapes", "x:3x3x8x8", *EXACT, *against),
        ("bench", model, *QUICK, "-i", folder / "x5.npy", *EXACT, *against),
        ("bench", model, *QUICK, *EXACT, *against),
    ):
        found = call_json(*command)["against"]
        assert found["onnxruntime"]["difference"] < 1e-5
    for options in (
        ("--engine", engine, "--shapes", "x:3x3x8x8"),
        (*QUICK, "--layers"),
        (*QUICK, "-i", folder / "x5.npy", "--layers"),
    ):
        data = call_json("compare", model, *options)
        assert data["passed"]
        assert not any(s for t in data["tensors"] for s in t["shape"] if not isinstance(s, int))


def test_inspect_shows_open_extents(folder: Path, tmp_path: Path) -> None:
    data = call_json("inspect", folder / "open.engine")
    assert data["inputs"] == {"x": "f32[batch,3,8,8]"} and data["arena"]["most"] > 0
    text = call("inspect", folder / "open.engine").stdout
    for word in ("f32[batch,3,8,8]", "batch 1..8, typically 2", "at typical sizes; least"):
        assert word in text
    model = folder / "open.onnx"
    assert "f32[batch,3,8,8]" in call("inspect", model, "--graph", "before").stdout
    for name in ("g.dot", "g.onnx", "g.txt"):
        for which in ("before", "after"):
            call("inspect", model, *QUICK, "--graph", which, "-o", tmp_path / name)
            assert b"batch" in (tmp_path / name).read_bytes()


def test_sizes_that_no_array_has(tmp_path: Path) -> None:
    model = small_model("y = Mul(x, s)", "float[n,k] x, float s", "float[n,k] y")
    engine = tmp_path / "e.engine"
    camshaft.build(model, optimization_level=0, threads=1).save(engine)
    for size, code, words in (
        (99_999_999_999, 5, "no memory for random values of input 'x', of shape (8, 99999999999)"),
        ("1000000x99999999999", 7, "input 'x' would have 399999999996000000 bytes"),
        (10**19, 2, "'8x10000000000000000000' for input 'x' is no shape"),
        ("9" * 5000, 2, "a size is 1099511627776 (2**40) at most"),
    ):
        shape = size if "x" in str(size) else f"8x{size}"
        assert words in complaint("run", engine, "--shapes", f"x:{shape}", code=code)
    for number in ("1e300", "1e400", "9" * 5000):
        assert "a file nor a f32" in complaint("run", engine, "-i", f"s={number}", code=7)
    for wrong in (f"x:1..{10**20}", f"x:{10**20}..", f"x:n={10**20}..", f"x:{'9' * 5000}"):
        with pytest.raises(ConfigError, match="a size is"):
            said_shapes("--shapes", [wrong])
    assert said_values(["s=inf", "t=-Infinity"]) == {"s": np.inf, "t": -np.inf}
    assert said_values(["s=1e400"]) == {"s": "1e400"}


@pytest.mark.peers
def test_bench_takes_scalars(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Mul", ["x", "scale"], ["y"])]
    onnx.save(open_model(nodes, {"x": ["n", 4], "scale": []}), tmp_path / "scaled.onnx")
    command = ("bench", tmp_path / "scaled.onnx", *QUICK, *EXACT, "--rounds", 1)
    data = call_json(*command, "--against", "onnxruntime")
    assert "onnxruntime" in data["against"]


@pytest.mark.parametrize("option", ["--seconds", "--warm-up"])
def test_bench_does_not_measure_for_ever(folder: Path, option: str) -> None:
    for wrong in ("inf", "1e300", "nan", "-1"):
        call("bench", folder / "open.engine", option, wrong, code=2)


def test_an_archive_of_outputs_is_not_called_npy(folder: Path, tmp_path: Path) -> None:
    line = complaint("run", folder / "open.engine", "--output", tmp_path / "y.npy", code=2)
    assert "--output" in line and "give it a name in .npz" in line
    assert not (tmp_path / "y.npy").exists()
