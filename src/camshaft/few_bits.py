"""What a build's options say about products with weights of few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph
from camshaft.passes.qdq.few_bits import has_few_bits, with_bytes
from camshaft.quant.dynamic import DynamicQuantization
from camshaft.quant.weight_only import WeightOnly


@dataclass(frozen=True)
class FewBits:
    """A float graph with weights and activations as the options say.

    reasons: source layer -> why it is what it is.  summary: of all, "" where there are none.
    alone: whether nothing else becomes integers, though INT8 is permitted.
    """

    graph: Graph
    reasons: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    alone: bool = False


def few_bits(config: BuildConfig, graph: Graph, ranges: Sequence[str]) -> FewBits:
    """An optimized graph as the options say.

    ranges: names of the options given that say what INT8 ranges are.  ConfigError names those that
    contradict `weight_only`.
    """
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
        return FewBits(graph, {}, "" if rounding is None else f"fp32; {rounding.summary}")
    alone = rounding is not None
    if not alone and not ranges:
        alone = not DynamicQuantization(graph, config.layer_precision).multiplies_rows
    if permitted:
        graph = with_bytes(graph, kept)
    activations = "int8 activations, block by block" if permitted else "fp32"
    weights = "weights as the model has them" if rounding is None else rounding.summary
    reasons = {} if rounding is None else rounding.reasons
    return FewBits(graph, reasons, f"{activations}; {weights}", alone)


def refuse_rounding(config: BuildConfig) -> None:
    """ConfigError where the weights of a quantized model are to be rounded."""
    if config.weight_only is not None:
        raise ConfigError(
            f"weight_only={config.weight_only!r} given, but the model's QuantizeLinear and "
            "DequantizeLinear nodes say what is quantized and how: leave it out, or build the float "
            "model"
        )


def _refuse_ranges(config: BuildConfig, ranges: Sequence[str]) -> None:
    given = [*ranges]
    given += ["layer_precision of int8"] * ("int8" in config.layer_precision.values())
    if given:
        raise ConfigError(
            f"weight_only={config.weight_only!r} and {' and '.join(given)} given: weights become "
            "integers either alone or together with calibrated activations; leave one out"
        )
