"""Models of TensorFlow as one graph whose weights are constants."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from camshaft.errors import ConfigError, ModelError
from camshaft.tensorflow.calls import Signature
from camshaft.tensorflow.variables import without_variables

SERVING = "serving_default"
"""The signature of a SavedModel that is taken where none is named."""


@dataclass(frozen=True)
class Frozen:
    """A graph, and how calls of the model become its tensors.

    graph: as TensorFlow reads it, with shapes.  definition: the same as a message.  inputs, outputs: names of tensors, flat.
    captured: names of inputs behind those of a call, which are handles of tables and variables -> the handles.
    signature: what a call takes.  results: the structure that it gives.  owner: what tables belong to, and variables.
    """

    graph: tf.Graph
    definition: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captured: Mapping[str, Any]
    signature: Signature
    results: Any
    owner: Any

    @property
    def controls(self) -> Mapping[str, list[str]]:
        """Node -> what it runs behind without reading it."""
        return {n.name: [i for i in n.input if i.startswith("^")] for n in self.definition.node}

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
        return _of_function(_signature(model, signature_key), model, is_keras=False)
    if isinstance(model, keras.Model):
        specs = _keras_specs(model, example)
        function = tf.function(lambda inputs: model(inputs, training=False))
        return _of_function(_traced(function, (specs,)), model, is_keras=True)
    if isinstance(model, tf.types.experimental.ConcreteFunction):
        return _of_function(model, model, is_keras=False)
    if isinstance(model, tf.types.experimental.GenericFunction):
        fixed = getattr(model, "input_signature", None) is not None
        if example is None and not fixed:
            raise ModelError(
                "the tf.function has no input_signature, so that its inputs are not known: give example="
            )
        specs = () if fixed else _specs(_arguments(example))
        return _of_function(_traced(model, specs), model, is_keras=False)
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
        try:
            tensor = tf.convert_to_tensor(value)
        except (TypeError, ValueError) as error:
            raise ModelError(f"example= has what is no dense tensor: {error}") from None
        shape = tensor.shape.as_list()
        return tf.TensorSpec([None, *shape[1:]] if shape else [], tensor.dtype)

    return tf.nest.map_structure(spec, example)


def _traced(function: Any, specs: Sequence[Any]) -> Any:
    try:
        return function.get_concrete_function(*specs)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ModelError(f"TensorFlow cannot trace the model: {error}") from error


def _of_function(function: Any, owner: Any, is_keras: bool) -> Frozen:
    """A concrete function, with constants in the places of variables that it only reads."""
    if len(function.inputs) - len(function.captured_inputs) != len(
        [s for s in tf.nest.flatten(function.structured_input_signature) if _is_spec(s)]
    ):
        raise ModelError(
            "the model takes what is no dense tensor (ragged, sparse, ...), which engines and their graphs cannot"
        )
    positional, named = function.structured_input_signature
    names = tuple(function.function_type.parameters)[: len(positional)]
    handles = dict(zip(_internal(function), function.captured_inputs, strict=True))
    made = without_variables(function)
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
        Signature(positional, dict(sorted(named.items())), names, is_keras),
        function.structured_outputs,
        [owner, *function.graph.variables],
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


def check_folder(folder: Path) -> None:
    """ConfigError where a SavedModel certainly cannot be written to a folder; asked before long work."""
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise ConfigError(f"{str(folder)!r} cannot be a folder: {str(place)!r} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"{str(folder)!r} cannot be written: {str(place)!r} is read-only")
