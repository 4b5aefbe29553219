"""The timing cache: incumbents, margins, damage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from camshaft.builder.tuning.timing_cache import Record, TimingCache
from camshaft.errors import TimingCacheError


def record(name: str, time_us: float, **params: int) -> Record:
    return Record(name, tuple(sorted(params.items())), time_us)


def test_earlier_candidate_wins_a_tie_and_a_clear_margin_wins() -> None:
    cache = TimingCache()
    assert cache.store("k", [record("simple", 100.0), record("fancy", 98.0)]).tactic == "simple"
    assert cache.store("j", [record("simple", 100.0), record("fancy", 90.0)]).tactic == "fancy"


def test_incumbent_stays_unless_clearly_beaten() -> None:
    cache = TimingCache()
    cache.store("k", [record("old", 100.0)])
    assert cache.store("k", [record("new", 98.5)]).tactic == "old"
    assert cache.store("k", [record("newer", 80.0)]).tactic == "newer"


def test_round_trip_keeps_winner_first(tmp_path: Path) -> None:
    cache = TimingCache()
    cache.store("k", [record("a", 10.0, rows=7), record("b", 5.0, rows=14)])
    cache.save(tmp_path / "t.json")
    again = TimingCache.load(tmp_path / "t.json")
    assert [r.tactic for r in again.lookup("k")] == ["b", "a"]
    assert again.lookup("k")[0].params == (("rows", 14),)
    assert again.lookup("missing") == [] and again.misses == 1
    cache.save(tmp_path / "u.json")
    assert (tmp_path / "t.json").read_bytes() == (tmp_path / "u.json").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"format": 2, "entries": {"k": [{"tactic": "a"}]}}',
        '{"format": 2, "entries": {"k": [{"tactic": "a", "params": {}, "time_us": -1}]}}',
        '{"format": 99, "entries": {}}',
        100_000 * "[",
    ],
)
def test_damaged_files_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cache.json"
    path.write_text(text)
    with pytest.raises(TimingCacheError, match=r"cache\.json"):
        TimingCache.load(path)


def test_builds_that_share_a_file_keep_each_others_entries(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    TimingCache().save(path)
    ours, theirs = TimingCache.load(path), TimingCache.load(path)
    theirs.store("both", [record("theirs", 1.0)])
    theirs.store("theirs", [record("b", 2.0)])
    theirs.save(path)
    ours.store("both", [record("ours", 1.0)])
    ours.store("ours", [record("a", 1.0)])
    ours.save(path)
    merged = TimingCache.load(path)
    assert all(merged.lookup(k) for k in ("ours", "theirs"))
    assert [r.tactic for r in merged.lookup("both")] == ["theirs"]  # the first to be there
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


def test_many_builds_saving_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.json"

    def build(n: int) -> None:
        cache = TimingCache()
        cache.store(f"k{n}", [record("a", 1.0)])
        cache.save(path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(build, range(40)))
    assert all(TimingCache.load(path).lookup(f"k{n}") for n in range(40))


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(TimingCacheError, match="cannot be written"):
        TimingCache().save(tmp_path / "no" / "such" / "folder.json")
