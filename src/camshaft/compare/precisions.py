"""How far rounding alone may move a tensor, by the precision that it was computed in."""

from __future__ import annotations

from collections.abc import Iterable

from camshaft.program.program import Note

TOLERANCES = {"fp32": 1e-3, "fp16": 0.015, "bf16": 0.1, "int8": 0.5}
"""Precision, finest first -> largest error of an output of a whole net, relative to its largest value.

Half floats have 11 and 8 bits: small nets are off by up to 0.003 and 0.02, deep ones by more.  INT8's separates a
broken engine, whose outputs have little to do with the model's (1 and more), from rounding: trained networks lie
between 0.03 and a third on inputs like those they were calibrated with.  What accuracy INT8 costs, only labelled data
tell.
"""

LAYER_TOLERANCES = {"fp32": 1e-3, "fp16": 0.005, "bf16": 0.04, "int8": 0.15}
"""The same of one layer on the inputs that the engine gave it: no error of the layers before it is in there."""

_STORED = {"float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}
"""Element type of a tensor that holds rounded floats -> precision."""


def precision_of(note: Note) -> str:
    """The precision that a step has by permission, or as the model says: a key of TOLERANCES."""
    kind = note.precision.partition(",")[0]
    few_bits = note.reason.startswith("weight_only")
    few_bits |= note.precision.endswith("weights i8")  # recurrent layers
    if few_bits or kind in ("u8", "i8"):
        return "int8"
    return next((p for p in ("fp16", "bf16") if note.reason.startswith(p)), "fp32")


def stored_precision(dtype: str) -> str:
    """The precision that the element type of a stored tensor leaves of floats."""
    return _STORED.get(dtype, "fp32")


def coarsest(precisions: Iterable[str]) -> str:
    """That of the largest tolerance; "fp32" of none."""
    return max(precisions, key=lambda p: TOLERANCES[p], default="fp32")
