"""Timings that come with the package: what they save, what they never save, and whom they are for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from camshaft.backends.cpu.processor import host_target
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning import tuner
from camshaft.builder.tuning.base_cache import FILE, base_cache
from camshaft.builder.tuning.bound_candidate import BoundCandidate
from camshaft.builder.tuning.timing_cache import Record, TimingCache
from camshaft.builder.tuning.trial import Trial
from camshaft.errors import BuildError, TimingCacheError
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import backend_of
from camshaft.ops import MATMUL


def product() -> Graph:
    b = GraphBuilder("product")
    w = b.constant(np.ones((64, 96), np.float32), "w")
    return b.graph(
        {"y": b.emit(MATMUL, [b.input("x", TensorType(f32, (40, 64))), w], {}, name="y")}
    )


def builder(
    cache: TimingCache, level: int = 3, frozen: bool = False, identity: str = ""
) -> Builder:
    backend = backend_of(host_target())
    backend = replace(backend, identity=backend.identity + identity)
    return Builder(backend, cache, level=level, threads=1, workspace_limit=1 << 20, frozen=frozen)


def chosen(made: Builder) -> Any:
    (choice,) = made.tune(product()).choices
    assert choice is not None
    return choice


class Shipped:
    """A base cache that names the last candidate of `product`, and how often kernels were timed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = builder(TimingCache(), level=5)
        made.tune(product())
        ((key, records),) = made.cache.entries.items()
        self.record = Record(records[-1].tactic, records[-1].params, 12.5)
        assert len(records) > 1
        shipped = TimingCache({key: [self.record]})
        monkeypatch.setattr(tuner, "base_cache", lambda: shipped)
        self.timed = 0
        time_us = BoundCandidate.time_us

        def times(runner: BoundCandidate, seconds: float) -> float:
            self.timed += 1
            return time_us(runner, seconds)

        monkeypatch.setattr(BoundCandidate, "time_us", times)


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> Shipped:
    return Shipped(monkeypatch)


@pytest.mark.codegen
def test_a_layer_that_the_package_knows_is_not_timed(shipped: Shipped) -> None:
    cache = TimingCache()
    choice = chosen(builder(cache))
    assert shipped.timed == 0
    assert (choice.tactic, choice.time_us) == (shipped.record.tactic, 12.5)
    assert tuple(sorted(choice.candidate.params.items())) == shipped.record.params
    assert choice.reason == "12.5 us, only candidate, as shipped with camshaft"
    frozen = chosen(builder(cache, frozen=True))  # the user's own cache holds it now
    assert dict(frozen.candidate.params) == dict(choice.candidate.params)


@pytest.mark.codegen
def test_its_kernel_is_held_against_the_reference_all_the_same(
    shipped: Shipped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "check", lambda trial, runner: "one element is off")
    with pytest.raises(BuildError, match=r"computes a wrong result .* one element is off"):
        builder(TimingCache()).tune(product())


@pytest.mark.codegen
def test_higher_levels_and_other_processors_time_for_themselves(shipped: Shipped) -> None:
    builder(TimingCache(), level=4).tune(product())
    assert shipped.timed > 1
    shipped.timed = 0
    builder(TimingCache(), identity=";another").tune(product())
    assert shipped.timed > 1


@pytest.mark.codegen
def test_the_users_cache_goes_first_and_frozen_asks_it_alone(shipped: Shipped) -> None:
    own = TimingCache()
    builder(own, level=5).tune(product())
    assert chosen(builder(own)).time_us != 12.5
    with pytest.raises(TimingCacheError, match="has no entry for layer 'y'"):
        builder(TimingCache(), frozen=True).tune(product())


def test_the_packages_file_is_small_and_whole() -> None:
    assert FILE.stat().st_size < 300 << 10
    entries = base_cache().entries
    assert entries and all(1 <= len(records) <= 2 for records in entries.values())
