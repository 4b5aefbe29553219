"""The build options that commands share, named after trtexec's where it has them.

`BuildOptions` is the one list of them: `takes_build_options` puts its fields into a command's
signature, and `BuildOptions.config` turns what was typed into a `BuildConfig`.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from camshaft.cli.files import READ, WRITTEN, check_apart
from camshaft.cli.shapes import pairs, said_shapes, said_states, said_values, typed_profiles
from camshaft.config import CALIBRATORS, CONSTRAINTS, BuildConfig, Progress
from camshaft.cpus import available_cpus
from camshaft.errors import CalibrationError, ConfigError

_BUILD, _INT8 = "Build options", "INT8 options"
_DEFAULTS = BuildConfig()


def _option(*names: str, help: str, panel: str = _BUILD, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar)


@dataclass(frozen=True)
class BuildOptions:
    """Build options as typed; None or empty where not given.  Fields are command line options."""

    shapes: Annotated[
        list[str] | None,
        _option(
            "--shapes",
            help="Input shapes, for what the model leaves open: fixed, or with names and ranges "
            "(batch=1..16x3x224x224, or batch/max_len=1..512 where a name holds an x); ? for what the model says. Of an "
            "engine: sizes of random inputs.",
            metavar="X:1x3x224x224,...",
        ),
    ] = None
    profile: Annotated[
        list[str] | None,
        _option(
            "--profile",
            help="Least, typical and most sizes to tune for; may be repeated.",
            metavar="X:1..4..16x3x224x224,...",
        ),
    ] = None
    min_shapes: Annotated[
        list[str] | None,
        _option(
            "--min-shapes",
            help="The same as three options; the n-th of each belong together.",
            metavar="X:1x3x224x224,...",
        ),
    ] = None
    opt_shapes: Annotated[
        list[str] | None,
        _option("--opt-shapes", help="Typical shapes.", metavar="X:4x3x224x224,..."),
    ] = None
    max_shapes: Annotated[
        list[str] | None,
        _option("--max-shapes", help="Largest shapes.", metavar="X:16x3x224x224,..."),
    ] = None
    values: Annotated[
        list[str] | None,
        _option(
            "--values",
            help="Values of an input, known before any run, which decide shapes and branches; or "
            "ranges, as of shapes, of an input whose elements say sizes. May be repeated. Of an "
            "engine: numbers that its integer and bool inputs hold in this run.",
            metavar="X=16000|1..8,64",
        ),
    ] = None
    state: Annotated[
        list[str] | None,
        _option(
            "--state",
            help="An input that takes what an output left in the call before, as keys and values of earlier tokens: "
            "each context keeps it. A * is the same text in both names. May be repeated.",
            metavar="PAST.*=PRESENT.*",
        ),
    ] = None
    threads: Annotated[
        int | None,
        _option("--threads", "-t", help="Threads to tune for and to run with; default: all CPUs."),
    ] = None
    goal: Annotated[
        str | None,
        _option(
            "--goal",
            help="latency (default): one answer soon; throughput: most answers, by streams that share --threads.",
        ),
    ] = None
    level: Annotated[
        int | None,
        _option(
            "--level",
            "--optimization-level",
            "--builder-optimization-level",
            help=f"0 (no fusion) to 5 (longest search); default {_DEFAULTS.optimization_level}.",
        ),
    ] = None
    time_budget: Annotated[
        float | None, _option("--time-budget", help="Seconds after which tuning stops.")
    ] = None
    memory_budget: Annotated[
        float | None,
        _option(
            "--memory-budget",
            help="Memory that trying kernels may take besides the model.",
            metavar="MIB",
        ),
    ] = None
    timing_cache: Annotated[
        Path | None,
        _option("--timing-cache", help="File of measured kernels, read and added to."),
        WRITTEN,
    ] = None
    frozen_cache: Annotated[
        bool,
        _option("--frozen-cache", help="Measure nothing: a missing cache entry is an error."),
    ] = False
    error_budget: Annotated[
        float | None,
        _option(
            "--error-budget",
            help="Most that Winograd may move an output, relative to its range. Default: 1e-4.",
        ),
    ] = None
    workspace: Annotated[
        float | None,
        _option("--workspace", help="Most scratch memory of one kernel.", metavar="MIB"),
    ] = None
    target: Annotated[
        str | None, _option("--target", help="Machine to compile for; default: this one.")
    ] = None
    weight_only: Annotated[
        str | None,
        _option(
            "--weight-only",
            help="Round the weights of matrix products to so few bits, which stay so in file and memory.",
            metavar="int4|int8",
        ),
    ] = None
    weight_block: Annotated[
        int | None,
        _option(
            "--weight-block",
            help=f"Weights that share a scale; default {_DEFAULTS.weight_block}.",
        ),
    ] = None
    weight_zero_points: Annotated[
        bool, _option("--weight-zero-points", help="Blocks of weights share a zero point too.")
    ] = False
    skip_padding: Annotated[
        bool | None,
        _option(
            "--skip-padding/--no-skip-padding",
            help="Leave out rows that a mask or lengths say are padding; rows of outputs that are become 0. Default: "
            "where no output depends on them.",
        ),
    ] = None
    bf16: Annotated[bool, _option("--bf16", help="Permit BF16.")] = False
    fp16: Annotated[bool, _option("--fp16", help="Permit FP16.")] = False
    int8: Annotated[bool, _option("--int8", help="Permit INT8.", panel=_INT8)] = False
    calibration: Annotated[
        Path | None,
        _option(
            "--calibration",
            "--calib",
            help="Calibration data: an .npz (or, for one input, .npy) file, or a folder of them.",
            panel=_INT8,
        ),
        READ,
    ] = None
    calibrator: Annotated[
        str | None,
        _option("--calibrator", help=f"{', '.join(CALIBRATORS)}.", panel=_INT8),
    ] = None
    percentile: Annotated[
        float | None,
        _option("--percentile", help="Of |x|, for auto and percentile.", panel=_INT8),
    ] = None
    calibration_cache: Annotated[
        Path | None,
        _option(
            "--calibration-cache",
            help="File of ranges in TensorRT's format: read, or written with calibration data.",
            panel=_INT8,
        ),
        WRITTEN,
    ] = None
    dynamic_ranges: Annotated[
        Path | None,
        _option(
            "--dynamic-ranges",
            help=r"JSON file {tensor: amax or \[min, max]}; wins over calibration.",
            panel=_INT8,
        ),
        READ,
    ] = None
    layer_precisions: Annotated[
        list[str] | None,
        _option(
            "--layer-precisions",
            help="Precision of single layers.",
            panel=_INT8,
            metavar="LAYER:fp32|bf16|fp16|int8,...",
        ),
    ] = None
    layer_output_types: Annotated[
        list[str] | None,
        _option(
            "--layer-output-types",
            help="Types of what single layers give; of an output of the model, the engine's.",
            panel=_INT8,
            metavar="LAYER:fp32|bf16|fp16,...",
        ),
    ] = None
    precision_constraints: Annotated[
        str | None,
        _option(
            "--precision-constraints",
            help="What is asked of single layers is an order (obey, the default), a wish (prefer: a warning where it "
            "cannot be) or a hint (fastest: time decides).",
            panel=_INT8,
            metavar="|".join(CONSTRAINTS),
        ),
    ] = None
    strongly_typed: Annotated[
        bool,
        _option(
            "--strongly-typed",
            help="Obey the types of the model's own tensors, half floats and Q/DQ nodes.",
        ),
    ] = False
    refittable: Annotated[
        bool, _option("--refittable", help="The engine's weights can be exchanged later (refit).")
    ] = False
    portable: Annotated[
        bool,
        _option(
            "--portable",
            help="The engine carries its model, and builds itself anew on another kind of machine.",
        ),
    ] = False
    noise_reduction: Annotated[
        bool,
        _option(
            "--noise-reduction/--no-noise-reduction",
            help="Keep pools and elementwise layers behind the last convolution or product in FP32.",
            panel=_INT8,
        ),
    ] = True
    bias_correction: Annotated[
        bool,
        _option(
            "--bias-correction/--no-bias-correction",
            help="Take off biases what rounding weights adds; takes calibration data.",
            panel=_INT8,
        ),
    ] = True
    kernel_rounding: Annotated[
        bool,
        _option(
            "--kernel-rounding/--no-kernel-rounding",
            help="Round weights so that kernels keep their sums.",
            panel=_INT8,
        ),
    ] = True

    def given(self) -> list[str]:
        """The options that differ from their defaults, as typed, without `--threads`, `--shapes` and
        `--values`, which mean something for an engine too."""
        return [
            ("--no-" if getattr(self, f.name) is False else "--") + f.name.replace("_", "-")
            for f in fields(self)
            if f.name not in ("threads", "shapes", "values") and getattr(self, f.name) != f.default
        ]

    def words(self, leave_out: Collection[str] = ()) -> list[str]:
        """The options that differ from their defaults, as the words of a command line.  leave_out: fields."""
        hints = get_type_hints(BuildOptions, include_extras=True)
        found: list[str] = []
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in leave_out or value == f.default:
                continue
            info = next(i for i in get_args(hints[f.name]) if isinstance(i, OptionInfo))
            typed = [str(info.default), *(info.param_decls or ())]  # in an annotation it is a name
            name = next(n for n in typed if n.startswith("--"))
            if isinstance(value, bool):
                on, _, off = name.partition("/")
                found.append(on if value else off)
                continue
            for text in value if isinstance(value, list) else [value]:
                found += [name, str(text)]
        return found

    def config(self, progress: Progress | None = None) -> BuildConfig:
        """The BuildConfig; ConfigError names an option that cannot be understood."""
        given: dict[str, Any] = {
            "optimization_level": self.level,
            "goal": self.goal,
            "time_budget": self.time_budget,
            "timing_cache": self.timing_cache,
            "error_budget": self.error_budget,
            "workspace_limit": _bytes("--workspace", self.workspace),
            "memory_budget": _bytes("--memory-budget", self.memory_budget),
            "target": self.target,
            "weight_only": self.weight_only,
            "weight_block": self.weight_block,
            "skip_padding": self.skip_padding,
            "precision_constraints": self.precision_constraints,
            "calibrator": self.calibrator,
            "percentile": self.percentile,
            "calibration_cache": self.calibration_cache,
        }
        return BuildConfig(
            shapes=said_shapes("--shapes", self.shapes),
            profiles=typed_profiles(
                self.profile, self.min_shapes, self.opt_shapes, self.max_shapes
            ),
            values=said_values(self.values),
            state=said_states(self.state),
            precision=frozenset(p for p in ("bf16", "fp16", "int8") if getattr(self, p)),
            layer_precision=pairs("--layer-precisions", self.layer_precisions),
            layer_output_type=pairs("--layer-output-types", self.layer_output_types),
            strongly_typed=self.strongly_typed,
            refittable=self.refittable,
            portable=self.portable,
            dynamic_ranges=_ranges(self.dynamic_ranges),
            noise_reduction=self.noise_reduction,
            bias_correction=self.bias_correction,
            kernel_rounding=self.kernel_rounding,
            weight_zero_points=self.weight_zero_points,
            frozen_cache=self.frozen_cache,
            threads=available_cpus() if self.threads is None else self.threads,
            progress=progress,
            **{name: value for name, value in given.items() if value is not None},
        )


def takes_build_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one parameter for each field of BuildOptions in place of `build`.

    ConfigError before it begins if a file to be written is one that is read (`cli.files`).
    """
    hints = get_type_hints(BuildOptions, include_extras=True)
    own = inspect.signature(command, eval_str=True)
    kept = [p for p in own.parameters.values() if p.name != "build"]
    added = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name]
        )
        for f in fields(BuildOptions)
    ]

    @wraps(command)
    def wrapped(**arguments: Any) -> None:
        check_apart(parameters, arguments)
        build = BuildOptions(**{p.name: arguments.pop(p.name) for p in added})
        command(build=build, **arguments)

    parameters = [*kept, *added]
    del wrapped.__wrapped__  # or its signature would be seen instead
    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _bytes(option: str, mib: float | None) -> int | None:
    """An option in MiB as bytes."""
    if mib is None:
        return None
    if not 0 <= mib < math.inf:
        raise ConfigError(f"{option} is {mib:g} MiB; it must be a number of at least 0")
    return int(mib * (1 << 20))


def _ranges(path: Path | None) -> Mapping[str, float | tuple[float, float]]:
    if path is None:
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"--dynamic-ranges {str(path)!r}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CalibrationError(f"--dynamic-ranges {str(path)!r} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise CalibrationError(
            f"--dynamic-ranges {str(path)!r} holds no object; it must be {{tensor: amax, ...}}"
        )
    return {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
