"""Extents that an operator demands to be equal: where two names stand for them, the import learns it.

One row of the table for each operator with such a demand, host steps included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import camshaft
from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_model, import_onnx
from open_engines import check_open, open_model

RNG = np.random.default_rng(3)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def i8(*shape: int) -> np.ndarray:
    return RNG.integers(-8, 8, shape).astype(np.int8)


@dataclass(frozen=True)
class Case:
    """A node of `op` on inputs a, b, c, ... with open extents.

    inputs: their shapes in words ("n 3 h w"), in the operator's order; "-" leaves one out, an array is
    a constant.  same: groups of names (or numbers) that must be one extent afterwards.  rules:
    constraints that stay, as text.
    """

    op: str
    inputs: Sequence[str | np.ndarray]
    same: Sequence[str] = ()
    rules: Sequence[str] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 18
    domain: str = ""

    def model(self) -> Any:
        names, shapes, constants = [], {}, {}
        for letter, given in zip("abcdefghijklm", self.inputs, strict=False):
            if isinstance(given, np.ndarray):
                constants[letter] = given
            elif given != "-":
                shapes[letter] = [int(d) if d.isdigit() else d for d in given.split()]
            names.append("" if isinstance(given, str) and given == "-" else letter)
        made = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op, names, made, "node", domain=self.domain, **self.attrs)
        domains = [self.domain] if self.domain else []
        return open_model(
            [node], shapes, made, constants, types=self.types, opset=self.opset, domains=domains
        )


INDICES = {"b": np.int64}
LSTM = ["t n 3", f(1, 16, 3), f(1, 16, 4), "-", "-", "1 m 4", "1 k 4"]
CASES = [
    Case("Add", ["n 8", "m 8"], ["n m"]),
    Case("Where", ["n 8", "m 8", "k 8"], ["n m k"], types={"a": np.bool_}),
    Case("Max", ["n 8", "m 8", "k 1"], ["n m k"]),
    Case("PRelu", ["n c 8", "k 1"], ["c k"]),
    Case("BitwiseAnd", ["n 8", "m 8"], ["n m"], types={"a": np.int32, "b": np.int32, "y0": np.int32}),
    Case(
        "BitShift",
        ["n 8", "m 8"],
        ["n m"],
        attrs={"direction": "LEFT"},
        types={"a": np.uint8, "b": np.uint8, "y0": np.uint8},
    ),
    Case("Concat", ["n a2 8", "m b2 8"], ["n m"], attrs={"axis": 1}),
    Case("MatMul", ["n t p", "m q k"], ["n m", "p q"]),
    Case("Gemm", ["n p", "q k", "j"], ["p q", "j k"]),
    Case("Einsum", ["n t p", "m q u"], ["n m", "p q"], attrs={"equation": "btc,bcd->btd"}),
    Case("Einsum", ["n t", "m t2"], ["n m", "t t2"], attrs={"equation": "bt,bt->b"}),
    Case("MatMulInteger", ["n p", "q k"], ["p q"], types={"a": np.uint8, "b": np.int8, "y0": np.int32}),
    Case("Conv", ["n c h w", f(4, 3, 3, 3)], ["c 3"]),
    Case("Conv", ["n c h w", f(4, 1, 3, 3)], ["c 4"], attrs={"group": 4}),
    Case("Conv", ["n c h w", "k d 3 3", "j"], ["c d", "k j"]),
    Case("Conv", ["n c t", f(4, 3, 3)], ["c 3"]),
    Case("ConvInteger", ["n c h w", i8(4, 3, 3, 3)], ["c 3"], types={"a": np.uint8, "y0": np.int32}),
    Case("ConvTranspose", ["n c h w", f(3, 4, 2, 2)], ["c 3"]),
    Case("BatchNormalization", ["n c h w", f(3), f(3), f(3), f(3) ** 2], ["c 3"]),
    Case("BatchNormalization", ["n c h", "p", "q", "r", "s"], ["c p q r s"]),
    Case("InstanceNormalization", ["n c h w", f(3), f(3)], ["c 3"]),
    Case("LayerNormalization", ["n t c", f(8), f(8)], ["c 8"]),
    Case("LayerNormalization", ["n t c", "p", "q"], ["c p q"]),
    Case("GroupNormalization", ["n c h w", f(6), f(6)], ["c 6"], attrs={"num_groups": 3}, opset=21),
    Case("GroupNormalization", ["n c h w", "p", "q"], ["c p q"], ["c to be a multiple of 3", "3*(c//3)*h*n*w == c*h*n*w"], {"num_groups": 3}, opset=21),
    Case("QuantizeLinear", ["n c h", f(3) ** 2, np.zeros(3, np.uint8)], ["c 3"], types={"y0": np.uint8}),
    Case("QuantizeLinear", ["n c h", "p", "q"], ["c p q"], types={"c": np.uint8, "y0": np.uint8}),
    Case("DequantizeLinear", ["n c h", f(3), np.zeros(3, np.uint8)], ["c 3"], types={"a": np.uint8}),
    Case("Split", ["n h", np.array([2, 3])], ["h 5"], attrs={"axis": 1}, outputs=2),
    Case("Split", ["n h"], [], ["h to be a multiple of 2"], {"axis": 1}, outputs=2, opset=13),
    Case("GatherElements", ["n h", "m k"], [], ["n >= m"], {"axis": 1}, INDICES),
    Case("GatherND", ["n m 3", "k 2 1"], ["n k"], attrs={"batch_dims": 1}, types=INDICES),
    Case("ScatterElements", ["8 h", "p q", "r s"], ["p r", "q s"], ["h >= q"], types=INDICES),
    Case("ScatterND", ["n h", "p 1", "q k"], ["p q", "h k"], types=INDICES),
    Case("ReverseSequence", ["t n 3", "m"], ["n m"], types=INDICES),
    Case("GridSample", ["n 3 h w", "m p q 2"], ["n m"], opset=20),
    Case("RoiAlign", ["n 3 h w", "r 4", "s"], ["r s"], types={"c": np.int64}),
    Case("MaxUnpool", ["n 3 4 4", "m 3 4 4"], ["n m"],
         attrs={"kernel_shape": [2, 2], "strides": [2, 2]}, types=INDICES),
    Case("DeformConv", ["n 3 8 8", f(4, 3, 3, 3), "m 18 6 6"], ["n m"], opset=19),
    Case("LSTM", LSTM, ["n m k"], attrs={"hidden_size": 4}, outputs=3),
    Case("LSTM", ["n t 3", *LSTM[1:5], "m 1 4", "k 1 4"], ["n m k"],
         attrs={"hidden_size": 4, "layout": 1}, outputs=3),
    Case("LSTM", ["t n c", *LSTM[1:]], ["n m k", "c 3"], attrs={"hidden_size": 4}),
    Case("GRU", ["t n 3", f(1, 12, 3), f(1, 12, 4), "-", "-", "1 m 4"], ["n m"], attrs={"hidden_size": 4}),
    Case("RNN", ["t n 3", f(1, 4, 3), f(1, 4, 4), "-", "m"], ["n m"],
         attrs={"hidden_size": 4}, types={"e": np.int32}),
    Case("QLinearMatMul", ["n p", f(), np.array(0, np.uint8), "q k", f(), np.array(0, np.int8), f(),
                           np.array(0, np.uint8)], ["p q"],
         types={"a": np.uint8, "d": np.int8, "y0": np.uint8}),
    Case("QLinearAdd", ["n 4", f(), np.array(0, np.uint8), "m 4", f(), np.array(0, np.uint8), f(),
                        np.array(0, np.uint8)], ["n m"],
         types={"a": np.uint8, "d": np.uint8, "y0": np.uint8}, domain="com.microsoft"),
    Case("Attention", ["n 2 t 8", "m 2 s 8", "k 2 u 8"], ["n m k", "s u"], opset=23),
    Case("AffineGrid", ["n 2 3", np.array([2, 3, 4, 5])], ["n 2"], opset=20),
    Case("NegativeLogLikelihoodLoss", ["n 5 d", "m e"], ["n m", "d e"], types=INDICES),
]  # fmt: skip


def _name(case: Case) -> str:
    return f"{case.op}-{' '.join(case.same or case.rules)}"


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_what_an_operator_demands_is_learned(case: Case) -> None:
    graph = import_onnx(case.model())
    found: dict[str, str] = {}
    for tensor, given in zip(
        graph.inputs, (g for g in case.inputs if isinstance(g, str) and g != "-"), strict=True
    ):
        for name, extent in zip(given.split(), tensor.shape, strict=True):
            assert found.setdefault(name, str(extent)) == str(extent)
    for group in case.same:
        assert len({n if n.isdigit() else found[n] for n in group.split()}) == 1, group
    rules = [str(c) for c in graph.constraints]
    assert rules == list(case.rules)


@pytest.mark.parametrize("case", [c for c in CASES if c.same], ids=_name)
def test_sizes_that_cannot_agree_are_refused_and_the_node_named(case: Case) -> None:
    sizes = {name: str(7 + i) for i, name in enumerate(case.same[0].split()) if not name.isdigit()}
    changed = [
        " ".join(sizes.get(d, d) for d in g.split()) if isinstance(g, str) else g
        for g in case.inputs
    ]
    fixed = Case(**{**case.__dict__, "inputs": changed})
    with pytest.raises(ModelError, match="'node'"):
        import_onnx(fixed.model())


def test_the_branches_of_a_choice_keep_shapes_of_their_own() -> None:
    def branch(name: str) -> Any:
        node = helper.make_node("Relu", [name], [f"{name}2"])
        value = helper.make_tensor_value_info(f"{name}2", TensorProto.FLOAT, None)
        return helper.make_graph([node], name, [], [value])

    node = helper.make_node(
        "If", ["a"], ["y0"], "node", then_branch=branch("b"), else_branch=branch("c")
    )
    model = open_model(
        [node], {"a": [], "b": ["n", 4], "c": ["m", 4]}, ["y0"], types={"a": np.bool_}
    )
    found = import_model(model)
    shapes = {repr(t.shape) for t in (*found.face.inputs[1:], found.outputs[0].type)}  # type: ignore[union-attr]
    assert len(shapes) == 3 and not found.face.constraints.found


def test_a_state_is_of_the_batch_of_the_input(tmp_path: Path) -> None:
    """As voice activity detectors have it: the state's extents have names of their own."""
    names = ["x", "w", "r", "b", "", "h", "c"]
    constants = {"w": f(1, 16, 3), "r": f(1, 16, 4), "b": f(1, 32)}
    node = helper.make_node("LSTM", names, ["y", "h2", "c2"], "lstm", hidden_size=4)
    inputs: Any = {"x": ["t", "n", 3], "h": [1, "state", 4], "c": [1, "cells", 4]}
    model = open_model([node], inputs, ["y", "h2", "c2"], constants)
    batches = [
        {"x": f(t, n, 3), "h": f(1, n, 4), "c": f(1, n, 4)} for t, n in ((1, 1), (5, 3), (16, 2))
    ]
    engine = check_open(model, batches, tmp_path)
    assert list(engine.symbols) == ["t", "n"]
    with pytest.raises(camshaft.ShapeError, match="'h'"):
        engine({**batches[1], "h": batches[0]["h"]})
