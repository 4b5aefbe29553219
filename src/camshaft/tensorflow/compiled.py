"""Models of TensorFlow that engines compute, as functions and as SavedModels."""

from __future__ import annotations

import os
import re
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from onnx.helper import tensor_dtype_to_np_dtype

from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError, ConfigError
from camshaft.runtime.engine import Engine
from camshaft.tensorflow.assets import asset_of, write_whole
from camshaft.tensorflow.engine_op import failure, offered, withdrawn
from camshaft.tensorflow.frozen import SERVING, Frozen, check_folder, frozen
from camshaft.tensorflow.onnx_form import plain
from camshaft.tensorflow.parts import Part, Parts, parts_of, rebuilt, runner

LEAST = 3
"""Operators that an engine should have at least, where nothing is said."""

Call = Any
"""What a model is called with: a tensor, a tuple or list of positional arguments, or a dictionary."""


class Compiled:
    """A model whose operators engines compute, where there is a form for them; calls take and give what the model's do.

    parts: engines with what is in them; what stays in TensorFlow, and why.
    Calls may come from any number of threads, also within a tf.function.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._graph = rebuilt(parts)
        keys = {p.name: offered(_source(p)) for p in parts.engines}
        given = {hole: tf.constant(keys[name]) for hole, name in self._graph.keys.items()}
        self._finalizer = weakref.finalize(self, _forget, tuple(keys.values()))
        self._function = _function(parts.frozen, self._run(given))

    def _run(self, given: Mapping[str, Any]) -> Callable[..., list[Any]]:
        return runner(self.parts.frozen, self._graph.definition, self._graph.outputs, given)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All engines, in the order of the graph; those that are not yet built are built."""
        return tuple(p.engine() for p in self.parts.engines)

    @property
    def left(self) -> Mapping[str, tuple[str, str]]:
        """Name of an operator that stays in TensorFlow -> its type, and why."""
        return self.parts.left

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        flat = self.parts.frozen.signature.flat(args, kwargs)
        self._build()
        try:
            results = self._function(*flat)
        except tf.errors.OpError as error:
            told = failure()
            if told is None:
                raise
            raise told from error
        return self.parts.frozen.packed(results)

    def _build(self) -> None:
        """Build what is not built yet: before TensorFlow runs the graph, since calibration runs TensorFlow too, whose only thread the
        operator would hold; within a tf.function, as it is traced."""
        if not all(p.is_built for p in self.parts.engines):
            with tf.init_scope():
                for part in self.parts.engines:
                    part.engine()

    def save(
        self,
        folder: str | os.PathLike[str],
        signature_key: str = SERVING,
        options: Any = None,
    ) -> None:
        """Write a SavedModel that runs the engines, which are in its assets.

        `import camshaft.tensorflow` and tf.saved_model.load(folder).signatures[signature_key] give what is called with the inputs by name.
        ConfigError where the folder cannot be written.
        """
        if not isinstance(folder, str | os.PathLike):
            raise ConfigError(f"folder is {folder!r}; name a folder")
        check_folder(Path(folder))
        frozen = self.parts.frozen
        with tempfile.TemporaryDirectory() as place:
            module = tf.Module()
            module.engines, given = {}, {}
            for part in self.parts.engines:
                module.engines[part.name] = asset_of(part.engine(), part.name, Path(place))
            for hole, name in self._graph.keys.items():
                given[hole] = module.engines[name].asset_path
            if frozen.captured:
                module.owner = frozen.owner
            signature = _signature(frozen, self._run(given))
            signatures = {signature_key: signature}
            write_whole(
                Path(folder), lambda draft: tf.saved_model.save(module, draft, signatures, options)
            )

    def summary(self, detailed: bool = True, print_fn: Callable[[str], None] = print) -> None:
        """Print what is in engines, and what stays in TensorFlow and why."""
        for line in self._lines(detailed):
            print_fn(line)

    def _lines(self, detailed: bool) -> Iterator[str]:
        inside = sum(len(p.operators) for p in self.parts.engines)
        count, outside = len(self.parts.engines), len(self.left)
        yield f"{count} engine{'s' * (count != 1)} with {inside} operators, {outside} operators in TensorFlow"
        for part in self.parts.engines:
            state = part.summary if part.is_built else "not built yet"
            yield (
                f"{part.name}: {len(part.operators)} operators, {', '.join(map(_typed, part.model.graph.input))} -> "
                + (f"{', '.join(map(_typed, part.model.graph.output))}; {state}")
            )
            if detailed:
                for op, times in sorted(Counter(part.operators).items()):
                    yield f"    {times} x {op}"
        for (op, why), times in sorted(Counter(self.left.values()).items()):
            yield f"{times} x {op} in TensorFlow: {why}"

    # -- sizes and ranges --------------------------------------------------------------------

    def feed(self, calls: Callable[[], Iterable[Call]]) -> Callable[[Part], Any]:
        """What engines read in calls of the model: a function of a part that gives, batch by batch, arrays by name."""
        frozen = self.parts.frozen

        def batches(part: Part) -> Iterator[Mapping[str, np.ndarray]]:
            names = part.segment.inputs
            function = _function(frozen, runner(frozen, frozen.definition, names, {}))
            for call in calls():
                tensors = function(*frozen.signature.flat(*as_arguments(call)))
                yield {plain(n): t.numpy() for n, t in zip(names, tensors, strict=True)}

        return batches

    def tune_for(self, calls: Sequence[Call]) -> None:
        """Take the sizes of the first of some calls for typical; before engines are built."""
        batches = self.feed(lambda: calls[:1])
        for part in self.parts.engines:
            for arrays in batches(part):
                part.typical = {name: a.shape for name, a in arrays.items()}

    def take_own_ranges(self) -> None:
        """Where the model says what is INT8, let engines of which it says nothing be floats; before they are built."""
        if any(p.is_quantized for p in self.parts.engines):
            for part in self.parts.engines:
                if not part.is_quantized and part.calibration is None:
                    part.config = replace(part.config, precision=part.config.precision - {"int8"})

    def calibrate(self, calls: Callable[[], Iterable[Call]]) -> None:
        """Let engines see these calls where they are quantized; before they are built."""
        batches = self.feed(calls)
        for part in self.parts.engines:
            if not part.is_quantized:
                part.calibration = _of(batches, part)


def compile(
    model: Any,
    example: Call | None = None,
    config: BuildConfig | None = None,
    *,
    minimum_segment_size: int = LEAST,
    calibration: Iterable[Call] | None = None,
    tags: Sequence[str] | None = None,
    signature_key: str | None = None,
    **options: Any,
) -> Compiled:
    """Build engines for what of a model has a form in ONNX; the rest stays in TensorFlow.

    model: a Keras model, the folder of a SavedModel or what tf.saved_model.load gave, a tf.function or a concrete function.
    example: what the model is called with: engines are tuned for its sizes.  It is needed for models that do not say what they take
        (subclassed Keras models, functions without input_signature), of which axis 0 stays open.
    minimum_segment_size: the fewest operators of an engine.
    calibration: calls for INT8, each a tensor, a tuple of positional arguments, or a dictionary.
    tags, signature_key: of a SavedModel.
    config, options: as for `camshaft.build`.

    FakeQuant and quantize_and_dequantize operators say what is INT8 where precision={"int8"} permits it.
    Raises ModelError for a model that TensorFlow cannot load or trace, ConfigError for an option, and what `camshaft.build` raises.
    """
    least = checked_size(minimum_segment_size)
    made = Compiled(
        parts_of(
            frozen(model, example, tags, signature_key), least, BuildConfig.of(config, options)
        )
    )
    if example is not None:
        made.tune_for([example])
    if calibration is not None:
        if not isinstance(calibration, Iterable):
            raise CalibrationError(
                f"calibration= is of type {type(calibration).__name__}; give calls of the model"
            )
        calls = list(calibration)
        if not calls:
            raise CalibrationError(
                "calibration= gives no call; give some that the model is used with"
            )
        made.calibrate(lambda: calls)
    made.take_own_ranges()
    for part in made.parts.engines:
        part.engine()
    return made


def checked_size(value: Any) -> int:
    """The fewest operators of an engine; ConfigError for what is no number of operators."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(
            f"minimum_segment_size is {value!r}; it is a number of operators, 1 or more"
        )
    return value


def as_arguments(call: Call) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Positional and named arguments of a call."""
    if isinstance(call, Mapping):
        return (), call
    return (tuple(call) if isinstance(call, tuple | list) else (call,)), {}


def with_profiles(part: Part, shapes: Sequence[Mapping[str, Sequence[int]]], each: bool) -> None:
    """Let an engine take sizes between the least and the most of `shapes`, tuned for the largest, and with `each` for every one."""
    names = list(shapes[0])
    least = {n: tuple(np.min([s[n] for s in shapes], 0).tolist()) for n in names}
    most = {n: tuple(np.max([s[n] for s in shapes], 0).tolist()) for n in names}
    typical = [dict(s) for s in shapes] if each else [most]
    profiles = [{n: (least[n], tuple(t[n]), most[n]) for n in names} for t in typical]
    part.config = replace(part.config, profiles=profiles)


def _of(batches: Callable[[Part], Any], part: Part) -> Callable[[], Any]:
    return lambda: batches(part)


def _source(part: Part) -> Callable[[], Engine]:
    return part.engine


def _forget(keys: Sequence[str]) -> None:
    for key in keys:
        withdrawn(key)


def _function(frozen: Frozen, run: Callable[..., Any]) -> Any:
    return tf.function(
        run, input_signature=frozen.signature.specs, autograph=False
    ).get_concrete_function()


def _signature(frozen: Frozen, run: Callable[..., list[Any]]) -> Any:
    """A function of named tensors that gives a dictionary, as SavedModels have it."""
    names = input_names(frozen)
    specs = [
        tf.TensorSpec(s.shape, s.dtype, n)
        for n, s in zip(names, frozen.signature.specs, strict=True)
    ]

    def serve(*tensors: Any) -> Mapping[str, Any]:
        results = run(*tensors)
        if isinstance(frozen.results, Mapping):
            packed = frozen.packed(results)
            if all(tf.is_tensor(v) for v in packed.values()):
                return dict(packed)
        return {f"output_{i}": r for i, r in enumerate(results)}

    return tf.function(serve, input_signature=specs, autograph=False)


def input_names(frozen: Frozen) -> list[str]:
    """What a signature calls the inputs."""
    positional, named = frozen.signature.positional, frozen.signature.named
    structure = positional[0] if len(positional) == 1 and not named else named
    if isinstance(structure, Mapping) and len(structure) == len(frozen.signature.specs):
        return sorted(structure)
    names: list[str] = []
    for i, spec in enumerate(frozen.signature.specs):
        name = re.sub(r"\W", "_", spec.name or "")
        names.append(name if name and name not in names else f"input_{i}")
    return names


def _typed(value: Any) -> str:
    tensor = value.type.tensor_type
    dtype = tensor_dtype_to_np_dtype(tensor.elem_type).name
    sizes = [str(d.dim_value) if d.HasField("dim_value") else "?" for d in tensor.shape.dim]
    return f"{value.name} {dtype}[{','.join(sizes)}]"
