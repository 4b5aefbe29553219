"""Fit the tuner's cost model to timings, and say what it would have cost to follow it.

    python scripts/fit_cost_model.py MODEL.onnx ... --cache TIMINGS.json [--write]

Builds every model at optimization level 5, which times all candidates, or takes from the cache what an
earlier run has timed; with 1 thread, so that other work on the machine counts little, and the model's own
precision (INT8 for a model with Q/DQ nodes).  The weights are found by ridge regression; what each net loses is
judged by the weights that the other nets give.  --write puts the weights under this processor's kind
into the file that camshaft reads, and under "others", with a wider margin, where that has none; weights of
features that no model here has stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camshaft.backends.cpu.conv.features import IDLE
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.contest import Offer
from camshaft.builder.tuning.cost_model import FILE, OTHERS, CostModel
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.frontends.onnx import import_model
from camshaft.machine.backend import cpu_backend
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import is_quantized, lower_quantization

LEVEL = 5
GIVEN = {IDLE: 1.0}
"""Weights that are known, and cannot be learned with one thread."""
RIDGE = 1e-3
MARGIN, MOST = 0.25, 4
OTHERS_MARGIN, OTHERS_MOST = 0.35, 5


@dataclass(frozen=True)
class Sample:
    """One spec.  times: microseconds of each offer."""

    net: str
    offers: Sequence[Offer]
    times: np.ndarray
    threads: int

    @property
    def features(self) -> list[Mapping[str, float]]:
        """Of each offer."""
        return [o.candidate.features(self.threads) for o in self.offers]


def samples(path: Path, cache: TimingCache, threads: int) -> list[Sample]:
    """The specs of a model with candidates that have features, and their times, which are added to the cache
    where it lacks them."""
    graph = optimize(import_model(str(path)).graphs[0], level=LEVEL)
    if is_quantized(graph):
        graph = lower_quantization(graph, integer=True, level=LEVEL)
    backend = cpu_backend("host")
    builder = Builder(backend, cache, level=LEVEL, threads=threads, workspace_limit=1 << 30)
    found = []
    for contest, records in builder.timings(builder.tune(graph)):
        known = {r.id: r.time_us for r in records}
        offers = [o for o in contest.candidates if o.id in known and o.candidate.features(threads)]
        if len(offers) > 1:
            times = np.array([known[o.id] for o in offers])
            found.append(Sample(path.stem, offers, times, threads))
    return found


def fitted(known: Sequence[Sample]) -> dict[str, float]:
    """Ridge regression of log times, each spec's mean taken off; the weights in GIVEN stand."""
    names = sorted({n for s in known for f in s.features for n in f} - set(GIVEN))
    rows, goals = [], []
    for s in known:
        x = np.array([[f.get(n, 0.0) for n in names] for f in s.features])
        y = np.log(s.times) - [sum(w * f.get(n, 0.0) for n, w in GIVEN.items()) for f in s.features]
        rows.append(x - x.mean(0))
        goals.append(y - y.mean())
    x, y = np.concatenate(rows), np.concatenate(goals)
    scale = x.std(0) + 1e-9
    x = x / scale
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(len(names)), x.T @ y) / scale
    return GIVEN | {n: round(float(w), 4) for n, w in zip(names, weights, strict=True)}


def judged(model: CostModel, held: Sequence[Sample]) -> tuple[float, float]:
    """(time lost, share of candidates kept) where the model picks what is timed."""
    best = kept = 0.0
    timed = offered = 0
    for s in held:
        ids = {o.id for o in model.worth_timing(s.offers, s.threads)}
        among = [t for o, t in zip(s.offers, s.times, strict=True) if o.id in ids]
        best, kept = best + min(s.times), kept + min(among)
        timed, offered = timed + len(among), offered + len(s.times)
    return kept / best - 1, timed / offered


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    cache = TimingCache.load(given.cache) if given.cache.exists() else TimingCache()
    known: list[Sample] = []
    for path in given.models:
        known += samples(path, cache, given.threads)
        cache.save(given.cache)
        print(f"{path.stem}: {len(known)} specs so far", flush=True)
    for net in dict.fromkeys(s.net for s in known):
        others = [s for s in known if s.net != net]
        model = CostModel(fitted(others) if others else {}, MARGIN, MOST)
        lost, kept = judged(model, [s for s in known if s.net == net])
        print(f"{net}, not fitted to it: {lost:+.1%} time, {kept:.0%} of the candidates")
    if given.write:
        write(fitted(known))


def write(weights: dict[str, float]) -> None:
    """Put weights under this machine's kind of processor, and under "others" if it is the only one."""
    entries = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    kind = cpu_backend("host").kind
    weights = {**entries.get(kind, {}).get("weights", {}), **weights}
    entries[kind] = {"weights": weights, "margin": MARGIN, "most": MOST}
    if set(entries) <= {kind, OTHERS}:
        entries[OTHERS] = {"weights": weights, "margin": OTHERS_MARGIN, "most": OTHERS_MOST}
    FILE.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
