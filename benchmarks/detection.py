"""What INT8 costs a detector: mean average precision of YOLOX-nano on labelled pictures.

    python -m benchmarks.detection [--peers] [--threads 1]

Ranges come from the calibration photos, figures from 64 pictures of COCO with boxes.  Average precision is that of
pycocotools (the mean over intersections over union from 0.5 to 0.95); pictures are so few that only differences between
engines mean something.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import camshaft
from benchmarks.boxes import kept
from benchmarks.packages import ROOT, SHARED
from benchmarks.peer_quantizers import FLOAT, SETTINGS, Make, Run
from benchmarks.report import table, write_json
from camshaft.accuracy.judges.boxes import truth_of
from camshaft.accuracy.judges.coco import mean_average_precision
from camshaft.accuracy.judges.detections import found_in
from camshaft.machine.description import describe

MODEL = SHARED / "models" / "yolox_nano.onnx"
PICTURES = SHARED / "data" / "coco"
PHOTOS = SHARED / "data" / "photos-calibration"
SIDE = 416
SCORE, OVERLAP = 0.01, 0.65
"""Least score of a detection, and the overlap from which the lesser of two is dropped, as YOLOX evaluates."""
MOST = 100
LOST = 2.0
"""Most points that INT8 may cost."""
HELD = 0.5
"""What `camshaft.quantize` is asked to hold, points."""
UNTIMED = 1
"""An optimization level at which nothing is timed: what may be INT8 is."""
OUT = ROOT / "build" / "bench" / "detection.json"
Feeds = Mapping[str, np.ndarray]
Detect = Callable[[Feeds], np.ndarray]
Labels = Mapping[str, np.ndarray]
"""Boxes [n, 4], two corners in the network's input, and labels [n], classes."""


def letterboxed(picture: Image.Image) -> tuple[np.ndarray, float]:
    """[1, 3, 416, 416], BGR from 0 to 255, in the upper left corner of grey; and the scale."""
    scale = SIDE / max(picture.size)
    width, height = (max(1, int(side * scale)) for side in picture.size)
    pixels = np.full((SIDE, SIDE, 3), 114, np.float32)
    pixels[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1)[None]), scale


def opened(path: Any) -> Image.Image:
    """An RGB picture."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


def calibration() -> list[Feeds]:
    """Inputs made of the calibration photos."""
    return [{"images": letterboxed(opened(p))[0]} for p in sorted(PHOTOS.glob("*.jpg"))]


@functools.cache
def pictures() -> list[tuple[Feeds, Labels]]:
    """All pictures, with their labels."""
    made: list[tuple[Feeds, Labels]] = []
    for number, rows in enumerate(json.loads((PICTURES / "labels.json").read_text())):
        picture = opened(PICTURES / f"{number:03}.jpg")
        x, scale = letterboxed(picture)
        kind, cx, cy, width, height = np.reshape(np.array(rows, np.float64), (-1, 5)).T
        corners = np.stack([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2], 1)
        boxes = corners * (picture.size * 2) * scale
        made.append(({"images": x}, {"boxes": boxes, "labels": kind.astype(int)}))
    return made


@functools.cache
def grid() -> tuple[np.ndarray, np.ndarray]:
    """The cell [boxes, 2] of each box, and its stride [boxes, 1]."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        side = SIDE // stride
        y, x = np.divmod(np.arange(side * side), side)
        cells.append(np.stack([x, y], 1))
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(cells).astype(np.float64), np.concatenate(strides).astype(np.float64)


def detections(outputs: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, scores, labels) of one picture's output [1, boxes, 85], the best first."""
    (output,) = outputs.values()
    rows, (cells, strides) = output[0].astype(np.float64), grid()
    centre, half = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides / 2
    corners = np.concatenate([centre - half, centre + half], 1)
    scores = rows[:, 4:5] * rows[:, 5:]
    found = []
    for kind in range(scores.shape[1]):
        (of_kind,) = np.nonzero(scores[:, kind] > SCORE)
        chosen = of_kind[kept(corners[of_kind], scores[of_kind, kind], OVERLAP)]
        found += [(scores[n, kind], n, kind) for n in chosen]
    found = sorted(found, key=lambda d: -d[0])[:MOST]
    values, boxes, kinds = zip(*found, strict=True) if found else ((), (), ())
    return corners[list(boxes)], np.array(values), np.array(kinds, int)


def mean_precision(outputs: Iterable[np.ndarray]) -> float:
    """Mean average precision, per cent, of the outputs for all pictures."""
    found = [found_in(detections({"output": output}), n, 1)[0] for n, output in enumerate(outputs)]
    truth = [truth_of(labels, n)[0] for n, (_, labels) in enumerate(pictures())]
    return mean_average_precision(truth, found)


@dataclass(frozen=True)
class Found:
    """An engine's mean average precision, per cent, milliseconds for a picture, and seconds that it took to make."""

    engine: str
    precision: float
    ms: float
    made_s: float


def _camshaft(threads: int, **options: Any) -> Detect:
    engine = camshaft.build(MODEL, threads=threads, **options)
    return lambda feeds: next(iter(engine(feeds).values()))


def _everywhere(threads: int, batches: Sequence[Feeds]) -> Detect:
    """All layers in INT8 that can be, though float be faster."""
    return _camshaft(threads, precision={"int8"}, calibration=batches, optimization_level=UNTIMED)


def _within(threads: int, batches: Sequence[Feeds]) -> Detect:
    """The fastest that loses at most `HELD` points on the pictures themselves."""
    made = camshaft.quantize(
        MODEL,
        calibration=batches,
        evaluate=pictures(),
        metric="map",
        decode=detections,
        max_drop=HELD,
        threads=threads,
    )
    print(f"within {HELD}: {made.summary}")
    return lambda feeds: next(iter(made.engine(feeds).values()))


def _peers(threads: int, batches: Sequence[Feeds], folder: Path) -> dict[str, Callable[[], Detect]]:
    """Of ONNX Runtime and OpenVINO, float and quantized at each setting of `peer_quantizers`."""

    def float_one(load: Callable[[Path, int], Run]) -> Detect:
        run = load(MODEL, threads)
        return lambda feeds: run(feeds)[0]

    def quantized_one(make: Make) -> Detect:
        run = make(MODEL, batches, threads, folder)
        return lambda feeds: run(feeds)[0]

    floats: dict[str, Callable[[], Detect]] = {
        name: functools.partial(float_one, load) for name, load in FLOAT.items()
    }
    return floats | {
        f"{tool} {setting}": functools.partial(quantized_one, make)
        for tool, settings in SETTINGS.items()
        for setting, make in settings.items()
    }


def measured(threads: int, peers: bool) -> list[Found]:
    """All engines, timed in turn picture by picture; the time is the median."""
    batches = calibration()
    int8: dict[str, Any] = {"precision": {"int8"}, "calibration": batches}
    makers: dict[str, Callable[[], Detect]] = {
        "camshaft": lambda: _camshaft(threads),
        "camshaft int8": lambda: _camshaft(threads, **int8),
        "camshaft int8 everywhere": lambda: _everywhere(threads, batches),
        f"camshaft within {HELD}": lambda: _within(threads, batches),
    }
    with tempfile.TemporaryDirectory() as folder:
        if peers:
            makers |= _peers(threads, batches, Path(folder))
        engines, made = {}, {}
        for name, make in makers.items():
            start = time.perf_counter()
            engines[name] = make()
            made[name] = time.perf_counter() - start
        outputs: dict[str, list[np.ndarray]] = {name: [] for name in engines}
        times: dict[str, list[float]] = {name: [] for name in engines}
        for feeds, *_ in pictures():
            for name, detect in engines.items():
                start = time.perf_counter()
                output = detect(feeds)
                times[name].append(time.perf_counter() - start)
                outputs[name].append(np.array(output))
    return [
        Found(name, mean_precision(outputs[name]), 1e3 * statistics.median(times[name]), made[name])
        for name in engines
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/detection.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.detection")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peers", action="store_true", help="ONNX Runtime and OpenVINO too")
    options = parser.parse_args(arguments)
    if not PICTURES.is_dir():
        print(f"skipped: needs the labelled pictures in {PICTURES}")
        return
    rows = measured(options.threads, options.peers)
    cells = [(r.engine, f"{r.precision:.1f}", f"{r.ms:.1f}", f"{r.made_s:.0f}") for r in rows]
    print(table(["engine", "mAP %", "ms", "made in s"], cells))
    lost = rows[0].precision - min(r.precision for r in rows[1:3])
    print(f"{'MET' if lost <= LOST else 'MISSED'} INT8 loses {lost:.1f} points (target {LOST})")
    held = rows[0].precision - rows[3].precision
    print(
        f"{'MET' if held <= HELD + 0.05 else 'MISSED'} quantize loses {held:.1f} points (asked {HELD})"
    )
    write_json(
        OUT, {"machine": describe(), "threads": options.threads, "rows": [asdict(r) for r in rows]}
    )


if __name__ == "__main__":
    main()
