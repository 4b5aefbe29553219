"""The networks that every tool quantizes, as PyTorch modules and as ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.torch_models import randomize, torchvision_model
from benchmarks.zoo_model import Feeds

BATCHES = 8
"""Batches that ranges are taken from."""
OPSET = 17


class SmallConv(nn.Module):
    """A residual block, a depthwise convolution, two branches that are concatenated, pooling and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1), nn.BatchNorm2d(32))
        depthwise = nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(32), nn.ReLU6())
        self.left = nn.Sequential(nn.Conv2d(32, 32, 1), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(64, 64, 1), nn.Hardswish())
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = functional.relu(x + self.second(self.first(x)))
        x = functional.max_pool2d(self.depthwise(x), 2)
        x = torch.cat([self.left(x), self.right(x)], 1)
        scores: torch.Tensor = self.head(self.last(x).mean((2, 3)))
        return scores


class EncoderLayer(nn.Module):
    """A post-norm transformer layer, its attention spelled out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, tokens, width = x.shape
        split = (rows, tokens, self.heads, width // self.heads)
        q, k, v = (f(x).reshape(split).transpose(1, 2) for f in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(2, 3) * split[-1] ** -0.5, -1)
        mixed = (weights @ v).transpose(1, 2).reshape(rows, tokens, width)
        x = self.norm(x + self.out(mixed))
        y: torch.Tensor = self.last(x + self.down(functional.gelu(self.up(x))))
        return y


def small_conv() -> nn.Module:
    """SmallConv with seeded weights."""
    torch.manual_seed(0)
    model = SmallConv()
    randomize(model, 64)
    return model.eval()


def encoder() -> nn.Module:
    """Two transformer layers of width 256 with seeded weights."""
    torch.manual_seed(0)
    return nn.Sequential(EncoderLayer(256, 4), EncoderLayer(256, 4)).eval()


@dataclass(frozen=True)
class Net:
    """A network.  module: makes it, in PyTorch.  shape: of its one input.  transformer: what some tools ask."""

    module: Callable[[], nn.Module]
    shape: tuple[int, ...]
    transformer: bool = False

    def feeds(self, count: int = BATCHES) -> list[Feeds]:
        """Seeded noise."""
        rng = np.random.default_rng(0)
        return [{"input": rng.standard_normal(self.shape, np.float32)} for _ in range(count)]

    def export(self, path: Path) -> None:
        """Write the float model as ONNX, "input" to "output"."""
        with torch.no_grad():
            export(self.module(), self.shape, path)


def export(module: nn.Module, shape: tuple[int, ...], path: Path, *, dynamo: bool = False) -> None:
    """Write a module as ONNX, "input" to "output".  dynamo: by PyTorch's newer exporter, in its own opset."""
    names = {"input_names": ["input"], "output_names": ["output"]}
    more = {"external_data": False} if dynamo else {"opset_version": OPSET}
    x = torch.zeros(shape)
    torch.onnx.export(module, (x,), str(path), dynamo=dynamo, verbose=False, **names, **more)


NETS: dict[str, Net] = {
    "small_conv": Net(small_conv, (1, 3, 64, 64)),
    "resnet18": Net(lambda: torchvision_model("resnet18", 224), (1, 3, 224, 224)),
    "mobilenet_v2": Net(lambda: torchvision_model("mobilenet_v2", 224), (1, 3, 224, 224)),
    "encoder": Net(encoder, (1, 128, 256), transformer=True),
}
