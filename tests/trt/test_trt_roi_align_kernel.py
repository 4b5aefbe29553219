"""The kernel of ROIAlign_TRT against its reference."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.tensorrt.plugins.native.regions import regions

RNG = np.random.default_rng(9)


def aligned(feeds: list[np.ndarray], threads: int = 1, target: str = "host", **attrs: Any) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """By the kernel, and by the reference; the number of regions is open."""
    n = camshaft.Network()
    x = n.input("x", feeds[0].shape)
    rois = n.input("rois", ("rois", 4))
    images = n.input("images", ("rois",), "int32")
    n.output(n.plugin(regions, x, rois, images, **attrs), "y")
    engine = n.build(optimization_level=1, threads=threads, target=target)
    assert [s.tactic for s in engine.manifest.notes] == ["plugin"]
    got = engine(dict(zip(("x", "rois", "images"), feeds, strict=True)))["y"]
    return got, regions.computed(feeds, regions.complete(attrs))[0]


def feeds_of(channels: int, count: int = 23) -> list[np.ndarray]:
    """Two images of 13 x 17 pixels, and regions within them, over their edges and beyond, turned around and empty ones."""
    x = RNG.standard_normal((2, 13, 17, channels)).astype(np.float32)
    rois = (RNG.random((count, 4)) * 60 - 15).astype(np.float32)
    rois[::2, 2:] += rois[::2, :2]
    rois[1] = (-40, -40, -20, -20)
    rois[3] = (5, 5, 5, 5)
    return [x, rois, RNG.integers(0, 2, count).astype(np.int32)]


@pytest.mark.parametrize("channels", [1, 31, 200])
@pytest.mark.parametrize("mode", [0, 1])
def test_regions_of_all_kinds(channels: int, mode: int) -> None:
    for half, ratio, bins in product((0, 1), (0, 1, 3), ((1, 1), (3, 5), (6, 8))):
        got, want = aligned(
            feeds_of(channels), threads=1 + ratio % 2, mode=mode, sampling_ratio=ratio, spatial_scale=0.5,
            coordinate_transformation_mode=half, output_height=bins[0], output_width=bins[1],
        )  # fmt: skip
        assert got.shape == (23, channels, *bins)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)


def test_regions_of_images_that_there_are_not_are_nan() -> None:
    x, rois, images = feeds_of(5, 8)
    images[:2] = -1, 2
    rois[2, 1], rois[3, 3] = np.nan, np.inf
    got, want = aligned([x, rois, images], output_height=2, output_width=2, sampling_ratio=2)
    assert np.isnan(got[:4]).all() and not np.isnan(got[4:]).any()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("target", ["portable", "avx2"])
def test_kernels_for_other_machines(target: str) -> None:
    got, want = aligned(feeds_of(200), target=target, output_height=3, output_width=3)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)
