"""Sliding windows as ONNX writes them: `auto_pad` and `pads` as a padding, attributes an axis."""

from __future__ import annotations

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import NodeContext
from camshaft.ops.functional import Padding

_RULES = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}


def per_axis(ctx: NodeContext, name: str, rank: int, default: int) -> tuple[int, ...]:
    """An attribute with one int a spatial axis; ModelError when it has another length."""
    values = ctx.attr_ints(name)
    if not values:
        return (default,) * rank
    if len(values) != rank:
        raise ModelError(f"attribute {name}={list(values)} does not fit {rank} spatial axes")
    return values


def padding_of(ctx: NodeContext, rank: int) -> Padding:
    """The node's padding over `rank` spatial axes."""
    auto = ctx.attr_str("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = per_axis(ctx, "pads", 2 * rank, 0)
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    if auto not in _RULES:
        raise ModelError(f"unknown auto_pad {auto!r}")
    return _RULES[auto]
