"""A small detector built from the parts of YOLO heads: split, concat, pooling pyramid, resize, DFL.

The architecture is camshaft's own arrangement of published ideas (CSP blocks, spatial pyramid
pooling, feature pyramid, distribution focal loss); it exists to exercise those graph patterns.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

BINS = 16


class ConvSilu(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, channels: int, features: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, features, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(features, eps=1e-3),
            nn.SiLU(),
        )


class SplitBlock(nn.Module):
    """Half the channels pass by, the other half goes through residual convolutions; all concat."""

    def __init__(self, channels: int, features: int, depth: int, residual: bool) -> None:
        super().__init__()
        half = features // 2
        self.residual = residual
        self.enter = ConvSilu(channels, features)
        self.steps = nn.ModuleList(
            nn.Sequential(ConvSilu(half, half, 3), ConvSilu(half, half, 3)) for _ in range(depth)
        )
        self.leave = ConvSilu(half * (2 + depth), features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for step in self.steps:
            y = step(parts[-1])
            parts.append(y + parts[-1] if self.residual else y)
        return cast(torch.Tensor, self.leave(torch.cat(parts, 1)))


class PoolPyramid(nn.Module):
    """Three 5x5 max pools in a row, concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvSilu(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvSilu(channels * 2, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return cast(torch.Tensor, self.leave(torch.cat(parts, 1)))


class Head(nn.Module):
    """Boxes (as distributions over BINS distances) and class scores of one level."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.boxes = nn.Sequential(ConvSilu(channels, 64, 3), nn.Conv2d(64, 4 * BINS, 1))
        self.scores = nn.Sequential(ConvSilu(channels, 64, 3), nn.Conv2d(64, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.boxes(x), self.scores(x)), 1).flatten(2)


class YoloStyle(nn.Module):
    """[N,3,H,W] (H, W multiples of 32) -> [N, 4 + classes, H*W/64 + H*W/256 + H*W/1024]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.stem = nn.Sequential(ConvSilu(3, 16, 3, 2), ConvSilu(16, 32, 3, 2))
        self.c2 = SplitBlock(32, 32, 1, residual=True)
        self.c3 = nn.Sequential(ConvSilu(32, 64, 3, 2), SplitBlock(64, 64, 2, residual=True))
        self.c4 = nn.Sequential(ConvSilu(64, 128, 3, 2), SplitBlock(128, 128, 2, residual=True))
        self.c5 = nn.Sequential(ConvSilu(128, 256, 3, 2), PoolPyramid(256))
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.p4 = SplitBlock(256 + 128, 128, 1, residual=False)
        self.p3 = SplitBlock(128 + 64, 64, 1, residual=False)
        self.heads = nn.ModuleList(Head(c, classes) for c in (64, 128, 256))
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        c3 = self.c3(self.c2(self.stem(image)))
        c4 = self.c4(c3)
        c5 = self.c5(c4)
        p4 = self.p4(torch.cat((self.up(c5), c4), 1))
        p3 = self.p3(torch.cat((self.up(p4), c3), 1))
        levels = (p3, p4, c5)
        raw = torch.cat([head(x) for head, x in zip(self.heads, levels, strict=True)], 2)
        boxes, scores = raw.split((4 * BINS, self.classes), 1)
        return torch.cat((self._decoded(boxes, levels), scores.sigmoid()), 1)

    def _decoded(self, boxes: torch.Tensor, levels: tuple[torch.Tensor, ...]) -> torch.Tensor:
        count, _, anchors = boxes.shape
        bins = boxes.view(count, 4, BINS, anchors).transpose(1, 2).softmax(1)
        near, far = (bins * self.bins).sum(1).chunk(2, 1)
        centres, strides = _anchors(levels)
        corner, opposite = centres - near, centres + far
        return torch.cat(((corner + opposite) / 2, opposite - corner), 1) * strides


def _anchors(levels: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cell centres [1,2,A] in cells, and strides [1,1,A] in pixels; constants of the export."""
    centres, strides = [], []
    for stride, level in zip((8, 16, 32), levels, strict=True):
        height, width = (int(n) for n in level.shape[2:])
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres.append(torch.stack((x.flatten(), y.flatten())).float() + 0.5)
        strides.append(torch.full((1, height * width), float(stride)))
    return torch.cat(centres, 1)[None], torch.cat(strides, 1)[None]
