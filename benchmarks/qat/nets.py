"""The networks that are trained: small, and of the kinds that INT8 hurts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.qat.data import CLASSES

STRIDES = (8, 16)


def _conv(
    ins: int, outs: int, side: int, stride: int = 1, groups: int = 1, act: Any = nn.ReLU6
) -> Any:
    layers: list[nn.Module] = [
        nn.Conv2d(ins, outs, side, stride, side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class _Inverted(nn.Module):
    """An inverted residual of MobileNet V2."""

    def __init__(self, ins: int, outs: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = ins * widen
        self.body = nn.Sequential(
            _conv(ins, wide, 1), _conv(wide, wide, 3, stride, wide), _conv(wide, outs, 1, act=None)
        )
        self.adds = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.adds else y


class Classifier(nn.Module):
    """A MobileNet V2 for pictures of 28x28 (47 thousand weights)."""

    def __init__(self) -> None:
        super().__init__()
        plan = [(16, 1, 2), (24, 1, 4), (24, 1, 4), (32, 2, 4), (32, 1, 4), (48, 1, 4)]
        layers, ins = [_conv(1, 16, 3, 2)], 16
        for outs, stride, widen in plan:
            layers.append(_Inverted(ins, outs, stride, widen))
            ins = outs
        self.features = nn.Sequential(*layers, _conv(ins, 128, 1))
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.drop(self.features(x).mean((2, 3))))
        return scores


class _Split(nn.Module):
    """A cross-stage partial block: half of the channels pass by."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        half = outs // 2
        self.left, self.right = (_conv(ins, half, 1, act=nn.SiLU) for _ in range(2))
        self.body = nn.Sequential(
            _conv(half, half, 1, act=nn.SiLU), _conv(half, half, 3, act=nn.SiLU)
        )
        self.join = _conv(2 * half, outs, 1, act=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        left = self.left(x)
        joined: Tensor = self.join(torch.cat([left + self.body(left), self.right(x)], 1))
        return joined


class _Head(nn.Module):
    """A decoupled head of YOLOX at one stride: boxes [4], objectness [1], classes."""

    def __init__(self, ins: int, wide: int) -> None:
        super().__init__()
        self.stem = _conv(ins, wide, 1, act=nn.SiLU)
        self.classes, self.boxes = (
            nn.Sequential(
                _conv(wide, wide, 3, 1, wide, act=nn.SiLU), _conv(wide, wide, 1, act=nn.SiLU)
            )
            for _ in range(2)
        )
        self.scores, self.sizes, self.objects = (nn.Conv2d(wide, n, 1) for n in (CLASSES, 4, 1))
        with torch.no_grad():
            self.objects.bias.fill_(-4.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        boxes = self.boxes(x)
        return torch.cat([self.sizes(boxes), self.objects(boxes), self.scores(self.classes(x))], 1)


class Detector(nn.Module):
    """A YOLOX of two strides.  Gives [n, places, 5 + CLASSES]: offsets and logarithms of sizes, in strides; logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(1, 16, 3, 2, act=nn.SiLU), _conv(16, 32, 3, 2, act=nn.SiLU))
        self.third = nn.Sequential(_conv(32, 48, 3, 2, act=nn.SiLU), _Split(48, 48))
        self.fourth = nn.Sequential(_conv(48, 64, 3, 2, act=nn.SiLU), _Split(64, 64))
        self.lateral = _conv(64, 48, 1, act=nn.SiLU)
        self.merged = _Split(96, 48)
        self.heads = nn.ModuleList([_Head(48, 48), _Head(64, 48)])

    def forward(self, x: Tensor) -> Tensor:
        third = self.third(self.stem(x))
        fourth = self.fourth(third)
        up = nn.functional.interpolate(self.lateral(fourth), scale_factor=2.0, mode="nearest")
        levels = (self.merged(torch.cat([up, third], 1)), fourth)
        return torch.cat(
            [head(y).flatten(2) for head, y in zip(self.heads, levels, strict=True)], 2
        ).transpose(1, 2)
