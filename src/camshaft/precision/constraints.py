"""What is asked of single layers as an order, a wish or a hint (`precision_constraints`).

The search obeys what it is given.  A wish that cannot be is taken out of it beforehand, and is remarked upon; a hint is
one only where kernels are timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from camshaft.builder.halves import unable as unable_halves
from camshaft.builder.tasks import Task
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph
from camshaft.passes.half import HALF_PRECISIONS
from camshaft.passes.qdq.few_bits import has_few_bits, is_of_bytes
from camshaft.passes.qdq.lowering import is_quantized
from camshaft.precision.few_bits import few_bits, integer_layers
from camshaft.quant.dynamic import DynamicQuantization
from camshaft.quant.placement import check_layer_names, impossible

_BYTES = ("u8", "i8", "f32, weights i8")
_HALVES = {name: dtype.name for name, dtype in HALF_PRECISIONS.items()}
_INTEGERS = ("i64", "i32", "bool")


@dataclass(frozen=True)
class Asked:
    """What is asked of the layers of one graph, and can be.

    layers: source layer -> precision, which must be.  unmet: source layer -> why what is preferred cannot be.
    preferred: source layer -> precision, of those.
    """

    layers: Mapping[str, str]
    unmet: Mapping[str, str] = field(default_factory=dict)
    preferred: Mapping[str, str] = field(default_factory=dict)

    def told(self, tasks: Sequence[Task]) -> dict[str, tuple[str, str]]:
        """Layers that are not what was preferred -> the precision that they have, and why.  tasks: of the graph built.

        A pool or an elementwise layer between INT8 products reads bytes, and is then what it should be; one between those
        of halves may read these.  Integers are no matter of precision.
        """
        found: dict[str, tuple[str, str]] = {}
        for layer, why in self.unmet.items():
            made = [t for t in tasks if layer in t.origin]
            asked = self.preferred[layer]
            right = (*_BYTES,) if asked == "int8" else (_HALVES.get(asked, asked), *_INTEGERS)
            if not (made and all(t.precision in right for t in made)):
                words = " and ".join(dict.fromkeys(t.precision for t in made))
                precision = words or "no step of its own"
                found[layer] = precision, f"layer_precision prefers {asked}, but {why}"
        return found


def remarks(told: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """What is `told`, as sentences."""
    return tuple(
        f"{why.replace(',', f' in {layer!r},', 1)}; it is {precision}"
        for layer, (precision, why) in told.items()
    )


def asked_of_layers(
    config: BuildConfig, graph: Graph, ranges: Sequence[str], *, times: bool
) -> Asked:
    """What must be of the layers of an optimized graph.

    ranges: names of the options given that say what INT8 ranges are.  times: whether kernels are timed.
    ConfigError names a layer that the model lacks, or that is asked to be what `precision` does not permit; for orders
    also two of one kernel that contradict each other.
    """
    layers = config.layer_precision
    if not layers or is_quantized(graph):  # beside which none are taken
        return Asked(layers)
    _require_permission(config)
    check_layer_names(graph, layers)
    contradictions = dict(_contradictions(graph, layers))
    if config.precision_constraints == "obey":
        for layer, why in contradictions.items():
            raise ConfigError(
                f"layer_precision asks for {layers[layer]} in {layer!r}, but {why}; ask for one"
            )
        return Asked(layers)
    if config.precision_constraints == "fastest" and times:
        return Asked({})
    unmet = contradictions
    unmet |= unable_halves(graph, _without(layers, unmet))
    config = replace(config, layer_precision=_without(layers, unmet))
    if "int8" in config.layer_precision.values():
        unmet |= _unable_int8(config, graph, ranges)
    left = _without(layers, unmet)
    if config.precision_constraints == "fastest":
        return Asked(left)
    return Asked(left, unmet, {layer: layers[layer] for layer in unmet})


def _require_permission(config: BuildConfig) -> None:
    for layer, p in config.layer_precision.items():
        if p != "fp32" and p not in config.precision:
            raise ConfigError(
                f"layer_precision asks for {p} in {layer!r}, which is not permitted: add "
                f"precision={{{p!r}}}"
            )


def _without(layers: Mapping[str, str], unmet: Mapping[str, str]) -> dict[str, str]:
    return {n: p for n, p in layers.items() if n not in unmet}


def _contradictions(graph: Graph, layers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Layers that became one kernel with an earlier one of which something else is asked, and why that cannot be.

    The arithmetic behind a product is FP32 in all precisions, so that FP32 is none beside half floats.
    """
    as_integers = integer_layers(layers)
    for node in graph.nodes:
        asked = [layer for layer in node.origin if layer in layers]
        for i, layer in enumerate(asked):
            for first in asked[:i]:
                halves = {layers[layer], layers[first]} <= HALF_PRECISIONS.keys()
                differs = layers[layer] != layers[first]
                if as_integers[layer] != as_integers[first] or (halves and differs):
                    yield (
                        layer,
                        f"it is one kernel with {first!r}, of which {layers[first]} is asked",
                    )
                    break


def _unable_int8(config: BuildConfig, graph: Graph, ranges: Sequence[str]) -> dict[str, str]:
    """Layers that are asked to be INT8 and cannot be, by the rules of the search (`PrecisionSearch`), and why."""
    alone = False
    if config.weight_only is not None or has_few_bits(graph):
        others = {n: p for n, p in config.layer_precision.items() if p != "int8"}
        few = few_bits(replace(config, layer_precision=others), graph, ranges)
        graph, alone = few.graph, few.alone
    made = {o for n in graph.nodes if is_of_bytes(n) for o in n.origin}
    layers = {n: p for n, p in integer_layers(config.layer_precision).items() if n not in made}
    dynamic = DynamicQuantization(graph, layers)
    if alone or (not ranges and dynamic.needs_no_data):
        return dynamic.unable()
    with_ranges = impossible(graph, layers)
    unmet = {n: why for n, why in with_ranges.items() if not dynamic.can([n])}
    left = [n for n, p in layers.items() if p == "int8" and n not in unmet]
    if not dynamic.can(left):  # in which case the data are left aside
        unmet |= with_ranges
    return unmet
