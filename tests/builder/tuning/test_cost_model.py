"""The cost model: what it leaves out, what it must keep, and that levels 4 and 5 do not ask it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.processor import host_target
from camshaft.backends.cpu.target import AVX2
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.contest import EFFORTS, Offer
from camshaft.builder.tuning.cost_model import OTHERS, CostModel, cost_model
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.types import TensorType, f32, i8, u8
from camshaft.machine.backend import backend_of
from camshaft.ops import CONV


@dataclass
class Fake:
    """A candidate that the model expects to be slower than 1 by `cost`, None if it knows nothing.

    odd: what the model has no weight for stands for it, beside the feature that all tactics have.
    """

    name: str
    cost: float | None
    approximate: bool = False
    odd: bool = False
    packing: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.params = {"name": self.name}

    def features(self, threads: int) -> dict[str, float]:
        if self.cost is None:
            return {}
        return {"idle": 0.0, "odd" if self.odd else "slower": float(np.log1p(self.cost))}


def kept(model: CostModel, *candidates: Fake, packings: bool = False) -> str:
    offers: Any = [Offer("t", c) for c in candidates]  # type: ignore[arg-type]
    return "".join(o.candidate.name for o in model.worth_timing(offers, 1, packings=packings))


MODEL = CostModel({"idle": 1.0, "slower": 1.0}, margin=0.1, most=2)


def test_candidates_that_are_expected_to_be_slow_are_left_out_in_the_order_of_offers() -> None:
    assert kept(MODEL, Fake("a", 0.5), Fake("b", 0.09), Fake("c", 0.0), Fake("d", 0.2)) == "bc"
    assert kept(MODEL, Fake("a", 0.0), Fake("b", 0.01), Fake("c", 0.02)) == "ab"
    assert kept(MODEL, Fake("a", 0.3)) == "a"


def test_candidates_without_features_are_always_timed() -> None:
    assert kept(MODEL, Fake("a", None), Fake("b", 0.0), Fake("c", 0.5), Fake("d", None)) == "abd"
    assert kept(MODEL, Fake("a", None), Fake("b", None)) == "ab"


def test_candidates_of_a_tactic_without_weights_are_always_timed() -> None:
    odd = Fake("a", 0.7, odd=True)
    assert kept(MODEL, odd, Fake("b", 0.0), Fake("c", 0.5), Fake("d", 0.09)) == "abd"


def test_the_best_of_each_packing_stays_where_kernels_of_other_sizes_may_share_it() -> None:
    wide, narrow = ("panels", "wide"), ("panels", "narrow")
    found = (
        Fake("a", 0.0, packing=wide),
        Fake("b", 0.9, packing=narrow),
        Fake("c", 0.8, packing=narrow),
    )
    assert kept(MODEL, *found) == "a"
    assert kept(MODEL, *found, packings=True) == "ac"


def test_one_candidate_stays_that_the_error_budget_can_fall_back_to() -> None:
    slow, slower = Fake("s", 0.5), Fake("t", 0.6)
    assert kept(MODEL, Fake("a", 0.0, True), Fake("b", 0.01, True), slower, slow) == "abs"


def convolution(dtype: Any = f32, size: int = 3, groups: int = 1) -> KernelSpec:
    weights = i8 if dtype == u8 else f32
    filters, pad = 64 if groups > 1 else 96, size // 2
    return KernelSpec(
        CONV.name,
        (
            Operand.dense(dtype, (1, 14, 14, 64)),
            Operand.dense(weights, (filters, size, size, 64 // groups), const=True),
        ),
        (Operand.dense(f32, (1, 14, 14, filters)),),
        (
            ("dilations", (1, 1)),
            ("epilogue", E.cast(E.inp(0), f32) if dtype == u8 else E.inp(0)),
            ("groups", groups),
            ("layout", "NHWC"),
            ("pads", (pad, pad, pad, pad)),
            ("strides", (1, 1)),
            ("x_zero_point", 0),
        ),
    )


@pytest.mark.parametrize("processor", ["avx2 Zen 3", OTHERS])
@pytest.mark.parametrize(
    ("dtype", "size", "groups"), [(f32, 3, 1), (u8, 3, 1), (f32, 1, 1), (f32, 3, 64)], ids=str
)
def test_the_shipped_models_know_every_feature_and_leave_much_out(
    processor: str, dtype: Any, size: int, groups: int
) -> None:
    model, backend = cost_model(processor), backend_of(AVX2)
    offers = [
        Offer(t.name, c)
        for t in backend.tactics
        for c in t.plan(convolution(dtype, size, groups), AVX2, 2)
    ]
    names = {name for o in offers for name in o.candidate.features(2)}
    assert names and names <= set(model.weights)
    chosen = model.worth_timing(offers, 2)
    assert 1 <= len(chosen) <= model.most + 1
    assert len(chosen) < len(offers) or dtype == u8 or groups > 1
    assert cost_model("a processor of next year") == cost_model(OTHERS)


def graph() -> Graph:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(f32, (1, 8, 8, 16)))
    w = b.constant(np.ones((24, 3, 3, 16), np.float32), "w")
    attrs = {"pads": (1, 1, 1, 1), "layout": "NHWC"}
    return b.graph({"y": b.emit(CONV, [x, w], attrs, name="y")})


@pytest.mark.codegen
def test_levels_4_and_5_try_everything_and_their_timings_answer_lower_levels() -> None:
    assert [e.prunes for e in EFFORTS] == [False, False, True, True, False, False]
    backend, timings = backend_of(host_target()), TimingCache()

    def timed(level: int) -> int:
        builder = Builder(backend, timings, level=level, threads=1, workspace_limit=1 << 24)
        builder.tune(graph())
        return len(next(iter(timings._entries.values())))

    few = timed(3)
    everything = timed(5)
    assert few < everything
    misses = timings.misses
    assert timed(3) == everything and timings.misses == misses
