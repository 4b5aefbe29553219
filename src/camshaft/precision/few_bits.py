"""What a build's options say about products with weights of few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph
from camshaft.passes.qdq.few_bits import has_few_bits, is_of_bytes, with_bytes, with_floats
from camshaft.quant.dynamic import DynamicQuantization
from camshaft.quant.placement import asked_of, check_layer_names, impossible
from camshaft.quant.weight_only import WeightOnly


@dataclass(frozen=True)
class FewBits:
    """A float graph with weights and activations as the options say.

    reasons: source layer -> why it is what it is.  summary: of all, "" where there are none.
    layers: source layer -> "fp32" or "int8", of those of which the graph is not yet what was asked.
    alone: whether nothing else becomes integers, though INT8 is permitted.
    """

    graph: Graph
    layers: Mapping[str, str]
    reasons: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    alone: bool = False


def few_bits(config: BuildConfig, graph: Graph, ranges: Sequence[str]) -> FewBits:
    """An optimized graph as the options say.

    ranges: names of the options given that say what INT8 ranges are.  ConfigError names those that
    contradict `weight_only`, and a layer that must be INT8 and cannot be beside weights of few bits.
    """
    layers = integer_layers(config.layer_precision)
    permitted = "int8" in config.precision
    kept = frozenset(n for n, p in config.layer_precision.items() if p == "fp32")
    rounding = None
    if config.weight_only is not None:
        _refuse_ranges(config, ranges)
        rounding = WeightOnly(
            config.weight_only, config.weight_block, config.weight_zero_points, kept
        )
        graph = rounding.applied(graph)
    if not has_few_bits(graph):
        return FewBits(graph, layers, {}, "" if rounding is None else f"fp32; {rounding.summary}")
    for node in graph.nodes:
        asked_of(node, layers)
    graph = with_floats(graph, kept)
    if permitted:
        graph = with_bytes(graph, kept)
    made = {o for n in graph.nodes if is_of_bytes(n) for o in n.origin}
    layers = {n: p for n, p in layers.items() if p != "int8" or n not in made}
    alone = rounding is not None
    if not alone and not ranges:
        alone = not DynamicQuantization(graph, layers).multiplies_rows
    activations = "int8 activations, block by block" if permitted else "fp32"
    weights = "weights as the model has them" if rounding is None else rounding.summary
    few = FewBits(
        graph,
        layers,
        {} if rounding is None else rounding.reasons,
        f"{activations}; {weights}",
        alone,
    )
    return _with_asked(config, few) if permitted and alone else few


def integer_layers(layers: Mapping[str, str]) -> dict[str, str]:
    """`layer_precision` of layers -> "fp32" or "int8": what is to be half is no integer."""
    return {n: "int8" if p == "int8" else "fp32" for n, p in layers.items()}


def _with_asked(config: BuildConfig, few: FewBits) -> FewBits:
    """Other layers on bytes where they must be; no others."""
    asked = [n for n, p in few.layers.items() if p == "int8"]
    if not asked:
        return few
    check_layer_names(few.graph, few.layers)
    dynamic = DynamicQuantization(few.graph, few.layers)
    for layer, why in dynamic.unable().items():
        advice = "give calibration data"
        if config.weight_only is not None:
            advice = "leave weight_only out, beside which no calibration data are taken"
        if layer in impossible(few.graph, few.layers):
            advice = "leave it out"
        raise ConfigError(f"layer_precision asks for int8 in {layer!r}, but {why}; {advice}")
    others = frozenset(o for n in few.graph.nodes for o in n.origin)
    graph, reasons = dynamic.quantized(others)
    said = {n: why for n, why in reasons.items() if why.startswith("int8")}
    summary = f"{few.summary}; {', '.join(map(repr, asked))} in int8 by layer_precision"
    return replace(few, graph=graph, layers={}, reasons={**few.reasons, **said}, summary=summary)


def refuse_rounding(config: BuildConfig) -> None:
    """ConfigError where the weights of a quantized model are to be rounded."""
    if config.weight_only is not None:
        raise ConfigError(
            f"weight_only={config.weight_only!r} given, but the model's QuantizeLinear and "
            "DequantizeLinear nodes say what is quantized and how: leave it out, or build the float "
            "model"
        )


def _refuse_ranges(config: BuildConfig, ranges: Sequence[str]) -> None:
    if ranges:
        raise ConfigError(
            f"weight_only={config.weight_only!r} and {' and '.join(ranges)} given: weights become "
            "integers either alone or together with calibrated activations; leave one out"
        )
