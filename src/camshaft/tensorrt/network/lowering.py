"""A network as an ONNX model whose values and nodes have the names of its tensors and layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from onnx import ModelProto

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.network.element_types import FLOATS, PRECISIONS, border_type, onnx_type
from camshaft.tensorrt.network.emission import Emission
from camshaft.tensorrt.network.int8_ends import MOST, to_border
from camshaft.tensorrt.network.lowered import Lowered
from camshaft.tensorrt.network.names import clear_of, nodes_within, rename_graph, values_within
from camshaft.tensorrt.network.record import OPERANDS, ROLES, Record, default_name
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.plan import Held

if TYPE_CHECKING:
    from camshaft.tensorrt.network.graph import Graph


def lower(graph: Graph) -> Lowered:
    """What a build needs to know of a network.  ModelError says which layer cannot be, or which names clash."""
    if not graph._outputs:
        raise ModelError(f"network {graph._name!r} has no outputs; call mark_output(tensor)")
    emission = Emission(graph, draft=False)
    for tensor in graph._inputs:
        emission.value(tensor)
    _in_order(graph, emission)
    asserted = _assert(graph, emission)
    ends = _end(graph, emission, [*asserted])
    model = emission.net.to_onnx()
    values = _name_values(model, emission, ends)
    origins = _name_nodes(model, emission)
    live = {record.name: record for record in emission.origins.values()}
    ranges = {
        values[name]: max(abs(bound) for bound in tensor._range)
        for name, tensor in emission.named.items()
        if name in values and tensor._range is not None
    }
    ranges |= {values[name]: MOST for name in emission.levels if name in values}
    return Lowered(
        model,
        {n: PRECISIONS[r.precision] for n, r in live.items() if r.precision in PRECISIONS},
        {n: asked for n, r in live.items() if (asked := _output_type(graph, r)) is not None},
        ranges,
        tuple(t.name for t in graph._debug),
        graph._strongly_typed,
        origins,
        _held(graph, emission, model, values),
        tuple((tensor.name, said) for tensor, said in asserted.items()),
        tuple(t.name for t in asserted if t._producer is not None and t not in graph._outputs),
    )


def _held(
    graph: Graph, emission: Emission, model: ModelProto, values: Mapping[str, str]
) -> tuple[Held, ...]:
    """The weights of layers.  values: name of a constant -> its name in the model."""
    readers = _readers(graph)
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    found: dict[Held, None] = {}
    for holding in emission.held:
        initializer = values.get(holding.constant)
        if initializer is None or initializer not in stored:
            continue
        record, param, weights = holding.record, holding.param, holding.weights
        named = graph._weights_name(weights)
        for layer, used in readers.get(record) or [(record, param)]:
            name = default_name(layer.name, used) if named is None else named
            found[
                Held(
                    initializer,
                    name,
                    layer.name,
                    int(ROLES[used]),
                    int(weights.dtype),
                    stored[initializer],
                    weights.size,
                )
            ] = None
    return tuple(found)


def _readers(graph: Graph) -> dict[Record, list[tuple[Record, str]]]:
    """Constant -> the layers of a file, with their parameters, that take it for their own weights."""
    found: dict[Record, list[tuple[Record, str]]] = {}
    for record in graph._records:
        if record.parsed is None:
            continue
        for param in record.held():
            index = OPERANDS.get(param)
            given = record.inputs[index] if index and index < len(record.inputs) else None
            if given is not None and given._producer is not None:
                found.setdefault(given._producer, []).append((record, param))
    return found


def _in_order(graph: Graph, emission: Emission) -> None:
    """Lower what outputs depend on in the order of the layers, so that the model has it as well."""
    if any(r.owner is not None for r in graph._records):
        return  # what is in a loop is lowered with the loop
    needed: set[Record] = set()
    waiting: list[ITensor] = [*graph._outputs]
    while waiting:
        record = waiting.pop()._producer
        if record is not None and record not in needed:
            needed.add(record)
            waiting += record.needed()
    for record in graph._records:
        if record in needed and record.outputs:
            emission.value(record.outputs[0])


def _assert(graph: Graph, emission: Emission) -> dict[ITensor, str]:
    """Lower conditions that must hold; returns them, and what to say.  ModelError of one that never does."""
    found: dict[ITensor, str] = {}
    within = any(r.owner is not None for r in graph._records)
    for record in graph._records:
        if record.cls._kind != LayerType.ASSERTION:
            continue
        if within:
            graph._reports.warning(
                "assertions beside loops and conditionals are not evaluated", True
            )
            break
        (condition,) = record.inputs
        assert condition is not None
        said = f"assertion {record.name!r} does not hold: {record.params['message']}"
        value = emission.value(condition)
        if value.dtype != bool:
            raise ModelError(f"layer {record.name!r}: condition is {value.dtype}, must be bool")
        known = emission.net.constant_value(value)
        if known is not None and not known.all():
            raise ModelError(said)
        if known is None:
            found.setdefault(condition, said)
    return found


def _output_type(graph: Graph, record: Record) -> str | None:
    """The type asked for a layer's first output, where that is a matter of precision.  An output of the network has the type that
    was set for it."""
    kind = record.output_types.get(0)
    if kind is None or record.cls._casts:
        return None
    ends = [t for t in record.outputs if t in graph._outputs and t._dtype not in (None, kind)]
    return None if ends else PRECISIONS.get(kind)


def _end(graph: Graph, emission: Emission, also: Iterable[ITensor]) -> dict[str, str]:
    """Mark the outputs, cast as asked; returns value -> name of the output.  also: tensors that are outputs of the model alone."""
    net = emission.net
    more = [t for t in also if t._producer is not None and t not in graph._outputs]
    tensors = [*graph._outputs, *more]
    values = [emission.value(t) for t in tensors]
    computed = {o for node in net.nodes for o in node.output}
    ends: dict[str, str] = {}
    for tensor, value in zip(tensors, values, strict=True):
        end = _cast(tensor, value, emission)
        is_own = end is not value or end.name in computed
        if end.name in ends or not is_own:
            end = net.op("Identity", end)
        ends[net.output(end).name] = tensor.name
    return ends


def _cast(tensor: ITensor, value: Tensor, emission: Emission) -> Tensor:
    """An output in the type that was set for it, and in one that TensorRT has."""
    kind, producer = tensor._dtype, tensor._producer
    seen = emission.net.type_of(value)
    if kind is None and producer is not None:
        asked = producer.output_types.get(producer.outputs.index(tensor))
        kind = asked if asked in FLOATS else None
    if kind is None and seen.elem_type:
        kind = border_type(seen.elem_type, f"output {tensor.name!r}")
    if kind is None or seen.elem_type == onnx_type(kind):
        return value
    return to_border(emission.net, tensor, value, onnx_type(kind))


def _name_values(model: ModelProto, emission: Emission, ends: dict[str, str]) -> dict[str, str]:
    """Name values after their tensors; returns old name -> new one.  ModelError if two of them have one name."""
    found = set(values_within(model.graph))
    names = {old: new for old, new in ends.items() if old in found}
    names |= {v.name: v.name for v in model.graph.input}
    taken = set(names.values())
    for old, tensor in emission.named.items():
        if old in names or old not in found:
            continue
        name = tensor.name
        if tensor in emission.graph._inputs or tensor in emission.graph._outputs:
            name = clear_of(f"{name}.inner", taken)
        elif name in taken:
            raise ModelError(f"two tensors are called {name!r}; set the name of one")
        names[old] = name
        taken.add(name)
    for old, name in emission.constants.items():
        if old in found and old not in names and name not in taken:
            names[old] = name
            taken.add(name)
    for other in sorted(found - set(names)):
        names[other] = clear_of(other, taken)
        taken.add(names[other])
    rename_graph(model.graph, names)
    return names


def _name_nodes(model: ModelProto, emission: Emission) -> dict[str, str]:
    """Name nodes after their layers; returns name of a node -> name of its layer, where they differ."""
    nodes = [n for n in nodes_within(model.graph) if n.name in emission.origins]
    _check_names({emission.origins[n.name] for n in nodes})
    taken = {r.name for r in emission.origins.values()}
    origins: dict[str, str] = {}
    for node in nodes:
        record = emission.origins[node.name]
        if node.name == emission.main.get(record):
            node.name = record.name
            continue
        node.name = clear_of(f"{record.name}.{node.op_type}", taken)
        taken.add(node.name)
        origins[node.name] = record.name
    return origins


def _check_names(records: Iterable[Record]) -> None:
    seen: set[str] = set()
    for record in records:
        if record.name in seen:
            raise ModelError(f"two layers are called {record.name!r}; set the name of one")
        seen.add(record.name)
