"""Photos, and what each model wants done to them before it sees them.

Calibration photos and labelled photos are kept apart: ranges come from the former, accuracy from
the latter.  Where the shared photo folder is absent, crops of the photos in the scrfd package
serve for calibration; accuracy is then not measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from benchmarks.packages import SCRFD, SHARED

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
_FACES = (
    "images/solvay_conference_1927.jpg",
    "images/readme.jpg",
    "images/newton.png",
    "images/gauss.png",
)
T = TypeVar("T")


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes a model's input: float32 of (value - mean) / std, batch of one.

    size: (height, width).  fit: "crop" takes the centre of size/(size+32) of the short side
    and resizes it (bicubic); "letterbox" scales the whole photo into the upper left corner, the rest
    black.  mean and std: per channel, in the order the model wants.  channels_last: NHWC input.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    fit: str = "crop"
    bgr: bool = False
    channels_last: bool = False

    def __call__(self, photo: Image.Image) -> np.ndarray:
        """The input of one photo: [1,3,H,W], or [1,H,W,3] where channels come last."""
        fitted = self._cropped(photo) if self.fit == "crop" else self._letterboxed(photo)
        pixels: np.ndarray = np.asarray(fitted, np.float32)[..., :: -1 if self.bgr else 1]
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        if not self.channels_last:
            pixels = pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels[None], np.float32)

    def _cropped(self, photo: Image.Image) -> Image.Image:
        height, width = self.size
        margin = min(self.size) / (min(self.size) + 32)
        scale = margin * min(photo.width / width, photo.height / height)
        half_width, half_height = scale * width / 2, scale * height / 2
        x, y = photo.width / 2, photo.height / 2
        box = (x - half_width, y - half_height, x + half_width, y + half_height)
        return photo.resize((width, height), Image.Resampling.BICUBIC, box=box)

    def _letterboxed(self, photo: Image.Image) -> Image.Image:
        height, width = self.size
        ratio = min(height / photo.height, width / photo.width)
        inner = (max(1, int(photo.width * ratio)), max(1, int(photo.height * ratio)))
        canvas = Image.new("RGB", (width, height))
        canvas.paste(photo.resize(inner, Image.Resampling.BILINEAR), (0, 0))
        return canvas


def read_photo(path: Path) -> Image.Image:
    """The photo in RGB."""
    with Image.open(path) as photo:
        return photo.convert("RGB")


def calibration_photos(limit: int | None = None) -> list[Image.Image]:
    """Photos to calibrate with, in a fixed order, spread over what there is."""
    folder = SHARED / "data" / "photos-calibration"
    if folder.is_dir():
        paths = sorted(folder.glob("*.jpg"))
        return [read_photo(p) for p in _spread(paths, limit)]
    return packaged_photos(limit)


def packaged_photos(limit: int | None = None) -> list[Image.Image]:
    """Whole photos of the scrfd package and windows of them (68 in all), spread over the lot."""
    return _spread([crop for photo in face_photos() for crop in _crops(photo)], limit)


def _spread(items: Sequence[T], limit: int | None) -> list[T]:
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def _crops(photo: Image.Image) -> Iterator[Image.Image]:
    """Half-size windows of the photo on a 4 x 4 grid, and the whole photo."""
    yield photo
    width, height = photo.width // 2, photo.height // 2
    for i in range(4):
        for j in range(4):
            x, y = i * width // 3, j * height // 3
            yield photo.crop((x, y, x + width, y + height))


def labelled_photos() -> list[tuple[Image.Image, int]]:
    """(photo, ImageNet-1k class index) of the labelled photos; FileNotFoundError without them.

    They are probably training images: good for differences between engines, not for accuracy.
    """
    folder = SHARED / "data" / "photos-labelled"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"labelled photos are looked for in {folder}: NNNN.jpg, NNNN being the class index"
        )
    return [(read_photo(p), int(p.stem)) for p in sorted(folder.glob("*.jpg"))]


def class_names() -> list[str]:
    """ImageNet-1k class names in the order of the class index."""
    names: list[str] = json.loads((SHARED / "data/photos-labelled/classes.json").read_text())
    return names


def face_photos() -> list[Image.Image]:
    """Photos with faces, from the scrfd package."""
    return [read_photo(SCRFD.file(name)) for name in _FACES]
