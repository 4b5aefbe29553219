"""The arena planner: no overlap among the living, close to the lower bound, deterministic."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from camshaft.builder.memory import ArenaPlan, Lifetime, plan_arena
from camshaft.program.arena import stacked

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


def at_sizes(plan: ArenaPlan, lives: list[Lifetime]) -> tuple[dict[str, int], int]:
    """Offsets and the arena's size as the plan's order gives them for these sizes."""
    sizes = {b.name: b.nbytes for b in lives}
    offsets, nbytes = stacked(plan.above, [sizes[name] for name in plan.order])
    return dict(zip(plan.order, offsets, strict=True)), nbytes


@given(LIVES)
def test_the_order_gives_the_planned_offsets(lives: list[Lifetime]) -> None:
    plan = plan_arena(lives)
    assert at_sizes(plan, lives) == (plan.offsets, plan.nbytes)


@given(LIVES, st.randoms(), st.integers(0, 3))
def test_living_buffers_overlap_at_no_other_sizes(
    lives: list[Lifetime], random: object, scale: int
) -> None:
    plan = plan_arena(lives)
    choose = random.choice  # type: ignore[attr-defined]
    other = [replace(b, nbytes=choose((0, 1, 64, b.nbytes * scale, 9999))) for b in lives]
    offsets, nbytes = at_sizes(plan, other)
    for i, a in enumerate(other):
        assert offsets[a.name] % 64 == 0 and offsets[a.name] + a.nbytes <= nbytes
        for b in other[:i]:
            if a.first <= b.last and b.first <= a.last:
                a_at, b_at = offsets[a.name], offsets[b.name]
                assert a_at + a.nbytes <= b_at or b_at + b.nbytes <= a_at


def test_only_direct_neighbours_are_named() -> None:
    lives = [Lifetime(f"b{i}", 64, 0, 9) for i in range(4)]
    plan = plan_arena(lives)
    assert plan.above == ((), (0,), (1,), (2,))


def test_a_chain_needs_only_two_buffers() -> None:
    chain = [Lifetime(f"t{i}", 6400, i, i + 1) for i in range(20)]
    plan = plan_arena(chain)
    assert plan.nbytes == plan.lower_bound == 12800


def test_empty_arena() -> None:
    assert plan_arena([]).nbytes == 0
