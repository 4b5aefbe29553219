"""The check before timing: a kernel with one wrong element is refused, a rounding is not."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft
from camshaft.backends.base import KernelSpec, Operand
from camshaft.builder.tuning.trial import BoundCandidate, Trial
from camshaft.ir import expr as E
from camshaft.ir.types import f32, i32, i64, u8
from onnx_models import model_of


class Writes:
    """Stands for a candidate that leaves the given outputs."""

    def __init__(self, trial: Trial, *outputs: np.ndarray | None) -> None:
        self.trial, self.outputs = trial, outputs

    def run(self) -> None:
        for n, values in enumerate(self.outputs):
            if values is not None:
                self.trial.results[f"y{n}"][:] = values.reshape(-1)


def trial_of(expr: E.Expr, out: Any) -> Trial:
    shape = (1, 20, 20, 32)
    spec = KernelSpec(
        "pointwise",
        (Operand.dense(f32, shape),),
        (Operand.dense(out, shape),),
        (("expr", expr),),
    )
    return Trial(spec, [], 1, cast(Any, None))


def check(trial: Trial, *outputs: np.ndarray | None) -> str:
    return trial.check(cast(BoundCandidate, Writes(trial, *outputs)))


def test_what_a_candidate_leaves_alone_is_noticed() -> None:
    trial = trial_of(E.maximum(E.inp(0), E.const(0.0)), f32)
    assert check(trial, trial.expected[0].value) == ""
    assert "elements are off" in check(trial, None)


def test_one_wrong_byte_in_ten_thousand_is_refused_though_bytes_may_round_otherwise() -> None:
    trial = trial_of(E.quantize(E.inp(0), E.const(0.02), 128, u8), u8)
    got = trial.expected[0].value.copy()
    assert check(trial, got) == ""
    got[0, 3, 4, 5] ^= 1
    assert "output 0: 1 of 12800 elements are off, the first at [0,3,4,5]" in check(trial, got)


def test_a_step_inside_an_expression_excuses_no_other_element() -> None:
    """Two elements in a hundred once were free to be anything where an expression quantizes."""
    byte = E.quantize(E.inp(0), E.const(0.02), 128, u8)
    trial = trial_of(E.mul(E.dequantize(byte, E.const(0.02), 128), E.const(3.0)), f32)
    got = trial.expected[0].value.copy()
    assert check(trial, got) == ""
    got[0, 0, 0, 0] += 0.06  # three times a quantum
    assert "1 of 12800" in check(trial, got)


@pytest.mark.parametrize("extent", [1, 2, 3, 300, 5000])
@pytest.mark.parametrize("dtype", [i64, i32, u8], ids=repr)
def test_operands_of_a_trial_lie_in_the_domain_of_the_op(dtype: Any, extent: int) -> None:
    """A gather's indices lie in [-extent, extent), for axes short and long."""
    spec = KernelSpec(
        "gather",
        (Operand.dense(f32, (extent, 4)), Operand.dense(dtype, (400,))),
        (Operand.dense(f32, (400, 4)),),
        (("axis", 0),),
    )
    trial = Trial(spec, [], 1, cast(Any, None))
    index = trial.feeds["x1"].astype(np.int64)
    least, most = max(-extent, dtype.range[0]), min(extent - 1, dtype.range[1])
    assert least <= index.min() and index.max() <= most
    assert index.max() - index.min() > (most - least) / 2 or extent == 1


def test_a_gather_over_a_short_axis_is_built_and_right_at_the_default_level() -> None:
    """An embedding of two token types, as BERT has it."""
    table = np.array([[2.040919, -2.555665, 0.5], [-0.8652131, 3.3229995, 0.25]], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "i"], ["y"], "embedding")],
        "types",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [1, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 3])],
        [numpy_helper.from_array(table, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    engine = camshaft.build(model.SerializeToString())
    got = engine({"i": np.array([[0, 1, 1, 0, -1, -2]], np.int64)})["y"]
    want = [
        [2.040919, -2.555665, 0.5],
        [-0.8652131, 3.3229995, 0.25],
        [-0.8652131, 3.3229995, 0.25],
        [2.040919, -2.555665, 0.5],
        [-0.8652131, 3.3229995, 0.25],
        [2.040919, -2.555665, 0.5],
    ]
    assert np.array_equal(got, np.array([want], np.float32))


def overflowing_nodes() -> dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]]:
    """Nets that overflow on operands of ordinary size, and give ordinary numbers on 0.5."""
    node, f4 = helper.make_node, np.float32
    weights = np.random.default_rng(0).standard_normal((64, 64)).clip(-3, 3).astype(f4)
    return {
        "fused": (
            [node("Mul", ["x", "c"], ["t"]), node("Sub", ["t", "c"], ["y"])],
            {"c": f4(3.4e38)},
        ),
        "sums": ([node("MatMul", ["x", "w"], ["y"])], {"w": weights * f4(1e37)}),
        "mask": (
            [
                node("Sub", ["one", "x"], ["t"]),
                node("Mul", ["t", "low"], ["u"]),
                node("Add", ["u", "b"], ["y"]),
            ],
            {"one": f4(1), "low": np.finfo(f4).min, "b": f4(0.5)},
        ),
    }


@pytest.mark.parametrize("name", ["fused", "sums", "mask"])
def test_nets_that_overflow_on_random_operands_are_built_at_the_default_level(name: str) -> None:
    nodes, constants = overflowing_nodes()[name]
    x = np.full((4, 64), 0.5, np.float32)
    x[1] = 0.75
    model = model_of(nodes, {"x": x}, ["y"], constants)
    got = camshaft.build(model.SerializeToString(), threads=1)({"x": x})["y"]
    wide = {n: np.asarray(c, np.float64) for n, c in constants.items()}
    if name == "fused":
        want = x * wide["c"] - wide["c"]
    elif name == "sums":
        want = x @ wide["w"]
    else:
        want = (1.0 - x) * wide["low"] + 0.5
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e34 if name == "sums" else 0)


def test_a_clock_that_stands_still_gives_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a hypervisor takes time away a thread's clock does: a kernel that took no time won, and broke
    the build."""
    ticks = iter([0.0, 0.0, 0.0, 1.0, 4.0, 5.0, 7.0])
    monkeypatch.setattr("camshaft.builder.tuning.bound_candidate.thread_time", lambda: next(ticks))
    runner = BoundCandidate.__new__(BoundCandidate)
    runner._operands, runner._copies = trial_of(E.inp(0), f32), 1
    monkeypatch.setattr(runner, "run", lambda: None)
    assert runner.time_us(4.0) == 3e6
