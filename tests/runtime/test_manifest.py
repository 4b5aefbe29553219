"""Manifests: JSON there and back, strict decoding."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import f32
from camshaft.program.program import Arena, Expanded, Launch, Phase, Program, Slot
from camshaft.program.view import Buffer, View
from camshaft.runtime.file.codec import manifest_from_json, manifest_to_json
from camshaft.runtime.file.manifest import Manifest
from runtime_programs import chain


def _manifest() -> Manifest:
    """One with something in every field but `symbols`."""
    manifest = chain(length=4, host_at=1).manifest
    first, *rest = manifest.program.instructions
    assert isinstance(first, Launch) and first.views[0] is not None
    first = replace(first, waits=False, dims=(3, 4), views=(*first.views, None))
    strided = replace(first.views[0], offset=8, shape=(4, 2), strides=(1, 8))
    body = replace(manifest.program.body, instructions=(first, *rest, Launch(0, (strided,))))
    expanded = (Expanded("large", "one", 512, "add", Phase("fadd", 1)),)
    program = replace(manifest.program, body=body, expanded=expanded)
    notes = tuple(
        replace(n, params=(("rows", 7), ("fast", True), ("order", "a")), time_us=1.5)
        for n in manifest.notes
    )
    return replace(manifest, program=program, notes=notes)


MANIFEST = _manifest()


def test_json_round_trip_keeps_everything_and_is_deterministic() -> None:
    text = manifest_to_json(MANIFEST)
    assert manifest_from_json(text) == MANIFEST
    assert manifest_to_json(manifest_from_json(text)) == text
    assert text.isascii()


def _symbolic() -> Program:
    """y = x + x for n rows of 16, through a buffer of n rows that lies above another."""
    n = Symbol("n", 2, 4, 64)
    rows = extent_of(n)
    buffers = tuple(Buffer(name, f32, rows * 16) for name in ("low", "high"))
    view = View(buffers[1], rows * 8, (rows, 4), (16, 1))
    program = chain().program
    return replace(
        program,
        buffers=(*program.buffers, *buffers),
        body=replace(program.body, instructions=(Launch(0, (view,), (rows, rows // 2 + 1)),)),
        arena=Arena((Slot(buffers[0], 0), Slot(buffers[1], 256, (0,))), 512, 512),
        symbols=(n,),
    )


def test_symbolic_extents_are_written_as_text() -> None:
    manifest = replace(MANIFEST, program=_symbolic(), notes=MANIFEST.notes[:1])
    text = manifest_to_json(manifest)
    assert (
        '{"launch":{"kernel":0,"views":[[6,"8*n",["n",4],[16,1]]],"dims":["n","(n//2) + 1"]}}'
        in text
    )
    assert manifest_from_json(text) == manifest
    assert manifest_to_json(manifest_from_json(text)) == text


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"8*n"', '"8*m"', "views[0]: '8*m' is no extent of n"),
        ('"8*n"', '"n*8"', "'n*8' is not how 8*n is written"),
        ('"8*n"', '"3 + 4"', "is not how 7 is written"),
        ('"8*n"', '"__import__(1)"', "is no extent"),
        ('"8*n"', "1.5", "expected int or an expression"),
        ('{"name":"n"', '{"name":"1"', "named by letters"),
        ('"low":2', '"low":9', "do not ascend"),
        ('"high":64', '"high":2', "do not ascend"),
    ],
)
def test_decoding_names_a_wrong_extent(old: str, new: str, complaint: str) -> None:
    manifest = replace(MANIFEST, program=_symbolic(), notes=MANIFEST.notes[:1])
    text = manifest_to_json(manifest)
    assert old in text
    with pytest.raises(ValueError) as caught:
        manifest_from_json(text.replace(old, new, 1))
    assert complaint in str(caught.value)


LAUNCH = ("program", "body", "instructions", 0, "launch")


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ((*LAUNCH, "views", 0), [0, 0], "instructions[0].launch.views[0]: expected [buffer"),
        ((*LAUNCH, "views", 0, 1), None, "expected int or an expression"),
        ((*LAUNCH, "views", 0, 1), True, "expected int or an expression"),
        ((*LAUNCH, "views", 0, 0), 99, "buffer 99 of 5"),
        ((*LAUNCH, "views", 0), [0, 0, [64], [1]], "row-major are left out"),
        ((*LAUNCH, "kernel"), 0.0, "launch.kernel: expected int"),
        ((*LAUNCH, "color"), 1, "unknown field 'color'"),
        ((*LAUNCH[:-1], "jump"), {}, "expected an object with one of launch, hostcall"),
        (("program", "buffers", 0, 0), "disk", "'disk' is none of"),
        (("program", "buffers", 0, 2), "f33", "unknown element type 'f33'"),
        (("program", "buffers"), {}, "program.buffers: expected a list"),
        (("program", "arena", "nbytes"), None, "program.arena.nbytes: expected int"),
        (("program", "inputs", 0, "type"), ["f33", [1]], "unknown element type 'f33'"),
        (("program", "kernels"), {}, "program.kernels: expected a list"),
        (("notes", 0, "params"), [["rows", 1.5]], "manifest.notes[0].params[0]"),
        (("fingerprint", "format"), "1", "manifest.fingerprint.format"),
    ],
)
def test_decoding_names_the_wrong_field(path: tuple, value: object, complaint: str) -> None:
    data = json.loads(manifest_to_json(MANIFEST))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError) as caught:
        manifest_from_json(json.dumps(data))
    assert complaint in str(caught.value)


@pytest.mark.parametrize("field", ["body", "buffers", "inputs"])
def test_decoding_names_a_missing_field(field: str) -> None:
    data = json.loads(manifest_to_json(MANIFEST))
    del data["program"][field]
    with pytest.raises(ValueError, match=f"'{field}' is missing"):
        manifest_from_json(json.dumps(data))


def test_deeply_nested_text_is_refused() -> None:
    with pytest.raises(ValueError):
        manifest_from_json("[" * 100_000)
