"""Manifests that say something else than the code was made for, with a right checksum: an error when
the file is loaded, or a program that keeps to its memory."""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft import CamshaftError, EngineFileError
from camshaft.program.check import check_program
from camshaft.runtime.file.engine_file import read_engine_file
from decoders import MOST, SHAPES, STATE, decoder
from engine_files import header_of, rewritten
from value_models import small_model

SIZES = [(1, 1), (3, 4), (17, 9), (64, 70)]
BODY = "t = MatMul(x, w) s = Softmax(t) u = Transpose(s) y = Add(u, b)"


def feeds(n: int, k: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    shapes = {"x": (n, 4), "w": (4, k), "b": (k, n)}
    return {name: rng.standard_normal(s).astype(np.float32) for name, s in shapes.items()}


@cache
def saved(is_open: bool) -> bytes:
    """The file of an engine of open, or of fixed, sizes."""
    n, k = ("n", "k") if is_open else SIZES[1]
    model = small_model(BODY, f"float[{n},4] x, float[4,{k}] w, float[{k},{n}] b", "float[p,q] y")
    shapes = {"x": ("n=1..4..128", 4), "w": (4, "k=1..8..128")} if is_open else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.engine"
        camshaft.build(model, shapes=shapes, optimization_level=1, threads=1).save(path)
        return path.read_bytes()


def manifest_of(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(header_of(data)["__metadata__"]["manifest"])
    return found


def with_manifest(data: bytes, manifest: dict[str, Any]) -> bytes:
    text = json.dumps(manifest, separators=(",", ":"))
    return rewritten(data, lambda header: header["__metadata__"].update(manifest=text))


def edits(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    program = manifest["program"]

    def edited(at: list[Any], value: Any) -> dict[str, Any]:
        changed = copy.deepcopy(manifest)
        place = changed["program"]
        for key in at[:-1]:
            place = place[key]
        place[at[-1]] = value
        return changed

    for i, instruction in enumerate(program["body"]["instructions"]):
        at = ["body", "instructions", i, "launch"]
        launch = instruction["launch"]
        for what in ("views", "dims"):
            held = launch.get(what, [])
            for j in range(len(held)):
                yield edited([*at, what], held[:j] + held[j + 1 :])
                yield edited([*at, what], [*held, held[j]])
            yield edited([*at, what], held[::-1])
        for j in range(len(launch.get("dims", []))):
            for number in (2**63, 10**30, "*".join(["n"] * 400), 7):
                yield edited([*at, "dims", j], number)
        yield edited([*at, "dims"], [*launch.get("dims", []), 3])
        for other in range(len(program["kernels"])):
            yield edited([*at, "kernel"], other)
    for i in range(len(program.get("symbols", []))):
        for high in (256, 2**40, None):
            yield edited(["symbols", i, "high"], high)
        yield edited(["symbols", i, "low"], 0)
    for i in range(len(program["arena"].get("slots", []))):
        for offset in (2**64, 2**40, -64):
            yield edited(["arena", "slots", i, "offset"], offset)
    yield edited(["arena", "nbytes"], 2**40)


@pytest.mark.parametrize("is_open", [True, False])
def test_each_edit_is_an_error_or_a_sound_program(is_open: bool, tmp_path: Path) -> None:
    data, path = saved(is_open), tmp_path / "e.engine"
    tried = refused = 0
    for changed in edits(manifest_of(data)):
        tried += 1
        path.write_bytes(with_manifest(data, changed))
        try:
            engine = camshaft.load(path)
        except EngineFileError:
            refused += 1
            continue
        for size in SIZES:
            with contextlib.suppress(CamshaftError):
                assert engine(feeds(*size))["y"].shape == size[::-1]
    assert refused > tried // 2


def test_code_that_sets_sizes_serves_no_other_sizes(tmp_path: Path) -> None:
    """Where the program by itself is sound."""
    data, path = saved(is_open=True), tmp_path / "e.engine"
    manifest = manifest_of(data)
    manifest["program"]["symbols"][0]["high"] += 1
    path.write_bytes(with_manifest(data, manifest))
    contents = read_engine_file(path)
    nbytes = {name: array.nbytes for name, array in contents.constants.items()}
    check_program(contents.manifest.program, nbytes, contents.code)
    with pytest.raises(EngineFileError, match=r"its code cannot be used: .*set_shape"):
        camshaft.load(path)


def state_edits(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Of the first state: each field; and without what bounds it."""
    state = manifest["program"]["states"][0]
    dtype, shape = state["type"]
    changes: list[dict[str, Any]] = [{"capacity": n} for n in (0, 7, MOST + 1, 2**40, -1)]
    changes += [{"axis": n} for n in (0, 3, 9, -1)]
    changes += [{"type": ["f64", shape]}, {"type": [dtype, shape[1:]]}, {"name": "x"}]
    changes += [{"after": after} for after in (shape[1:], [*shape[:3], 17], [4, *shape[1:]])]
    for change in changes:
        changed = copy.deepcopy(manifest)
        changed["program"]["states"][0].update(change)
        yield changed
    for field in ("constraints", "states"):
        changed = copy.deepcopy(manifest)
        changed["program"][field] = changed["program"][field][1:]
        yield changed
    changed = copy.deepcopy(manifest)
    del changed["program"]["states"][0]["axis"]
    yield changed


def test_states_are_what_the_code_was_made_for(tmp_path: Path) -> None:
    path = tmp_path / "e.engine"
    model, options = decoder("operator"), {"optimization_level": 1, "threads": 1}
    camshaft.build(model, shapes=SHAPES, state=STATE, **options).save(path)
    data = path.read_bytes()
    for changed in state_edits(manifest_of(data)):
        path.write_bytes(with_manifest(data, changed))
        with pytest.raises(EngineFileError):
            camshaft.load(path)
