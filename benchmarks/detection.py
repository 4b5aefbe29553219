"""What INT8 costs a detector: mean average precision of YOLOX-nano on labelled pictures.

    python -m benchmarks.detection [--peers] [--threads 1]

Ranges come from the calibration photos, figures from 64 pictures of COCO with boxes.  Average precision is that of
pycocotools (the mean over intersections over union from 0.5 to 0.95); pictures are so few that only differences between
engines mean something.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
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
Picture = tuple[Feeds, float, tuple[int, int], list[list[float]]]
"""Input, scale, (width, height) and labels [class, centre x, centre y, width, height]."""


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
def pictures() -> list[Picture]:
    """All pictures."""
    made: list[Picture] = []
    for number, boxes in enumerate(json.loads((PICTURES / "labels.json").read_text())):
        picture = opened(PICTURES / f"{number:03}.jpg")
        x, scale = letterboxed(picture)
        made.append(({"images": x}, scale, picture.size, boxes))
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


def detections(output: np.ndarray, scale: float) -> list[tuple[int, float, list[float]]]:
    """(class, score, [x, y, width, height] in the picture) of one picture's output [1, boxes, 85]."""
    rows, (cells, strides) = output[0].astype(np.float64), grid()
    centre, half = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides / 2
    corners = np.concatenate([centre - half, centre + half], 1) / scale
    scores = rows[:, 4:5] * rows[:, 5:]
    found = []
    for kind in range(scores.shape[1]):
        (of_kind,) = np.nonzero(scores[:, kind] > SCORE)
        for n in kept(corners[of_kind], scores[of_kind, kind], OVERLAP):
            x0, y0, x1, y1 = corners[of_kind[n]]
            found.append((kind, float(scores[of_kind[n], kind]), [x0, y0, x1 - x0, y1 - y0]))
    return sorted(found, key=lambda d: -d[1])[:MOST]


def mean_precision(outputs: Iterable[np.ndarray]) -> float:
    """Mean average precision, per cent, of the outputs for all pictures."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    truth["categories"] = [{"id": n} for n in range(80)]
    results = []
    for number, (output, (_, scale, (w, h), labels)) in enumerate(
        zip(outputs, pictures(), strict=True)
    ):
        truth["images"].append({"id": number, "width": w, "height": h})
        for kind, cx, cy, bw, bh in labels:
            box = [(cx - bw / 2) * w, (cy - bh / 2) * h, bw * w, bh * h]
            entry: dict[str, Any] = {
                "id": len(truth["annotations"]) + 1,
                "image_id": number,
                "iscrowd": 0,
            }
            entry |= {"category_id": int(kind), "bbox": box, "area": box[2] * box[3]}
            truth["annotations"].append(entry)
        results += [
            {"image_id": number, "category_id": kind, "bbox": box, "score": score}
            for kind, score, box in detections(output, scale)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0])


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

    def precision(run: Callable[[Feeds], Mapping[str, Any]]) -> float:
        return mean_precision(next(iter(run(feeds).values())) for feeds, *_ in pictures())

    made = camshaft.quantize(
        MODEL, calibration=batches, evaluate=precision, max_drop=HELD, threads=threads
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
