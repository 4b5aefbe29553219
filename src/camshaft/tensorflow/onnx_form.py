"""Graphs of TensorFlow in ONNX, by tf2onnx, and what of them has no form there."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import tensorflow as tf
import tf2onnx.optimizer
import tf2onnx.tf_loader
import tf2onnx.tf_utils
import tf2onnx.tfonnx
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

from camshaft.tensorflow import quantizers, respelt

OPSET = 18
_ENDS = ("Const", "Placeholder", "PlaceholderWithDefault")
"""What tf2onnx calls inputs and initializers."""


@dataclass(frozen=True)
class Form:
    """model: in ONNX, with inputs and outputs in order; None where `refused` says what has no form: names of nodes -> why."""

    model: onnx.ModelProto | None
    refused: Mapping[str, str]


def onnx_form(
    definition: Any,
    inputs: Sequence[str],
    outputs: Sequence[str],
    stateful: Callable[[Any], bool],
) -> Form:
    """A graph in ONNX.

    definition: without variables.  inputs: names of tensors, placeholders all.  outputs: of tensors that no placeholder gives.
    stateful: whether a node does more than compute.
    """
    graph = imported(definition)
    made, refused = quantizers.rewritten(definition, graph, stateful)
    if refused:
        return Form(None, refused)
    with _quiet(), _types(), tf.device("/cpu:0"):
        try:
            return _converted(made, inputs, outputs)
        except Exception as error:  # noqa: BLE001 - tf2onnx raises whatever its Python does
            return Form(None, {"?": f"tf2onnx fails: {type(error).__name__}: {error}"})


def _converted(definition: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Form:
    with imported(definition).as_default():
        lean = tf2onnx.tf_loader.tf_optimize(list(inputs), list(outputs), definition)

    def form() -> Any:
        with imported(lean).as_default() as graph:
            return tf2onnx.tfonnx.process_tf_graph(
                graph,
                continue_on_error=True,
                opset=OPSET,
                custom_op_handlers={**quantizers.HANDLERS, **respelt.HANDLERS},
                input_names=list(inputs),
                output_names=list(outputs),
                tensors_to_rename={n: plain(n) for n in (*inputs, *outputs)},
            )

    made = form()
    refused = dict(_foreign(made))
    if refused:
        return Form(None, refused)
    try:
        best = tf2onnx.optimizer.optimize_graph(made, False, _OPTIMIZERS)
    except Exception:  # noqa: BLE001 - an optimizer fails: the others do without it, on a whole graph
        best = tf2onnx.optimizer.optimize_graph(form(), True, _OPTIMIZERS)
    return Form(best.make_model("converted from TensorFlow"), {})


class _Transposes(TransposeOptimizer):  # type: ignore[misc]
    """tf2onnx' own takes any constant of one long axis that is added to a convolution for its bias, and fails at scalars."""

    def _add_handler(self, trans: Any, node: Any) -> Any:
        if node.inputs[1].is_const():
            shape = node.inputs[1].get_tensor_value(as_list=False).shape
            if not shape or any(size != 1 for size in shape[:-1]):
                return self._handle_node_having_branches(trans, node)
        return super()._add_handler(trans, node)


_OPTIMIZERS = OrderedDict(
    {**tf2onnx.optimizer._get_optimizers(), "optimize_transpose": _Transposes}
)


def plain(name: str) -> str:
    """What a tensor is called in ONNX."""
    return name.removesuffix(":0").replace(":", "__output_")


def imported(definition: Any) -> tf.Graph:
    """A graph that TensorFlow can run."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    return graph


def _foreign(form: Any) -> Iterable[tuple[str, str]]:
    """Nodes that are left as TensorFlow has them, in graphs within graphs too, by the outermost's name."""
    for node in form.get_nodes():
        within = [node]
        while within:
            inner = within.pop()
            bodies = inner.get_body_graphs() or {}
            known = onnx.defs.has(inner.type, inner.domain)
            unread = not inner.skip_conversion and not bodies  # a handler failed half-way
            if inner.type not in _ENDS and (unread or not known):
                place = "" if inner is node else f" in {inner.name!r}"
                yield node.name, f"tf2onnx has no form in ONNX for {inner.type}{place}"
                break
            for body in bodies.values():
                within += body.get_nodes()


@contextlib.contextmanager
def _types() -> Iterator[None]:
    """bfloat16 is ONNX' BFLOAT16 meanwhile; tf2onnx takes it for FLOAT16."""
    known, bfloat16 = tf2onnx.tf_utils.TF_TO_ONNX_DTYPE, tf.bfloat16.as_datatype_enum
    before = known[bfloat16]
    known[bfloat16] = onnx.TensorProto.BFLOAT16
    try:
        yield
    finally:
        known[bfloat16] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """tf2onnx says nothing meanwhile: what it cannot is found in what it makes."""
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    children = [
        child
        for name, child in logging.Logger.manager.loggerDict.items()
        if name.startswith("tf2onnx.") and isinstance(child, logging.Logger)
    ]
    levels = [child.level for child in children]
    for child in children:
        child.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
        for child, level in zip(children, levels, strict=True):
            child.setLevel(level)
