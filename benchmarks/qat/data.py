"""Fashion-MNIST (Zalando Research, MIT licence), out of Debian's package; and scenes of its garments, for a detector."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.packages import CACHE, FetchError

FOLDER = "FASHION_MNIST"
"""Environment variable that names a folder with the four files of the data set."""
_PACKAGE = "dataset-fashion-mnist"
_INSTALLED = Path("/usr/share/datasets/fashion-mnist")
_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
SIDE = 96
"""Of a scene, pixels."""
CLASSES = 10


@dataclass(frozen=True)
class Pictures:
    """images: uint8 [n, 28, 28].  labels: int64 [n]."""

    images: np.ndarray
    labels: np.ndarray


def fashion() -> tuple[Pictures, Pictures]:
    """60000 pictures to train with and 10000 to test; FetchError where there are none."""
    folder = _folder()
    arrays = [_read(folder / f"{name}-ubyte.gz") for name in _FILES]
    train, test = (Pictures(i, y.astype(np.int64)) for i, y in (arrays[:2], arrays[2:]))
    return train, test


def _folder() -> Path:
    named = os.environ.get(FOLDER)
    kept = CACHE / "fashion-mnist"
    for folder in (*([Path(named)] if named else []), _INSTALLED, kept):
        if all((folder / f"{name}-ubyte.gz").is_file() for name in _FILES):
            return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        for command in (["apt-get", "download", _PACKAGE], ["sh", "-c", "dpkg-deb -x *.deb files"]):
            try:
                done = subprocess.run(
                    command, cwd=scratch, capture_output=True, text=True, check=False
                )
            except FileNotFoundError:
                raise _absent(f"there is no {command[0]}") from None
            if done.returncode:
                raise _absent((done.stderr.strip().splitlines() or ["it failed"])[-1])
        shutil.move(Path(scratch) / "files" / _INSTALLED.relative_to("/"), kept)
    return kept


def _absent(why: str) -> FetchError:
    return FetchError(
        f"cannot get Debian's package {_PACKAGE}: {why}; put its four files into a folder and name it in {FOLDER}"
    )


def _read(path: Path) -> np.ndarray:
    """An array in IDX format."""
    with gzip.open(path) as file:
        data = file.read()
    rank = data[3]
    shape = [int.from_bytes(data[4 + 4 * n : 8 + 4 * n], "big") for n in range(rank)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


@dataclass(frozen=True)
class Scene:
    """image: uint8 [SIDE, SIDE].  boxes: float32 [n, 4], two corners, pixels.  labels: int64 [n]."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def scenes(pictures: Pictures, count: int, seed: int) -> list[Scene]:
    """Pictures of one to five garments on noise, of different sizes and brightness, which hardly overlap."""
    rng = np.random.default_rng(seed)
    return [_scene(pictures, rng) for _ in range(count)]


def _scene(pictures: Pictures, rng: np.random.Generator) -> Scene:
    image = rng.integers(0, 60, (SIDE, SIDE)).astype(np.uint8)
    boxes: list[list[int]] = []
    labels = []
    for _ in range(rng.integers(1, 6)):
        which = int(rng.integers(len(pictures.images)))
        side = int(rng.integers(20, 49))
        at = np.arange(side) * 28 // side
        garment = pictures.images[which][np.ix_(at, at)] * rng.uniform(0.5, 1.0)
        rows, columns = (np.flatnonzero((garment > 40).any(axis)) for axis in (1, 0))
        if not len(rows):
            continue
        garment = garment[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = garment.shape
        top, left = (int(rng.integers(SIDE - size + 1)) for size in (height, width))
        box = [left, top, left + width, top + height]
        if any(_overlap(box, other) > 0.1 for other in boxes):
            continue
        under = image[top : top + height, left : left + width]
        image[top : top + height, left : left + width] = np.maximum(under, garment)
        boxes.append(box)
        labels.append(pictures.labels[which])
    return Scene(image, np.reshape(boxes, (-1, 4)).astype(np.float32), np.asarray(labels, np.int64))


def _overlap(a: list[int], b: list[int]) -> float:
    """Intersection over the smaller of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    return max(0, width) * max(0, height) / smaller
