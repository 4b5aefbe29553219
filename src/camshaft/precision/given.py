"""What a build is given of ranges, and what is refused because it would go unused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError, ConfigError
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph
from camshaft.ir.types import NARROW_FLOATS
from camshaft.passes.qdq.few_bits import has_few_bits
from camshaft.passes.qdq.lowering import is_quantized


@dataclass(frozen=True)
class Given:
    """Options that say what INT8 ranges are.  has_calibration: whether there are calibration data."""

    config: BuildConfig
    has_calibration: bool

    @property
    def ranges(self) -> list[str]:
        """Names of those given."""
        given = {
            "calibration": self.has_calibration,
            "dynamic_ranges": bool(self.config.dynamic_ranges),
            "calibration_cache": self.config.calibration_cache is not None,
        }
        return [name for name, is_given in given.items() if is_given]

    def require_ranges(self, graph: Graph, asked_int8: Sequence[str], *, judged: bool) -> None:
        """CalibrationError where nothing says ranges.  judged: whether accuracy is demanded."""
        cache = self.config.calibration_cache
        if cache is not None and not self.has_calibration and not cache.exists():
            raise CalibrationError(
                f"there is no calibration cache {str(cache)!r}, and no calibration data to fill it: "
                "check the path, or give calibration data (calibration=)"
            )
        if self.ranges:
            return
        told = ""
        if judged:
            told = "; samples of evaluate= are no calibration data, so that they judge what calibration has not seen"
        if narrow := _rounds_to_narrow_floats(graph):
            told += (
                f"; node {narrow!r} rounds to floats of 8 bits or fewer, which are no INT8 and are computed in floats: to build the model as "
                "it is, leave precision={'int8'} out"
            )
        raise CalibrationError(
            "INT8 needs ranges: give calibration data (calibration=), a calibration_cache file that exists, or "
            f"dynamic_ranges (or a model with Q/DQ nodes){told}{who_asks(asked_int8)}"
        )

    def refuse_needless(self) -> None:
        """ConfigError for ranges of a build that permits no INT8."""
        given = self.ranges
        if given == ["calibration"] and "fp16" in self.config.precision:
            given = []  # what FP16 holds
        if given:
            raise ConfigError(
                f"{' and '.join(given)} given, but INT8 is not permitted: add precision={{'int8'}}"
            )

    def refuse_beside_types(self) -> None:
        """ConfigError for calibration data where the model's own types decide."""
        if self.has_calibration:
            raise ConfigError(
                "calibration given beside strongly_typed, with which the model's own types decide: leave one out"
            )

    def refuse_beside_qdq(self) -> None:
        """ConfigError for what a model with Q/DQ nodes says itself."""
        given = self.ranges + ["layer_precision"] * bool(self.config.layer_precision)
        if given:
            raise ConfigError(
                f"{' and '.join(given)} given, but the model's QuantizeLinear and DequantizeLinear "
                "nodes say what is quantized and how: leave it out, or build the float model"
            )

    def refuse_demand(self, graph: Graph) -> None:
        """ConfigError where accuracy is demanded, and what becomes integers is not to be chosen any more."""
        if is_quantized(graph) or has_few_bits(graph) or _rounds_to_narrow_floats(graph):
            raise ConfigError(
                "quantize chooses which layers are INT8, but the model is quantized already: give the float model, or "
                "use build"
            )
        if self.config.weight_only is not None:
            raise ConfigError(
                f"weight_only={self.config.weight_only!r} given to quantize, which chooses INT8 for weights and "
                "activations: leave it out, or use build"
            )


def who_asks(asked_int8: Sequence[str]) -> str:
    """Layers that must be INT8, as the end of an error."""
    asked = ", ".join(map(repr, asked_int8))
    return f"; layer_precision asks for int8 in {asked}" if asked else ""


def unused_cache(config: BuildConfig, why: str, *, calibrates: bool) -> tuple[str, ...]:
    """That a calibration cache was named for nothing, as a sentence.  why: "" where it was not."""
    if not why or config.calibration_cache is None:
        return ()
    done = "written" if calibrates else "read"
    path = str(config.calibration_cache)
    return (f"calibration_cache {path!r} was not {done}: {why}; leave it out",)


def _rounds_to_narrow_floats(graph: Graph) -> str:
    """The first node that does (FP8, of Q/DQ nodes); "" if none does."""
    for node in graph.nodes:
        for value in node.attrs.values():
            steps = E.nodes(value) if isinstance(value, E.Expr) else ()
            if any(step.op == "cast" and step.dtype in NARROW_FLOATS for step in steps):
                return node.name
    return ""
