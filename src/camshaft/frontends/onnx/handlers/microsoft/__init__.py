"""Operators of the domain com.microsoft, which ONNX Runtime's optimizer and quantizer write, and those
that it adds to ONNX's own domain: read as what they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.frontends.onnx.context import Handler
from camshaft.frontends.onnx.handlers import quantization
from camshaft.frontends.onnx.handlers.microsoft import (
    attention,
    fused,
    group_query,
    legacy,
    normalization,
    qlinear,
    recurrent,
    weights,
)

DOMAIN = "com.microsoft"

HANDLERS: Mapping[str, Handler] = {
    **{op: quantization.HANDLERS[op] for op in quantization.MICROSOFT},
    **attention.HANDLERS,
    **fused.HANDLERS,
    **group_query.HANDLERS,
    **legacy.HANDLERS,
    **normalization.HANDLERS,
    **qlinear.HANDLERS,
    **recurrent.HANDLERS,
    **weights.HANDLERS,
}

IN_ONNX: Mapping[str, Handler] = {
    "SimplifiedLayerNormalization": normalization.simplified_layer_normalization,
}
"""Operators of ONNX Runtime that stand in the domain of ONNX, which does not define them."""
