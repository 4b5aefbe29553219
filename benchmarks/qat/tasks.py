"""What is trained and how it is judged: classes of garments, and their boxes in scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.boxes import kept
from benchmarks.qat.data import CLASSES, SIDE, Pictures, Scene, fashion, scenes
from benchmarks.qat.nets import STRIDES, Classifier, Detector
from camshaft.accuracy.judges.boxes import Boxes
from camshaft.accuracy.judges.coco import mean_average_precision

Answer = Callable[[np.ndarray], np.ndarray]
"""Images, float32 [n, 1, side, side], to what the network says of them."""
SCORE, OVERLAP, MOST = 0.02, 0.6, 30


class Task(Protocol):
    """unit: of scores.  images: what there is to train with, uint8 [n, side, side]."""

    @property
    def unit(self) -> str: ...
    @property
    def images(self) -> np.ndarray: ...
    def net(self) -> nn.Module: ...
    def loss(self, made: Tensor, which: np.ndarray) -> Tensor:
        """Of what the network says of these images."""
        ...

    def score(self, answer: Answer) -> float:
        """Per cent, on images that are not trained with."""
        ...

    def choices(self, said: np.ndarray, of: np.ndarray) -> np.ndarray:
        """First choices where there is something to choose, by what is said in `of`."""
        ...


def floats(images: np.ndarray) -> np.ndarray:
    """As networks take them."""
    return (images[:, None] / np.float32(255)).astype(np.float32)


@dataclass
class Classes:
    """Ten classes of Fashion-MNIST, by the share of right first choices."""

    train: Pictures
    test: Pictures
    unit: str = "% right"

    @staticmethod
    def of(images: int, judged: int) -> Classes:
        train, test = fashion()
        return Classes(
            Pictures(train.images[:images], train.labels[:images]),
            Pictures(test.images[:judged], test.labels[:judged]),
        )

    @property
    def images(self) -> np.ndarray:
        return self.train.images

    def net(self) -> nn.Module:
        return Classifier()

    def loss(self, made: Tensor, which: np.ndarray) -> Tensor:
        return nn.functional.cross_entropy(made, torch.from_numpy(self.train.labels[which]))

    def score(self, answer: Answer) -> float:
        images = floats(self.test.images)
        said = np.concatenate([answer(images[n : n + 100]) for n in range(0, len(images), 100)])
        return float(100 * (said.argmax(1) == self.test.labels).mean())

    def choices(self, said: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.asarray(said.argmax(1))


@dataclass
class Garments:
    """Boxes of garments in scenes, by mean average precision."""

    train: list[Scene]
    test: list[Scene]
    unit: str = "mAP"

    @staticmethod
    def of(images: int, judged: int) -> Garments:
        train, test = fashion()
        return Garments(scenes(train, images, 1), scenes(test, judged, 2))

    @property
    def images(self) -> np.ndarray:
        return np.stack([s.image for s in self.train])

    def net(self) -> nn.Module:
        return Detector()

    def loss(self, made: Tensor, which: np.ndarray) -> Tensor:
        centres, strides = (torch.from_numpy(a) for a in places())
        total = made.new_zeros(())
        objects = made.new_zeros(made.shape[:2])
        count = 1
        for n, scene in enumerate(self.train[i] for i in which):
            place, truth = assigned(scene)
            if not len(place):
                continue
            at, of = torch.from_numpy(place), torch.from_numpy(truth)
            boxes, labels = torch.from_numpy(scene.boxes)[of], torch.from_numpy(scene.labels)[of]
            found = corners(made[n, at, :4], centres[at], strides[at])
            total = total + 3.0 * (1 - _overlaps(found, boxes)).sum()
            wanted = nn.functional.one_hot(labels, CLASSES).float()
            total = total + nn.functional.binary_cross_entropy_with_logits(
                made[n, at, 5:], wanted, reduction="sum"
            )
            objects[n, at] = 1.0
            count += len(place)
        total = total + nn.functional.binary_cross_entropy_with_logits(
            made[..., 4], objects, reduction="sum"
        )
        return total / count

    def score(self, answer: Answer) -> float:
        images = floats(np.stack([s.image for s in self.test]))
        said = np.concatenate([answer(images[n : n + 50]) for n in range(0, len(images), 50)])
        truth = [Boxes(s.boxes.astype(np.float64), s.labels) for s in self.test]
        return mean_average_precision(truth, [detections(picture) for picture in said])

    def choices(self, said: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Classes at the places where a garment is found."""
        return np.asarray(said[of[..., 4] > 0, 5:].argmax(1))


def places() -> tuple[np.ndarray, np.ndarray]:
    """Centres [places, 2], pixels, and strides [places, 1] of what a detector looks at."""
    found, strides = [], []
    for stride in STRIDES:
        side = SIDE // stride
        y, x = np.mgrid[:side, :side]
        found.append((np.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(found).astype(np.float32), np.concatenate(strides).astype(np.float32)


def assigned(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Places that are to find a garment, and which: those near its centre, of the stride that suits its size."""
    centres, strides = places()
    middles = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2
    sizes = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(1)
    near = np.abs(centres[:, None] - middles[None]).max(2) <= strides
    suits = (strides == STRIDES[0]) == (sizes[None] < 30)
    place, truth = np.nonzero(near & suits)
    first = np.unique(place, return_index=True)[1]
    return place[first], truth[first]


def corners(said: Any, centres: Any, strides: Any) -> Any:
    """Boxes of what the network says, two corners each; of tensors or arrays."""
    library: Any = torch if isinstance(said, Tensor) else np
    middles = centres + said[..., :2] * strides
    sizes = library.exp(said[..., 2:4].clip(-4, 4)) * strides
    joined = [middles - sizes / 2, middles + sizes / 2]
    return torch.cat(joined, -1) if isinstance(said, Tensor) else np.concatenate(joined, -1)


def _overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes, one by one."""
    sides = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
    both = sides.clamp(min=0).prod(1)
    areas = [(x[:, 2:] - x[:, :2]).prod(1) for x in (a, b)]
    return both / (areas[0] + areas[1] - both)


def detections(said: np.ndarray) -> Boxes:
    """Garments found in one picture, the best of those that overlap."""
    centres, strides = places()
    logits = 1 / (1 + np.exp(-said[:, 4:].astype(np.float64)))
    scores = logits[:, :1] * logits[:, 1:]
    labels, best = scores.argmax(1), scores.max(1)
    boxes = corners(said[:, :4].astype(np.float64), centres, strides)
    chosen = np.flatnonzero(best >= SCORE)
    moved = boxes + (labels * 4.0 * SIDE)[:, None]  # classes do not suppress one another
    chosen = chosen[kept(moved[chosen], best[chosen], OVERLAP)[:MOST]]
    return Boxes(boxes[chosen], labels[chosen].astype(np.int64), scores=best[chosen])


TASKS: Mapping[str, Callable[[int, int], Task]] = {"classes": Classes.of, "boxes": Garments.of}
