"""Models that compute recurrent cells step by step, as exporters and people write them, with all variants of the algebra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, helper

from open_engines import open_model

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
FORMS = ("one", "each", "joined")
"""Products of all gates at once, of each gate alone, or of the input and the state joined."""


@dataclass
class Cells:
    """One layer of cells.

    form: one of FORMS.  mix: how a GRU joins the new and the old state, 0 to 3.  after: whether its reset gate multiplies the
    recurrent product.  turned: whether operands of sums and products stand the other way round.  zero: whether the first states are 0.
    backward: whether the last place comes first.
    """

    kind: str = "lstm"
    form: str = "one"
    mix: int = 0
    after: bool = True
    turned: bool = False
    zero: bool = True
    backward: bool = False
    function: str = "Tanh"
    steps: int = 4
    batch: int | str = 2
    width: int = 3
    hidden: int = 5
    seed: int = 0
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        n = GATES[self.kind] * self.hidden
        self.w, self.r = (
            self.rng.uniform(-1, 1, (k, n)).astype(np.float32) for k in (self.width, self.hidden)
        )
        self.b, self.d = (self.rng.uniform(-1, 1, n).astype(np.float32) for _ in range(2))

    # -- nodes -------------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: str, **attrs: object) -> str:
        if self.turned and kind in ("Add", "Mul"):
            inputs = inputs[::-1]
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attrs))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.array(array, order="C")
        return name

    def _split(self, x: str, count: int) -> list[str]:
        names = [f"part{len(self.nodes)}_{n}" for n in range(count)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=-1, num_outputs=count))
        return names

    def _linear(self, x: str, w: np.ndarray, b: np.ndarray) -> str:
        if self.turned:
            return self.op("Add", self.op("MatMul", x, self.constant(w)), self.constant(b))
        return self.op("Gemm", x, self.constant(w.T), self.constant(b), transB=1)

    def _gates(self, x: str, h: str, chosen: Sequence[int]) -> list[str]:
        """The sums of some gates, behind one another in the weights."""
        size = self.hidden
        cuts = [slice(g * size, (g + 1) * size) for g in chosen]
        if self.form == "each":
            return [
                self.op("Add", self._linear(x, self.w[:, c], self.b[c]), self._linear(h, self.r[:, c], self.d[c]))
                for c in cuts
            ]  # fmt: skip
        columns = np.concatenate([np.arange(c.start, c.stop) for c in cuts])
        w, r, b, d = self.w[:, columns], self.r[:, columns], self.b[columns], self.d[columns]
        if self.form == "joined":
            joined = self.op("Concat", x, h, axis=-1)
            total = self._linear(joined, np.concatenate([w, r]), b + d)
        else:
            total = self.op("Add", self._linear(x, w, b), self._linear(h, r, d))
        return self._split(total, len(cuts)) if len(cuts) > 1 else [total]

    # -- cells -------------------------------------------------------------------------------------

    def step(self, x: str, states: Sequence[str]) -> list[str]:
        """New states from what enters [N, C] and the states [N, H]."""
        return getattr(self, f"_{self.kind}")(x, *states)

    def _lstm(self, x: str, h: str, c: str) -> list[str]:
        i, f, g, o = self._gates(x, h, range(4))  # PyTorch's order
        kept = self.op("Mul", self.op("Sigmoid", f), c)
        added = self.op("Mul", self.op("Sigmoid", i), self.op("Tanh", g))
        c = self.op("Add", kept, added)
        return [self.op("Mul", self.op("Sigmoid", o), self.op("Tanh", c)), c]

    def _gru(self, x: str, h: str) -> list[str]:
        r, z = (self.op("Sigmoid", s) for s in self._gates(x, h, (0, 1)))
        size = self.hidden
        own = slice(2 * size, 3 * size)
        if self.after:
            entering = self._linear(x, self.w[:, own], self.b[own])
            recurrent = self._linear(h, self.r[:, own], self.d[own])
            total = self.op("Add", entering, self.op("Mul", r, recurrent))
        else:
            (total,) = self._gates(x, self.op("Mul", r, h), (2,))
        n = self.op("Tanh", total)
        a, b = (n, h) if self.mix % 2 == 0 else (h, n)  # (1 - z) a + z b
        if self.mix < 2:
            return [self.op("Add", self.op("Mul", z, self.op("Sub", b, a)), a)]
        rest = self.op("Sub", self.constant(np.array(1, np.float32)), z)
        return [self.op("Add", self.op("Mul", rest, a), self.op("Mul", z, b))]

    def _rnn(self, x: str, h: str) -> list[str]:
        (total,) = self._gates(x, h, (0,))
        return [self.op(self.function, total)]

    # -- models ------------------------------------------------------------------------------------

    @property
    def states(self) -> tuple[str, ...]:
        return ("h", "c")[: 2 if self.kind == "lstm" else 1]

    def first(self) -> list[str]:
        """The states before the first step: inputs of the model, or zeros."""
        if not self.zero:
            return list(self.states)
        assert isinstance(self.batch, int)
        zeros = np.zeros((self.batch, self.hidden))
        return [self.constant(zeros.astype(np.float32)) for _ in self.states]

    def run(self, x: str, states: Sequence[str], width: int | None = None) -> tuple[list[str], list[str]]:  # fmt: skip
        """Hidden states of all steps in the order of their places, and the last states.  x: [N, T, C]."""
        made = {}
        places = range(self.steps)
        for place in places[::-1] if self.backward else places:
            at = self.op("Gather", x, self.constant(np.array(place)), axis=1)
            states = self.step(at, states)
            made[place] = states[0]
        return [made[p] for p in places], list(states)

    def stacked(self, hidden: Sequence[str]) -> str:
        """[N, T, H]."""
        parts = [self.op("Unsqueeze", h, self.constant(np.array([1]))) for h in hidden]
        return self.op("Concat", *parts, axis=1)

    def model(self, outputs: Sequence[str]) -> ModelProto:
        inputs: dict[str, tuple[int | str, ...]] = {"x": (self.batch, self.steps, self.width)}
        inputs |= {} if self.zero else dict.fromkeys(self.states, (self.batch, self.hidden))
        return open_model(self.nodes, inputs, list(outputs), self.constants)

    def feeds(self, batch: int = 2) -> dict[str, np.ndarray]:
        shapes = {"x": (batch, self.steps, self.width)}
        shapes |= {} if self.zero else dict.fromkeys(self.states, (batch, self.hidden))
        return {n: self.rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
