"""`camshaft reduce`: the smallest part of a model that still fails."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from camshaft.cli.arrays import Given
from camshaft.cli.failing import build_check, feeds_for, refuse_other_faults
from camshaft.cli.files import READ, WRITTEN, require_apart
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import JsonTarget, Output, require_writable, write_bytes
from camshaft.cli.progress import Bars
from camshaft.cli.run import InputArchive, InputFiles, Seed
from camshaft.compare import files
from camshaft.compare.others import check_other
from camshaft.compare.reduction.check import INPUTS, MODEL, Check, Rule, command_words
from camshaft.compare.reduction.reduce import MOST_CHECKS, Reduced, reduce_model
from camshaft.compare.reduction.source import Candidate
from camshaft.errors import ConfigError, ModelError
from camshaft.feeds import archive
from camshaft.frontends.onnx.model import load_model
from camshaft.report.words import size

_CHECK = "Check options"


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_CHECK, **more)


Command = Annotated[
    str | None,
    _option(
        "--check",
        help=f"Command that exits with something else than 0 for a model that fails; {MODEL} in it is the file, {INPUTS} an "
        ".npz of its inputs. Default: camshaft compare with the build options given, which must fail in the same way.",
        metavar="COMMAND",
    ),
]
Codes = Annotated[
    list[int] | None,
    _option(
        "--fail-code", "--fail-returncode", help="Exit code that alone counts; may be repeated."
    ),
]
IgnoredCodes = Annotated[
    list[int] | None,
    _option(
        "--ignore-fail-code",
        "--ignore-fail-returncode",
        help="Exit code that does not count; may be repeated.",
    ),
]
Patterns = Annotated[
    list[str] | None,
    _option(
        "--fail-regex",
        help="Regular expression that the check's output must match, one of several; without --fail-code the exit code "
        "says nothing then.",
    ),
]
TimeLimit = Annotated[
    float,
    _option("--timeout", help="Seconds of one check; more counts as failing.", min=0.001),
]
MostChecks = Annotated[
    int, _option("--max-checks", help="Checks after which the smallest so far is taken.", min=1)
]
Tolerance = Annotated[
    float | None,
    _option("--tolerance", help="As of compare, for the default check.", min=0.0),
]


@takes_build_options
def reduce(
    model: Annotated[Path, typer.Argument(help="ONNX file.", metavar="MODEL"), READ],
    build: BuildOptions,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="ONNX file of the small model."), WRITTEN
    ],
    save_inputs: Annotated[
        Path | None,
        typer.Option("--save-inputs", help="Its inputs, an .npz file; default: beside it."),
        WRITTEN,
    ] = None,
    check: Command = None,
    fail_code: Codes = None,
    ignore_fail_code: IgnoredCodes = None,
    fail_regex: Patterns = None,
    timeout: TimeLimit = 600.0,
    max_checks: MostChecks = MOST_CHECKS,
    tolerance: Tolerance = None,
    other: Annotated[
        str,
        typer.Option("--against", "--with", help="onnxruntime, or reference (ONNX's own; slow)."),
    ] = "onnxruntime",
    input: InputFiles = None,
    inputs: InputArchive = None,
    seed: Seed = 0,
    json: JsonTarget = None,
) -> None:
    """Cut a model that fails down to the smallest that fails still."""
    shown = Output(json)
    check_other(other)
    targets = _targets(model, output, save_inputs)
    rule = Rule(fail_code or (), ignore_fail_code or (), fail_regex or ())
    if check is None:
        checked = build_check(build, other, tolerance, rule, timeout, shown)
    elif tolerance is not None:
        raise ConfigError("--tolerance is of the default check; --check says itself what fails")
    else:
        words = command_words(check)
        checked = Check(lambda _: words, rule, timeout)
    proto, feeds = feeds_for(load_model(model), build, Given(input, inputs), seed, shown)
    with Bars() as bars:

        def tell(stage: str, checks: int, smaller: Candidate | None) -> None:
            if check is None and checks == 1:
                refuse_other_faults(checked, other)
            bars(f"reducing {stage}", checks, max_checks)
            if smaller is not None and checks > 1:
                _write(smaller, *targets)

        found = reduce_model(
            proto, feeds, checked.fails, other=other, most_checks=max_checks, tell=tell
        )
    if found is None:
        _tell_that_it_does_not_fail(model, checked, shown)
        raise typer.Exit(1)
    _write(found.candidate, *targets)
    _show(found, checked, targets, shown)
    shown.data({"model": str(model), **_results(found, checked, targets)})


def _results(found: Reduced, checked: Check, targets: tuple[Path, Path]) -> dict[str, Any]:
    """As JSON types."""
    return {
        "output": str(targets[0]),
        "inputs": str(targets[1]),
        "nodes": found.candidate.nodes,
        "nodes_before": found.before,
        "operators": dict(Counter(n.op_type for n in found.candidate.model.graph.node)),
        "checks": found.checks,
        "complete": found.complete,
        "failure": "" if checked.first is None else checked.first.words,
        "command": _again(found.candidate, checked, targets),
    }


def _targets(model: Path, output: Path, inputs: Path | None) -> tuple[Path, Path]:
    """Where the model and its inputs go; ConfigError if they cannot go there."""
    if output.suffix != ".onnx":
        raise ConfigError(f"--output {str(output)!r} is to hold an ONNX model: call it .onnx")
    named = inputs or output.with_suffix(".npz")
    if named.suffix != ".npz":
        raise ConfigError(f"--save-inputs {str(named)!r} is to hold all inputs: call it .npz")
    for path in (output, named):
        require_writable(path)
    require_apart("--save-inputs", named, [("MODEL", model), ("--output", output)])
    return output, named


def _write(candidate: Candidate, output: Path, inputs: Path) -> None:
    if files.weight_bytes(candidate.model) > files.LARGEST:
        return  # no file holds it; what is cut further may
    write_bytes(output, candidate.model.SerializeToString())
    write_bytes(inputs, archive(candidate.feeds))


def _again(candidate: Candidate, checked: Check, targets: tuple[Path, Path]) -> list[str]:
    """The words of the command that shows the failure on the files written."""
    files = {MODEL: str(targets[0]), INPUTS: str(targets[1])}
    words = list(checked.words(candidate))
    if words[:3] == [sys.executable, "-m", "camshaft"]:
        words = words[2:]
    for mark, path in files.items():
        words = [w.replace(mark, path) for w in words]
    return words


def _tell_that_it_does_not_fail(model: Path, checked: Check, shown: Output) -> None:
    assert checked.first is not None
    shown.line(f"{model} does not fail: the check {checked.first.words}; nothing was written")
    for line in checked.first.output.splitlines()[-3:]:
        shown.line(f"  {line}")
    shown.data({"model": str(model), "output": None, "failure": None})


def _show(found: Reduced, checked: Check, targets: tuple[Path, Path], shown: Output) -> None:
    if files.weight_bytes(found.candidate.model) > files.LARGEST:
        raise ModelError(
            f"the smallest model found has {size(files.weight_bytes(found.candidate.model))} of weights, more than one ONNX "
            "file holds; allow more checks with --max-checks"
        )
    if found.remark:
        shown.note(f"parts were checked on random values, since {found.remark}")
    operators = Counter(n.op_type for n in found.candidate.model.graph.node)
    said = ", ".join(f"{n} {op}" for op, n in operators.most_common(8))
    shown.line(f"nodes    {found.before} before, {found.candidate.nodes} now: {said}")
    ended = "" if found.complete else "; more (--max-checks) may find a smaller one"
    shown.line(f"checks   {found.checks}{ended}")
    if checked.first is not None:
        shown.line(f"failure  the check {checked.first.words}")
        for line in checked.first.output.splitlines()[-2:]:
            shown.line(f"         {line}")
    shown.line(f"model    {targets[0]} ({size(targets[0].stat().st_size)}), inputs {targets[1]}")
    shown.line(f"again    {shlex.join(_again(found.candidate, checked, targets))}")
