"""Recurrent layers: what a cell makes of the sums that the input gives its gates, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Node
from camshaft.ir.op import Attribute, Integers, OpDef, Types
from camshaft.ir.types import HALVES, TensorType, f32, i8
from camshaft.ops.cells import (
    FUNCTIONS,
    GATES,
    STATES,
    Function,
    Step,
    bound_of,
    clipped,
    gru_step,
    lstm_step,
    product_with,
    product_with_bytes,
    rnn_step,
    run_direction,
)

Attrs = Mapping[str, Any]

_ON_STATES = {"lstm": (0, 2), "gru": (0, 1), "rnn": (0,)}
"""Activations of which a cell's hidden state is made, by their places."""
_SIGMOID = E.sigmoid(E.inp(0))
_BOUNDED = frozenset({_SIGMOID, E.unary("tanh", E.inp(0))})
OPTIONS = ("scale", "behind", "lengths", "h", "c", "peepholes")
"""Inputs that a layer may have, in their order: scales [D, G*H] of weights that are 8-bit integers, the bias [D, H] of the recurrent product of a GRU's h, lengths of the
sequences [N], the initial states [D, N, H], peepholes [D, 3*H] of an LSTM's i, o and f."""
_OWN = 2


def has_bounded_states(kind: str, functions: Sequence[Expr]) -> bool:
    """Whether hidden states lie between -1 and 1, or no further off than the initial ones, as weights of bytes need it.

    functions: the cell's activations.  A GRU's z is a share of the old state only as a sigmoid.
    """
    if kind == "gru" and functions[0] != _SIGMOID:
        return False
    return _BOUNDED.issuperset(functions[place] for place in _ON_STATES[kind])


def option(attrs: Attrs, name: str) -> int | None:
    """The number of an input that a layer may have."""
    return _OWN + attrs["given"].index(name) if name in attrs["given"] else None


def given_of(node: Node) -> tuple[str, ...]:
    """The names of a layer's further inputs."""
    given = node.attrs["given"]
    assert isinstance(given, tuple)
    return tuple(map(str, given))


def _infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    cell, given, directions = attrs["cell"], attrs["given"], len(attrs["backward"])
    if cell not in GATES:
        raise ModelError(f"there is no recurrent cell {cell!r}; there are {', '.join(GATES)}")
    if given != tuple(name for name in OPTIONS if name in given) or len(types) != _OWN + len(given):
        raise ModelError(f"{len(types)} inputs are not gates, weights and {', '.join(given)}")
    gates, r = types[:2]
    if gates.rank != 3 or r.rank != 3 or not 1 <= directions <= 2:
        raise ModelError(f"gates {gates} and weights {r} are not [T,N,D*G*H] and [D,G*H,H]")
    hidden = r.shape[2]
    steps, batch, width = gates.shape
    misfit = f"gates {gates} and weights {r} do not fit {directions} directions of {cell} cells"
    require_equal(r.shape[0], directions, misfit)
    require_equal(r.shape[1], hidden * GATES[cell], misfit)
    require_equal(width, r.shape[1] * directions, misfit)
    state = (directions, batch, hidden)
    shapes: Mapping[str, tuple[Extent, ...]] = {
        "scale": (directions, r.shape[1]),
        "behind": (directions, hidden),
        "lengths": (batch,),
        "h": state,
        "c": state,
        "peepholes": (directions, 3 * hidden),
    }
    for t, name in zip(types[_OWN:], given, strict=True):
        if t.rank != len(shapes[name]) or t.dtype.is_int != (name == "lengths"):
            raise ModelError(f"{name} {t} of a {cell} cell is not {list(shapes[name])}")
        for a, b in zip(t.shape, shapes[name], strict=True):
            require_equal(a, b, f"{name} {t} of a {cell} cell must be {list(shapes[name])}")
    floats = {t.dtype for t in (gates, *types[_OWN:]) if not t.dtype.is_int}
    weights = (i8,) if "scale" in given else (f32, *HALVES)
    if floats != {f32} or r.dtype not in weights:
        raise ModelError(f"recurrent cells are computed in f32, not of {gates} and {r}")
    y = TensorType(f32, (steps, directions, batch, hidden))
    return [y, *[TensorType(f32, state)] * STATES[cell]]


def _function(expr: E.Expr) -> Function:
    return lambda x: np.asarray(E.evaluate(expr, [x]))


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    gates, r = arrays[:2]
    directions, batch, hidden = len(r), gates.shape[1], r.shape[2]
    options = dict(zip(attrs["given"], arrays[_OWN:], strict=True))
    zero = np.zeros((directions, batch, hidden), np.float32)
    states = [options.get(name, zero) for name in ("h", "c")[: STATES[attrs["cell"]]]]
    made = []
    for d, backward in enumerate(attrs["backward"]):
        own = gates.reshape(*gates.shape[:2], directions, r.shape[1])[:, :, d]
        mine = {n: a[d] for n, a in options.items() if n != "lengths"}
        before, lengths = [s[d] for s in states], options.get("lengths")
        run = partial(_run, attrs, r[d], mine, backward=bool(backward))
        made.append(
            _by_row(run, own, before, lengths)
            if {"scale", "h"} <= options.keys() and batch
            else run(own, before, lengths)
        )
    y = np.stack([m[0] for m in made], axis=1)
    return [y, *(np.stack(parts) for parts in zip(*(m[1] for m in made), strict=True))]


Run = Callable[
    [np.ndarray, Sequence[np.ndarray], np.ndarray | None], tuple[np.ndarray, list[np.ndarray]]
]


def _by_row(
    run: Run, gates: np.ndarray, states: Sequence[np.ndarray], lengths: np.ndarray | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Each row by itself."""
    rows = [slice(n, n + 1) for n in range(gates.shape[1])]
    made = [
        run(gates[:, n], [s[n] for s in states], None if lengths is None else lengths[n])
        for n in rows
    ]
    last = [np.concatenate(parts) for parts in zip(*(m[1] for m in made), strict=True)]
    return np.concatenate([m[0] for m in made], 1), last


def _run(
    attrs: Attrs,
    r: np.ndarray,
    options: Mapping[str, np.ndarray],
    gates: np.ndarray,
    states: Sequence[np.ndarray],
    lengths: np.ndarray | None,
    *,
    backward: bool,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """One direction."""
    step = _step(attrs, r, options, bound_of(states[0]))
    return run_direction(gates, step, states, lengths, backward=backward)


def _step(
    attrs: Attrs, r: np.ndarray, options: Mapping[str, np.ndarray], bound: np.float32
) -> Step:
    """r: [G*H, H].  options: of one direction.  bound: what no hidden state exceeds."""
    cell, clip = attrs["cell"], clipped(attrs["clip"])
    functions = [_function(attrs[name]) for name in "fgh"[: FUNCTIONS[cell]]]
    if "scale" in options:
        product = product_with_bytes(r, options["scale"], bound)
    else:
        product = product_with(r.astype(np.float32))
    if cell == "rnn":
        return rnn_step(product, functions, clip)
    hidden = r.shape[1]
    if cell == "gru":
        behind = options.get("behind", np.zeros(hidden, np.float32))
        return gru_step(product, behind, functions, clip, after=attrs["after"])
    peepholes = options.get("peepholes", np.zeros(3 * hidden, np.float32))
    return lstm_step(product, peepholes.reshape(3, -1), functions, clip, coupled=attrs["coupled"])


NOISE = 2e-6
"""What kernels round otherwise in a step: sums, and activations by polynomials."""
_DRAWS, _MARGIN = 2, 32.0


def _inner_rounding(arrays: Sequence[np.ndarray], attrs: Attrs) -> Sequence[np.ndarray]:
    """How far results move when the gates' sums do by NOISE in each step.

    A layer may magnify differences from step to step, until late states have nothing in common; how much, its weights decide. The
    largest movement of a row of states stands for all of it, with a margin for other noise.
    """
    rng, gates = np.random.default_rng(0), arrays[0]
    finite = np.abs(gates[np.isfinite(gates)])
    size = NOISE * (1 + float(np.max(finite, initial=0.0)))
    with np.errstate(all="ignore"):
        want = _reference(arrays, attrs)
        moved = [np.zeros(w.shape) for w in want]
        for _ in range(_DRAWS):
            noise = rng.uniform(-size, size, gates.shape).astype(np.float32)
            for by, w, got in zip(moved, want, _reference([gates + noise, *arrays[1:]], attrs), strict=True):  # fmt: skip
                np.maximum(by, np.abs(got.astype(np.float64) - w), out=by)
    rows = [np.max(by, axis=-1, keepdims=True, initial=0.0) for by in moved]
    return [np.broadcast_to(_MARGIN * np.nan_to_num(r, nan=0.0, posinf=0.0), w.shape) for r, w in zip(rows, want, strict=True)]  # fmt: skip


def _macs(types: Types, output: TensorType, attrs: Attrs) -> Extent:
    gates, r = types[:2]
    return gates.size * r.shape[2]


def _integers(types: Types, attrs: Attrs) -> Mapping[int, Integers]:
    lengths = option(attrs, "lengths")
    return {} if lengths is None else {lengths: (0, types[0].shape[0])}


_SIGMOID, _TANH = E.sigmoid(E.inp(0)), E.unary("tanh", E.inp(0))

RECURRENT = OpDef(
    "recurrent",
    "An LSTM, GRU or RNN layer of one or two directions, from what the input adds to the gates, [T, N, D*G*H] (the input's "
    "products and all biases), and the recurrent weights [D, G*H, H], floats, or i8 with scales: the hidden states that "
    "they multiply are rounded to multiples of 1/2047 then, those beyond 1 being 1; gates in the orders i, o, f, c and z, r, h. Behind "
    "them come the inputs that `given` names, in its order. Results: the hidden states of all steps [T, D, N, H], 0 "
    "behind the end of a sequence, then the last states [D, N, H] (h, and c of an LSTM), 0 for sequences of no steps.",
    _infer,
    _reference,
    {
        "cell": Attribute('"lstm", "gru" or "rnn"'),
        "backward": Attribute("of each direction, 1 where it runs from the sequences' ends", (0,)),
        "given": Attribute(
            "which further inputs there are, of scale [D, G*H], behind [D, H] (the bias of the recurrent product of a GRU's h), lengths [N], "
            "h and c (initial states [D, N, H]), peepholes [D, 3*H] (of i, o and f)",
            (),
        ),
        "f": Attribute(
            "activation of the gates i, o, f or z, r; of an RNN, of its only sum", _SIGMOID
        ),
        "g": Attribute("activation of the gate c or h", _TANH),
        "h": Attribute("activation of an LSTM's cell on its way out", _TANH),
        "clip": Attribute(
            "sums of gates are held between minus this and this; 0: they are not", 0.0
        ),
        "coupled": Attribute("whether an LSTM's f is 1 - i", False),
        "after": Attribute(
            "whether a GRU's reset gate multiplies the recurrent product, not the state that enters it",
            False,
        ),
    },
    "recurrent",
    macs=_macs,
    integers=_integers,
    inner_rounding=_inner_rounding,
)

OPS = (RECURRENT,)
