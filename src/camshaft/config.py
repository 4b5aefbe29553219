"""BuildConfig: every option of a build in one frozen object."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType

from camshaft.errors import ConfigError

PRECISIONS = ("fp32", "int8")
CALIBRATORS = ("entropy2", "entropy", "minmax", "percentile", "mse")
Progress = Callable[[str, int, int], None]


def available_cpus() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class BuildConfig:
    """Options of `camshaft.build`.

    shapes: input name -> shape, overriding what the model declares (needed for free dimensions).
    precision: what is permitted beyond FP32, e.g. {"int8"}.  The fastest permitted choice wins,
        by the time of the whole graph.
    layer_precision: source layer name -> "fp32" or "int8"; obeyed absolutely, an error if it
        cannot be.
    calibrator: how ranges are chosen from calibration data (see CALIBRATORS); "entropy2" is
        TensorRT's default, ADR 4 says why it is not camshaft's.
    percentile: of |x|, for the percentile calibrator: all but the largest 1 in 100,000.
    calibration_cache: file of ranges (TensorRT's text format): read if it exists and no
        calibration data is given, written otherwise.
    dynamic_ranges: tensor name -> amax or (min, max), set by hand; wins over calibration.
    noise_reduction: keep the last smoothing layers before float outputs in FP32, as TensorRT
        does for implicit quantization.
    bias_correction: take off each quantized convolution's bias what rounding its weights adds to
        the mean of its outputs.  It needs calibration data: ranges from a cache or set by hand
        come without the channel means that it is computed from.
    kernel_rounding: round weights up or down such that each kernel keeps its sum, instead of each
        to the nearest level.
    optimization_level: 0 nothing but what correctness needs, heuristics instead of timing;
        1 fusions, heuristics; 2 times few candidates; 3 (default) times the usual candidates;
        4 and 5 more of them, more rounds.
    time_budget: seconds after which tuning takes the best found so far; None is unlimited.
    timing_cache: file in which tuning results are kept; frozen_cache: a miss is an error.
    threads: number of threads to tune for.
    workspace_limit: most bytes of scratch memory one kernel may use.
    target: name of the machine to compile for ("host", or one of the backend's presets).
    progress: called with (stage, done, total).
    """

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    precision: frozenset[str] = frozenset()
    layer_precision: Mapping[str, str] = field(default_factory=dict)
    calibrator: str = "percentile"
    percentile: float = 99.999
    calibration_cache: Path | None = None
    dynamic_ranges: Mapping[str, float | tuple[float, float]] = field(default_factory=dict)
    noise_reduction: bool = True
    bias_correction: bool = True
    kernel_rounding: bool = True
    optimization_level: int = 3
    time_budget: float | None = None
    timing_cache: Path | None = None
    frozen_cache: bool = False
    threads: int = field(default_factory=available_cpus)
    workspace_limit: int = 1 << 30
    target: str = "host"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if isinstance(self.precision, str):
            raise ConfigError(f"precision is a set, e.g. {{{self.precision!r}}}, not a string")
        set_(self, "precision", frozenset(p.lower() for p in self.precision))
        for name in ("shapes", "layer_precision", "dynamic_ranges"):
            set_(self, name, MappingProxyType(dict(getattr(self, name))))
        for name in ("calibration_cache", "timing_cache"):
            value = getattr(self, name)
            set_(self, name, None if value is None else Path(value))
        self._check()

    def _check(self) -> None:
        unknown = self.precision - set(PRECISIONS)
        if unknown:
            raise ConfigError(f"precision {sorted(unknown)} is unknown; there is {PRECISIONS}")
        for layer, p in self.layer_precision.items():
            if p not in PRECISIONS:
                raise ConfigError(f"layer_precision[{layer!r}] is {p!r}; there is {PRECISIONS}")
        if self.calibrator not in CALIBRATORS:
            raise ConfigError(f"calibrator {self.calibrator!r} is unknown; there is {CALIBRATORS}")
        if not 0 < self.percentile <= 100:
            raise ConfigError(f"percentile is {self.percentile}, must be in (0, 100]")
        if self.optimization_level not in range(6):
            raise ConfigError(f"optimization_level is {self.optimization_level}, must be 0 to 5")
        if self.threads < 1:
            raise ConfigError(f"threads is {self.threads}, must be at least 1")
        if self.time_budget is not None and self.time_budget <= 0:
            raise ConfigError(f"time_budget is {self.time_budget} s, must be positive")
        if self.workspace_limit < 0:
            raise ConfigError(f"workspace_limit is {self.workspace_limit}, must not be negative")
        if self.frozen_cache and self.timing_cache is None:
            raise ConfigError("frozen_cache needs timing_cache, the file to read")

    @staticmethod
    def of(config: BuildConfig | None, options: Mapping[str, object]) -> BuildConfig:
        """`config` with `options` replacing fields; ConfigError names an unknown option."""
        known = {f.name for f in fields(BuildConfig)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ConfigError(f"no build option {unknown}; there is {sorted(known)}")
        given = {} if config is None else {n: getattr(config, n) for n in known}
        return BuildConfig(**{**given, **options})

    def summary(self) -> str:
        """One line of the options that shape the engine, for its fingerprint."""
        shown = {
            "precision": ",".join(sorted(self.precision)) or "fp32",
            "threads": self.threads,
            "level": self.optimization_level,
            "target": self.target,
        }
        return " ".join(f"{k}={v}" for k, v in shown.items())
