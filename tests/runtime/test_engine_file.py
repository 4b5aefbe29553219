"""The engine file: round trips, mapping, atomic saving, and one clear error for each damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camshaft.errors import BuildError, EngineFileError
from camshaft.runtime import Engine
from camshaft.runtime.file import engine_file
from camshaft.runtime.file.checksum import tree_digest
from camshaft.runtime.file.engine_file import read_engine_file, write_engine_file
from engine_files import header_of, rewritten
from runtime_programs import chain, fingerprint

X = np.arange(64, dtype=np.float32).reshape(1, 64)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("engine") / "e"
    chain(length=4, host_at=2).save(path)
    return path.read_bytes()


# --- round trips ----------------------------------------------------------------------------


def test_a_loaded_engine_is_the_saved_one(tmp_path: Path) -> None:
    engine = chain(length=4, host_at=2, threads=2, items=16)
    size = engine.save(tmp_path / "e")
    assert size == (tmp_path / "e").stat().st_size
    loaded = Engine.load(tmp_path / "e")
    assert loaded.manifest == engine.manifest
    assert np.array_equal(loaded(X)["y"], engine(X)["y"])
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "e").read_bytes()


def test_a_loaded_engine_runs_in_another_process(tmp_path: Path) -> None:
    chain().save(tmp_path / "e")
    code = f"""
import sys
import numpy as np
from camshaft.runtime import Engine
engine = Engine.load({str(tmp_path / "e")!r})
y = engine(np.ones((1, 64), np.float32))["y"]
assert (y == 4).all() and "onnx" not in sys.modules and "torch" not in sys.modules
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_every_dtype_and_shape_comes_back(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    engine = chain()
    arrays = {
        "f16": np.arange(5, dtype=np.float16),
        "bf16": np.arange(7).astype(ml_dtypes.bfloat16),
        "scalar": np.array(3.5, np.float64),
        "none": np.zeros((0, 4), np.int8),
        "bool": np.array([[True, False]]),
        "transposed": np.arange(12, dtype=np.int32).reshape(3, 4).T,
        "u64": np.array([2**64 - 1], np.uint64),
        'odd "name" \u00e9\n': np.ones(3, np.uint8),
    }
    constants = {**engine._constants, **arrays}
    code = {n: bytes(c) for n, c in engine._complete_code().items()}
    write_engine_file(tmp_path / "e", engine.manifest, constants, code)
    contents = read_engine_file(tmp_path / "e")
    assert contents.constants.keys() == constants.keys()
    for name, want in constants.items():
        got = contents.constants[name]
        assert got.dtype == want.dtype and got.shape == want.shape
        assert got.tobytes() == want.tobytes()
        assert got.size == 0 or got.ctypes.data % 64 == 0
        assert not got.flags.writeable


def test_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    engine = chain()
    weights = {f"w{i}": np.full(1 << 18, i, np.float32) for i in range(4)}
    code = {n: bytes(c) for n, c in engine._complete_code().items()}
    constants = {**engine._constants, **weights, "bias": np.ones(3, np.float32)}
    write_engine_file(tmp_path / "e", engine.manifest, constants, code)
    loaded = read_engine_file(tmp_path / "e").constants
    for name in weights:
        owner: Any = loaded[name]
        while isinstance(owner, np.ndarray):
            owner = owner.base
        assert isinstance(owner, memoryview) and type(owner.obj).__name__ == "mmap"


def test_safetensors_opens_the_file(tmp_path: Path, saved: bytes) -> None:
    numpy_io = pytest.importorskip("safetensors.numpy")
    (tmp_path / "e").write_bytes(saved)
    tensors = numpy_io.load_file(tmp_path / "e")
    assert (tensors["weights/one"] == 1).all()
    assert {"code/add", "code/runner", "weights/payload"} <= tensors.keys()


# --- saving ---------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "e"
    chain().save(target)
    old = target.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineFileError, match="No space left on device"):
        chain(length=9).save(target)
    assert target.read_bytes() == old
    assert os.listdir(tmp_path) == ["e"]

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chain(length=9).save(target)
    assert target.read_bytes() == old
    assert os.listdir(tmp_path) == ["e"]


def test_saving_where_nothing_can_be_written_names_the_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "e", tmp_path):
        with pytest.raises(EngineFileError, match="cannot write the engine file"):
            chain().save(path)
    assert os.listdir(tmp_path) == []


def test_saving_over_a_loaded_file_leaves_the_loaded_engine_running(tmp_path: Path) -> None:
    chain().save(tmp_path / "e")
    loaded = Engine.load(tmp_path / "e")
    chain(length=5).save(tmp_path / "e")
    assert np.array_equal(loaded(X)["y"], X + 3)
    assert np.array_equal(Engine.load(tmp_path / "e")(X)["y"], X + 5)


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "e")
    chain().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "e").is_file()


# --- files that are wrong -------------------------------------------------------------------


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _meta(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"].update(changes)


def _entry(name: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(changes)


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def apply(header: dict[str, Any]) -> None:
        manifest = json.loads(header["__metadata__"]["manifest"])
        change(manifest)
        header["__metadata__"]["manifest"] = json.dumps(manifest)

    return apply


def _program(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return _manifest(lambda m: m["program"].update(changes))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda d: b"", "it is empty"),
        (lambda d: d[:5], "cut off after 5 bytes"),
        (lambda d: d[:100], "it is cut off"),
        (lambda d: d[: len(d) // 2], "it is cut off"),
        (lambda d: d[:-1], "it is cut off"),
        (lambda d: d + b"\0", "checksum does not match"),
        (lambda d: _flip(d, len(d) - 100), "checksum does not match"),
        (lambda d: b"\x7fELF" + d, "no safetensors file"),
        (lambda d: b"PK\3\4" * 100, "no safetensors file"),
        (lambda d: (2).to_bytes(8, "little") + b"{}", "no camshaft engine"),
        (lambda d: (8).to_bytes(8, "little") + b"{" * 8, "header is damaged"),
        (lambda d: (90000).to_bytes(8, "little") + b'{"a":' * 18000, "header is damaged"),
        (lambda d: (8).to_bytes(8, "little") + b'{"a": 1}', "header is damaged"),
        (lambda d: rewritten(d, _meta(manifest="{}"), seal=False), "checksum does not match"),
        (lambda d: rewritten(d, _meta(format="pt")), "no camshaft engine"),
        (lambda d: rewritten(d, _meta(format_version="99")), "it has format 99"),
        (lambda d: rewritten(d, _meta(camshaft="0.0.1")), "built by camshaft 0.0.1"),
        (lambda d: rewritten(d, _meta(checksum=None), seal=False), "no checksum"),
        (lambda d: rewritten(d, _meta(manifest=None)), "holds no manifest"),
        (lambda d: rewritten(d, _meta(manifest="[1]")), "manifest: expected an object"),
        (lambda d: rewritten(d, _entry("weights/one", dtype="F99")), "'weights/one' is malf"),
        (lambda d: rewritten(d, _entry("weights/one", shape=[65])), "'weights/one' is malf"),
        (lambda d: rewritten(d, _entry("weights/one", shape=[-1])), "'weights/one' is malf"),
        (lambda d: rewritten(d, _entry("weights/one", shape="x")), "'weights/one' is malf"),
        (lambda d: rewritten(d, lambda h: h["weights/one"].pop("dtype")), "is malformed"),
        (lambda d: rewritten(d, lambda h: h.pop("code/runner"), seal=False), "checksum"),
        (lambda d: rewritten(d, _program(body={})), "is unsound: 4 notes for 0"),
        (lambda d: rewritten(d, _program(body=7)), "manifest.program.body: expected"),
    ],
)
def test_each_damage_is_one_clear_error(
    tmp_path: Path, saved: bytes, damage: Callable[[bytes], bytes], fault: str
) -> None:
    path = tmp_path / "bad.engine"
    path.write_bytes(damage(saved))
    with pytest.raises(EngineFileError) as caught:
        Engine.load(path)
    message = str(caught.value)
    assert fault in message and str(path) in message and "rebuild it" in message


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(EngineFileError, match="does not exist"):
        Engine.load(tmp_path / "none")
    with pytest.raises(EngineFileError, match="is a directory"):
        Engine.load(tmp_path)


def test_permission_errors_name_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*arguments: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(EngineFileError, match="change its permissions"):
        Engine.load(tmp_path / "e")


def _saved_with(path: Path, **changes: Any) -> None:
    engine = chain()
    manifest = replace(engine.manifest, fingerprint=fingerprint(**changes))
    code = {n: bytes(c) for n, c in engine._complete_code().items()}
    write_engine_file(path, manifest, engine._constants, code)


def test_an_engine_for_another_cpu_is_refused_but_can_be_read(tmp_path: Path) -> None:
    _saved_with(tmp_path / "e", target="z17", features=("avx1024", "hal9000"))
    with pytest.raises(
        EngineFileError, match=r"lacks avx1024, hal9000; .*rebuild it with `.* -o .*e`"
    ):
        Engine.load(tmp_path / "e")
    assert read_engine_file(tmp_path / "e").manifest.fingerprint.target == "z17"


def test_an_engine_for_another_backend_is_refused(tmp_path: Path) -> None:
    _saved_with(tmp_path / "e", driver="abacus")
    with pytest.raises(EngineFileError, match="backend 'abacus', which this camshaft lacks"):
        Engine.load(tmp_path / "e")


def test_code_without_its_symbol_is_refused(tmp_path: Path) -> None:
    engine = chain()
    code = {n: bytes(c) for n, c in engine._complete_code().items()}
    code["add"] = code["runner"]
    write_engine_file(tmp_path / "e", engine.manifest, engine._constants, code)
    with pytest.raises(EngineFileError, match="fadd"):
        Engine.load(tmp_path / "e")


@pytest.mark.parametrize("code", [b"", b"garbage" * 20, b"\x7fELF" + b"\0" * 100])
@pytest.mark.parametrize("name", ["add", "runner"])
def test_what_is_no_object_code_for_this_machine_is_refused(
    tmp_path: Path, name: str, code: bytes
) -> None:
    engine = chain()
    codes = {n: bytes(c) for n, c in engine._complete_code().items()}
    write_engine_file(tmp_path / "e", engine.manifest, engine._constants, {**codes, name: code})
    with pytest.raises(EngineFileError, match=f"object code '{name}' is not for this system"):
        Engine.load(tmp_path / "e")


def test_mutated_files_never_do_anything_but_raise_the_one_error(
    tmp_path: Path, saved: bytes
) -> None:
    """Random damage anywhere in the file, sealed with a right checksum every other time."""
    rng = np.random.default_rng(7)
    path = tmp_path / "e"
    length = 8 + int.from_bytes(saved[:8], "little")
    for round_ in range(600):
        data = bytearray(saved)
        for _ in range(int(rng.integers(1, 4))):
            end = length if round_ % 3 else len(data)
            at = int(rng.integers(end))
            data[at] = int(rng.integers(256))
        if round_ % 5 == 0:
            data = data[: int(rng.integers(len(data)))]
        if bytes(data) == saved:
            continue
        path.write_bytes(data)
        with pytest.raises(EngineFileError):
            read_engine_file(path)


def _mutated(value: Any, rng: np.random.Generator) -> Any:
    """JSON data with one random place replaced by something else."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[int(rng.integers(len(keys)))]
        changed = value.copy()
        if rng.random() < 0.1:
            del changed[key]
        else:
            changed[key] = _mutated(value[key], rng)
        return changed
    junk = [None, -1, 0, 1, 2**31, 2**70, 1.5, "", "x", "arena", [], {}, [1], True, -(2**40), 255]
    return junk[int(rng.integers(len(junk)))]


def test_mutated_manifests_with_a_right_checksum_are_refused_or_sound(
    tmp_path: Path, saved: bytes
) -> None:
    """What passes must be a program whose every pointer was checked; nothing is run here."""
    rng = np.random.default_rng(8)
    path = tmp_path / "e"
    refused = 0
    for _ in range(400):

        def change(header: dict[str, Any]) -> None:
            manifest = json.loads(header["__metadata__"]["manifest"])
            header["__metadata__"]["manifest"] = json.dumps(_mutated(manifest, rng))

        path.write_bytes(rewritten(saved, change))
        try:
            contents = read_engine_file(path)
            Engine(contents.manifest, contents.constants, contents.code)
        except (EngineFileError, BuildError):
            refused += 1
    assert refused > 200


def test_mutated_headers_with_a_right_checksum_are_refused_or_sound(
    tmp_path: Path, saved: bytes
) -> None:
    rng = np.random.default_rng(9)
    path = tmp_path / "e"
    body = saved[8 + int.from_bytes(saved[:8], "little") :]
    for _ in range(400):
        header = header_of(saved)
        metadata = header.pop("__metadata__")
        metadata["checksum"] = "0" * 64
        header = _mutated(header, rng)
        if isinstance(header, dict):
            header["__metadata__"] = metadata
        text = json.dumps(header, separators=(",", ":")).encode()
        head = len(text).to_bytes(8, "little") + text
        path.write_bytes(head + body)
        parsed = header if isinstance(header, dict) else {}
        entries = {k: v for k, v in parsed.items() if k != "__metadata__" and isinstance(v, dict)}
        digest = engine_file._tree_of(head, memoryview(body), entries)
        sealed = head.replace(b"0" * 64, digest.encode() or b"0" * 64)
        path.write_bytes(sealed + body)
        try:
            contents = read_engine_file(path)
        except EngineFileError:
            continue
        for array in contents.constants.values():
            array.tobytes()


def test_the_digest_sees_every_byte_and_every_boundary() -> None:
    rng = np.random.default_rng(0)
    big = rng.integers(0, 256, (9 << 20) + 5, dtype=np.uint8).tobytes()
    whole = tree_digest([b"head", big])
    assert whole == tree_digest([b"head", memoryview(big)])
    for at in (0, 4 << 20, (4 << 20) - 1, len(big) - 1):
        assert tree_digest([b"head", _flip(big, at)]) != whole
    assert tree_digest([b"ab", b"c"]) != tree_digest([b"a", b"bc"])
    assert tree_digest([b"abc", b""]) != tree_digest([b"abc"])


def test_an_engine_goes_through_bytes_and_open_files(tmp_path: Path) -> None:
    engine = chain()
    engine.attached["note"] = b"of who made it"
    data = engine.to_bytes()
    assert engine.save(tmp_path / "e") == len(data)
    assert (tmp_path / "e").read_bytes() == data
    with (tmp_path / "f").open("wb") as file:
        assert engine.save(file) == len(data)
    with (tmp_path / "f").open("rb") as file:
        again = Engine.load(file)
    for loaded in (
        again,
        *map(Engine.load, (data, bytearray(data), memoryview(data), tmp_path / "e")),
    ):
        assert loaded.attached == {"note": b"of who made it"}
        assert loaded.to_bytes() == data
        for name, found in loaded(X).items():
            np.testing.assert_array_equal(found, engine(X)[name])


@pytest.mark.parametrize(("data", "said"), [(b"", "it is empty"), (b"1234", "cut off after 4")])
def test_bytes_that_are_no_engine_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(EngineFileError, match=f"the engine in memory: .*{said}"):
        Engine.load(data)
