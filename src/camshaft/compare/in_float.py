"""Which single layer in FP32 helps the outputs of a rounded engine most: each is tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from camshaft.compare.bisection import Bisection
from camshaft.compare.comparison import output_errors, outputs_of
from camshaft.compare.others import Arrays, run_other
from camshaft.compare.precisions import precision_of, stored_precision
from camshaft.compare.tensor_error import TensorError
from camshaft.errors import BuildError, ConfigError
from camshaft.frontends.onnx.model import load_model
from camshaft.program.program import Note
from camshaft.runtime.engine import Engine

Layers = tuple[str, ...]
Build = Callable[[Layers], Engine]
"""Makes the engine in which these layers are FP32, besides those that are already."""

_SAYS_QUANTIZED = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class InFloat:
    """The errors of the outputs where some layers are FP32.

    layers: of one kernel; none for the engine as it was.  fault: why it could not be built, else "".
    """

    layers: Layers
    outputs: tuple[TensorError, ...] = ()
    fault: str = ""

    @property
    def worst(self) -> float:
        """The largest relative error of an output; infinite where there are none."""
        return max((t.relative for t in self.outputs), default=math.inf)

    @property
    def least_sqnr_db(self) -> float:
        """Signal to noise of the worst output."""
        return min((t.sqnr_db for t in self.outputs), default=-math.inf)

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "layers": list(self.layers),
            "fault": self.fault,
            "outputs": [t.to_json() for t in self.outputs],
        }


def suspects(
    found: Bisection, notes: Sequence[Note], reasons: Mapping[str, str], most: int
) -> list[Layers]:
    """The layers of each rounded kernel, those that add most noise first, `most` of them.

    reasons: source layer -> why it has its precision.  A tensor is rounded where it is computed and for the sake of
    those that read it, so that its noise speaks against both.
    """
    rounded = {n for n, why in reasons.items() if not why.startswith("fp32")}
    groups = {
        layers: 0.0
        for note in notes
        if precision_of(note) != "fp32"
        and (layers := tuple(o for o in note.origin if o in rounded))
    }
    for step in found.steps:
        blamed = {*step.layers}
        if stored_precision(step.own.stored) != "fp32":
            blamed.update(step.readers)
        for layers in groups:
            if not blamed.isdisjoint(layers):
                groups[layers] = max(groups[layers], 10 ** (-step.own.sqnr_db / 20))
    return sorted(groups, key=lambda layers: -groups[layers])[:most]


def why_not(model: ModelProto) -> str:
    """Why no layer of the model can be made FP32 by an option, "" if they can."""
    if any(n.op_type in _SAYS_QUANTIZED for n in model.graph.node):
        return (
            "the model's QuantizeLinear and DequantizeLinear nodes say what is quantized, so that no layer is tried "
            "in FP32"
        )
    return ""


def tried_in_float(
    model: Any,
    suspected: Sequence[Layers],
    build: Build,
    feeds: Arrays,
    other: str,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[InFloat, list[InFloat]]:
    """The errors of the outputs as they are, and with each of the suspected layers in FP32, best first.

    tell: called with how many of how many engines are built.  Errors of building without any, and of the other runtime.
    """
    proto = load_model(model)
    wanted: Arrays | None = None

    def errors(layers: Layers) -> InFloat:
        nonlocal wanted
        made = outputs_of(build(layers), feeds)
        if wanted is None:
            wanted = run_other(other, proto, feeds, list(made))
        return InFloat(layers, tuple(output_errors(made, wanted)))

    tell(0, len(suspected) + 1)
    base, tried = errors(()), []
    for i, layers in enumerate(suspected):
        tell(i + 1, len(suspected) + 1)
        try:
            tried.append(errors(layers))
        except (BuildError, ConfigError) as error:
            tried.append(InFloat(layers, fault=str(error)))
    return base, sorted(tried, key=lambda t: (t.worst, -t.least_sqnr_db))
