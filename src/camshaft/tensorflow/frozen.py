"""Models of TensorFlow as one graph without variables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from camshaft.errors import BindingError, ConfigError, ModelError

SERVING = "serving_default"
"""The signature of a SavedModel that is taken where none is named."""


@dataclass(frozen=True)
class Frozen:
    """A graph, and how calls of the model become its tensors.

    graph: as TensorFlow reads it, with shapes.  definition: the same as a message.  inputs, outputs: names of tensors, flat.
    captured: names of inputs behind those of a call, which are handles of tables -> the handles.
    signature: (positional, by name) specs of a call.  results: the structure that a call gives.  single: whether a call takes one
    argument, in whatever structure.  owner: what tables belong to.
    """

    graph: tf.Graph
    definition: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captured: Mapping[str, Any]
    signature: tuple[Any, Any]
    results: Any
    single: bool
    owner: Any

    @property
    def controls(self) -> Mapping[str, list[str]]:
        """Node -> what it runs behind without reading it."""
        return {n.name: [i for i in n.input if i.startswith("^")] for n in self.definition.node}

    @property
    def specs(self) -> tuple[tf.TensorSpec, ...]:
        """Of the tensors of a call, flat."""
        return tuple(s for s in tf.nest.flatten(self.signature) if isinstance(s, tf.TensorSpec))

    def flat(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tf.Tensor]:
        """The tensors of a call.  BindingError where it has another structure, other types or other shapes than the model takes."""
        positional, named = self.signature
        if not positional and named and not kwargs:
            kwargs, args = self._by_name(args), ()
        elif positional and not args and kwargs and self.single and isinstance(positional[0], dict):
            args, kwargs = (kwargs,), {}
        given = (tuple(args), dict(kwargs))
        try:
            tf.nest.assert_same_structure(given, self.signature, check_types=False)
        except (ValueError, TypeError):
            raise BindingError(
                f"a call has the structure {_shown(given)}; the model takes {_shown(self.signature)}"
            ) from None
        pairs = zip(tf.nest.flatten(given), tf.nest.flatten(self.signature), strict=True)
        return [_tensor(value, spec) for value, spec in pairs if isinstance(spec, tf.TensorSpec)]

    def _by_name(self, args: Sequence[Any]) -> Mapping[str, Any]:
        """Positional arguments, or one dictionary, for a signature that has names."""
        names = list(self.signature[1])
        if len(args) == 1 and isinstance(args[0], Mapping):
            return dict(args[0])
        if len(args) == 1 and isinstance(args[0], list | tuple):
            args = args[0]
        if len(args) > len(names):
            raise BindingError(f"a call gives {len(args)} tensors; the model takes {names}")
        return dict(zip(names, args, strict=False))

    def packed(self, tensors: Sequence[tf.Tensor]) -> Any:
        """What a call gives, of the graph's outputs."""
        return tf.nest.pack_sequence_as(self.results, list(tensors))


def frozen(
    model: Any,
    example: Any = None,
    tags: Sequence[str] | None = None,
    signature_key: str | None = None,
) -> Frozen:
    """A model's graph.

    model: a Keras model, the folder of a SavedModel or what tf.saved_model.load gave, a tf.function or a concrete function.
    example: what a model or function whose inputs are not known is called with; extents of axis 0 stay open.

    ModelError for what is none of these, has no such signature, or has inputs that nobody said.
    """
    if isinstance(model, str | os.PathLike):
        model = _loaded(Path(model), tags)
    if hasattr(model, "signatures") and not isinstance(model, keras.Model):
        return _of_function(_signature(model, signature_key), model, single=False)
    if isinstance(model, keras.Model):
        specs = _keras_specs(model, example)
        function = tf.function(lambda inputs: model(inputs, training=False))
        return _of_function(_traced(function, (specs,)), model, single=True)
    if isinstance(model, tf.types.experimental.ConcreteFunction):
        return _of_function(model, model, single=False)
    if isinstance(model, tf.types.experimental.GenericFunction):
        if example is None and getattr(model, "input_signature", None) is None:
            raise ModelError(
                "the tf.function has no input_signature, so that its inputs are not known: give example="
            )
        specs = () if example is None else _specs(_arguments(example))
        return _of_function(_traced(model, specs), model, single=False)
    raise ModelError(
        f"model is of type {type(model).__name__}; give a Keras model, the folder of a SavedModel or what was loaded from it, "
        "or a tf.function"
    )


def _loaded(folder: Path, tags: Sequence[str] | None) -> Any:
    if not (folder / "saved_model.pb").exists():
        raise ModelError(
            f"{str(folder)!r} holds no SavedModel: it has no file saved_model.pb; check the path"
        )
    try:
        return tf.saved_model.load(str(folder), tags=None if tags is None else list(tags))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ModelError(f"the SavedModel {str(folder)!r} cannot be loaded: {error}") from error


def _signature(model: Any, key: str | None) -> Any:
    found = sorted(model.signatures)
    if (key or SERVING) not in found:
        known = ", ".join(found) or "none: save the model with signatures="
        raise ModelError(f"the SavedModel has no signature {key or SERVING!r}; there is {known}")
    return model.signatures[key or SERVING]


def _keras_specs(model: Any, example: Any) -> Any:
    if isinstance(model, keras.Sequential) and model.built:
        structure = model.inputs[0]
    else:
        structure = getattr(model, "_inputs_struct", None)
    if structure is None:
        if example is None:
            raise ModelError(
                f"the inputs of the Keras model {model.name!r} are not known; give example=, what it is called with"
            )
        return _specs(example)
    return tf.nest.map_structure(
        lambda t: tf.TensorSpec(t.shape, t.dtype, t.name), _plain(structure)
    )


def _plain(structure: Any) -> Any:
    """Keras' own lists and dictionaries as Python's."""
    if isinstance(structure, dict):
        return {k: _plain(v) for k, v in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(_plain(v) for v in structure)
    return structure


def _arguments(example: Any) -> tuple[Any, ...]:
    return example if isinstance(example, tuple) else (example,)


def _specs(example: Any) -> Any:
    def spec(value: Any) -> tf.TensorSpec:
        if isinstance(value, tf.TensorSpec):
            return value
        tensor = tf.convert_to_tensor(value)
        shape = tensor.shape.as_list()
        return tf.TensorSpec([None, *shape[1:]] if shape else [], tensor.dtype)

    return tf.nest.map_structure(spec, example)


def _traced(function: Any, specs: Sequence[Any]) -> Any:
    try:
        return function.get_concrete_function(*specs)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ModelError(f"TensorFlow cannot trace the model: {error}") from error


def _of_function(function: Any, owner: Any, single: bool) -> Frozen:
    """A concrete function, its variables as constants."""
    if len(function.inputs) - len(function.captured_inputs) != len(
        [s for s in tf.nest.flatten(function.structured_input_signature) if _is_spec(s)]
    ):
        raise ModelError(
            "the model takes what is no dense tensor (ragged, sparse, ...), which engines and their graphs cannot"
        )
    handles = dict(zip(_internal(function), function.captured_inputs, strict=True))
    made = convert_variables_to_constants_v2(function, lower_control_flow=False)
    definition = made.graph.as_graph_def()
    for node in definition.node:
        node.device = ""
    graph = _with_shapes(definition, function.graph)
    inputs = [t.name for t in made.inputs]
    for t in made.inputs:
        graph.get_tensor_by_name(t.name).set_shape(t.shape)
    return Frozen(
        graph,
        definition,
        tuple(n for n in inputs if n not in handles),
        tuple(t.name for t in made.outputs),
        {n: handles[n] for n in inputs if n in handles},
        function.structured_input_signature,
        function.structured_outputs,
        single,
        owner,
    )


def _with_shapes(definition: Any, source: Any) -> tf.Graph:
    """A graph as TensorFlow reads it, with what set_shape said in the function that it was made of.

    Not of nodes that call functions (loops, branches): what they take and give changed as variables became constants.
    """
    known = {op.name: [t.shape for t in op.outputs] for op in source.get_operations()}
    said = tf.compat.v1.GraphDef()
    said.CopyFrom(definition)
    for node in said.node:
        shapes = known.get(node.name, [])
        calls = any(a.HasField("func") for a in node.attr.values())
        if shapes and node.op != "Const" and not calls:
            node.attr["_output_shapes"].list.shape.extend(s.as_proto() for s in shapes)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(said, name="")
    return graph


def _internal(function: Any) -> list[str]:
    """Names of a function's captured inputs."""
    count = len(function.captured_inputs)
    return [t.name for t in function.inputs[len(function.inputs) - count :]]


def _is_spec(value: Any) -> bool:
    return isinstance(value, tf.TensorSpec)


def _tensor(value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    name = spec.name or "the input"
    try:
        tensor = tf.convert_to_tensor(value, dtype=spec.dtype)
    except (TypeError, ValueError) as error:
        raise BindingError(f"{name}: {error}") from None
    if not spec.shape.is_compatible_with(tensor.shape):
        raise BindingError(f"{name} has the shape {tensor.shape}; the model takes {spec.shape}")
    return tensor


def _shown(structure: Any) -> str:
    def shown(value: Any) -> Any:
        return getattr(value, "name", None) or type(value).__name__

    return str(tf.nest.map_structure(shown, structure))


def check_folder(folder: Path) -> None:
    """ConfigError where a SavedModel certainly cannot be written to a folder; asked before long work."""
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise ConfigError(f"{str(folder)!r} cannot be a folder: {str(place)!r} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"{str(folder)!r} cannot be written: {str(place)!r} is read-only")
