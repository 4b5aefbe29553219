"""Operator definitions: what an op is called, which types it yields, what it means.

The definitions themselves live in `camshaft.ops`, by family; this module only says what one looks
like.  An op's meaning is its `reference` in NumPy: kernels, passes and tests are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.expr import Expr
from camshaft.ir.types import TensorType

Attr = (
    int | float | str | bool | bytes | Expr | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
)
Attrs = Mapping[str, Attr]

InferFn = Callable[[Sequence[TensorType], Any], Sequence[TensorType]]
ReferenceFn = Callable[[Sequence[np.ndarray], Any], Sequence[np.ndarray]]
SymbolicFn = Callable[[Sequence[np.ndarray], Any], Sequence[np.ndarray]]
"""Like a reference, on object arrays of extents (`ir.known`); raises `known.Unknown`."""

REQUIRED = object()


@dataclass(frozen=True)
class OpDef:
    """One operator.

    name: lower-case name in graphs and kernel specs.
    infer: (input types, attrs) -> output types; raises ModelError on a misuse.
    reference: (input arrays, attrs) -> output arrays; the meaning of the op.
    attributes: every attribute with its default, or REQUIRED.
    anchors: how many leading inputs belong to the op itself; the rest are epilogue operands
        (None: the op has no epilogue and all inputs are its own).
    traits: words passes ask for: "pointwise", "movement" (copies elements, computes nothing),
        "contraction", "rowwise", "fold" (may be evaluated at build time when all inputs are
        constant; everything except dequantize and host ops).
    symbolic: the same on small tensors whose elements are extents, for shape arithmetic.
    """

    name: str
    infer: InferFn
    reference: ReferenceFn
    attributes: Mapping[str, object]
    anchors: int | None = None
    traits: frozenset[str] = frozenset()
    symbolic: SymbolicFn | None = None

    def complete(self, attrs: Attrs) -> dict[str, Attr]:
        """`attrs` with defaults filled in; ModelError names an unknown or missing attribute."""
        unknown = set(attrs) - set(self.attributes)
        if unknown:
            raise ModelError(f"op {self.name!r} has no attribute {sorted(unknown)}")
        filled = {**self.attributes, **attrs}
        missing = [k for k, v in filled.items() if v is REQUIRED]
        if missing:
            raise ModelError(f"op {self.name!r} needs attribute {missing}")
        return filled  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"OpDef({self.name})"
