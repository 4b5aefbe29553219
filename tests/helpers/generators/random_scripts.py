"""Random models that decide while they run: nested If, Loop and Scan over vectors, drawn from a seed.

Every value is a float vector.  Those of the length of the input are "wide"; others have a length that only
a run finds.  Values are kept within [-1, 1] so that loops neither grow nor vanish.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

MOST_DEPTH = 3


@dataclass
class _Scope:
    """What nodes of one graph can read: wide vectors, and vectors of any length."""

    wide: list[str]
    loose: list[str] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)


class RandomScript:
    """model: of inputs x (float[n]), flag (bool), trips (int64).  feeds(): random inputs for it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.count = 0
        self.constants: dict[str, np.ndarray] = {
            "zero": np.float32(0),
            "axis": np.array([0]),
            "one": np.array([1]),
            "two": np.array(2),
        }
        scope = _Scope(["x"])
        for _ in range(3 + int(self.rng.integers(4))):
            self._node(scope, 0)
        self._control(scope, 0)
        ends = [scope.wide[-1], *scope.loose[-2:]]
        self.model = self._model(scope, list(dict.fromkeys(e for e in ends if e != "x")))

    def feeds(self, seed: int) -> dict[str, np.ndarray]:
        """Inputs of a size of their own."""
        rng = np.random.default_rng(seed)
        return {
            "x": rng.uniform(-1, 1, int(rng.integers(1, 6))).astype(np.float32),
            "flag": np.array(bool(rng.integers(2))),
            "trips": np.array(int(rng.integers(0, 4))),
        }

    # -- pieces ------------------------------------------------------------------------------

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def _add(self, scope: _Scope, op: str, inputs: list[str], **attrs: Any) -> str:
        name = self._name(op.lower())
        scope.nodes.append(helper.make_node(op, inputs, [name], name, **attrs))
        return name

    def _pick(self, names: list[str]) -> str:
        """One of these; the latest are likelier."""
        index = len(names) - 1 - int(self.rng.exponential(1.5))
        return names[max(0, index)]

    def _node(self, scope: _Scope, depth: int) -> None:
        kind = self.rng.integers(8)
        if kind >= 5 and depth < MOST_DEPTH:
            self._control(scope, depth)
        elif kind < 3:
            a, b = self._pick(scope.wide), self._pick(scope.wide)
            op = str(self.rng.choice(["Add", "Sub", "Mul"]))
            scope.wide.append(self._add(scope, "Tanh", [self._add(scope, op, [a, b])]))
        else:
            self._loose(scope)

    def _loose(self, scope: _Scope) -> None:
        a = self._pick([*scope.wide, *scope.loose])
        kind = self.rng.integers(4)
        if kind == 0:
            keep = self._add(scope, "Greater", [a, "zero"])
            made = self._add(scope, "Compress", [a, keep], axis=0)
        elif kind == 1:
            at = self._add(scope, "NonZero", [self._add(scope, "Relu", [a])])
            flat = self._add(scope, "Squeeze", [at, "axis"])
            made = self._add(scope, "Gather", [a, flat], axis=0)
        elif kind == 2:
            made = self._add(scope, "Concat", [a, self._pick(scope.wide)], axis=0)
        else:
            count = self._add(scope, "Shape", [self._add(scope, "Sign", [a])])
            half = self._add(scope, "Div", [count, "two"])
            made = self._add(scope, "Slice", [a, "axis", half, "axis"])
        scope.loose.append(self._add(scope, str(self.rng.choice(["Tanh", "Neg", "Abs"])), [made]))

    def _condition(self, scope: _Scope) -> str:
        if self.rng.integers(3) == 0:
            return "flag"
        sum_ = self._add(scope, "ReduceSum", [self._pick([*scope.wide, *scope.loose])], keepdims=0)
        return self._add(scope, "Less", [sum_, "zero"])

    def _control(self, scope: _Scope, depth: int) -> None:
        {0: self._if, 1: self._loop, 2: self._scan}[int(self.rng.integers(3))](scope, depth + 1)

    def _fill(self, inner: _Scope, depth: int) -> None:
        for _ in range(1 + int(self.rng.integers(3))):
            self._node(inner, depth)

    def _if(self, scope: _Scope, depth: int) -> None:
        branches = []
        for side in ("then", "otherwise"):
            inner = _Scope([*scope.wide], [*scope.loose])
            self._fill(inner, depth)
            results = [
                self._add(inner, "Identity", [self._pick(inner.wide)]),
                self._add(inner, "Identity", [self._pick([*inner.wide, *inner.loose])]),
            ]
            branches.append(self._graph(inner, side, [], results))
        names = [self._name("chosen"), self._name("chosen")]
        condition = self._condition(scope)
        scope.nodes.append(
            helper.make_node(
                "If", [condition], names, names[0], then_branch=branches[0], else_branch=branches[1]
            )
        )
        scope.wide.append(names[0])
        scope.loose.append(names[1])

    def _loop(self, scope: _Scope, depth: int) -> None:
        number, going, wide, loose = (self._name(k) for k in ("i", "go", "h", "l"))
        first = self._pick([*scope.wide, *scope.loose])
        inner = _Scope([*scope.wide, wide], [*scope.loose, loose])
        self._fill(inner, depth)
        step = self._add(inner, "Add", [inner.wide[-1], wide])
        after = self._add(inner, "Tanh", [step])
        more = self._add(inner, "Identity", [self._pick([*inner.wide, *inner.loose])])
        on = (
            self._add(inner, "Not", [self._condition(inner)])
            if self.rng.integers(2)
            else self._add(inner, "Identity", [going])
        )
        out = self._add(inner, "ReduceSum", [after], keepdims=0)
        values = [
            helper.make_tensor_value_info(number, TensorProto.INT64, []),
            helper.make_tensor_value_info(going, TensorProto.BOOL, []),
            *(helper.make_tensor_value_info(n, TensorProto.FLOAT, [None]) for n in (wide, loose)),
        ]
        body = self._graph(inner, "body", values, [on, after, more, out])
        names = [self._name("last"), self._name("carried"), self._name("sums")]
        start = self._condition(scope) if self.rng.integers(3) == 0 else ""
        inputs = ["trips", start, self._pick(scope.wide), first]
        scope.nodes.append(helper.make_node("Loop", inputs, names, names[0], body=body))
        scope.wide.append(names[0])
        scope.loose += [names[1], names[2]]

    def _scan(self, scope: _Scope, depth: int) -> None:
        """Over a matrix of two vectors, row by row, in either direction."""
        wide, row = self._name("state"), self._name("row")
        parts = [self._add(scope, "Unsqueeze", [self._pick(scope.wide), "axis"]) for _ in range(2)]
        rows = self._add(scope, "Concat", parts, axis=0)
        if self.rng.integers(2):  # of a length that only the call knows
            rows = self._add(
                scope, "Tile", [rows, self._add(scope, "Concat", ["count", "one"], axis=0)]
            )
        inner = _Scope([*scope.wide, wide, row], [*scope.loose])
        self._fill(inner, depth)
        after = self._add(inner, "Tanh", [self._add(inner, "Add", [inner.wide[-1], row])])
        out = self._add(inner, "Neg", [after])
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None]) for n in (wide, row)]
        body = self._graph(inner, "body", values, [after, out])
        names = [self._name("end"), self._name("all")]
        scope.nodes.append(
            helper.make_node(
                "Scan",
                [self._pick(scope.wide), rows],
                names,
                names[0],
                body=body,
                num_scan_inputs=1,
                scan_input_directions=[int(self.rng.integers(2))],
                scan_output_directions=[int(self.rng.integers(2))],
            )
        )
        scope.wide.append(names[0])
        flat = self._add(scope, "ReduceMax", [names[1]], keepdims=0, axes=[1])
        scope.loose.append(flat)

    def _graph(self, scope: _Scope, name: str, inputs: list[Any], results: list[str]) -> GraphProto:
        kinds = [n.op_type for n in scope.nodes for o in n.output if o == results[0]]
        first_is_bool = bool(kinds) and (results[0].startswith("not") or len(results) == 4)
        outputs = []
        for i, r in enumerate(results):
            flag = first_is_bool and i == 0
            elem = TensorProto.BOOL if flag else TensorProto.FLOAT
            scalar = flag or (len(results) == 4 and i == 3)
            outputs.append(helper.make_tensor_value_info(r, elem, [] if scalar else [None]))
        return helper.make_graph(scope.nodes, name, inputs, outputs)

    def _model(self, scope: _Scope, results: list[str]) -> ModelProto:
        inputs = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("trips", TensorProto.INT64, []),
        ]
        outputs = [helper.make_tensor_value_info(r, TensorProto.FLOAT, [None]) for r in results]
        count = [
            helper.make_node("Unsqueeze", ["trips", "axis"], ["several"]),
            helper.make_node("Add", ["several", "one"], ["count"]),
        ]
        constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in self.constants.items()]
        graph = helper.make_graph([*count, *scope.nodes], "random", inputs, outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
