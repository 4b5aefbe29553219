"""Control flow that is decided at build time: branches are taken, loops are unrolled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from onnx import GraphProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext, Results
from camshaft.ir.extents.constraints import Hint, require_equal
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis

MOST_ITERATIONS = 4096
"""A loop that runs longer would make an engine of unreasonable size."""


def if_(ctx: NodeContext) -> Results:
    """If: the branch of a condition that is known; else both branches and a choice between results.

    Operators have no side effects, so computing the branch that is not chosen is only time.
    """
    condition = ctx.arg(0)
    if condition.type.size != 1:
        raise ModelError(f"its condition {condition.name!r} is {condition.type}, not one bool")
    taken = ctx.flag(0)
    if taken is not None:
        ctx.builder.constraints.hints.pop(ctx.name, None)  # what was not known in an earlier import
        return ctx.subgraph(_graph(ctx, "then_branch" if taken else "else_branch"), {})
    with _hinted(ctx, condition):
        return _both(ctx, condition)


@contextmanager
def _hinted(ctx: NodeContext, condition: Tensor) -> Iterator[None]:
    """Note which sizes the branches restrict, and which input's value would decide between them."""
    constraints = ctx.builder.constraints
    before = len(constraints.found)
    try:
        yield
    finally:
        stated = list(constraints)[before:]
        names = {s.name for c in stated for s in c.symbols}
        if ctx.name in constraints.hints:  # of an earlier import, which has narrowed ranges since
            names.update(constraints.hints[ctx.name].symbols)
        way_out = ctx.way_out(condition)
        if names and way_out:
            text = f"node {ctx.name!r} computes both its branches, so sizes must fit both{way_out}"
            constraints.hints[ctx.name] = Hint(tuple(sorted(names)), text)


def _both(ctx: NodeContext, condition: Tensor) -> Results:
    """Both branches, and a choice between their results."""
    unknown = f"its condition {condition.name!r} depends on the model's input data"
    results = []
    for name in ("then_branch", "else_branch"):
        try:
            results.append(ctx.subgraph(_graph(ctx, name), {}))
        except ModelError as error:
            raise ModelError(
                f"{unknown}, and its {name}: {error}{ctx.way_out(condition)}"
            ) from error
    flag = F.reshape(ctx.builder, condition, ())
    chosen = []
    for i, (yes, no) in enumerate(zip(*results, strict=True)):
        misfit = (
            f"{unknown} and its branches give {yes.type} and {no.type}; only branches of one "
            f"type are supported{ctx.way_out(condition)}"
        )
        if (yes.type.dtype, yes.type.rank) != (no.type.dtype, no.type.rank):
            raise ModelError(misfit)
        with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
            for a, b in zip(yes.shape, no.shape, strict=True):
                require_equal(a, b, misfit)
        name = ctx.output_name(i)
        chosen.append(F.where(ctx.builder, flag, yes, no, output=name))
    return chosen


def loop(ctx: NodeContext) -> Results:
    """Loop, unrolled: the trip count and every condition must be known at build time."""
    body = _graph(ctx, "body")
    limit = ctx.const(0, "trip count")
    going = ctx.const(1, "condition")
    trips = None if limit is None else int(limit.reshape(-1)[0])
    carried = [ctx.arg(i) for i in range(2, len(ctx.inputs))]
    scans: list[list[Tensor]] = [[] for _ in body.output[len(carried) + 1 :]]
    names = [v.name for v in body.input]
    if len(names) != len(carried) + 2:
        raise ModelError(f"its body has {len(names)} inputs for {len(carried)} carried values")
    alive = going is None or bool(going.reshape(-1)[0])
    step = 0
    while alive and (trips is None or step < trips):
        if step == MOST_ITERATIONS:
            raise ModelError(f"runs more than {MOST_ITERATIONS} times; that is not supported")
        counter = _constant(ctx, np.array(step, np.int64), "iteration")
        flag = _constant(ctx, np.array(True), "condition")
        values = dict(zip(names, [counter, flag, *carried], strict=True))
        results = ctx.subgraph(body, values)
        if results[0].data is None:
            raise ModelError(
                "its condition depends on the model's input data; only loops whose number of "
                f"iterations is known are supported{ctx.way_out(results[0])}"
            )
        alive = bool(results[0].data.reshape(-1)[0])
        carried = list(results[1 : 1 + len(carried)])
        for parts, value in zip(scans, results[1 + len(carried) :], strict=True):
            parts.append(value)
        step += 1
    return [*carried, *(_stacked(ctx, parts, 0) for parts in scans)]


def scan(ctx: NodeContext) -> Results:
    """Scan (opset 9 on), unrolled over the sequence."""
    if ctx.opset < 9:
        raise ModelError("the form of opset 8 is not supported; export with opset 9 or later")
    body = _graph(ctx, "body")
    count = ctx.attr_int("num_scan_inputs")
    states = len(ctx.inputs) - count
    if not states >= 0 or count < 1 or len(body.input) != len(ctx.inputs):
        raise ModelError(f"num_scan_inputs={count} does not fit {len(ctx.inputs)} inputs")
    carried = [ctx.arg(i) for i in range(states)]
    sequences = [ctx.arg(states + i) for i in range(count)]
    outputs = len(body.output) - states
    axes = _filled(ctx, "scan_input_axes", count)
    axes = [normal_axis(a, t.type.rank) for a, t in zip(axes, sequences, strict=True)]
    backward = _filled(ctx, "scan_input_directions", count)
    lengths = [t.shape[a] for a, t in zip(axes, sequences, strict=True)]
    misfit = f"sequences of lengths {lengths} cannot be scanned together"
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        common = lengths[0]
        for other in lengths[1:]:
            common = require_equal(common, other, misfit)
    length = fixed_extent(common, "how many steps are scanned")
    if length > MOST_ITERATIONS:
        raise ModelError(misfit)
    scans: list[list[Tensor]] = [[] for _ in range(outputs)]
    names = [v.name for v in body.input]
    for step in range(length):
        parts = [
            F.select(ctx.builder, t, axis, length - 1 - step if back else step)
            for t, axis, back in zip(sequences, axes, backward, strict=True)
        ]
        results = ctx.subgraph(body, dict(zip(names, [*carried, *parts], strict=True)))
        carried = list(results[:states])
        for found, value in zip(scans, results[states:], strict=True):
            found.append(value)
    reverse = _filled(ctx, "scan_output_directions", outputs)
    places = _filled(ctx, "scan_output_axes", outputs)
    stacked = [
        _stacked(ctx, found[::-1] if back else found, axis)
        for found, axis, back in zip(scans, places, reverse, strict=True)
    ]
    return [*carried, *stacked]


def _filled(ctx: NodeContext, name: str, count: int) -> list[int]:
    values = list(ctx.attr_ints(name) or [0] * count)
    if len(values) != count:
        raise ModelError(f"attribute {name}={values} should have {count} values")
    return values


def _constant(ctx: NodeContext, array: np.ndarray, what: str) -> Tensor:
    return ctx.builder.constant(array, ctx.builder.local(what))


def _stacked(ctx: NodeContext, parts: Sequence[Tensor], axis: int) -> Tensor:
    if not parts:
        raise ModelError("runs zero times, so the shape of what it collects is not known")
    return F.stack(ctx.builder, parts, axis)


def _graph(ctx: NodeContext, name: str) -> GraphProto:
    for a in ctx.proto.attribute:
        if a.name == name and a.HasField("g"):
            graph: GraphProto = a.g
            return graph
    raise ModelError(f"attribute {name!r} is missing")


HANDLERS: Mapping[str, Handler] = {"If": if_, "Loop": loop, "Scan": scan}
