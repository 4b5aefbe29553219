"""The main job on real input: a face detector becomes FP32 and INT8 engines and finds faces.

    make demo        (or: .venv/bin/python scripts/demo.py [--threads N] [--photo FILE])

Takes the SCRFD detector and its photos out of the `scrfd` package, builds three engines (the
unfused graph, FP32, and INT8 calibrated on photos), runs them beside ONNX Runtime with the same
number of threads, and writes the photo with the faces the INT8 engine found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

import camshaft
from benchmarks.boxes import kept, overlaps
from benchmarks.packages import ROOT, SCRFD
from benchmarks.photos import calibration_photos
from benchmarks.zoo import model_named, path_of
from camshaft.cpus import available_cpus

PHOTO = "images/solvay_conference_1927.jpg"
OUTPUT = ROOT / "build" / "demo"
SIZE, STRIDES, ANCHORS = 640, (8, 16, 32), 2
SCORE, OVERLAP = 0.5, 0.4
CALIBRATION_PHOTOS = 32
ROUNDS = 30
Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Faces:
    """Detected faces, best first: boxes [n, 4] as left, top, right, bottom in input pixels."""

    boxes: np.ndarray
    scores: np.ndarray


def decode(outputs: Outputs) -> Faces:
    """SCRFD's head: for each stride, scores [n, 1] and distances [n, 4] from anchor centres."""
    scores = {a.shape[-2]: a.reshape(-1) for a in outputs.values() if a.shape[-1] == 1}
    distances = {a.shape[-2]: a.reshape(-1, 4) for a in outputs.values() if a.shape[-1] == 4}
    boxes, confidence = [], []
    for stride in STRIDES:
        cells = SIZE // stride
        y, x = np.mgrid[:cells, :cells].astype(np.float32) * stride
        centres = np.repeat(np.stack([x, y], -1).reshape(-1, 2), ANCHORS, axis=0)
        d = distances[len(centres)] * stride
        boxes.append(np.concatenate([centres - d[:, :2], centres + d[:, 2:]], axis=1))
        confidence.append(scores[len(centres)])
    every, sure = np.concatenate(boxes), np.concatenate(confidence)
    (found,) = np.nonzero(sure >= SCORE)
    best = found[kept(every[found], sure[found], OVERLAP)]
    return Faces(every[best], sure[best])


def moved(faces: Faces, reference: Faces) -> tuple[int, float]:
    """How many reference faces were found again, and how far their corners moved on average."""
    distances = []
    for box in reference.boxes:
        match = overlaps(box, faces.boxes) if len(faces.boxes) else np.zeros(0)
        if match.size and match.max() > 0.5:
            distances.append(np.abs(faces.boxes[match.argmax()] - box).mean())
    return len(distances), float(np.mean(distances)) if distances else 0.0


def interleaved(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each call, all of them in turn in every round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(3):
            call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) * 1e3 for name, t in times.items()}


def annotate(photo: Image.Image, faces: Faces, path: Path) -> None:
    """Write the photo with a rectangle around every face."""
    scale = max(photo.size) / SIZE
    picture = photo.convert("RGB")
    draw = ImageDraw.Draw(picture)
    line = max(2, picture.width // 400)
    for box, score in zip(faces.boxes * scale, faces.scores, strict=True):
        draw.rectangle([float(v) for v in box], outline=(255, 64, 0), width=line)
        draw.text((float(box[0]), float(box[1]) - 11), f"{score:.2f}", fill=(255, 64, 0))
    picture.save(path)


def build_engines(model: Path, threads: int, console: Console) -> dict[str, camshaft.Engine]:
    """The three engines by name."""
    zoo = model_named("scrfd")
    photos = [zoo.preprocess(p) for p in calibration_photos(CALIBRATION_PHOTOS) if zoo.preprocess]
    batches = [{zoo.input_name: p} for p in photos]
    recipes: dict[str, dict[str, Any]] = {
        "camshaft unfused": {"optimization_level": 0},
        "camshaft FP32": {},
        "camshaft INT8": {"precision": {"int8"}, "calibration": batches},
    }
    # One cache, so that the INT8 build does not time the FP32 kernels again.
    shared: dict[str, Any] = {
        "threads": threads,
        "timing_cache": OUTPUT / "timing.json",
        "time_budget": 40.0,
    }
    OUTPUT.mkdir(parents=True, exist_ok=True)
    engines = {}
    for name, options in recipes.items():
        start = time.perf_counter()
        with console.status(f"building {name}"):
            engines[name] = camshaft.build(model, **shared, **options)
        console.print(f"built {name} in {time.perf_counter() - start:.1f} s")
    return engines


def onnxruntime_call(model: Path, threads: int, feeds: Outputs) -> Callable[[], Outputs]:
    """A call of ONNX Runtime on the same input with the same number of threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Its spinning threads would otherwise slow down whoever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def main() -> None:
    """Build, run, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--photo", type=Path, help="another photo to look for faces in")
    arguments = parser.parse_args()
    console = Console()
    model = path_of("scrfd")
    photo = Image.open(arguments.photo or SCRFD.file(PHOTO))
    zoo = model_named("scrfd")
    assert zoo.preprocess is not None
    feeds = {zoo.input_name: zoo.preprocess(photo)}
    engines = build_engines(model, arguments.threads, console)
    calls: dict[str, Callable[[], Outputs]] = {
        "ONNX Runtime FP32": onnxruntime_call(model, arguments.threads, feeds)
    }
    for name, engine in engines.items():
        context = engine.create_context(arguments.threads)
        calls[name] = lambda context=context: context.run(feeds)  # type: ignore[misc]
    times = interleaved(calls)
    found = {name: decode(call()) for name, call in calls.items()}
    reference = found["ONNX Runtime FP32"]
    table = Table(title=f"SCRFD, {SIZE}x{SIZE}, {arguments.threads} thread(s)")
    columns = ("engine", "ms", "vs ORT", "vs unfused", "faces", "found again", "moved, px")
    for column in columns:
        left = column == "engine"
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    for name, faces in found.items():
        again, distance = moved(faces, reference)
        table.add_row(
            name,
            f"{times[name]:.2f}",
            f"{times['ONNX Runtime FP32'] / times[name]:.2f}x",
            f"{times['camshaft unfused'] / times[name]:.2f}x",
            str(len(faces.boxes)),
            f"{again} of {len(reference.boxes)}",
            f"{distance:.2f}",
        )
    console.print(table)
    path = OUTPUT / "faces.png"
    annotate(photo, found["camshaft INT8"], path)
    console.print(f"the faces the INT8 engine found: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
