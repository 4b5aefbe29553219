"""Host steps where ONNX Runtime departs from the specification, lacks something, or refuses.

Quotations are from ONNX's operator documentation of the opset named.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from operator_case import Case, by_ours, floats

RNG = np.random.default_rng(7)


def run(op_type: str, opset: int, inputs: list[Any], outputs: str = "y", **attrs: Any) -> list[Any]:
    return by_ours(Case(op_type, opset, inputs, attrs, tuple(outputs)))


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
def test_same_padding_counts_dilations(op_type: str) -> None:
    """MaxPool-22: "SAME_UPPER or SAME_LOWER: output_spatial_shape[i] = ceil(input / strides)", "pad_shape[i]
    = (output_spatial_shape[i] - 1) * strides[i] + ((kernel - 1) * dilations[i] + 1) - input"."""
    x = np.abs(floats(RNG, 1, 1, 7)) + 1
    attrs = {"kernel_shape": [3], "dilations": [2], "strides": [2]}
    (upper,) = run(op_type, 22, [x], auto_pad="SAME_UPPER", **attrs)
    (given,) = run(op_type, 22, [x], pads=[2, 2], **attrs)  # (4 - 1) * 2 + 5 - 7 = 4
    assert upper.shape == (1, 1, 4)
    np.testing.assert_array_equal(upper, given)


def test_same_padding_counts_dilations_in_convolutions() -> None:
    x, w = floats(RNG, 1, 1, 6), floats(RNG, 1, 1, 3)
    (upper,) = run("Conv", 22, [x, w], auto_pad="SAME_UPPER", dilations=[2])
    (given,) = run("Conv", 22, [x, w], pads=[2, 2], dilations=[2])
    np.testing.assert_array_equal(upper, given)


def test_keepdims_is_ignored_where_a_split_is_given() -> None:
    """SplitToSequence-11: "If input 'split' is specified, this attribute is ignored."."""
    (parts,) = run("SplitToSequence", 11, [floats(RNG, 3, 2), np.array(1)], keepdims=0)
    assert [p.shape for p in parts] == [(1, 2)] * 3
    (parts,) = run("SplitToSequence", 11, [floats(RNG, 3, 2)], keepdims=0)
    assert [p.shape for p in parts] == [(2,)] * 3


def test_a_scale_counts_where_the_extent_stays() -> None:
    """Resize-10: "output_dimension = floor(input_dimension * scale)"; Resize-11: "x_original = x_resized /
    scale" for "asymmetric".  ONNX Runtime copies where all extents stay."""
    x, scales = np.array([[[0, 10, 20]]], np.float32), np.array([1, 1, 1.25], np.float32)
    (y,) = run("Resize", 10, [x, scales], mode="linear")
    np.testing.assert_allclose(y, [[[0, 8, 16]]], rtol=1e-6)
    (y,) = run("Upsample", 9, [x, scales], mode="linear")
    np.testing.assert_allclose(y, [[[0, 8, 16]]], rtol=1e-6)


def recurrent(op_type: str, gates: int, **attrs: Any) -> tuple[list[Any], dict[str, Any]]:
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    inputs = [
        floats(RNG, 4, 3, 2),
        floats(RNG, directions, gates * 5, 2),
        floats(RNG, directions, gates * 5, 5),
        floats(RNG, directions, 2 * gates * 5),
        np.array([4, 1, 3], np.int32),
        *(floats(RNG, directions, 3, 5) for _ in range(2 if op_type == "LSTM" else 1)),
    ]
    return inputs, attrs


@pytest.mark.parametrize(("op_type", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layout_turns_batch_and_time(op_type: str, gates: int, direction: str) -> None:
    """LSTM-14, layout=1: "X.shape = [batch_size, seq_length, input_size], Y.shape = [batch_size, seq_length,
    num_directions, hidden_size], initial_h.shape = Y_h.shape = [batch_size, num_directions, hidden_size]"."""
    outputs = "yhc" if op_type == "LSTM" else "yh"
    inputs, attrs = recurrent(op_type, gates, direction=direction)
    y, *states = run(op_type, 14, inputs, outputs, **attrs)
    turned = [inputs[0].swapaxes(0, 1), *inputs[1:5], *(s.swapaxes(0, 1) for s in inputs[5:])]
    y1, *states1 = run(op_type, 14, turned, outputs, layout=1, **attrs)
    np.testing.assert_array_equal(y1, y.transpose(2, 0, 1, 3))
    for s1, s in zip(states1, states, strict=True):
        np.testing.assert_array_equal(s1, s.swapaxes(0, 1))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_sequence_is_as_if_it_were_alone(direction: str) -> None:
    inputs, attrs = recurrent("GRU", 3, direction=direction)
    y, h = run("GRU", 14, inputs, "yh", **attrs)
    for n, length in enumerate(inputs[4]):
        alone = [inputs[0][:length, n : n + 1], *inputs[1:4], None, inputs[5][:, n : n + 1]]
        y1, h1 = run("GRU", 14, alone, "yh", **attrs)
        np.testing.assert_allclose(y[:length, :, n], y1[:, :, 0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(h[:, n], h1[:, 0], rtol=1e-5, atol=1e-6)
        assert not y[length:, :, n].any()


def test_thresholded_relu_has_the_default_of_its_operator() -> None:
    """RNN-14: "Default values are the same as of corresponding ONNX operators": ThresholdedRelu's is 1."""
    x, w, r = (
        np.array([[[0.5], [2.0]]], np.float32),
        np.ones((1, 1, 1), np.float32),
        np.zeros((1, 1, 1)),
    )
    inputs = [x, w, r.astype(np.float32)]
    (y,) = run("RNN", 14, inputs, activations=["ThresholdedRelu"])
    assert y.reshape(-1).tolist() == [0, 2]
    with pytest.raises(ModelError, match="ScaledTanh has no default"):
        run("RNN", 14, inputs, activations=["ScaledTanh"])


@pytest.mark.parametrize("opset", [7, 9])
def test_batch_statistics_before_training_mode(opset: int) -> None:
    """BatchNormalization-9: "Output case #1: Y, mean, var, saved_mean, saved_var (training mode)", and
    "running_mean = running_mean * momentum + mean * (1 - momentum)"."""
    x = floats(RNG, 3, 2, 4)
    scale, bias, mean = (floats(RNG, 2) for _ in range(3))
    var = np.abs(floats(RNG, 2))
    y, m, v, saved_mean, saved_var = run(
        "BatchNormalization", opset, [x, scale, bias, mean, var], "ymvst", momentum=0.7
    )
    own, spread = x.mean((0, 2)), x.var((0, 2))
    np.testing.assert_allclose(saved_mean, own, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(saved_var, spread, rtol=1e-5)
    np.testing.assert_allclose(m, mean * 0.7 + own * 0.3, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(v, var * 0.7 + spread * 0.3, rtol=1e-5)
    normal = (x - own[:, None]) / np.sqrt(spread[:, None] + 1e-5)
    np.testing.assert_allclose(y, normal * scale[:, None] + bias[:, None], rtol=1e-4, atol=1e-5)


def test_shifts_by_all_bits_and_more() -> None:
    """BitShift-28: "If Y is negative, or is greater than or equal to the number of bits of T, then the result
    is whatever the sign bit extension alone produces"."""
    x, by = np.array([-8, -8, 8, 8, -8], np.int8), np.array([1, 9, 9, -1, -1], np.int8)
    assert run("BitShift", 28, [x, by], direction="RIGHT")[0].tolist() == [-4, -1, 0, 0, -1]
    assert run("BitShift", 28, [x, by], direction="LEFT")[0].tolist() == [-16, 0, 0, 0, 0]


def test_remainders_of_floats() -> None:
    """Mod-28: fmod=0 takes floats too, "A - floor(A / B) * B"; "the result has the same sign as B"."""
    a, b = np.array([-7.5, 7.5, 0.0], np.float32), np.array([2, -2, -3], np.float32)
    assert run("Mod", 28, [a, b])[0].tolist() == [0.5, -0.5, 0.0]
    with pytest.raises(ModelError, match="divided by 0"):
        run("Mod", 13, [np.array([1]), np.array([0])])


def test_gathered_outside_is_said_in_words() -> None:
    x = floats(RNG, 2, 3)
    for op_type, indices in (
        ("Gather", np.array([3])),
        ("GatherElements", np.array([[0, 0, -3]])),
        ("GatherND", np.array([[1, 1], [2, 0]])),
    ):
        with pytest.raises(
            ModelError, match=r"index -?\d is outside axis \d, which has \d elements"
        ):
            run(op_type, 13, [x, indices])
    updates = floats(RNG, 1, 3)
    with pytest.raises(ModelError, match="index 5 is outside axis 0, which has 2 elements"):
        run("ScatterND", 18, [x, np.array([[5]]), updates])


def test_the_last_of_equal_updates_wins_and_reductions_take_all() -> None:
    x, at = np.zeros(3, np.float32), np.array([1, 1, 2])
    updates = np.array([2, 5, 7], np.float32)
    for reduction, want in (("none", [0, 5, 7]), ("add", [0, 7, 7]), ("max", [0, 5, 7])):
        attrs = {"reduction": reduction}
        assert run("ScatterElements", 18, [x, at, updates], **attrs)[0].tolist() == want
        assert run("ScatterND", 18, [x, at[:, None], updates], **attrs)[0].tolist() == want
    with pytest.raises(ModelError, match="reduction='max' is none of none, add, mul"):
        run("ScatterND", 16, [x, at[:, None], updates], reduction="max")


def test_old_names_of_modes() -> None:
    x, grid = floats(RNG, 1, 1, 3, 3), floats(RNG, 1, 2, 2, 2)
    for opset, mode in ((16, "linear"), (20, "bilinear")):
        with pytest.raises(ModelError, match=f"mode='{mode}' is none of"):
            run("GridSample", opset, [x, grid], mode=mode)


def test_rois_were_not_shifted_before_opset_16() -> None:
    x, rois = floats(RNG, 1, 1, 6, 6), np.array([[1, 1, 4, 4]], np.float32)
    operands = [x, rois, np.array([0])]
    (old,), (new,) = run("RoiAlign", 10, operands), run("RoiAlign", 16, operands)
    (same,) = run("RoiAlign", 16, operands, coordinate_transformation_mode="output_half_pixel")
    np.testing.assert_array_equal(old, same)
    assert old != new


def test_sequences_and_optionals() -> None:
    one, two = floats(RNG, 2), floats(RNG, 3)
    assert run("SequenceLength", 11, [[]])[0] == 0
    assert run("SequenceEmpty", 11, []) == [[]]
    assert run("Optional", 15, [[one, two]])[0][1] is two
    assert run("OptionalHasElement", 18, [None])[0].tolist() is False
    assert run("OptionalHasElement", 18, [one])[0].tolist() is True
    assert run("OptionalGetElement", 18, [one])[0] is one
    with pytest.raises(ModelError, match="no element"):
        run("OptionalGetElement", 18, [None])
    with pytest.raises(ModelError, match="position 2 is outside of 2 elements"):
        run("SequenceAt", 11, [[one, two], np.array(2)])


def test_all_words_are_stop_words() -> None:
    x = np.array([["a", "B"]], object)
    (y,) = run("StringNormalizer", 10, [x], stopwords=["A", "b"])
    assert y.tolist() == [[""]]
    (y,) = run("StringNormalizer", 10, [x], case_change_action="UPPER", is_case_sensitive=1)
    assert y.tolist() == [["A", "B"]]


def test_multinomial_draws_classes_by_their_weights() -> None:
    """Multinomial-7: "sample_size: Number of times to sample", of "unnormalized log-probabilities"."""
    x = np.log(np.array([[1, 2, 7], [8, 1, 1]], np.float32))
    (y,) = run("Multinomial", 7, [x], sample_size=20_000, seed=3.0, dtype=7)
    assert y.shape == (2, 20_000) and y.dtype == np.int64
    shares = [[(row == c).mean() for c in range(3)] for row in y]
    np.testing.assert_allclose(shares, [[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]], atol=0.02)
    (again,) = run("Multinomial", 7, [x], sample_size=20_000, seed=3.0, dtype=7)
    np.testing.assert_array_equal(y, again)
    (other,) = run("Multinomial", 7, [x], sample_size=20_000)
    assert other.dtype == np.int32 and (other != y).any()


@pytest.mark.parametrize("lengths", [[2, 2], [-1, 4], [5, -2], [0, 1], [3]])
def test_lengths_that_do_not_add_up_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ModelError, match="do not make 2 parts of the 3"):
        run("Split", 13, [floats(RNG, 3, 2), np.array(lengths)], outputs="ab")


def test_reshape_takes_what_its_text_says() -> None:
    """Reshape-14: "At most one dimension of the new shape can be -1"; "If 'allowzero' is set, it is invalid for
    the specified shape to contain both a zero value and -1"."""
    x = floats(RNG, 2, 6)
    for wanted, shape in (([3, 4], (3, 4)), ([-1, 4], (3, 4)), ([0, 2, -1], (2, 2, 3))):
        (y,) = run("Reshape", 14, [x, np.array(wanted)])
        assert y.shape == shape
    (nothing,) = run("Reshape", 14, [floats(RNG, 0, 3), np.array([3, 0])], allowzero=1)
    assert nothing.shape == (3, 0)
    for wanted in ([-5, 4], [-1, -1], [5, -1], [2, 5], [12, 1, 0]):
        with pytest.raises(ModelError):
            run("Reshape", 14, [x, np.array(wanted)])
    with pytest.raises(ModelError, match="both 0 and -1"):
        run("Reshape", 14, [floats(RNG, 0, 3), np.array([0, -1])], allowzero=1)


def test_floats_are_written_plainly() -> None:
    """Cast-9: "When casting from numeric tensors to string tensors, plain floating-point representation (such as
    "314.15926") would be used", and "plain" is opposed to "scientific": ONNX Runtime writes 1e+10."""
    x = np.array([1e10, 123456789, -1e-5, 2.5e-7, 314.15926, 1.0], np.float32)
    (texts,) = run("Cast", 9, [x], to=8)
    want = ["10000000000", "123456790", "-0.0000099999997", "0.00000025", "314.15927", "1"]
    assert texts.tolist() == want
    (back,) = run("Cast", 9, [texts], to=1)
    np.testing.assert_allclose(back, x, rtol=5e-8)


def test_strings_that_are_no_numbers_are_refused() -> None:
    for to in (1, 7, 9):
        with pytest.raises(ModelError, match="three"):
            run("Cast", 13, [np.array(["three"], object)], to=to)
