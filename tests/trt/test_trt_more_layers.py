"""Layers of TensorRT's API beside NumPy and torch: images, reductions, indices, sources, quantization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Bench

torch = pytest.importorskip("torch", reason="compared with torch (extra torch)")
functional = torch.nn.functional


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, np.asarray(want), rtol=1e-4, atol=1e-5)


def random(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def test_convolution_with_all_properties() -> None:
    b = Bench((2, 4, 9, 10))
    kernel, bias = random(6, 2, 3, 3), random(6)
    layer: Any = b.net.add_convolution_nd(b.tensors[0], 6, (3, 3), kernel, trt.Weights(bias))
    layer.stride_nd, layer.padding_nd, layer.dilation_nd, layer.num_groups = (2, 1), (1, 2), (1, 2), 2  # fmt: skip
    assert (layer.stride, layer.padding, layer.pre_padding) == ((2, 1), (1, 2), (1, 2))
    x, k, v = (torch.from_numpy(a) for a in (b.arrays[0], kernel, bias))
    close(b.output(layer), functional.conv2d(x, k, v, (2, 1), (1, 2), (1, 2), 2))


@pytest.mark.parametrize(("mode", "size"), [("SAME_UPPER", 5), ("EXPLICIT_ROUND_UP", 5), ("EXPLICIT_ROUND_DOWN", 4)])  # fmt: skip
def test_padding_modes_say_the_size_of_convolutions_and_pools(mode: str, size: int) -> None:
    b = Bench((1, 1, 10, 10))
    kernel = np.ones((1, 1, 3, 3), np.float32)
    layer: Any = b.net.add_convolution_nd(b.tensors[0], 1, (3, 3), kernel)
    pool: Any = b.net.add_pooling_nd(b.tensors[0], trt.PoolingType.MAX, (3, 3))
    for each in (layer, pool):
        each.stride_nd = (2, 2)
        each.padding_mode = getattr(trt.PaddingMode, mode)
        assert each.get_output(0).shape == (1, 1, size, size)
    padded = np.pad(b.arrays[0], ((0, 0), (0, 0), (0, 1), (0, 1)))
    want = functional.conv2d(torch.from_numpy(padded), torch.from_numpy(kernel), stride=2)
    close(b.output(layer), want[..., :size, :size])


def test_convolution_reads_its_kernel_from_a_tensor() -> None:
    b = Bench((1, 2, 5, 5), (3, 2, 3, 3))
    layer: Any = b.net.add_convolution_nd(b.tensors[0], 3, (3, 3), trt.Weights())
    layer.set_input(1, b.tensors[1])
    assert layer.num_inputs == 2
    close(b.output(layer), functional.conv2d(*(torch.from_numpy(a) for a in b.arrays)))


def test_deconvolution() -> None:
    b = Bench((1, 4, 5, 5))
    kernel, bias = random(4, 3, 3, 3), random(6)
    layer: Any = b.net.add_deconvolution_nd(b.tensors[0], 6, (3, 3), kernel, bias)
    layer.stride_nd, layer.padding_nd, layer.num_groups = (2, 2), (1, 1), 2
    x, k, v = (torch.from_numpy(a) for a in (b.arrays[0], kernel, bias))
    close(b.output(layer), functional.conv_transpose2d(x, k, v, 2, 1, groups=2))


@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "MAX_AVERAGE_BLEND"])
@pytest.mark.parametrize("excludes", [True, False])
def test_pooling(kind: str, excludes: bool) -> None:
    b = Bench((1, 2, 7, 7))
    layer: Any = b.net.add_pooling(b.tensors[0], getattr(trt.PoolingType, kind), (3, 3))
    layer.stride, layer.padding, layer.blend_factor = (2, 2), (1, 1), 0.25
    layer.average_count_excludes_padding = excludes
    x = torch.from_numpy(b.arrays[0])
    largest = functional.max_pool2d(x, 3, 2, 1)
    mean = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=not excludes)
    share = {"MAX": 0.0, "AVERAGE": 1.0}.get(kind, 0.25)
    close(b.output(layer), (1 - share) * largest + share * mean)


def test_lrn() -> None:
    b = Bench((1, 7, 3, 3))
    layer = b.net.add_lrn(b.tensors[0], 5, 0.3, 0.75, 2.0)
    close(b.output(layer), functional.local_response_norm(torch.from_numpy(b.arrays[0]), 5, 0.3, 0.75, 2.0))  # fmt: skip


def test_padding_adds_zeros_and_cuts() -> None:
    b = Bench((1, 2, 4, 5))
    layer = b.net.add_padding_nd(b.tensors[0], (1, -1), (0, 2))
    close(b.output(layer), np.pad(b.arrays[0][..., 1:], ((0, 0), (0, 0), (1, 0), (0, 2))))


@pytest.mark.parametrize("way", ["shape", "scales"])
def test_resize(way: str) -> None:
    b = Bench((1, 2, 4, 5))
    layer: Any = b.net.add_resize(b.tensors[0])
    layer.resize_mode = trt.InterpolationMode.LINEAR
    layer.coordinate_transformation = trt.ResizeCoordinateTransformation.HALF_PIXEL
    setattr(layer, way, (1, 2, 8, 10) if way == "shape" else (1, 1, 2, 2))
    close(b.output(layer), functional.interpolate(torch.from_numpy(b.arrays[0]), scale_factor=2, mode="bilinear"))  # fmt: skip


def test_grid_sample() -> None:
    b = Bench((1, 2, 5, 5), (1, 3, 4, 2))
    layer = b.net.add_grid_sample(*b.tensors)
    x, grid = (torch.from_numpy(a) for a in b.arrays)
    close(b.output(layer), functional.grid_sample(x, grid, align_corners=False))


@pytest.mark.parametrize(("op", "want"), [("SUM", np.sum), ("PROD", np.prod), ("MAX", np.max), ("MIN", np.min), ("AVG", np.mean)])  # fmt: skip
def test_reduce(op: str, want: Any) -> None:
    b = Bench((2, 3, 4))
    layer = b.net.add_reduce(b.tensors[0], getattr(trt.ReduceOperation, op), 0b101, True)
    close(b.output(layer), want(b.arrays[0], axis=(0, 2), keepdims=True))


def test_topk_gives_values_and_int32_indices() -> None:
    b = Bench((2, 6))
    layer: Any = b.net.add_topk(b.tensors[0], trt.TopKOperation.MIN, 3, 1 << 1)
    values, indices = b.outputs(layer)
    assert np.array_equal(indices, np.argsort(b.arrays[0])[:, :3])
    assert indices.dtype == np.int32
    close(values, np.sort(b.arrays[0])[:, :3])


@pytest.mark.parametrize("axis", [None, 3])
def test_softmax(axis: int | None) -> None:
    b = Bench((2, 3, 4, 5))
    layer: Any = b.net.add_softmax(b.tensors[0])
    assert layer.axes == 1 << 1
    if axis is not None:
        layer.axes = 1 << axis
    close(b.output(layer), torch.softmax(torch.from_numpy(b.arrays[0]), axis or 1))


def test_ragged_softmax_is_0_beyond_bounds() -> None:
    b = Bench((2, 3, 4))
    bounds = np.array([[[1], [2], [4]], [[3], [4], [1]]], np.int32)
    got = b.output(b.net.add_ragged_softmax(b.tensors[0], b.constant(bounds)))
    held = np.arange(4) < bounds
    exponents = np.exp(b.arrays[0]) * held
    close(got, exponents / exponents.sum(-1, keepdims=True))


def test_cumulative_sums() -> None:
    b = Bench((2, 5))
    axis = b.constant(np.array(1, np.int32))
    sums = trt.CumulativeOperation.SUM
    layer = b.net.add_cumulative(b.tensors[0], axis, sums, True, False)
    close(b.output(layer), np.cumsum(b.arrays[0], 1) - b.arrays[0])


def test_gather_by_slices_elements_and_places() -> None:
    b = Bench((3, 4))
    at = b.constant(np.array([2, 0], np.int32))
    pairs = b.constant(np.array([[1, 2], [0, 3]], np.int32))
    where = b.constant(np.array([[0, 3, 1], [1, 1, 1], [2, 0, 2]], np.int32))
    slices: Any = b.net.add_gather(b.tensors[0], at, 1)
    assert slices.get_output(0).shape == (3, 2)
    places: Any = b.net.add_gather_v2(b.tensors[0], pairs, trt.GatherMode.ND)
    assert places.get_output(0).shape == (2,)
    elements: Any = b.net.add_gather_v2(b.tensors[0], where, trt.GatherMode.ELEMENT)
    elements.axis = 1
    joined: Any = b.net.add_concatenation([slices.get_output(0), elements.get_output(0)])
    joined.axis = 1
    b.net.mark_output(places.get_output(0))
    x = b.arrays[0]
    want = np.take_along_axis(x, np.array([[0, 3, 1], [1, 1, 1], [2, 0, 2]]), 1)
    close(b.output(joined), np.concatenate([x[:, [2, 0]], want], 1))


@pytest.mark.parametrize("axis", [1, 2])
def test_gather_of_rows_that_share_their_first_axis(axis: int) -> None:
    b = Bench((2, 4, 5))
    rows = np.array([[[0, 3, 1]], [[1, 1, 2]]], np.int32)
    layer: Any = b.net.add_gather(b.tensors[0], b.constant(rows), axis)
    layer.num_elementwise_dims = 1
    want = [np.take(x, row, axis - 1) for x, row in zip(b.arrays[0], rows, strict=True)]
    close(b.output(layer), np.stack(want))
    layer.axis = 0
    with pytest.raises(ValueError, match="no rank"):
        tuple(layer.get_output(0).shape)
    assert "num_elementwise_dims=1 takes" in b.log.errors[-1]


def test_scatter_by_elements_and_places() -> None:
    b = Bench((3, 4), (1, 4), (2,))
    rows = b.constant(np.array([[2, 0, 1, 2]], np.int32))
    layer: Any = b.net.add_scatter(b.tensors[0], rows, b.tensors[1], trt.ScatterMode.ELEMENT)
    pairs = b.constant(np.array([[0, 0], [2, 3]], np.int32))
    last = b.net.add_scatter(layer.get_output(0), pairs, b.tensors[2], trt.ScatterMode.ND)
    want = b.arrays[0].copy()
    np.put_along_axis(want, np.array([[2, 0, 1, 2]]), b.arrays[1], 0)
    want[[0, 2], [0, 3]] = b.arrays[2]
    close(b.output(last), want)


def test_one_hot() -> None:
    b = Bench()
    indices, values = np.array([2, 0], np.int32), np.array([-1, 5], np.float32)
    depth = b.constant(np.array(3, np.int32))
    layer = b.net.add_one_hot(b.constant(indices), b.constant(values), depth, -1)
    assert b.output(layer).tolist() == [[-1, -1, 5], [5, -1, -1]]


def test_non_zero_has_an_open_extent() -> None:
    b = Bench((2, 3))
    b.arrays[0] = np.array([[0, 1, 0], [2, 0, 3]], np.float32)
    layer: Any = b.net.add_non_zero(b.tensors[0])
    assert layer.get_output(0).shape == (2, -1)
    assert b.output(layer).tolist() == [[0, 1, 1], [1, 0, 2]]


def test_reverse_sequence() -> None:
    b = Bench((4, 2))
    layer = b.net.add_reverse_sequence(b.tensors[0], b.constant(np.array([3, 2], np.int32)))
    x = b.arrays[0]
    want = np.stack([x[[2, 1, 0, 3], 0], x[[1, 0, 2, 3], 1]], 1)
    close(b.output(layer), want)


@pytest.mark.parametrize(
    ("shape", "axes", "groups"),
    [((1, 4, 1, 1), 0b1100, 1), ((1, 1, 1, 6), 0b1000, 1), ((1, 4, 1, 1), 0b1010, 1), ((1, 2, 1, 1), 0b1100, 2)],
)  # fmt: skip
def test_normalization(shape: tuple[int, ...], axes: int, groups: int) -> None:
    b = Bench((2, 4, 5, 6))
    scale, bias = random(*shape), random(*shape) * 2
    layer: Any = b.net.add_normalization(b.tensors[0], b.constant(scale), b.constant(bias), axes)
    layer.num_groups, layer.epsilon = groups, 1e-3
    x = b.arrays[0]
    over = tuple(a for a in range(4) if axes >> a & 1)
    if groups == 2:
        x, over = x.reshape(2, 2, 2, 5, 6), (2, 3, 4)
        scale, bias = (a.reshape(1, 2, 1, 1, 1) for a in (scale, bias))
    mean, variance = x.mean(over, keepdims=True), x.var(over, keepdims=True)
    want = (x - mean) / np.sqrt(variance + 1e-3) * scale + bias
    close(b.output(layer), want.reshape(2, 4, 5, 6))


def test_normalization_v2_scales_groups_by_channel() -> None:
    b = Bench((2, 4, 5, 6))
    scale, bias = random(1, 4, 1, 1), random(1, 4, 1, 1)
    given = b.tensors[0], b.constant(scale), b.constant(bias)
    layer: Any = b.net.add_normalization_v2(*given, 0b1100)
    layer.num_groups = 2
    assert layer.is_v2
    x, s, v = (torch.from_numpy(a) for a in (b.arrays[0], scale.reshape(-1), bias.reshape(-1)))
    close(b.output(layer), functional.group_norm(x, 2, s, v))


@pytest.mark.parametrize("axis", [-1, 1])
def test_quantize_and_dequantize(axis: int) -> None:
    b = Bench((2, 3, 4))
    scale = np.array(0.02, np.float32) if axis < 0 else np.array([0.01, 0.02, 0.03], np.float32)
    down: Any = b.net.add_quantize(b.tensors[0], b.constant(scale))
    up: Any = b.net.add_dequantize(down.get_output(0), b.constant(scale))
    down.axis = up.axis = axis
    assert down.get_output(0).dtype == trt.int8
    by = scale if axis < 0 else scale[:, None]
    close(b.output(up), np.clip(np.rint(b.arrays[0] / by), -128, 127) * by)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8, np.int32, np.int64, np.bool_])
def test_constants_of_all_types(kind: Any) -> None:
    b = Bench()
    value = np.arange(6).reshape(2, 3).astype(kind)
    layer: Any = b.net.add_constant((2, 3), value)
    assert layer.shape == (2, 3)
    assert np.array_equal(layer.weights, value.reshape(-1))
    assert np.array_equal(b.output(layer), value)


def test_fill_by_equal_steps() -> None:
    b = Bench()
    layer: Any = b.net.add_fill((5,), trt.FillOperation.LINSPACE)
    layer.alpha, layer.beta = 2, 0.5
    assert b.output(layer).tolist() == [2, 2.5, 3, 3.5, 4]


def test_fill_of_two_axes_by_inputs() -> None:
    b = Bench()
    layer: Any = b.net.add_fill((2, 3), trt.FillOperation.LINSPACE, trt.int32)
    layer.set_input(1, b.constant(np.array(7, np.int32)))
    layer.set_input(2, b.constant(np.array([10, 1], np.int32)))
    assert layer.num_inputs == 3
    assert layer.get_input(0) is None
    assert b.output(layer).tolist() == [[7, 8, 9], [17, 18, 19]]


def test_random_numbers_lie_within_limits() -> None:
    b = Bench()
    layer: Any = b.net.add_fill((50,), trt.FillOperation.RANDOM_UNIFORM)
    layer.alpha, layer.beta = 2, 3
    got = b.output(layer)
    assert 2 <= got.min() < got.max() <= 3


def test_nms() -> None:
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 2, 1, 3]]], np.float32)
    scores = np.array([[[0.5], [0.9], [0.7]]], np.float32)
    b = Bench()
    most = b.constant(np.array(5, np.int32))
    layer: Any = b.net.add_nms(b.constant(boxes), b.constant(scores), most)
    layer.set_input(3, b.constant(np.array(0.5, np.float32)))
    places, count = b.outputs(layer)
    assert places.tolist() == [[0, 0, 1], [0, 0, 2]]
    assert count == 2


@pytest.mark.parametrize("kinds", [1, 3])
def test_nms_of_boxes_by_class(kinds: int) -> None:
    """Boxes [N, B, classes, 4] select as each class alone does, by its own boxes or those of all."""
    rng = np.random.default_rng(0)
    low = rng.random((2, 12, kinds, 2)) * 0.5
    boxes = np.concatenate([low, low + 0.3], -1).astype(np.float32)
    scores = rng.random((2, 12, 3)).astype(np.float32)

    def selected(corners: np.ndarray, values: np.ndarray) -> list[list[int]]:
        b = Bench()
        most = b.constant(np.array(4, np.int32))
        layer: Any = b.net.add_nms(b.constant(corners), b.constant(values), most)
        layer.set_input(3, b.constant(np.array(0.3, np.float32)))
        places, count = b.outputs(layer)
        assert count == len(places)
        return [list(map(int, row)) for row in places]

    found = selected(boxes, scores)
    for kind in range(3):
        alone = selected(boxes[:, :, kind % kinds].copy(), scores[:, :, kind : kind + 1].copy())
        assert [row for row in found if row[1] == kind] == [[n, kind, box] for n, _, box in alone]
