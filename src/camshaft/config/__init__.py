"""BuildConfig: every option of a build in one frozen object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from camshaft.config import given
from camshaft.config.given import PRECISIONS
from camshaft.cpus import available_cpus
from camshaft.errors import ConfigError
from camshaft.ir.extents.said import Profile, Said, Value, profile_text, shape_text, value_text
from camshaft.program.program import MAX_THREADS

OUTPUT_TYPES = ("fp32", "bf16", "fp16")
CONSTRAINTS = ("obey", "prefer", "fastest")
WEIGHT_ONLY = ("int4", "int8")
CALIBRATORS = ("auto", "entropy2", "entropy", "minmax", "percentile", "mse")
Progress = Callable[[str, int, int], None]
KernelSelector = Callable[[Any], Iterable[int]]
_CALLED = {"progress": "(stage, done, total)", "select_kernels": "a KernelChoice"}
"""Options that are functions, and of what."""

_INTEGERS: tuple[tuple[str, int, int | None], ...] = (
    ("threads", 1, MAX_THREADS),
    ("optimization_level", 0, 5),
    ("workspace_limit", 0, None),
    ("weight_block", 8, None),
    ("memory_budget", 1, None),
)
"""Options that are whole numbers, with their least and largest value."""

GOALS = ("latency", "throughput")
_BY_LAYER = {"layer_precision": PRECISIONS, "layer_output_type": OUTPUT_TYPES}
_BESIDE_TYPES = (
    "precision", "layer_precision", "layer_output_type", "calibration_cache", "dynamic_ranges", "weight_only",
)  # fmt: skip
_SWITCHES = (
    "strongly_typed",
    "noise_reduction",
    "bias_correction",
    "kernel_rounding",
    "frozen_cache",
    "weight_zero_points",
    "portable",
)


@dataclass(frozen=True)
class BuildConfig:
    """Options of `camshaft.build`.  None for any of them means "not said": its default.

    shapes: input name -> shape, overriding what the model declares.  An extent is a number, a name
        ("batch"; equal names are equal sizes), a name with its range ("batch=1..16", "batch=1..",
        with the typical size "batch=1..4..16"), a range alone, or None for what the model says.
        Extents that stay open may have any size at run time; a size said is 2**40 at most.
    profiles: optimization profiles, each input name -> (least, typical, most) shape.  Sizes may lie
        between the least and the most of all profiles, which lie within what `shapes` and the
        model say; the engine is tuned for the typical ones of each.
    values: input name -> what is known of its values before any call.  Numbers (one, a list, an array)
        make the input a constant, which decides shapes and branches that depend on it; a call may leave
        it out.  An integer input whose elements are sizes may have ranges: for each element an extent as
        in `shapes`, or three lists, least, typical and most.
    state: input name -> output name: arrays that contexts keep from call to call, such as the keys and values of
        earlier tokens, {"past_key_values.*": "present.*"}; a `*` stands for the same text in both.
    precision: what is permitted beyond FP32, e.g. {"int8"} or {"bf16", "int8"}.  The fastest permitted choice
        wins, by the time of the whole graph.
    layer_precision: source layer name -> "fp32", "bf16", "fp16" or "int8", which `precision` must permit.
    layer_output_type: source layer name -> "fp32", "bf16" or "fp16": the type that what it gives is rounded to and stored
        in between layers; of an output of the model, the type of the engine's output.
    precision_constraints: what is asked of single layers is an order ("obey": an error where it cannot be), a wish
        ("prefer": as "obey" where it can be, else another precision and a remark), or a hint ("fastest": time decides
        as if it were not said; where nothing is timed, as "prefer").
    strongly_typed: whether the types of the model's own tensors are obeyed: half floats are rounded to and stored as
        such, Q/DQ nodes say what is INT8, and no option permits another type.
    refittable: whether the engine's weights can be exchanged later (`Engine.refit`): all, none, or those of these names.  Their
        numbers then decide nothing: what would be left out for a 0, or merged because it is equal, stays.
    portable: whether the engine carries the model, what calibration taught and the timings, so that its file is built anew where it
        is loaded on another kind of machine, or by another version of camshaft (see `camshaft.load`).
    calibrator: how ranges are chosen from calibration data (see CALIBRATORS); "auto" is "minmax" for
        what products of rows read and "percentile" for the rest.  "entropy2" is TensorRT's default,
        ADR 4 says why it is not camshaft's.
    percentile: of |x|, for the calibrators auto and percentile: all but the largest 1 in 100,000.
    calibration_cache: file of ranges (TensorRT's text format): read if it exists and no
        calibration data is given, written otherwise; a warning where no layer takes ranges.
    dynamic_ranges: tensor name -> amax or (min, max), set by hand; wins over calibration.
    noise_reduction: keep pools and elementwise layers behind the last convolution or product before float outputs in
        FP32, as TensorRT does for implicit quantization.
    bias_correction: take off each quantized convolution's bias what rounding weights and activations adds to
        the mean of its outputs.  It needs calibration data: ranges from a cache or set by hand
        come without the channel means that it is computed from.
    kernel_rounding: round weights up or down such that each kernel keeps its sum, instead of each
        to the nearest level.
    weight_only: "int4" or "int8": the weights of products of rows with constant matrices are rounded to
        so many bits, and stay so in file and memory; activations stay floats, or become 8 bits block by
        block where `precision` permits INT8.  Layers of fewer than 16384 weights, embeddings and
        convolutions are left alone; products that make an output get 8 bits.
    weight_block: how many neighbours in a row of such weights share a scale.  weight_zero_points:
        whether they share a zero point too.
    skip_padding: whether rows that a mask or lengths say are padding are left out of everything but attention.  None: where
        no output depends on them; True: also where outputs hold them, which are 0 then; False: never.
    optimization_level: 0 nothing but what correctness needs, heuristics instead of timing;
        1 fusions, heuristics; 2 times few candidates; 3 (default) times the usual candidates;
        4 and 5 more of them, more rounds.
    time_budget: seconds after which tuning takes the best found so far; None is unlimited.
    memory_budget: bytes that trying kernels may take besides the model and its weights; fewer layers are
        tried side by side, on fewer copies of their weights.  An error names a layer whose arrays
        are too large for it.  None: about 256 MiB, and what single layers need.
    timing_cache: file in which tuning results are kept; frozen_cache: a kernel that would have to be timed is an error.
    threads: number of threads to tune for.
    goal: "latency": one answer as soon as possible, by all threads; "throughput": as many answers as possible: how many streams of how
        many threads each, `threads` together, is measured, and what `StreamPool` does by default.
    error_budget: how far kernels that round more than a plain sum (Winograd F(4,3)) may move an output
        of a float net, relative to its range (largest minus smallest value); measured on random
        inputs while building.  0 excludes such kernels, infinity spares the measurement.
    workspace_limit: most bytes of scratch memory one kernel may use.
    target: name of the machine to compile for ("host", or one of the backend's presets).
    progress: called with (stage, done, total).
    select_kernels: called with each layer's `camshaft.builder.tuning.selection.KernelChoice`, in every precision that is tried; returns the
        numbers of the kernels that it may have.  Those that `error_budget` forbids are replaced nevertheless; layers with open
        extents have one kernel for all sizes.
    """

    shapes: Mapping[str, Sequence[Said]] = field(default_factory=dict)
    profiles: Sequence[Mapping[str, Profile]] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    precision: frozenset[str] = frozenset()
    layer_precision: Mapping[str, str] = field(default_factory=dict)
    layer_output_type: Mapping[str, str] = field(default_factory=dict)
    precision_constraints: str = "obey"
    strongly_typed: bool = False
    refittable: bool | frozenset[str] = False
    portable: bool = False
    calibrator: str = "auto"
    percentile: float = 99.999
    calibration_cache: Path | None = None
    dynamic_ranges: Mapping[str, float | tuple[float, float]] = field(default_factory=dict)
    noise_reduction: bool = True
    bias_correction: bool = True
    kernel_rounding: bool = True
    weight_only: str | None = None
    weight_block: int = 32
    weight_zero_points: bool = False
    skip_padding: bool | None = None
    optimization_level: int = 3
    time_budget: float | None = None
    memory_budget: int | None = None
    timing_cache: Path | None = None
    frozen_cache: bool = False
    threads: int = field(default_factory=available_cpus)
    goal: str = "latency"
    error_budget: float = 1e-4
    workspace_limit: int = 1 << 30
    target: str = "host"
    progress: Progress | None = None
    select_kernels: KernelSelector | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for f in fields(self):
            if getattr(self, f.name) is None:
                set_(self, f.name, _default(f))
        set_(self, "precision", given.precisions(self.precision))
        for name in ("shapes", "values", "state", "dynamic_ranges", *_BY_LAYER):
            set_(self, name, given.mapping(name, getattr(self, name)))
        shapes = {name: given.shape(name, shape) for name, shape in self.shapes.items()}
        set_(self, "shapes", MappingProxyType(shapes))
        set_(self, "profiles", given.profiles(self.profiles))
        set_(self, "refittable", given.names_or_all("refittable", self.refittable))
        values = {name: given.values(f"values[{name!r}]", v) for name, v in self.values.items()}
        set_(self, "values", MappingProxyType(values))
        for name in ("calibration_cache", "timing_cache"):
            set_(self, name, given.path(name, getattr(self, name)))
        for name, low, high in _INTEGERS:
            if getattr(self, name) is not None:
                set_(self, name, given.integer(name, getattr(self, name), low, high))
        self._check()

    def _check(self) -> None:
        for name, output in self.state.items():
            if not isinstance(name, str) or not isinstance(output, str):
                raise ConfigError(
                    f"state has {{{name!r}: {output!r}}}, must pair names of inputs and outputs"
                )
        for layer, p in self.layer_output_type.items():
            if p == "int8":
                raise ConfigError(
                    f"layer_output_type[{layer!r}] is 'int8', which takes a range: say layer_precision='int8' of the layers "
                    "that read it, or put QuantizeLinear and DequantizeLinear behind it in the model"
                )
        for option, known in _BY_LAYER.items():
            for layer, p in getattr(self, option).items():
                if p not in known:
                    raise ConfigError(f"{option}[{layer!r}] is {p!r}; there is {', '.join(known)}")
        if self.precision_constraints not in CONSTRAINTS:
            raise ConfigError(
                f"precision_constraints is {self.precision_constraints!r}; there is {', '.join(CONSTRAINTS)}"
            )
        if self.weight_only not in (None, *WEIGHT_ONLY):
            raise ConfigError(
                f"weight_only is {self.weight_only!r}; there is {', '.join(WEIGHT_ONLY)}"
            )
        if self.weight_only is None and (self.weight_block != 32 or self.weight_zero_points):
            said = "weight_zero_points" if self.weight_zero_points else "weight_block"
            raise ConfigError(
                f"{said} says how weights of few bits are stored, and weight_only is not given: add "
                "weight_only='int4' or 'int8', or leave it out"
            )
        if self.goal not in GOALS:
            raise ConfigError(f"goal is {self.goal!r}; there is {' and '.join(GOALS)}")
        if self.calibrator not in CALIBRATORS:
            raise ConfigError(
                f"calibrator {self.calibrator!r} is unknown; there is {', '.join(CALIBRATORS)}"
            )
        if not given.is_number(self.percentile) or not 0 < self.percentile <= 100:
            raise ConfigError(f"percentile is {self.percentile!r}, must be a number in (0, 100]")
        budget = self.time_budget
        if budget is not None and (not given.is_number(budget) or not budget > 0):
            raise ConfigError(f"time_budget is {budget!r}, must be a positive number of seconds")
        if not given.is_number(self.error_budget) or not self.error_budget >= 0:
            raise ConfigError(
                f"error_budget is {self.error_budget!r}, must be a number of at least 0"
            )
        if self.frozen_cache and self.timing_cache is None:
            raise ConfigError("frozen_cache needs timing_cache, the file to read")
        for name in (*_SWITCHES, *(() if self.skip_padding is None else ("skip_padding",))):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}, must be True or False")
        beside = [name for name in _BESIDE_TYPES if getattr(self, name)]
        if self.strongly_typed and beside:
            raise ConfigError(
                f"{' and '.join(beside)} given beside strongly_typed, with which the model's own types decide: leave one out"
            )
        for name, taken in _CALLED.items():
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}, must be a function of {taken}"
                )

    @staticmethod
    def of(config: BuildConfig | None, options: Mapping[str, object]) -> BuildConfig:
        """`config` with `options` replacing fields; ConfigError names an unknown option.

        An option of None was not said: the field stays as it is.
        """
        known = {f.name for f in fields(BuildConfig)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ConfigError(f"no build option {unknown}; there is {sorted(known)}")
        if config is not None and not isinstance(config, BuildConfig):
            raise ConfigError(
                f"config is of type {type(config).__name__}; give a BuildConfig, or options by name"
            )
        before = {} if config is None else {n: getattr(config, n) for n in known}
        said: dict[str, Any] = {n: v for n, v in options.items() if v is not None}
        return BuildConfig(**{**before, **said})

    def summary(self) -> str:
        """One line of the options that shape the engine, for its fingerprint."""
        shown = {
            "precision": ",".join(sorted(self.precision)) or "fp32",
            "threads": self.threads,
            "level": self.optimization_level,
            "target": self.target,
        }
        if self.goal != "latency":
            shown["goal"] = self.goal
        if self.weight_only:
            points = " with zero points" * self.weight_zero_points
            shown["weights"] = f"{self.weight_only} in blocks of {self.weight_block}{points}"
        if self.strongly_typed:
            shown["strongly_typed"] = True
        if self.refittable:
            named = () if isinstance(self.refittable, bool) else self.refittable
            shown["refittable"] = ",".join(sorted(named)) or True
        if self.skip_padding is not None:
            shown["skip_padding"] = self.skip_padding
        if self.shapes:
            shown["shapes"] = ",".join(f"{n}:{shape_text(s)}" for n, s in self.shapes.items())
        if self.profiles:
            shown["profiles"] = ";".join(
                ",".join(f"{n}:{profile_text(p)}" for n, p in profile.items())
                for profile in self.profiles
            )
        if self.values:
            shown["values"] = ";".join(f"{n}:{value_text(v)}" for n, v in self.values.items())
        if self.state:
            shown["state"] = ",".join(f"{n}={output}" for n, output in self.state.items())
        return " ".join(f"{k}={v}" for k, v in shown.items())


def _default(f: Field[Any]) -> object:
    return f.default if f.default_factory is MISSING else f.default_factory()
