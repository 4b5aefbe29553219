"""Scan over sequences whose length only a call knows: forms, axes, directions, lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import camshaft
from camshaft import ShapeError
from script_models import QUICK, check, text_model

RNG = np.random.default_rng(3)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def cumulative(
    opset: int, sequence: list[int | str], state: list[int | str], **attrs: list[int]
) -> ModelProto:
    """h = h + x, collected as h * x and as the sum of h; of opset 8, everything has a batch in front."""
    row = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("h", "x", "g", "y")]
    total = helper.make_tensor_value_info("s", TensorProto.FLOAT, [1])
    nodes = [
        helper.make_node("Add", ["h", "x"], ["g"]),
        helper.make_node("Mul", ["g", "x"], ["y"]),
        helper.make_node("ReduceSum", ["g"], ["s"], keepdims=1),
    ]
    body = helper.make_graph(nodes, "body", row[:2], [row[2], row[3], total])
    names = ["", "start", "xs"] if opset == 8 else ["start", "xs"]
    ends = [("start", state), ("xs", sequence)]
    if attrs.pop("lengths", None):
        names[0] = "lengths"
        ends.append(("lengths", [state[0]]))
    scan = helper.make_node(
        "Scan", names, ["last", "ys", "sums"], "scan", body=body, num_scan_inputs=1, **attrs
    )
    types = {"lengths": TensorProto.INT64}
    inputs = [helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), s) for n, s in ends]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in scan.output]
    graph = helper.make_graph([scan], "scans", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [9, 11, 17])
@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_axes_and_directions(opset: int, backward: int, axis: int, tmp_path: Path) -> None:
    dims: list[int | str] = ["t", 3] if axis == 0 else [3, "t"]
    model = cumulative(
        opset,
        dims,
        [3],
        scan_input_axes=[axis],
        scan_input_directions=[backward],
        scan_output_axes=[axis, 0],
        scan_output_directions=[1 - backward, backward],
    )
    calls = [{"start": f(3), "xs": f(*((t, 3) if axis == 0 else (3, t)))} for t in (4, 1, 9)]
    engine = check(model, calls, tmp_path)
    assert repr(engine.outputs["ys"]) == ("f32[t,3]" if axis == 0 else "f32[3,t]")


def test_axes_counted_from_the_end() -> None:
    model = cumulative(11, [3, "t"], [3], scan_input_axes=[-1], scan_output_axes=[-1, -2])
    check(model, [{"start": f(3), "xs": f(3, t)} for t in (4, 2)])


def test_empty_sequences_leave_the_state() -> None:
    model = cumulative(11, ["t", 3], [3])
    engine = camshaft.build(model, shapes={"xs": ("0..", 3)}, **QUICK)
    start = f(3)
    got = engine({"start": start, "xs": f(0, 3)})
    np.testing.assert_array_equal(got["last"], start)
    assert got["ys"].shape == (0, 3) and got["sums"].shape == (0, 1)


@pytest.mark.parametrize("backward", [0, 1])
def test_opset_8_has_batches(backward: int, tmp_path: Path) -> None:
    model = cumulative(8, ["n", "t", 3], ["n", 3], directions=[backward])
    check(
        model, [{"start": f(n, 3), "xs": f(n, t, 3)} for n, t in ((2, 4), (1, 1), (3, 5))], tmp_path
    )


def test_opset_8_takes_lengths() -> None:
    """ONNX Runtime leaves what it collects of short sequences zero behind their ends; so does this."""
    model = cumulative(8, ["n", "t", 3], ["n", 3], lengths=[1])
    calls = [
        {"start": f(2, 3), "xs": f(2, 5, 3), "lengths": np.array(lengths)}
        for lengths in ([5, 5], [2, 5], [4, 1])
    ]
    check(model, calls)


def test_sequences_of_unequal_lengths_are_refused() -> None:
    model = text_model(
        """(float[n] h, float[t,n] xs, float[s,n] zs) => (float[n] last) {
            last = Scan <num_scan_inputs = 2,
                body = step (float[n] a, float[n] b, float[n] c) => (float[n] d) {
                    e = Add (a, b) d = Mul (e, c) }
            > (h, xs, zs)
        }"""
    )
    engine = check(model, [{"h": f(2), "xs": f(t, 2), "zs": f(t, 2)} for t in (3, 1)])
    with pytest.raises(ShapeError):
        engine({"h": f(2), "xs": f(3, 2), "zs": f(4, 2)})


def test_a_loop_in_a_scan_that_reads_what_is_around_both() -> None:
    model = text_model(
        """(float[n] h, float[t,n] xs, int64 trips) => (float[n] last, float[t,n] all) {
            base = Exp (h)
            last, all = Scan <num_scan_inputs = 1,
                body = step (float[n] a, float[n] b) => (float[n] c, float[n] d) {
                    mid = Add (a, b)
                    c = Loop (trips, , mid) <
                        body = deep (int64 i, bool go, float[n] g) => (bool on, float[n] k) {
                            on = Identity (go)
                            u = Mul (g, base)
                            v = Sub (u, mid)
                            k = Tanh (v)
                        }
                    >
                    d = Neg (c)
                }
            > (h, xs)
        }"""
    )
    check(
        model,
        [{"h": f(2), "xs": f(t, 2), "trips": np.array(k)} for t, k in ((3, 2), (1, 0), (4, 5))],
    )
