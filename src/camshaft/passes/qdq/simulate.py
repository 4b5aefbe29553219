"""A Q/DQ graph computed in floats, its values rounded where they would be integers.

What `lowering` makes integers of is left as it is: constants are dequantized now, and each Q/DQ pair becomes one pointwise
step that rounds.  The answers are those of the integer kernels but for the last bits of float sums, the graph is made in one
walk, and its convolutions have the same kernels as those of the float graph, so that many such graphs are run at little cost.
"""

from __future__ import annotations

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.rebuild import Rebuild
from camshaft.ops import DEQUANTIZE, POINTWISE, QUANTIZE


def simulated(graph: Graph) -> Graph:
    """The graph without quantize and dequantize nodes, rounded where they were.

    Scales of activations are constants, one for a tensor, as `quant.insertion` places them.
    """
    rebuild = Rebuild(graph)
    producers = graph.producers
    rounded: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.op is QUANTIZE:
            continue
        if node.op is not DEQUANTIZE:
            rebuild.replace(node, rebuild.carry(rebuild.present(node)))
            continue
        values, scale, zero = node.args
        if values.is_const:
            arrays = (values.content, scale.content, zero.content)
            made = DEQUANTIZE.reference(arrays, node.attrs)[0]
            floats = rebuild.builder.constant(np.ascontiguousarray(made), f"{values.name}:floats")
        else:
            quantize = producers[values.name]
            key = quantize.output.name
            if key not in rounded:
                rounded[key] = _rounded(rebuild, quantize)
            floats = rounded[key]
        rebuild.replace(node, [floats])
    return rebuild.finish()


def _rounded(rebuild: Rebuild, quantize: Node) -> Tensor:
    """What is quantized, rounded to its levels.  Scale and zero point are operands, so that one kernel rounds all."""
    x, scale, zero = quantize.args
    b = rebuild.builder
    low, high = zero.type.dtype.range
    operands = [
        b.constant(np.asarray(scale.content, np.float32), f"{scale.name}:s"),
        b.constant(np.asarray(zero.content, np.float32), f"{zero.name}:z"),
    ]
    level = E.add(E.unary("round", E.div(E.inp(0), E.inp(1))), E.inp(2))
    kept = E.clip(level, float(low), float(high))
    expr = E.mul(E.sub(kept, E.inp(2)), E.inp(1))
    return b.emit(
        POINTWISE, [rebuild.get(x), *operands], {"expr": expr},
        like=quantize, name=quantize.name, output=f"{quantize.output.name}:rounded",
    )  # fmt: skip
