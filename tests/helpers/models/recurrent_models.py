"""Models of one recurrent layer, with all the options of ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from camshaft.ops.cells import GATES

KINDS = ("lstm", "gru", "rnn")
DIRECTIONS = ("forward", "reverse", "bidirectional")


@dataclass(frozen=True)
class Layer:
    """kind: of cell.  steps, batch: extents of x.  width: of a row of x.  hidden: size of the state.  given: which
    of "bias", "lengths", "h", "c", "peepholes" there are.  attrs: of the node."""

    kind: str = "lstm"
    direction: str = "forward"
    steps: int | str = 5
    batch: int | str = 3
    width: int = 6
    hidden: int = 8
    given: Sequence[str] = ("bias",)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def directions(self) -> int:
        return 1 + (self.direction == "bidirectional")

    def weights(self) -> dict[str, np.ndarray]:
        """W, R and what else is constant."""
        rng = np.random.default_rng(self.seed)
        d, h, g = self.directions, self.hidden, GATES[self.kind]
        scale = 1.5 / np.sqrt(h)

        def some(*shape: int) -> np.ndarray:
            return (scale * rng.standard_normal(shape)).astype(np.float32)

        made = {"w": some(d, g * h, self.width), "r": some(d, g * h, h)}
        if "bias" in self.given:
            made["b"] = some(d, 2 * g * h)
        if "peepholes" in self.given:
            made["p"] = some(d, 3 * h)
        return made

    def model(self) -> ModelProto:
        """Inputs x, and lengths, h, c where they are given; outputs y, y_h, and y_c of an LSTM."""
        kind, given, first = self.kind, self.given, bool(self.attrs.get("layout"))
        state = [self.directions, self.batch, self.hidden]
        x = [self.steps, self.batch, self.width]
        y = [self.steps, *state]
        if first:
            x, state = [x[1], x[0], x[2]], [state[1], state[0], state[2]]
            y = [self.batch, self.steps, self.directions, self.hidden]
        f32 = TensorProto.FLOAT
        inputs = [helper.make_tensor_value_info("x", f32, x)]
        names = ["x", "w", "r", "b" if "bias" in given else ""]
        names.append("lengths" if "lengths" in given else "")
        if "lengths" in given:
            inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [self.batch]))
        for name in ("h", "c")[: 2 if kind == "lstm" else 1]:
            names.append(name if name in given else "")
            if name in given:
                inputs.append(helper.make_tensor_value_info(name, f32, state))
        if "peepholes" in given and kind == "lstm":
            names.append("p")
        outputs = ["y", "y_h", "y_c"][: 3 if kind == "lstm" else 2]
        node = helper.make_node(
            kind.upper(),
            names,
            outputs,
            name="layer",
            hidden_size=self.hidden,
            direction=self.direction,
            **self.attrs,
        )
        shapes = [y, state, state]
        graph = helper.make_graph(
            [node],
            "recurrent",
            inputs,
            [
                helper.make_tensor_value_info(n, f32, s)
                for n, s in zip(outputs, shapes, strict=False)
            ],
            [
                numpy_helper.from_array(a, n)
                for n, a in self.weights().items()
                if n != "p" or kind == "lstm"
            ],
        )
        opset = 14 if first else 11
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )

    def feeds(self, steps: int = 5, batch: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
        """Inputs of such sizes."""
        rng = np.random.default_rng(seed)
        first = bool(self.attrs.get("layout"))
        made = {
            "x": rng.standard_normal(
                (batch, steps, self.width) if first else (steps, batch, self.width)
            )
        }
        state = (self.directions, batch, self.hidden)
        state = (state[1], state[0], state[2]) if first else state
        for name in ("h", "c")[: 2 if self.kind == "lstm" else 1]:
            if name in self.given:
                made[name] = np.tanh(rng.standard_normal(state))
        found = {n: a.astype(np.float32) for n, a in made.items()}
        if "lengths" in self.given:
            found["lengths"] = rng.integers(0, steps + 1, batch).astype(np.int32)
        return found
