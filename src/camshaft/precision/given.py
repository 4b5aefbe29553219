"""What a build is given of ranges, and what is refused because it would go unused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph
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
        if is_quantized(graph) or has_few_bits(graph):
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
