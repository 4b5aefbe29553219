"""Scan: unrolled over short sequences of known length, else a step with a body."""

from __future__ import annotations

from collections.abc import Sequence

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
from camshaft.frontends.onnx.scripts.control.node import EMPTY, Control, check_results, graph_of
from camshaft.frontends.onnx.scripts.control.recurrent import Collected, Iterations, as_layers
from camshaft.frontends.onnx.scripts.scope import HostValue, Value
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.script import Scan
from camshaft.ir.types import TensorType
from camshaft.ops import functional as F
from camshaft.ops.common import normal_axis


def _filled(c: Control, name: str, count: int) -> list[int]:
    values = [v for a in c.node.attribute if a.name == name for v in a.ints] or [0] * count
    if len(values) != count:
        raise ModelError(f"attribute {name}={values} should have {count} values")
    return values


def _directions(c: Control, name: str, count: int) -> list[int]:
    values = _filled(c, name, count)
    if not {*values} <= {0, 1}:
        raise ModelError(f"attribute {name}={values} should hold 0 (forward) and 1 (backward)")
    return values


def _attr_int(c: Control, name: str) -> int:
    return next((int(a.i) for a in c.node.attribute if a.name == name), 0)


def scan(c: Control) -> list[Value]:
    """Scan: unrolled over short sequences of known length, else a step."""
    body = graph_of(c, "body")
    batched = c.opset < 9
    values = [*c.values]
    lengths = values.pop(0) if batched and values else None
    count = _attr_int(c, "num_scan_inputs")
    states = len(values) - count
    if states < 0 or count < 1 or len(body.input) != len(values) or any(v is None for v in values):
        raise ModelError(f"num_scan_inputs={count} does not fit {len(values)} inputs")
    present = [v for v in values if v is not None]
    for v in present:
        if not isinstance(v.type, TensorType):
            raise ModelError(f"{v.name!r} is {v.type}, not a tensor of known rank")
    carried, sequences = present[:states], present[states:]
    outputs = len(body.output) - states
    if outputs < 0:
        raise ModelError(f"its body has {len(body.output)} outputs for {states} states")
    check_results(c, len(body.output), "its body")
    for v, least in [(v, batched) for v in carried] + [(v, 1 + batched) for v in sequences]:
        if len(v.type.shape) < least:  # type: ignore[union-attr]
            raise ModelError(f"{v.name!r} is {v.type}, which has no axis to scan along")
    if batched:
        form = _Form([0] * count, _directions(c, "directions", count), [0] * outputs, [0] * outputs)
    else:
        form = _Form(
            [
                normal_axis(a, len(v.type.shape))  # type: ignore[union-attr]
                for a, v in zip(_filled(c, "scan_input_axes", count), sequences, strict=True)
            ],
            _directions(c, "scan_input_directions", count),
            _filled(c, "scan_output_axes", outputs),
            _directions(c, "scan_output_directions", outputs),
        )
    if not batched:
        unrolled = _unrolled_scan(c, body, carried, sequences, form)
        if unrolled is not None:
            return unrolled
    return _scanned(c, body, carried, sequences, form, lengths, batched)


class _Form:
    """Along which axes a Scan goes, and where from the end, of sequences and of what it collects."""

    def __init__(
        self,
        axes: list[int],
        backward: list[int],
        output_axes: list[int],
        output_backward: list[int],
    ) -> None:
        self.axes, self.backward = axes, backward
        self.output_axes, self.output_backward = output_axes, output_backward


def _length(c: Control, sequences: Sequence[Value], axes: Sequence[int], lead: int = 0) -> Extent:
    """How many steps there are."""
    extents = [v.type.shape[a + lead] for v, a in zip(sequences, axes, strict=True)]  # type: ignore[union-attr]
    common = extents[0]
    misfit = f"sequences of lengths {extents} cannot be scanned together"
    with c.scope.levels[0].builder.constraints.learning(f"node {c.name!r}"):
        for other in extents[1:]:
            common = require_equal(common, other, misfit)
    return common


def _unrolled_scan(
    c: Control,
    body: GraphProto,
    carried: Sequence[Value],
    sequences: Sequence[Value],
    form: _Form,
) -> list[Value] | None:
    length = _length(c, sequences, form.axes)
    most = min(MOST_ITERATIONS, MOST_UNROLLED // max(1, len(body.node)))
    if not isinstance(length, int) or not 0 < length <= most:
        return None
    states = len(carried)
    scans: list[list[Value]] = [[] for _ in form.output_axes]
    names = [v.name for v in body.input]
    level = max(c.scope.level(v) for v in sequences)
    builder = c.scope.at(level).builder
    tensors = [c.scope.tensor(v, level) for v in sequences]
    for step in range(length):
        parts: list[Value] = []
        for t, axis, back in zip(tensors, form.axes, form.backward, strict=True):
            part = F.select(builder, t, axis, length - 1 - step if back else step)
            c.scope.own(part, level)
            parts.append(part)
        results = c.in_place(body, dict(zip(names, [*carried, *parts], strict=True)), step)
        carried = list(results[:states])
        for found, value in zip(scans, results[states:], strict=True):
            found.append(value)
    ordered = [
        found[::-1] if back else found
        for found, back in zip(scans, form.output_backward, strict=True)
    ]
    collected = stacked(c, ordered, form.output_axes)
    return None if collected is None else [*carried, *collected]


def _scanned(
    c: Control,
    graph: GraphProto,
    carried: Sequence[Value],
    sequences: Sequence[Value],
    form: _Form,
    lengths: Value | None,
    batched: bool,
) -> list[Value]:
    lead = 1 if batched else 0
    length = _length(c, sequences, form.axes, lead)
    elements = [
        _element(c, v, axis, lead, i)
        for i, (v, axis) in enumerate(zip(sequences, form.axes, strict=True))
    ]
    first = [_element(c, v, None, lead, len(elements) + i) for i, v in enumerate(carried)]
    kept = c.scope.shared.snapshot()
    body = settled(c, graph, first, elements, leading=False)
    collected = body.results[len(carried) :]
    if not batched and len(set(form.backward)) == 1:
        parts = zip(sequences, form.axes, strict=True)
        seen = {e.name: part for e, part in zip(elements, parts, strict=True)}
        ends = zip(collected, form.output_axes, form.output_backward, strict=True)
        layers = as_layers(
            c,
            body,
            carried,
            body.results[: len(carried)],
            [Collected(v, axis, bool(back)) for v, axis, back in ends],
            Iterations(length, seen, backward=bool(form.backward[0])),
        )
        if layers is not None:
            c.scope.shared.restore(kept)
            return layers
    outputs = [final(c, i, v, body.hidden) for i, v in enumerate([*body.given, *collected])]
    batch = (*carried, *sequences)[0].type.shape[0]  # type: ignore[union-attr]
    for i, value in enumerate(outputs):
        if i >= len(carried):
            value = along(value, form.output_axes[i - len(carried)], length, c.fresh(value.name))
        outputs[i] = along(value, 0, batch, c.fresh(value.name)) if batched else value
    step = Scan(
        c.name,
        tuple(v.name for v in carried),
        tuple(v.name for v in sequences),
        EMPTY,
        tuple(v.name for v in outputs),
        tuple(form.axes),
        tuple(map(bool, form.backward)),
        tuple(form.output_axes),
        tuple(map(bool, form.output_backward)),
        tuple(v.type for v in collected),
        batched,
        None if lengths is None else lengths.name,
    )
    inputs = [v for v in (lengths, *carried, *sequences) if v is not None]
    names = [v.name for v in (*body.given, *elements)]
    return add_step(c, step, inputs, outputs, names, body)


def _element(c: Control, value: Value, axis: int | None, lead: int, number: int) -> HostValue:
    """What one step sees of a sequence (or, with axis None, one batch of a state)."""
    assert isinstance(value.type, TensorType)
    shape = [*value.type.shape[lead:]]
    if axis is not None:
        del shape[axis]
    type = TensorType(value.type.dtype, tuple(shape))
    return HostValue(c.claim(f"element {number}"), type, tensor_proto(type))
