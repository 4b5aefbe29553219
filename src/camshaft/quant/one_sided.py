"""Where zero lies among the levels of rows that are quantized as they are computed.

What GELU or SiLU makes has hardly a negative value, what ReLU makes none: around 128 half of the levels would stand for
nothing.  Which rows are such is found by trying the expression that makes them, at values up to LARGE; it steers how
fine levels are, never whether a value is represented, since scales leave room for what is negative.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.ir.expr import evaluate, extents_in
from camshaft.ir.graph import Node
from camshaft.ir.types import f32
from camshaft.passes.bodies import body_of, has_body
from camshaft.passes.qdq.rules import commutes

MIDDLE = 128
"""Zero of rows of which nothing is known."""
SLIGHT = 32
"""Zero where negative values are at least -SLIGHTLY: finer than MIDDLE for rows that reach two thirds."""
SLIGHTLY = 0.5
LARGE = 30.0
_TRIED = 4096


def zero_of(name: str, producers: Mapping[str, Node]) -> int:
    """The level that stands for 0 in rows of a tensor.  producers: tensor -> the node that makes it."""
    node = producers.get(name)
    while node is not None and commutes(node) and len(node.args) == 1:
        node = producers.get(node.args[0].name)
    if node is None or not has_body(node):
        return MIDDLE
    body = body_of(node)
    read = [node.args[0] if t is None else t for t in body.operands]
    if any(t.type.dtype != f32 for t in (*read, node.output)) or extents_in(body.expr):
        return MIDDLE
    rng = np.random.default_rng(0)
    tried = [rng.uniform(-LARGE, LARGE, _TRIED).astype(np.float32) for _ in body.operands]
    least = float(np.min(evaluate(body.expr, tried)))
    if least >= 0:
        return 0
    return SLIGHT if least >= -SLIGHTLY else MIDDLE
