"""Host steps beside PyTorch, for what ONNX Runtime lacks or gets wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operator_case import Case, by_ours, floats

torch = pytest.importorskip("torch", reason="PyTorch is not installed (an extra: camshaft[torch])")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(11)


def compare(case: Case, want: Any, tolerance: float = 1e-5) -> None:
    (got,) = by_ours(case)
    np.testing.assert_allclose(got, want.numpy(), rtol=tolerance, atol=tolerance)


def tensor(x: np.ndarray) -> Any:
    return torch.tensor(x)


@pytest.mark.parametrize("dilations", [(1, 2), (2, 1), (2, 3)])
def test_col2im_with_dilations(dilations: tuple[int, int]) -> None:
    image, block, strides = (9, 8), (3, 2), (2, 1)
    fit = [
        (n - (b - 1) * d - 1) // s + 1
        for n, b, d, s in zip(image, block, dilations, strides, strict=True)
    ]
    x = floats(RNG, 2, 12, fit[0] * fit[1])
    attrs = {"dilations": list(dilations), "strides": list(strides)}
    case = Case("Col2Im", 18, [x, np.array(image), np.array(block)], attrs)
    fold = torch.nn.functional.fold
    compare(case, fold(tensor(x), image, block, dilation=dilations, stride=strides))


def test_affine_grid_of_one_row() -> None:
    theta = floats(RNG, 1, 2, 3)
    case = Case("AffineGrid", 20, [theta, np.array([1, 1, 1, 4])], {"align_corners": 1})
    grid = torch.nn.functional.affine_grid
    compare(case, grid(tensor(theta), [1, 1, 1, 4], align_corners=True))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("size", [(3, 4), (11, 2)])
def test_antialiasing_without_what_lies_outside(mode: str, size: tuple[int, int]) -> None:
    x = floats(RNG, 1, 2, 9, 8)
    attrs: dict[str, Any] = {"mode": mode, "antialias": 1, "exclude_outside": 1, "axes": [2, 3]}
    if mode == "cubic":
        attrs["cubic_coeff_a"] = -0.5  # what PyTorch takes here
    case = Case("Resize", 19, [x, None, None, np.array(size)], attrs)
    names = {"linear": "bilinear", "cubic": "bicubic"}
    resized = torch.nn.functional.interpolate(
        tensor(x), size=size, mode=names[mode], antialias=True
    )
    compare(case, resized, 1e-4)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_grid_sample(padding_mode: str, aligned: int, mode: str) -> None:
    x, grid = floats(RNG, 1, 2, 4, 5), floats(RNG, 1, 6, 7, 2)
    attrs = {"mode": mode, "padding_mode": padding_mode, "align_corners": aligned}
    sample = torch.nn.functional.grid_sample
    want = sample(tensor(x), tensor(grid), mode, padding_mode, align_corners=bool(aligned))
    compare(Case("GridSample", 16, [x, grid], attrs), want, 1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_in_three_dimensions(groups: int) -> None:
    x, w, b = floats(RNG, 1, 4, 3, 2, 4), floats(RNG, 4, 2, 2, 3, 2), floats(RNG, 2 * groups)
    attrs = {
        "strides": [2, 1, 3], "pads": [1, 0, 1] * 2, "output_padding": [1, 0, 2],
        "dilations": [1, 2, 1], "group": groups,
    }  # fmt: skip
    want = torch.nn.functional.conv_transpose3d(
        tensor(x), tensor(w), tensor(b), (2, 1, 3), (1, 0, 1), (1, 0, 2), groups, (1, 2, 1)
    )
    compare(Case("ConvTranspose", 11, [x, w, b], attrs), want)


def test_unpooling_undoes_a_pool_of_that_very_image() -> None:
    x = floats(RNG, 1, 1, 5, 5)
    y, at = torch.nn.functional.max_pool2d(tensor(x), 2, 2, return_indices=True)
    want = torch.nn.functional.max_unpool2d(y, at, 2, 2, output_size=(5, 5))
    inputs = [y.numpy(), at.numpy(), np.array([1, 1, 5, 5])]
    compare(Case("MaxUnpool", 11, inputs, {"kernel_shape": [2, 2], "strides": [2, 2]}), want)
