"""Build options: whatever is given in place of what is meant is one ConfigError that names it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camshaft.config import MAX_THREADS, BuildConfig
from camshaft.errors import ConfigError
from camshaft.feeds import random_feeds
from camshaft.ir.types import TensorType, f32, i32, i64


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("threads", v) for v in (-1, 0, MAX_THREADS + 1, 10**9, 1.5, "2", True, [1])),
        ("threads", np.array([1, 2])),
        *(("precision", v) for v in ("int8", 8, {8}, {"int4"}, {"int8", "fp8"})),
        *(("layer_precision", v) for v in ("fp32", ["conv1"], {"conv1": "int4"}, {"conv1": 8})),
        *(("dynamic_ranges", v) for v in ([1.0], "x")),
        *(("shapes", v) for v in ([(1, 3)], (1, 3), "1x3")),
        *(("shapes", {"x": v}) for v in ("1x3", None, 5, (1, -1), (1, 2.5), (1, "2b"))),
        *(
            ("shapes", {"x": (v,)})
            for v in ("", "b=", "b=..", "b=4..1", "1..5..4", "b-1", "3", [1])
        ),
        *(("profiles", v) for v in ("x", {"x": ((1,), (2,), (3,))}, [1], [{"x": (1, 2, 3)}])),
        *(("timing_cache", v) for v in (3, "")),
        *(("time_budget", v) for v in (0, -1, float("nan"), "5", True)),
        *(("error_budget", v) for v in (-1e-9, float("nan"), "1e-4", True)),
        *(("workspace_limit", v) for v in (-1, 1.5, "1")),
        *(("memory_budget", v) for v in (0, -1, 1.5, "1", True)),
        *(("optimization_level", v) for v in (-1, 6, "3", 2.5, True)),
        *(("percentile", v) for v in (0, 101, float("nan"), "x")),
        *(("weight_only", v) for v in ("int3", 4, {"int4"})),
        *(("weight_block", v) for v in (4, "32", 1.5)),
        ("weight_zero_points", 1),
        ("calibrator", "foo"),
        *(("noise_reduction", v) for v in ("yes", 1)),
        ("frozen_cache", 1),
        ("frozen_cache", True),  # without a cache
        ("progress", 3),
        ("select_kernels", 3),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,  # sets print in any order
)
def test_wrong_values_are_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        BuildConfig(**{option: value})


def test_numbers_and_paths_of_any_type_become_plain_ones() -> None:
    config = BuildConfig(
        threads=np.int64(2),  # type: ignore[arg-type]
        shapes={"x": np.array([1, 3, 8, 8])},  # type: ignore[dict-item]
        precision={"INT8"},  # type: ignore[arg-type]
        timing_cache="t.json",  # type: ignore[arg-type]
    )
    assert type(config.threads) is int
    assert config.shapes == {"x": (1, 3, 8, 8)} and type(config.shapes["x"][0]) is int
    assert config.precision == {"int8"} and config.timing_cache == Path("t.json")


@pytest.mark.parametrize("option", [f.name for f in fields(BuildConfig)])
def test_none_means_not_said(option: str) -> None:
    assert getattr(BuildConfig(**{option: None}), option) == getattr(BuildConfig(), option)
    given = BuildConfig(threads=3, shapes={"x": (1, 2)}, time_budget=5.0, optimization_level=1)
    assert BuildConfig.of(given, {option: None}) == given


def test_options_fill_a_config_and_nothing_else_is_one() -> None:
    assert BuildConfig.of(BuildConfig(threads=1), {"optimization_level": 0}).threads == 1
    with pytest.raises(ConfigError, match="timingcache"):
        BuildConfig.of(None, {"timingcache": "x"})
    with pytest.raises(ConfigError, match="dict"):
        BuildConfig.of({"threads": 1}, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("said", [{"weight_block": 64}, {"weight_zero_points": True}])
def test_how_weights_are_stored_needs_weight_only(said: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(said))} .* weight_only is not given"):
        BuildConfig(**said)
    assert BuildConfig(weight_only="int4", **said)


def test_random_masks_hide_nothing() -> None:
    drawn = random_feeds(
        {"attention_mask": TensorType(i64, (1, 3)), "ids": TensorType(i64, (1, 3))}
    )
    assert drawn["attention_mask"].all() and not drawn["ids"].any()


def test_random_sequences_have_their_whole_length() -> None:
    lens = TensorType(i32, (3,))
    for x in ((7, 3, 5), (3, 7, 5), (3, 7)):
        drawn = random_feeds({"x": TensorType(f32, x), "sequence_lens": lens})
        assert drawn["sequence_lens"].tolist() == [7, 7, 7]
    square = random_feeds({"ids": TensorType(i64, (3, 3)), "seq_len": lens})
    assert square["seq_len"].tolist() == [3, 3, 3]
    assert random_feeds({"x": TensorType(f32, (4, 2)), "lengths": lens})["lengths"].sum() == 0
    assert random_feeds({"ids": lens})["ids"].sum() == 0
