"""Timing caches: they grow by builds, which read them; keys and values; what is no cache."""

from __future__ import annotations

from typing import Any

import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop


def shop_of(cache: bytes = b"", channels: int = 8) -> tuple[Workshop, Any]:
    """A convolution that is timed, with a cache set."""
    shop = Workshop().convolution((1, 3, channels, channels))
    shop.config.builder_optimization_level = 2
    timings = shop.config.create_timing_cache(cache)
    assert shop.config.set_timing_cache(timings, ignore_mismatch=False)
    assert shop.config.get_timing_cache() is timings
    return shop, timings


def test_builds_fill_a_cache_and_read_it() -> None:
    shop, timings = shop_of()
    assert timings.queryKeys() == []
    first = shop.plan()
    keys = timings.queryKeys()
    assert keys
    data = bytes(timings.serialize())
    again, read = shop_of(data)
    assert again.plan() == first  # kernels are chosen by the same times
    assert bytes(read.serialize()) == data
    frozen, _ = shop_of(data)
    frozen.config.set_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)
    assert frozen.plan() is not None
    other, _ = shop_of(data, channels=12)
    other.config.set_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)
    assert other.plan() is None
    assert other.log.errors


def test_a_cache_that_is_disabled_is_left_alone() -> None:
    shop, timings = shop_of()
    shop.config.set_flag(trt.BuilderFlag.DISABLE_TIMING_CACHE)
    assert shop.plan() is not None
    assert timings.queryKeys() == []


def test_caches_are_combined_and_reset() -> None:
    shop, timings = shop_of()
    other_shop, other = shop_of(channels=12)
    shop.plan()
    other_shop.plan()
    both = {*timings.queryKeys(), *other.queryKeys()}
    assert timings.combine(other, ignore_mismatch=True)
    assert {*timings.queryKeys()} == both
    assert len(both) > len(other.queryKeys())
    assert timings.reset()
    assert timings.queryKeys() == []


def test_entries_are_queried_and_changed() -> None:
    shop, timings = shop_of()
    shop.plan()
    key = timings.queryKeys()[0]
    assert trt.TimingCacheKey.parse(str(key)) == key
    best = timings.query(key)
    assert best.timingMSec > 0
    assert timings.update(key, trt.TimingCacheValue(best.tacticHash, 7.0))
    assert timings.query(key).timingMSec == 7.0
    assert timings.query(key).tacticHash == best.tacticHash
    assert not timings.update(key, trt.TimingCacheValue(best.tacticHash + 1, 7.0))
    assert "has no tactic" in shop.log.errors[-1]
    unknown = trt.TimingCacheKey.parse("0x12")
    assert timings.query(unknown) is None
    assert "no entry 0x0" in shop.log.errors[-1]
    with pytest.raises(ValueError, match="is no key"):
        trt.TimingCacheKey.parse("12")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{}", b"ftrt 1234"])
def test_other_bytes_are_no_cache(data: bytes) -> None:
    shop = Workshop()
    assert shop.config.create_timing_cache(data) is None
    assert shop.log.errors
