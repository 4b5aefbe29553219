"""The networks that every tool quantizes, as PyTorch modules and as ONNX files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.torch_models import randomize, torchvision_model
from benchmarks.transformers.nets import built
from benchmarks.zoo import model_named, path_of
from benchmarks.zoo_model import Feeds

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
    """A network.  draw: makes so many feeds, the same each time.  module: makes it, in PyTorch; None where only an
    ONNX file is there.  source: makes that file; None where it is exported from the module.
    batches: to take ranges from.  transformer: what some tools ask.
    """

    draw: Callable[[int], list[Feeds]]
    module: Callable[[], nn.Module] | None = None
    source: Callable[[], Path] | None = None
    batches: int = 8
    transformer: bool = False

    def feeds(self) -> list[Feeds]:
        """What ranges are taken from."""
        return self.draw(self.batches)

    def built(self) -> nn.Module:
        """The network in PyTorch."""
        if self.module is None:
            raise LookupError("needs a module, and there is only an ONNX file")
        return self.module()

    def export(self, path: Path) -> None:
        """Write the float model as ONNX."""
        if self.source is not None:
            shutil.copyfile(self.source(), path)
            return
        with torch.no_grad():
            export(self.built(), self.draw(1)[0], path)


def export(module: nn.Module, feeds: Feeds, path: Path, *, dynamo: bool = False) -> None:
    """Write a module as ONNX, of inputs as in `feeds`, to "output".  dynamo: by PyTorch's newer exporter, in its own
    opset."""
    names = {"input_names": list(feeds), "output_names": ["output"]}
    more = {"external_data": False} if dynamo else {"opset_version": OPSET}
    args = tuple(torch.from_numpy(a) for a in feeds.values())
    torch.onnx.export(module, args, str(path), dynamo=dynamo, verbose=False, **names, **more)


def _noise(*shape: int) -> Callable[[int], list[Feeds]]:
    def draw(count: int) -> list[Feeds]:
        rng = np.random.default_rng(0)
        return [{"input": rng.standard_normal(shape, np.float32)} for _ in range(count)]

    return draw


def _of_zoo(name: str) -> Net:
    """A model of the zoo with trained weights; ranges are of photos or texts."""
    model = model_named(name)
    return Net(
        model.feeds,
        None if model.module is None else partial(built, *model.module),
        partial(path_of, name),
        batches=16,
        transformer=model.kind == "transformer",
    )


NETS: dict[str, Net] = {
    "small_conv": Net(_noise(1, 3, 64, 64), small_conv),
    "resnet18": Net(_noise(1, 3, 224, 224), lambda: torchvision_model("resnet18", 224)),
    "mobilenet_v2": Net(_noise(1, 3, 224, 224), lambda: torchvision_model("mobilenet_v2", 224)),
    "encoder": Net(_noise(1, 128, 256), encoder, transformer=True),
    "squeezenet": _of_zoo("squeezenet1.1"),
    "minilm": _of_zoo("minilm_32"),
}
