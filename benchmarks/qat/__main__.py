"""What INT8 and weights of few bits cost a trained network, and what training for them gives back.

    python -m benchmarks.qat [classes] [boxes] [--quick] [--bits 8 4 3]

Each task: a network is trained in floats; its engines in INT8 (calibrated, as `camshaft.build` makes them) and with weights of fewer bits
(rounded to the largest weight of a channel, and by least squared error) are judged; then it is trained on, quantized, for a few
epochs, exported, and the engine of that is judged.  All scores are those of engines, but the float one's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import camshaft
import camshaft.torch
from benchmarks.packages import ROOT
from benchmarks.qat.tasks import TASKS, Answer, Task, floats
from benchmarks.report import table, write_json
from camshaft.machine.description import describe
from camshaft.torch import qat

BATCH = 64
BITS = (8, 4, 3)
OUT = ROOT / "build" / "bench" / "qat.json"
ENGINE: dict[str, Any] = {"precision": {"int8"}, "optimization_level": 1}


@dataclass(frozen=True)
class Size:
    """How much is trained and judged."""

    images: int
    judged: int
    epochs: int
    more: int


SIZES = {
    "classes": Size(60000, 10000, 6, 2),
    "boxes": Size(6000, 500, 14, 4),
}
QUICK = {
    "classes": Size(12000, 3000, 4, 2),
    "boxes": Size(1500, 200, 10, 4),
}


@dataclass(frozen=True)
class Found:
    """Scores of one task, per cent.  bits: of weights -> by calibration alone, by least squares, and trained.  alike: share of first choices
    in which engine and trained module are alike."""

    task: str
    unit: str
    floats: float
    rounded: dict[int, float]
    squares: dict[int, float]
    trained: dict[int, float]
    alike: dict[int, float]
    seconds: float

    def regained(self, bits: int) -> float:
        """Share of what calibration alone loses that training gave back."""
        before = self.rounded[bits]
        lost = self.floats - before
        return (self.trained[bits] - before) / lost if lost > 0 else 1.0


def batches(count: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of an epoch's batches."""
    order = np.random.default_rng(seed).permutation(count)
    for start in range(0, count - BATCH + 1, BATCH):
        yield order[start : start + BATCH]


def train(
    task: Task, model: nn.Module, epochs: int, rate: float, schedule: Callable[[int], Any] | None
) -> None:
    """Adam, with a rate that falls to nothing along a cosine.  schedule: steps -> what counts them."""
    model.train()
    steps = epochs * (len(task.images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4)
    falling = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps + 1, pct_start=0.1
    )
    counted = schedule(steps) if schedule else None
    for epoch in range(epochs):
        for which in batches(len(task.images), epoch):
            optimizer.zero_grad()
            images = torch.from_numpy(floats(task.images[which]))
            made = model(images.to(memory_format=torch.channels_last))
            task.loss(made, which).backward()
            optimizer.step()
            falling.step()
            if counted:
                counted.step()
    model.eval()


def of_module(model: nn.Module) -> Answer:
    """What a module says of images."""

    def answer(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(images)).numpy())

    return answer


def of_trained(model: nn.Module, example: torch.Tensor) -> Answer:
    """What the engine of an exported module says."""
    batch = torch.export.Dim("batch", min=1, max=128)
    with tempfile.TemporaryDirectory() as folder:
        path = qat.export(
            model, (example[:2],), Path(folder) / "model.onnx", dynamic_shapes=({0: batch},)
        )
        engine = camshaft.build(path, **ENGINE)
    name = next(iter(engine.inputs))
    return lambda images: next(iter(engine({name: images}).values()))


def of_calibrated(model: nn.Module, calls: Sequence[torch.Tensor]) -> Answer:
    """What the engine of a module says that was calibrated only."""
    batch = torch.export.Dim("batch", min=1, max=128)
    made = camshaft.torch.compile(
        model, (calls[0],), dynamic_shapes=({0: batch},), calibration=calls, **ENGINE
    )
    return lambda images: np.asarray(made(torch.from_numpy(images)).numpy())


def alike(task: Task, answer: Answer, model: nn.Module) -> float:
    """Share of equal first choices of an engine and the module it was made of, on what is trained with."""
    images = floats(task.images[:1500])
    engine, module = (
        np.concatenate([a(images[n : n + 100]) for n in range(0, len(images), 100)])
        for a in (answer, of_module(model))
    )
    return float((task.choices(engine, module) == task.choices(module, module)).mean())


def run(name: str, size: Size, all_bits: Sequence[int] = BITS) -> Found:
    """Train and judge one task.  all_bits: of weights."""
    torch.manual_seed(0)
    start = time.perf_counter()
    task = TASKS[name](size.images, size.judged)
    model = task.net().to(memory_format=torch.channels_last)  # PyTorch is twice as fast so
    train(task, model, size.epochs, 4e-3, None)
    calls = [torch.from_numpy(floats(task.images[n : n + 32])) for n in range(0, 256, 32)]
    found = Found(name, task.unit, task.score(of_module(model)), {}, {}, {}, {}, 0.0)
    say(name, "floats", found.floats, start)
    for bits in all_bits:
        if bits == 8:
            found.rounded[bits] = found.squares[bits] = task.score(of_calibrated(model, calls))
        else:
            for scores, ways in ((found.rounded, "fixed"), (found.squares, "learned")):
                made = qat.prepare(
                    model, calls, weight_bits=bits, ranges="fixed", weight_ranges=ways
                )
                scores[bits] = task.score(of_trained(made, calls[0]))
        say(name, f"{bits} bits, calibrated", found.rounded[bits], start)
        say(name, f"{bits} bits, least squares", found.squares[bits], start)
        ready = qat.prepare(model, calls, weight_bits=bits)
        train(task, ready, size.more, 1e-3, partial(_schedule, ready))
        answer = of_trained(ready, calls[0])
        found.trained[bits], found.alike[bits] = task.score(answer), alike(task, answer, ready)
        say(name, f"{bits} bits, trained", found.trained[bits], start)
    return Found(**{**asdict(found), "seconds": time.perf_counter() - start})


def _schedule(model: nn.Module, steps: int) -> qat.Schedule:
    return qat.Schedule(model, freeze_statistics=steps // 2, freeze_ranges=3 * steps // 4)


def say(task: str, what: str, score: float, start: float) -> None:
    print(f"{task}: {what} {score:.1f} ({time.perf_counter() - start:.0f} s)", flush=True)


def report(found: Sequence[Found]) -> str:
    """A table in Markdown."""
    rows = [
        [
            f.task, f"{bits}", f"{f.floats:.1f}", f"{f.rounded[bits]:.1f}", f"{f.squares[bits]:.1f}", f"{f.trained[bits]:.1f}",
            f"{100 * f.regained(bits):.0f} %", f"{100 * f.alike[bits]:.2f} %",
        ]
        for f in found
        for bits in f.trained
    ]  # fmt: skip
    heads = [
        "task",
        "bits of weights",
        "floats",
        "calibrated",
        "least squares",
        "trained",
        "regained",
        "engine as module",
    ]
    return table(heads, rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.qat", description=__doc__)
    parser.add_argument("tasks", nargs="*", help=f"some of {', '.join(TASKS)}")
    parser.add_argument("--quick", action="store_true", help="a fifth of the data")
    parser.add_argument("--bits", type=int, nargs="+", default=BITS, help="of weights")
    args = parser.parse_args()
    sizes = QUICK if args.quick else SIZES
    found = [run(name, sizes[name], args.bits) for name in args.tasks or TASKS]
    print(report(found))
    write_json(OUT, {"machine": describe(), "found": [asdict(f) for f in found]})


if __name__ == "__main__":
    main()
