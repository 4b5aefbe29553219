"""What an entry of the zoo of architectures is, and how its weights are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Scale:
    """How large a net is: of images, pixels a side where the net has no size of its own; of transformers, the width, layers, heads
    and tokens of those that are made from configurations."""

    image: int
    width: int
    layers: int
    heads: int
    tokens: int


SMALL = Scale(image=96, width=64, layers=2, heads=4, tokens=12)
"""Every operator of an architecture, at little cost."""
USUAL = Scale(image=224, width=384, layers=6, heads=6, tokens=128)
"""As people run them."""


@dataclass(frozen=True)
class Made:
    """A module in evaluation mode, and the arguments of a call."""

    module: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Architecture:
    """make: builds the net at a scale, from PyTorch's own seed."""

    name: str
    library: str
    make: Callable[[Scale], Made]

    def made(self, scale: Scale) -> Made:
        """The net with seeded weights (see `spread`), the same in every process."""
        torch.manual_seed(0)
        made = self.make(scale)
        spread(made.module.eval())
        return made


def spread(module: nn.Module) -> None:
    """Give weights that begin all equal values that differ, so that none of them is without effect.

    Such are biases, scales of norms, and the small factors by which blocks begin.  Batch norms get statistics.
    """
    with torch.no_grad():
        for weight in module.parameters():
            if (
                weight.is_floating_point()
                and weight.numel()
                and bool((weight == weight.view(-1)[0]).all())
            ):
                weight.add_(torch.randn_like(weight), alpha=0.1)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)


def image(pixels: int, count: int = 1) -> torch.Tensor:
    """Random images, normalized."""
    return torch.randn(count, 3, pixels, pixels)
