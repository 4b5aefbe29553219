"""Handlers of ATen operators; importing the package registers them (`call.HANDLERS`)."""

from camshaft.frontends.torch.handlers import (
    choice,
    contraction,
    creation,
    elementwise,
    indexing,
    movement,
    normalization,
    ordering,
    pooling,
    quantization,
    recurrent,
    reduction,
)

__all__ = [
    "choice",
    "contraction",
    "creation",
    "elementwise",
    "indexing",
    "movement",
    "normalization",
    "ordering",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
]
