"""Recurrent layers: lstm, gru, rnn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.op import Attr
from camshaft.ops.cells import FUNCTIONS, GATES, STATES
from camshaft.ops.functional.core import require_same
from camshaft.ops.functional.elementwise.activation import (
    BELOW_ZERO,
    elu_expr,
    hard_sigmoid_expr,
    softplus_expr,
)
from camshaft.ops.functional.elementwise.arithmetic import add
from camshaft.ops.functional.matmul import linear
from camshaft.ops.functional.movement.shape import concat, reshape
from camshaft.ops.functional.movement.slicing import narrow
from camshaft.ops.recurrent import OPTIONS, RECURRENT


@dataclass(frozen=True)
class Cell:
    """What a recurrent layer computes at each step.

    kind: "lstm", "gru" or "rnn".  functions: activations, as expressions of i0: f, g and h of an LSTM, f and g of
    a GRU, f of an RNN.  clip, coupled, after: see the op "recurrent".
    """

    kind: str
    functions: Sequence[Expr] = ()
    clip: float = 0.0
    coupled: bool = False
    after: bool = False


@dataclass(frozen=True)
class CellWeights:
    """w: [D, G*H, C].  r: [D, G*H, H].  bias: [D, 2*G*H], of the input's products and of the recurrent ones.
    peepholes: [D, 3*H].  scale: [D, G*H], of an r of 8-bit integers."""

    w: Tensor
    r: Tensor
    bias: Tensor | None = None
    peepholes: Tensor | None = None
    scale: Tensor | None = None


def recurrent(
    builder: GraphBuilder,
    x: Tensor,
    weights: CellWeights,
    cell: Cell,
    backward: Sequence[bool] = (False,),
    lengths: Tensor | None = None,
    states: Sequence[Tensor | None] = (),
) -> tuple[Tensor, ...]:
    """Y [T, D, N, H] and the last states [D, N, H] of a layer over x [T, N, C].

    backward: of each direction, whether it runs from the sequences' ends.  lengths: integers [N]; None: all have T
    steps.  states: initial ones [D, N, H], h and c; None: 0.
    ModelError for shapes that do not fit.
    """
    w, r = weights.w, weights.r
    count, misfit = (
        len(backward),
        f"input {x.type}, W {weights.w.type} and R {weights.r.type} do not fit",
    )
    if x.type.rank != 3 or w.type.rank != 3 or r.type.rank != 3:
        raise ModelError(misfit)
    hidden = r.shape[2]
    for a, b in (
        (w.shape[0], count),
        (w.shape[1], GATES[cell.kind] * hidden),
        (w.shape[2], x.shape[2]),
    ):
        require_same(builder, a, b, misfit)
    entering, behind = _biases(builder, weights, cell, count)
    flat = reshape(builder, w, (count * w.shape[1], w.shape[2]))
    gates = linear(builder, x, flat, entering)
    options = dict(zip(("h", "c"), states, strict=False))
    given = {
        "scale": weights.scale,
        "behind": behind,
        "lengths": lengths,
        **options,
        "peepholes": weights.peepholes,
    }
    return recurrent_of(builder, gates, r, cell, backward, given)


def recurrent_of(
    builder: GraphBuilder,
    gates: Tensor,
    r: Tensor,
    cell: Cell,
    backward: Sequence[bool],
    given: Mapping[str, Tensor | None],
) -> tuple[Tensor, ...]:
    """Y [T, D, N, H] and the last states [D, N, H], of what the input adds to the gates [T, N, D*G*H].

    given: further inputs of the op "recurrent" by name; None: absent.
    """
    there = {name: given[name] for name in OPTIONS if given.get(name) is not None}
    functions = dict(zip("fgh", cell.functions, strict=False))
    assert len(cell.functions) == FUNCTIONS[cell.kind]
    attrs: dict[str, Attr] = {
        "cell": cell.kind,
        "backward": tuple(int(b) for b in backward),
        "given": tuple(there),
        "clip": cell.clip,
        "coupled": cell.coupled,
        "after": cell.after,
        **functions,
    }
    names = [builder.local(n) for n in ("y", "h", "c")[: 1 + STATES[cell.kind]]]
    return builder.add(RECURRENT, [gates, r, *there.values()], attrs, outputs=names)


def _biases(
    builder: GraphBuilder, weights: CellWeights, cell: Cell, count: int
) -> tuple[Tensor | None, Tensor | None]:
    """What is added to the input's products [D*G*H], and to the recurrent product of a GRU's h [D, H]."""
    bias, gates, hidden = weights.bias, GATES[cell.kind], weights.r.shape[2]
    if bias is None:
        return None, None
    misfit = f"bias {bias.type} is not [D, 2*G*H] of R {weights.r.type}"
    if bias.type.rank != 2:
        raise ModelError(misfit)
    require_same(builder, bias.shape[0], count, misfit)
    require_same(builder, bias.shape[1], 2 * gates * hidden, misfit)
    width = gates * hidden
    entering, recurring = (narrow(builder, bias, 1, n * width, width) for n in range(2))
    behind = None
    if cell.kind == "gru" and cell.after:
        both = 2 * hidden
        behind = narrow(builder, recurring, 1, both, hidden)
        zr = add(builder, *(narrow(builder, x, 1, 0, both) for x in (entering, recurring)))
        summed = concat(builder, [zr, narrow(builder, entering, 1, both, hidden)], 1)
    else:
        summed = add(builder, entering, recurring)
    return reshape(builder, summed, (count * width,)), behind


def cell_activation(name: str, parameters: Sequence[float]) -> Expr:
    """One of `cells.PARAMETERS`, of i0.  parameters: alpha and beta, those that it has."""
    return _ACTIVATIONS[name](*parameters)


def _affine(a: float, b: float) -> Expr:
    return E.add(E.mul(E.const(a), _X), E.const(b))


_X, _ZERO = E.inp(0), E.const(0.0)
_ACTIVATIONS: Mapping[str, Callable[..., Expr]] = {
    "affine": _affine,
    "elu": elu_expr,
    "hardsigmoid": hard_sigmoid_expr,
    "leakyrelu": lambda a: E.select(BELOW_ZERO, E.mul(E.const(a), _X), _X),
    "relu": lambda: E.maximum(_X, _ZERO),
    "scaledtanh": lambda a, b: E.mul(E.const(a), E.unary("tanh", E.mul(E.const(b), _X))),
    "sigmoid": lambda: E.sigmoid(_X),
    "softplus": softplus_expr,
    "softsign": lambda: E.div(_X, E.add(E.const(1.0), E.unary("abs", _X))),
    "tanh": lambda: E.unary("tanh", _X),
    "thresholdedrelu": lambda a: E.select(E.binary("lt", _X, E.const(a)), _ZERO, _X),
}
"""Name in lower case -> expression by alpha and beta."""
