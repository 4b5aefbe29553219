"""Messages of the command line speak of its own options."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import onnx
import pytest

import camshaft
from camshaft.cli.options import BuildOptions
from camshaft.cli.quantize import quantize
from camshaft.cli.spelling import OPTIONS, as_typed
from camshaft.config import BuildConfig
from cli_models import QUICK, call, complaint
from decoders import decoder
from traced_decoders import traced


@pytest.mark.parametrize(
    ("python", "typed"),
    [
        ("say shapes={'x': (None, \"p=0..64\", 8)}", "say --shapes x:?xp=0..64x8"),
        ("shapes={'x': ('max_len',), 'y.{0}': (None, 3)}", "--shapes x:max_len/,y.{0}:?x3"),
        ("give shapes={'x': [...]}; or values={'n': ...}", "give --shapes x:...; or --values n=..."),
        ("with shapes={input: [...]}", "with --shapes INPUT:..."),
        ("state={'past.*': 'present.*'}: no", "--state past.*=present.*: no"),
        ("state= pairs input 'state=x'", "--state pairs input 'state=x'"),
        ("wider (shapes= or profiles=), where", "wider (--shapes or --profile), where"),
        ("profiles[...]['x'] says, shapes['x'] says", "--profile of 'x' says, --shapes of 'x' says"),
        ("profiles[0]['x'], axis 1: least", "--profile of 'x', axis 1: least"),
        ("layer_precision['fc'] is 'int9'", "--layer-precisions of 'fc' is 'int9'"),
        ("add precision={'int8'}", "add --int8"),
        ("weight_only='int4' or optimization_level=1", "--weight-only int4 or --level 1"),
        ("weight_block is 3, must be", "--weight-block is 3, must be"),
        ("skip_padding is True, but", "--skip-padding is given, but"),
        ("calibrator 'x' is unknown", "--calibrator 'x' is unknown"),
        ("evaluate=: give evaluate= or metric='noise'; say max_drop", "--evaluate: give --evaluate or --metric noise; say --max-drop"),
        ("give a function (decode=)", "give a function (--decode)"),
        ("metric 'x' is unknown", "--metric 'x' is unknown"),
        ("threads is 0, must be", "--threads is 0, must be"),
        ("state 'past' would be 70 long", "state 'past' would be 70 long"),
        ("input 'weight_only' of /tmp/timing_cache.bin", "input 'weight_only' of /tmp/timing_cache.bin"),
        ("--shapes: 'x:values=1' and target=1..8", "--shapes: 'x:values=1' and target=1..8"),
    ],
)  # fmt: skip
def test_messages_are_spelled_as_typed(python: str, typed: str) -> None:
    assert as_typed(python) == typed


def test_every_argument_has_an_option_that_exists() -> None:
    """Each says its own names, or is called like its field."""
    names = [f.name for f in fields(BuildOptions)] + list(inspect.signature(quantize).parameters)
    known = {f"--{name.replace('_', '-')}" for name in names}
    for hint in get_type_hints(BuildOptions, include_extras=True).values():
        known.update(d for m in hint.__metadata__ for d in getattr(m, "param_decls", ()) or ())
    assert set(OPTIONS.values()) <= known
    arguments = {f.name for f in fields(BuildConfig)} - {"precision", "progress", "select_kernels"}
    more = set(inspect.signature(camshaft.quantize).parameters) - {"model", "config", "options"}
    assert set(OPTIONS) == arguments | more


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spelling") / "decoder.onnx"
    onnx.save(decoder("operator"), path)
    return path


STATE = ("--state", "past.*=present.*")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (STATE, "--state pairs input 'past.0.key'"),
        (("--state", "past.*=present"), "--state past.*=present: what a *"),
        (("--state", "pest.*=present.*"), "--state pest.*=present.*: the model has no such input"),
        (("--state", "past.*=prescient.*"), "--state past.*=prescient.*: the model has no output"),
        (("--state", "past.*=present.0.key"), "--state past.*=present.0.key: what a *"),
        (("--state", "x=present.0.key"), "--state pairs input 'x'"),
        (("--weight-block", "3"), "--weight-block is 3"),
        (("--calibrator", "best"), "--calibrator 'best' is unknown"),
        (("--layer-precisions", "o.0:int8"), "add --int8"),
        (("--shapes", "x:1x2"), "--shapes of 'x' has rank 2"),
    ],
)
def test_mistakes_are_told_in_options(model: Path, options: tuple[str, ...], said: str) -> None:
    told = call("build", model, *QUICK, *options, code=2).stderr.splitlines()[-1]
    assert told.startswith("error: ") and said in told
    for python in ("shapes=", "state=", "{", "None", "values=", "["):
        assert python not in told.replace("f32[", "").replace("i64[", ""), told


def test_the_remedy_of_a_state_without_a_range_can_be_typed(model: Path) -> None:
    told = complaint("build", model, *QUICK, *STATE, code=2)
    option = told.split("such as ")[1].split()
    assert option[0] == "--shapes"
    shapes = option[1].replace("past.0.key", "past.*").replace("2048", "64")
    call("build", model, *QUICK, *STATE, "--shapes", shapes)


def test_one_size_of_two_names_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(traced(mask_batch="s43"), path)
    told = call("build", path, *QUICK).stderr
    assert "run in Python" in told and "give them one name, --shapes mask:batchx?" in told
    option = told.split("one name, ")[1].split()[:2]
    told = call("build", path, *QUICK, *option).stderr
    assert "Python" not in told and "one name" not in told
