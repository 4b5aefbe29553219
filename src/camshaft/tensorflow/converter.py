"""TF-TRT's converter, by camshaft: the same names, arguments and order of calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError, ConfigError
from camshaft.tensorflow.compiled import Call, Compiled, checked_size, with_profiles
from camshaft.tensorflow.frozen import SERVING, frozen
from camshaft.tensorflow.parts import parts_of

DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES = 1 << 30
PROFILE_STRATEGIES = ("Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible")

InputFn = Callable[[], Iterable[Call]]


class TrtPrecisionMode:
    """What is permitted: FP32; also half floats; also bytes."""

    FP32 = "FP32"
    FP16 = "FP16"
    INT8 = "INT8"

    @staticmethod
    def supported_precision_modes() -> list[str]:
        """All spellings."""
        modes = [TrtPrecisionMode.FP32, TrtPrecisionMode.FP16, TrtPrecisionMode.INT8]
        return modes + [m.lower() for m in modes]


_PERMITTED = {"FP32": set[str](), "FP16": {"fp16"}, "INT8": {"int8"}}


class TrtConversionParams(NamedTuple):
    """Options of a conversion: see `TrtGraphConverterV2`."""

    max_workspace_size_bytes: int = DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES
    precision_mode: str = TrtPrecisionMode.FP32
    minimum_segment_size: int = 3
    maximum_cached_engines: int = 1
    use_calibration: bool = True
    allow_build_at_runtime: bool = True


DEFAULT_TRT_CONVERSION_PARAMS = TrtConversionParams()


class TrtGraphConverterV2:
    """Converts a SavedModel into one whose operators camshaft's engines compute, as TF-TRT does with TensorRT's.

    converter = TrtGraphConverterV2(input_saved_model_dir="model", precision_mode="INT8")
    converter.convert(calibration_input_fn=batches)
    converter.build(input_fn=requests)
    converter.save("converted")

    The arguments are TF-TRT's:

    input_saved_model_dir, input_saved_model_tags, input_saved_model_signature_key: what is converted.
    use_dynamic_shape: whether `build` says which sizes engines take: those between the least and the most that it sees.  Without it
        engines take all sizes that the signature leaves open, and `build` says for which they are tuned.
    dynamic_shape_profile_strategy: with `use_dynamic_shape`, what engines are tuned for: "Range" (the default), the largest sizes;
        "Optimal" and "Range+Optimal", each that `build` sees.
    max_workspace_size_bytes: most bytes of scratch memory of one kernel.
    precision_mode: "FP32", "FP16" or "INT8": what is permitted where it is faster.
    minimum_segment_size: the fewest operators of an engine; -1: no engines.
    maximum_cached_engines: accepted; an engine takes all sizes, so that one is enough.
    use_calibration: for INT8, whether `convert` is given data; without it, FakeQuant and quantize_and_dequantize operators say all.
    allow_build_at_runtime: whether engines that `build` has not built are built by the first call or by `save`.
    conversion_params: all options from `max_workspace_size_bytes` on, in one.
    """

    def __init__(
        self,
        input_saved_model_dir: str | os.PathLike[str] | None = None,
        input_saved_model_tags: Sequence[str] | None = None,
        input_saved_model_signature_key: str | None = None,
        use_dynamic_shape: bool | None = None,
        dynamic_shape_profile_strategy: str | None = None,
        max_workspace_size_bytes: int = DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES,
        precision_mode: str = TrtPrecisionMode.FP32,
        minimum_segment_size: int = 3,
        maximum_cached_engines: int = 1,
        use_calibration: bool = True,
        allow_build_at_runtime: bool = True,
        conversion_params: TrtConversionParams | None = None,
        **options: Any,
    ) -> None:
        """options: of `camshaft.build`, which TF-TRT has not, such as threads= and optimization_level=."""
        if input_saved_model_dir is None:
            raise ConfigError("input_saved_model_dir is not given: name the folder of a SavedModel")
        self._dir, self._tags = Path(input_saved_model_dir), input_saved_model_tags
        self._key = input_saved_model_signature_key or SERVING
        params = conversion_params or TrtConversionParams(
            max_workspace_size_bytes,
            precision_mode,
            minimum_segment_size,
            maximum_cached_engines,
            use_calibration,
            allow_build_at_runtime,
        )
        self._params = params
        if params.precision_mode not in TrtPrecisionMode.supported_precision_modes():
            raise ConfigError(
                f"precision_mode is {params.precision_mode!r}; it is one of {', '.join(_PERMITTED)}"
            )
        self._least = params.minimum_segment_size
        if self._least != -1:
            checked_size(self._least)
        strategy = dynamic_shape_profile_strategy or PROFILE_STRATEGIES[0]
        if strategy.lower() not in [s.lower() for s in PROFILE_STRATEGIES]:
            raise ConfigError(
                f"dynamic_shape_profile_strategy is {strategy!r}; it is one of {', '.join(PROFILE_STRATEGIES)}"
            )
        self._dynamic = bool(use_dynamic_shape)
        self._each = "optimal" in strategy.lower()
        mode = params.precision_mode.upper()
        self._calibrates = mode == TrtPrecisionMode.INT8 and params.use_calibration
        said = {"precision": _PERMITTED[mode], "workspace_limit": params.max_workspace_size_bytes}
        self._config = BuildConfig.of(None, {**said, **options})
        self._converted: Compiled | None = None
        self._built = False

    def convert(self, calibration_input_fn: InputFn | None = None) -> Compiled:
        """Find what engines can compute; returns what is called like the signature, also a tf.function's.

        calibration_input_fn: gives calls of the model, each a tensor, a tuple or list, or a dictionary; for INT8 with `use_calibration`.
            Models all of whose engines have FakeQuant or quantize_and_dequantize operators need none.
        Raises ModelError, and CalibrationError where data is missing, or given for nothing.
        """
        if self._converted is not None:
            raise ConfigError("convert() was called already; make another converter")
        if calibration_input_fn is not None and not self._calibrates:
            raise CalibrationError(
                'calibration_input_fn is given, and nothing is calibrated: it is for precision_mode="INT8" with use_calibration=True'
            )
        if calibration_input_fn is not None and not callable(calibration_input_fn):
            raise CalibrationError(
                f"calibration_input_fn is of type {type(calibration_input_fn).__name__}; give a function that gives calls"
            )
        model = frozen(self._dir, None, self._tags, self._key)
        least = len(model.definition.node) + 1 if self._least == -1 else self._least
        made = Compiled(parts_of(model, least, self._config))
        says_all = any(p.is_quantized for p in made.parts.engines) or not made.parts.engines
        if calibration_input_fn is not None:
            made.calibrate(_told("calibration_input_fn", calibration_input_fn))
        elif "int8" in self._config.precision and not says_all:
            raise CalibrationError(
                "the model has no FakeQuant and no quantize_and_dequantize operators, and no calibration_input_fn is given: "
                "give one, with use_calibration=True"
            )
        made.take_own_ranges()
        for part in made.parts.engines:
            part.allowed = self._params.allow_build_at_runtime
        self._converted = made
        return made

    def build(self, input_fn: InputFn) -> None:
        """Build the engines.

        input_fn: gives calls of the model with the sizes of use: see `use_dynamic_shape`.
        """
        made = self._after_convert("build")
        if self._built or any(p.is_built for p in made.parts.engines):
            raise ConfigError(
                "the engines are built already: call build() once, before the model is called or saved"
            )
        if not callable(input_fn):
            raise ConfigError(
                f"input_fn is of type {type(input_fn).__name__}; give a function that gives calls of the model"
            )
        calls = list(_told("input_fn", input_fn)())
        if not calls:
            raise ConfigError("input_fn gives no call; give some of the sizes of use")
        if self._dynamic:
            batches = made.feed(lambda: calls)
            for part in made.parts.engines:
                shapes: list[Mapping[str, Sequence[int]]] = [
                    {n: np.shape(a) for n, a in arrays.items()} for arrays in batches(part)
                ]
                with_profiles(part, shapes, self._each)
        else:
            made.tune_for(calls)
        for part in made.parts.engines:
            part.allowed = True
            part.engine()
        self._built = True

    def save(
        self,
        output_saved_model_dir: str | os.PathLike[str],
        save_gpu_specific_engines: bool = True,
        options: Any = None,
    ) -> None:
        """Write the converted SavedModel, whose assets are engine files (see `Compiled.save`).

        save_gpu_specific_engines: True: engines are part of what is saved, always.
        """
        made = self._after_convert("save")
        if not isinstance(output_saved_model_dir, str | os.PathLike):
            raise ConfigError(
                f"output_saved_model_dir is {output_saved_model_dir!r}; name a folder"
            )
        if not save_gpu_specific_engines:
            raise ConfigError(
                "save_gpu_specific_engines=False is not there: a SavedModel has its engines; convert it on the other machine"
            )
        made.save(output_saved_model_dir, self._key, options)

    def summary(
        self,
        line_length: int = 160,
        detailed: bool = True,
        print_fn: Callable[[str], None] | None = None,
    ) -> None:
        """Print what is in engines, and what stays in TensorFlow and why.  line_length: longer lines are cut."""
        made = self._after_convert("summary")
        write = print_fn or print
        made.summary(detailed, lambda line: write(line[:line_length]))

    def _after_convert(self, name: str) -> Compiled:
        if self._converted is None:
            raise ConfigError(f"{name}() was called before convert()")
        return self._converted


def _told(name: str, function: InputFn) -> InputFn:
    """A function that gives calls, whose error says what it is called."""

    def calls() -> Iterable[Call]:
        given = function()
        if not isinstance(given, Iterable):
            raise ConfigError(
                f"{name} gives a {type(given).__name__}; let it give an iterable of calls, or yield them"
            )
        return given

    return calls
