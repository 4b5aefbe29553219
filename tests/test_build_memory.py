"""The arena planner: no overlap among the living, close to the lower bound, deterministic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from camshaft.builder.memory import Lifetime, plan_arena

LIVES = st.lists(
    st.tuples(st.integers(1, 5000), st.integers(0, 30), st.integers(0, 8)), max_size=25
).map(lambda raw: [Lifetime(f"b{i}", n, f, f + d) for i, (n, f, d) in enumerate(raw)])


@given(LIVES)
def test_living_buffers_never_overlap(lives: list[Lifetime]) -> None:
    plan = plan_arena(lives)
    for i, a in enumerate(lives):
        assert plan.offsets[a.name] % 64 == 0
        assert plan.offsets[a.name] + a.nbytes <= plan.nbytes
        for b in lives[:i]:
            if a.first <= b.last and b.first <= a.last:
                a_at, b_at = plan.offsets[a.name], plan.offsets[b.name]
                assert a_at + a.nbytes <= b_at or b_at + b.nbytes <= a_at
    assert plan.nbytes >= plan.lower_bound


@given(LIVES, st.randoms())
def test_order_does_not_matter(lives: list[Lifetime], random: object) -> None:
    shuffled = list(lives)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan_arena(lives) == plan_arena(shuffled)


def test_a_chain_needs_only_two_buffers() -> None:
    chain = [Lifetime(f"t{i}", 6400, i, i + 1) for i in range(20)]
    plan = plan_arena(chain)
    assert plan.nbytes == plan.lower_bound == 12800


def test_empty_arena() -> None:
    assert plan_arena([]).nbytes == 0
