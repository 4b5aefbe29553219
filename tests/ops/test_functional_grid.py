"""`ops.functional.grid_sample` beside the host step, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest

import camshaft
from camshaft.errors import ModelError
from camshaft.ops import functional as F
from functional_graphs import floats, run, same
from onnx_models import one_node
from operator_case import Case, by_ours

MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")


def sampled(x: np.ndarray, grid: np.ndarray, mode: str, padding: str, aligned: int) -> np.ndarray:
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    (y,) = by_ours(Case("GridSample", 20, [x, grid], attrs))
    assert isinstance(y, np.ndarray)
    return y


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_equals_the_host_step(mode: str, padding: str, aligned: int) -> None:
    for spatial, out in (((5, 6), (3, 4)), ((1, 2), (2, 2)), ((7,), (9,)), ((2, 3, 4), (3, 1, 2))):
        rank = len(spatial)
        x, grid = floats(2, 3, *spatial), floats(2, *out, rank, seed=1) * np.float32(0.8)
        got = run(
            lambda b, image, places: F.grid_sample(
                b, image, places, mode, padding, align_corners=bool(aligned)
            ),
            x,
            grid,
        )
        same(got, sampled(x, grid, mode, padding, aligned), 2e-5)


def test_samples_outside_are_0_whatever_the_image_holds() -> None:
    x = np.full((1, 2, 2, 2), np.inf, np.float32)
    grid = np.array([[[[5, 5], [np.nan, 0], [0, 0]]]], np.float32)
    assert run(F.grid_sample, x, grid)[0, 0, 0].tolist() == [0, 0, np.inf]


def test_what_is_not_sampled() -> None:
    x, grid = floats(1, 1, 3, 3), floats(1, 2, 2, 2)
    with pytest.raises(F.NoCanonicalForm, match="samples f32 images that have elements"):
        run(F.grid_sample, x.astype(np.float64), grid)
    with pytest.raises(F.NoCanonicalForm, match="samples f32 images that have elements"):
        run(F.grid_sample, x[:, :, :0], grid)
    for misfit in (np.repeat(grid, 2, 0), grid[..., :1], grid[0]):
        with pytest.raises(ModelError, match="does not fit the input"):
            run(F.grid_sample, x, misfit)
    with pytest.raises(ModelError, match="mode 'bilinear' is none of linear, nearest, cubic"):
        run(lambda b, image, places: F.grid_sample(b, image, places, "bilinear"), x, grid)


@pytest.mark.codegen
@pytest.mark.parametrize("mode", MODES)
def test_engines_of_open_extents(mode: str) -> None:
    attrs = {"mode": mode, "padding_mode": "reflection", "align_corners": 0}
    proto, _ = one_node("GridSample", [floats(1, 3, 4, 4), floats(1, 4, 4, 2)], opset=20, **attrs)
    for value, names in zip(proto.graph.input, ("n-hw", "npq-"), strict=True):
        for d, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if name != "-":
                d.dim_param = name
    engine = camshaft.build(proto, threads=1, optimization_level=1)
    assert {s["kind"] for s in engine.inspect()["steps"]} == {"kernel"}
    names = [v.name for v in proto.graph.input]
    for n, image, out in ((1, (4, 4), (4, 4)), (3, (9, 1), (1, 17)), (2, (2, 5), (6, 3))):
        x, grid = floats(n, 3, *image), floats(n, *out, 2, seed=1)
        (got,) = engine(dict(zip(names, (x, grid), strict=True))).values()
        same(got, sampled(x, grid, mode, "reflection", 0), 2e-5)
