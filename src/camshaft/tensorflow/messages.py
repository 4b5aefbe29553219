"""Nodes of TensorFlow graphs as messages: made, read, put in each other's place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

NodeDef = tf.compat.v1.NodeDef
GraphDef = tf.compat.v1.GraphDef


def node_of(name: str) -> str:
    """The node that gives a tensor, or that a control input names."""
    return name.removeprefix("^").partition(":")[0]


def full(name: str) -> str:
    """A tensor's name with its number."""
    return name if ":" in name else f"{name}:0"


def is_control(name: str) -> bool:
    """Whether an input is no tensor."""
    return name.startswith("^")


def constant(name: str, value: np.ndarray) -> Any:
    """A node that gives an array."""
    made = NodeDef(name=name, op="Const")
    made.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return made


def placeholder(name: str, dtype: tf.DType, shape: tf.TensorShape) -> Any:
    """A node that gives what is fed."""
    made = NodeDef(name=name, op="Placeholder")
    made.attr["dtype"].type = dtype.as_datatype_enum
    made.attr["shape"].shape.CopyFrom(shape.as_proto())
    return made


def python_call(
    name: str, token: str, inputs: Sequence[tuple[str, tf.DType]], outputs: Sequence[tf.DType]
) -> Any:
    """A node that calls the Python function that is registered as `token`; it has no state."""
    made = NodeDef(name=name, op="PyFuncStateless", input=[n for n, _ in inputs])
    made.attr["token"].s = token.encode()
    made.attr["Tin"].list.type.extend(d.as_datatype_enum for _, d in inputs)
    made.attr["Tout"].list.type.extend(d.as_datatype_enum for d in outputs)
    return made


def of_shape(name: str, source: str, dtype: tf.DType, shape: tf.TensorShape) -> Any:
    """A node that gives a tensor as it is and says its shape."""
    made = NodeDef(name=name, op="EnsureShape", input=[source])
    made.attr["T"].type = dtype.as_datatype_enum
    made.attr["shape"].shape.CopyFrom(shape.as_proto())
    return made


def with_nodes(definition: Any, nodes: Iterable[Any]) -> Any:
    """A graph of these nodes, with what functions of `definition` they call."""
    made = GraphDef()
    made.versions.CopyFrom(definition.versions)
    made.node.extend(nodes)
    known = {f.signature.name: f for f in definition.library.function}
    stack, called = list(made.node), set[str]()
    while stack:
        for name in functions(stack.pop()):
            if name in known and name not in called:
                called.add(name)
                stack += known[name].node_def
    made.library.function.extend(f for n, f in known.items() if n in called)
    return made


def functions(node: Any) -> list[str]:
    """Names of the functions that a node calls."""
    single = [a.func.name for a in node.attr.values() if a.WhichOneof("value") == "func"]
    several = [
        f.name for a in node.attr.values() if a.WhichOneof("value") == "list" for f in a.list.func
    ]
    return single + several


def spliced(
    name: str, function: Callable[[Any], Any], source: str, spec: tf.TensorSpec
) -> Iterable[Any]:
    """Nodes that compute a function of a tensor; the last is called `name`."""
    traced = tf.function(function).get_concrete_function(spec)
    (hole,), (end,) = traced.inputs, traced.outputs
    for node in traced.graph.as_graph_def().node:
        if node.op in ("Placeholder", "NoOp"):
            continue
        made = NodeDef()
        made.CopyFrom(node)
        made.name = f"{name}/{node.name}"
        del made.input[:]
        for given in node.input:
            if not is_control(given):
                made.input.append(source if full(given) == hole.name else f"{name}/{given}")
        yield made
    last = NodeDef(name=name, op="Identity", input=[f"{name}/{end.name}"])
    last.attr["T"].type = end.dtype.as_datatype_enum
    yield last


def values(graph: tf.Graph, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Tensors that hang on no input -> what they are."""
    if not names:
        return {}
    with tf.compat.v1.Session(graph=graph) as session:
        return dict(zip(names, session.run(list(names)), strict=True))


def constants(nodes: Iterable[Any], stateful: Callable[[Any], bool]) -> set[str]:
    """Names of nodes that hang on no input and no state, nor run behind what does; nodes come in an order in which they can run."""
    found: set[str] = set()
    for node in nodes:
        if node.op in ("Placeholder", "PlaceholderWithDefault") or stateful(node):
            continue
        if all(node_of(i) in found for i in node.input):
            found.add(node.name)
    return found


def in_order(definition: Any) -> list[Any]:
    """Nodes, each behind those that it reads."""
    by_name = {n.name: n for n in definition.node}
    done: dict[str, Any] = {}
    for start in definition.node:
        stack = [start]
        while stack:
            node = stack[-1]
            behind = [
                by_name[node_of(i)]
                for i in node.input
                if node_of(i) in by_name and node_of(i) not in done
            ]
            if behind and node.op != "NextIteration":
                stack.extend(behind)
            else:
                done[stack.pop().name] = node
    return list(done.values())
