"""Interleaved timing: in every round each runner gets a turn, so that drift hits all alike.

A turn waits until the previous runner's threads are at rest, runs a few times unmeasured to bring
threads, caches and clock back to where repeated calls have them, then times a block of
calls.  The order changes from round to round.  Reported are medians over rounds, and the median of
ratios taken within a round: noise that slows a whole round cancels there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from camshaft.bench.runners import Runner


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    seconds: to spend, roughly.  rounds: (fewest, most).  block: seconds of calls timed in a turn;
    warm: seconds of unmeasured calls before it (always at least one call).
    """

    seconds: float = 20.0
    rounds: tuple[int, int] = (9, 101)
    block: float = 0.01
    warm: float = 0.005


@dataclass(frozen=True)
class Timing:
    """Seconds per call of every runner, one sample per round; samples[...][i] belong together.

    busy: processor seconds per second while a runner was timed: how many threads really worked.
    """

    samples: dict[str, list[float]]
    busy: dict[str, float]

    def median(self, name: str) -> float:
        """Median seconds per call."""
        return median(self.samples[name])

    def best(self, name: str) -> float:
        """Fewest seconds per call in any round."""
        return min(self.samples[name])

    def ratio(self, slower: str, faster: str) -> float:
        """Median over rounds of time(slower) / time(faster): above 1 where `faster` is faster."""
        pairs = zip(self.samples[slower], self.samples[faster], strict=True)
        return median(s / f for s, f in pairs)

    def fastest(self, names: Sequence[str]) -> str:
        """The name with the least median."""
        return min(names, key=self.median)


def interleave(
    runners: Sequence[Runner],
    plan: Plan = Plan(),
    clock: Callable[[], float] = time.perf_counter,
    work: Callable[[], float] = time.process_time,
    sleep: Callable[[float], None] = time.sleep,
) -> Timing:
    """Time the runners in turn; names must differ (ValueError).

    clock, work: seconds passed, and processor seconds that the process spent.
    """
    names = [r.name for r in runners]
    if len(set(names)) != len(names):
        raise ValueError(f"runners to be timed need different names, got {names}")
    calls = {r.name: _calls(r, plan, clock) for r in runners}
    samples: dict[str, list[float]] = {name: [] for name in names}
    worked = dict.fromkeys(names, 0.0)
    order, rng = list(runners), random.Random(0)
    start, done = clock(), 0
    fewest, most = plan.rounds
    while done < fewest or (done < most and clock() - start < plan.seconds):
        rng.shuffle(order)
        for i, runner in enumerate(order):
            sleep(order[i - 1].linger)
            warm, timed = calls[runner.name]
            _repeat(runner, warm)
            before, begin = work(), clock()
            _repeat(runner, timed)
            samples[runner.name].append((clock() - begin) / timed)
            worked[runner.name] += (work() - before) / timed
        done += 1
    busy = {n: worked[n] / max(sum(samples[n]), 1e-12) for n in names}
    return Timing(samples, busy)


def _calls(runner: Runner, plan: Plan, clock: Callable[[], float]) -> tuple[int, int]:
    """Unmeasured and measured calls of a turn, from a few trial calls."""
    runner.run()
    seconds = []
    for _ in range(3):
        start = clock()
        runner.run()
        seconds.append(clock() - start)
    once = max(min(seconds), 1e-7)
    return max(1, round(plan.warm / once)), max(1, round(plan.block / once))


def _repeat(runner: Runner, times: int) -> None:
    run = runner.run
    for _ in range(times):
        run()
