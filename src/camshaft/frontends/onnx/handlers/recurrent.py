"""LSTM, GRU and RNN.

T is the number of steps, N the batch, D the number of directions, C the width of the input, H that of the hidden
state, G the number of gates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import Handler, NodeContext
from camshaft.frontends.onnx.sizes.demands import demand
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.ir.types import f32, f64
from camshaft.ops import functional as F
from camshaft.ops.cells import DIRECTIONS, STATES, activations_of
from camshaft.ops.functional.core import NoCanonicalForm


def _layer(kind: str) -> Handler:
    def results(ctx: NodeContext) -> list[Tensor]:
        demand(ctx)
        return Layer(ctx, kind).results()

    return results


class Layer:
    """One node: its inputs with time first, in f32."""

    unit_axis = 2
    """Of R, which multiplies hidden units."""

    def __init__(self, ctx: NodeContext, kind: str) -> None:
        self.ctx, self.kind, self.b = ctx, kind, ctx.builder
        self.dtype = ctx.arg(0).type.dtype
        if self.dtype == f64 or not ctx.arg(2).is_const:
            raise NoCanonicalForm(f"{kind} of {self.dtype}, or of weights that are computed")
        direction = ctx.attr_str("direction", "forward")
        if direction not in DIRECTIONS:
            raise ModelError(f"direction={direction!r} is none of {', '.join(DIRECTIONS)}")
        self.backward = DIRECTIONS[direction]
        self.batch_first = bool(ctx.attr_int("layout"))
        hidden = ctx.arg(2).shape[self.unit_axis]
        if ctx.attr_int("hidden_size", 0) not in (0, hidden):
            raise ModelError(
                f"hidden_size={ctx.attr_int('hidden_size')} is not {hidden}, as R has it"
            )

    def results(self) -> list[Tensor]:
        """Y, and the last states, as ONNX has them."""
        functions = self.functions()
        if len(set(functions)) == 1:
            made = self._made(functions[0], None)
        else:  # directions of other activations are layers of their own
            each = [self._made(f, d) for d, f in enumerate(functions)]
            axes = (1, *[0] * STATES[self.kind])
            made = [
                F.concat(self.b, parts, axis)
                for parts, axis in zip(zip(*each, strict=True), axes, strict=True)
            ]
        if self.batch_first:
            made = [
                F.transpose(self.b, made[0], (2, 0, 1, 3)),
                *(F.transpose(self.b, s, (1, 0, 2)) for s in made[1:]),
            ]
        return [F.cast(self.b, t, self.dtype) for t in made][: len(self.ctx.proto.output)]

    def _made(self, functions: Sequence[Expr], direction: int | None) -> Sequence[Tensor]:
        """Of all directions, or of one."""
        states = [self.given(n, direction, turned=True) for n in (5, 6)[: STATES[self.kind]]]
        lengths = self.ctx.arg(4) if self.ctx.has(4) else None
        x = self._float(self.ctx.arg(0))
        if self.batch_first:
            x = F.transpose(self.b, x, (1, 0, 2))
        cell = F.Cell(
            self.kind,
            functions,
            max(0.0, self.ctx.attr_float("clip", 0.0)),
            coupled=bool(self.ctx.attr_int("input_forget")),
            after=bool(self.ctx.attr_int("linear_before_reset")),
        )
        backward = self.backward if direction is None else self.backward[direction : direction + 1]
        return F.recurrent(self.b, x, self.weights(direction), cell, backward, lengths, states)

    def weights(self, direction: int | None) -> F.CellWeights:
        w, r = self.given(1, direction), self.given(2, direction)
        assert w is not None
        assert r is not None
        peepholes = self.given(7, direction) if self.kind == "lstm" else None
        return F.CellWeights(w, r, self.given(3, direction), peepholes)

    def given(self, index: int, direction: int | None, *, turned: bool = False) -> Tensor | None:
        """An input, in f32, with directions first; or of one direction."""
        if not self.ctx.has(index):
            return None
        t = self._float(self.ctx.arg(index))
        if turned and self.batch_first:
            t = F.transpose(self.b, t, (1, 0, 2))
        return t if direction is None else F.narrow(self.b, t, 0, direction, 1)

    def _float(self, t: Tensor) -> Tensor:
        return F.cast(self.b, t, f32)

    def functions(self) -> list[tuple[Expr, ...]]:
        """The activations of each direction."""
        ctx = self.ctx
        floats = (ctx.attr_floats(f"activation_{name}") for name in ("alpha", "beta"))
        names = ctx.attr_strings("activations")
        found = activations_of(self.kind, len(self.backward), names, *floats)
        return [tuple(F.cell_activation(*activation) for activation in each) for each in found]


HANDLERS: Mapping[str, Handler] = {
    "GRU": _layer("gru"),
    "LSTM": _layer("lstm"),
    "RNN": _layer("rnn"),
}
