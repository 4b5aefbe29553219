"""The zoo's transformers: what is exported, with which inputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.photos import Preprocess
from benchmarks.transformers.attention import ATTENTION_SIZE, HEADS
from benchmarks.transformers.texts import windows
from benchmarks.zoo_model import Feeds, ZooModel

Module = tuple[str, tuple[object, ...]]
WORDS = 30522
"""Of BERT's vocabulary."""
WIDTH, DECODER_HEADS, LAYERS, PAST = 1024, 16, 8, 512
"""Of the decoder."""


def _written(
    exported: Module, draw: Callable[[int], list[Feeds]], outputs: list[str]
) -> Callable[[Path], None]:
    """A function that exports the module, with the shapes of its feeds; torch is imported then."""

    def write(path: Path) -> None:
        nets = importlib.import_module("benchmarks.transformers.nets")
        nets.export(nets.built(*exported), draw(1)[0], outputs, path)

    return write


def _ids(length: int) -> Callable[[int], list[Feeds]]:
    def draw(count: int) -> list[Feeds]:
        rng = np.random.default_rng(0)
        mask = np.ones((1, length), np.int64)
        ids = (rng.integers(0, WORDS, (1, length), np.int64) for _ in range(count))
        return [{"input_ids": i, "attention_mask": mask} for i in ids]

    return draw


def _bert(name: str, kind: str, width: int, draw: Callable[[int], list[Feeds]]) -> ZooModel:
    """ONNX Runtime fuses what transformers' "eager" attention is exported to; PyTorch runs "sdpa"."""
    write = _written((f"transformers.nets.{kind}", ("eager",)), draw, ["hidden"])
    return ZooModel(
        name,
        "",
        (),
        write,
        real_weights=kind == "minilm",
        module=(f"transformers.nets.{kind}", ("sdpa",)),
        draw=draw,
        kind="transformer",
        transformer=("bert", 12, width),
    )


def _vision(name: str) -> ZooModel:
    """No file fused beforehand: ONNX Runtime's optimizer finds no attention in torchvision's exports, and what
    else it fuses, sessions fuse too."""
    module: Module = ("transformers.nets.vision", (name,))
    preprocess = Preprocess((224, 224))
    shape = (1, 3, 224, 224)

    def zeros(count: int) -> list[Feeds]:
        return [{"input": np.zeros(shape, np.float32)}] * count

    return ZooModel(
        name,
        "input",
        shape,
        _written(module, zeros, ["output"]),
        preprocess,
        module=module,
        kind="transformer",
    )


def _noise(shapes: dict[str, tuple[int, ...]]) -> Callable[[int], list[Feeds]]:
    def draw(count: int) -> list[Feeds]:
        rng = np.random.default_rng(0)
        return [
            {n: rng.standard_normal(s, np.float32) for n, s in shapes.items()} for _ in range(count)
        ]

    return draw


def _attention(length: int) -> ZooModel:
    draw = _noise(dict.fromkeys("qkv", (1, HEADS, length, ATTENTION_SIZE)))
    module: Module = ("transformers.nets.attention", ())
    write = _written(module, draw, ["output"])
    name = f"attention_{length}"
    return ZooModel(name, "", (), write, module=module, draw=draw, kind="attention")


def _decoder() -> ZooModel:
    past = (1, DECODER_HEADS, PAST, WIDTH // DECODER_HEADS)
    states = [f"{kind}{layer}" for layer in range(LAYERS) for kind in "kv"]
    draw = _noise({"x": (1, 1, WIDTH), **{f"past_{s}": past for s in states}})
    module: Module = ("transformers.nets.decoder", (WIDTH, DECODER_HEADS, LAYERS))
    write = _written(module, draw, ["y", *(f"present_{s}" for s in states)])
    return ZooModel("decoder", "", (), write, module=module, draw=draw, kind="decoder")


def _encoder_noise() -> ZooModel:
    draw = _noise({"input": (1, 128, 768)})
    module: Module = ("transformers.nets.encoder_noise", ())
    write = _written(module, draw, ["output"])
    return ZooModel("encoder_noise", "", (), write, module=module, draw=draw, kind="transformer")


TRANSFORMERS: tuple[ZooModel, ...] = (
    _bert("encoder", "encoder", 768, _ids(128)),
    _bert("minilm_32", "minilm", 384, lambda count: windows(count, 32)),
    _bert("minilm_128", "minilm", 384, lambda count: windows(count, 128)),
    _vision("vit_b_16"),
    _vision("swin_t"),
    _encoder_noise(),
    *(_attention(length) for length in (128, 512, 2048)),
    _decoder(),
)

BENCHMARK_TRANSFORMERS = tuple(m.name for m in TRANSFORMERS if m.name != "encoder_noise")
"""What is measured: encoder_noise is there for its accuracy in INT8."""
