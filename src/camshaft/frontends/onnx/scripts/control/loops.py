"""Loop: unrolled where the number of iterations is known and small, else a step with a body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.dtypes import tensor_proto
from camshaft.frontends.onnx.scripts.control.carried import (
    MOST_ITERATIONS,
    MOST_UNROLLED,
    add_step,
    along,
    final,
    settled,
    stacked,
)
from camshaft.frontends.onnx.scripts.control.node import (
    EMPTY,
    Control,
    argument,
    check_results,
    constant_input,
    graph_of,
    optional_input,
    scalar_input,
)
from camshaft.frontends.onnx.scripts.control.recurrent import Collected, Iterations, as_layers
from camshaft.frontends.onnx.scripts.scope import HostValue, Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ir.script import Loop
from camshaft.ir.types import TensorType, boolean, i64


def loop(c: Control) -> list[Value]:
    """Loop: unrolled where the number of iterations is known and small, else a step."""
    body = graph_of(c, "body")
    carried = [argument(c, i, "carried value") for i in range(2, len(c.values))]
    if len(body.input) != len(carried) + 2:
        raise ModelError(f"its body has {len(body.input)} inputs for {len(carried)} carried values")
    if len(body.output) < len(carried) + 1:
        raise ModelError(
            f"its body has {len(body.output)} outputs for {len(carried)} carried values"
        )
    scalar_input(c, 0, i64, "trip count")
    scalar_input(c, 1, boolean, "condition")
    check_results(c, len(body.output) - 1, "its body")
    unrolled = _unrolled(c, body, carried)
    return _looped(c, body, carried) if unrolled is None else unrolled


def _unrolled(c: Control, body: GraphProto, carried: Sequence[Value]) -> list[Value] | None:
    """The loop without a loop; None where that is not possible, or too much."""
    limit, going = constant_input(c, 0), constant_input(c, 1)
    if (limit is None and optional_input(c, 0)) or (going is None and optional_input(c, 1)):
        return None
    most = MOST_ITERATIONS if limit is None else int(limit.reshape(-1)[0])
    most = min(most, MOST_UNROLLED // max(1, len(body.node)))
    alive = going is None or bool(going.reshape(-1)[0])
    scans: list[list[Value]] = [[] for _ in body.output[len(carried) + 1 :]]
    names = [v.name for v in body.input]
    step = 0
    while alive and (limit is None or step < int(limit.reshape(-1)[0])):
        if step >= most:
            return None
        counter = c.constant(np.array(step, np.int64), "iteration")
        flag = c.constant(np.array(True), "condition")
        bound = dict(zip(names, [counter, flag, *carried], strict=True))
        results = c.in_place(body, bound, step)
        head = results[0]
        if not (isinstance(head, Tensor) and head.is_const):
            return None
        alive = bool(head.array.reshape(-1)[0])
        carried = list(results[1 : 1 + len(carried)])
        for parts, value in zip(scans, results[1 + len(carried) :], strict=True):
            parts.append(value)
        step += 1
    if scans and not step:
        return None  # the shape of what it collects is known to the body alone
    collected = stacked(c, scans, [0] * len(scans))
    return None if collected is None else [*carried, *collected]


def _looped(c: Control, graph: GraphProto, carried: Sequence[Value]) -> list[Value]:
    scalar = TensorType(i64, ())
    counter = HostValue(c.claim("iteration"), scalar, tensor_proto(scalar))
    flag = c.constant(np.array(True), "condition")
    kept = c.scope.shared.snapshot()
    body = settled(c, graph, carried, [counter, flag], leading=True)
    after, collected = body.results[1 : 1 + len(carried)], body.results[1 + len(carried) :]
    trips = _trips(c, body.results[0])
    if trips is not None:
        iterations = Iterations(trips, {}, counter.name)
        layers = as_layers(
            c, body, carried, after, [Collected(v, 0) for v in collected], iterations
        )
        if layers is not None:
            c.scope.shared.restore(kept)
            return layers
    outputs = [final(c, i, v, body.hidden) for i, v in enumerate([*body.given, *collected])]
    for i in range(len(carried), len(outputs)):
        outputs[i] = along(outputs[i], 0, trips, c.fresh(outputs[i].name))
    count, condition = optional_input(c, 0), optional_input(c, 1)
    step = Loop(
        c.name,
        None if count is None else count.name,
        None if condition is None else condition.name,
        tuple(v.name for v in carried),
        EMPTY,
        tuple(v.name for v in outputs),
        tuple(v.type for v in collected),
    )
    inputs = [v for v in (count, condition, *carried) if v is not None]
    names = [counter.name, flag.name, *(v.name for v in body.given)]
    return add_step(c, step, inputs, outputs, names, body)


def _trips(c: Control, condition: Value) -> Extent | None:
    """How often the loop runs; None if the data say that."""
    limit, going = constant_input(c, 0), constant_input(c, 1)
    endless = isinstance(condition, Tensor) and condition.is_const and bool(condition.array.all())
    starts = optional_input(c, 1) is None or (going is not None and bool(going.all()))
    if not (endless and starts):
        return None
    if limit is not None:
        return max(0, int(limit.reshape(-1)[0]))
    value = optional_input(c, 0)
    known = None if value is None else c.known(value)
    count = None if known is None else known.reshape(-1)[0]
    return count if isinstance(count, Extent) and not isinstance(count, bool) else None
