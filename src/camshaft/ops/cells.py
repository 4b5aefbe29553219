"""The equations of recurrent cells in NumPy, and how a direction runs through a batch of sequences.

N is the batch, T the number of steps, H the size of the hidden state, G the number of gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from camshaft.errors import ModelError

Array = np.ndarray
Function = Callable[[Array], Array]
Step = Callable[[Array, tuple[Array, ...]], tuple[Array, ...]]
"""(what the input adds to the gates [N, G*H], states [N, H]) -> new states, the hidden one first."""

Product = Callable[[Array, slice], Array]
"""(states [N, H], columns) -> what they add to these of the gates [N, G*H]."""

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
"""Kind of cell -> how many gates it has.  Their orders: i, o, f, c; z, r, h."""
FUNCTIONS = {"lstm": 3, "gru": 2, "rnn": 1}
"""Kind of cell -> how many activations it has."""
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""ONNX's name -> of each direction, whether it runs from the sequences' ends."""
DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}
"""Kind of cell -> its activations where none are given."""
STATES = {"lstm": 2, "gru": 1, "rnn": 1}
"""Kind of cell -> how many states it keeps, the hidden one first."""


PARAMETERS: Mapping[str, tuple[float | None, ...]] = {
    "affine": (None, None),
    "elu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "relu": (),
    "scaledtanh": (None, None),
    "sigmoid": (),
    "softplus": (),
    "softsign": (),
    "tanh": (),
    "thresholdedrelu": (1.0,),
}
"""ONNX's activations by name in lower case -> the defaults of those of alpha and beta that they have.

Defaults are those of ONNX's operators; for Affine and ScaledTanh there is none (None).
"""
Activation = tuple[str, tuple[float, ...]]
"""The name in lower case, and its alpha and beta."""


def activations_of(
    kind: str,
    directions: int,
    names: Sequence[str] | None,
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
) -> list[tuple[Activation, ...]]:
    """The activations of each direction, as attributes of a node give them; alphas and betas go to those that have
    them, in order.  ModelError for unknown ones, too many or too few."""
    each = FUNCTIONS[kind]
    names = list(names or DEFAULTS[kind] * directions)
    if kind == "rnn" and names == ["Tanh", "Tanh"]:  # the schema's default, for 1 or 2
        names = names[:directions]
    if len(names) != each * directions:
        raise ModelError(f"activations={names} are not {each} for each of {directions} directions")
    left = iter(alphas or ()), iter(betas or ())
    made = [_activation(name, left) for name in names]
    return [tuple(made[d * each :][:each]) for d in range(directions)]


def _activation(name: str, left: Sequence[Iterator[float]]) -> Activation:
    if name.lower() not in PARAMETERS:
        raise ModelError(f"unknown activation {name!r}; there are {', '.join(PARAMETERS)}")
    given = [next(v, d) for v, d in zip(left, PARAMETERS[name.lower()], strict=False)]
    known = tuple(v for v in given if v is not None)
    if len(known) < len(given):
        raise ModelError(
            f"{name} has no default for activation_alpha and activation_beta; give both"
        )
    return name.lower(), known


def clipped(clip: float) -> Function:
    """Holds the sums of gates between -clip and clip; 0: leaves them."""
    return (lambda x: np.clip(x, -clip, clip)) if clip > 0 else (lambda x: x)


def product_with(r: Array, seen: Function = np.asarray) -> Product:
    """Products with r [G*H, H].  seen: what they see of the states."""
    turned = r.T
    return lambda states, columns: np.asarray(seen(states) @ turned[:, columns])


LEVELS = 2047
"""Integers that stand for hidden states from 0 to their bound, where weights are 8-bit integers: sums of 8192
products fit i32."""


MOST = 2.0**126
"""The largest bound, whose inverse is not denormal."""


def bound_of(h: Array) -> np.float32:
    """What no hidden state of a sequence exceeds whose cell keeps states between -1 and 1, or between those and the
    state before: 1, or the largest of its initial state h; infinite ones count as MOST."""
    return np.float32(min(np.fmax.reduce(np.abs(h), axis=None, initial=1.0), MOST))


def product_with_bytes(r: Array, scale: Array, bound: np.float32) -> Product:
    """Products of 8-bit integers r [G*H, H] of such scales [G*H] with states that become integers, of which those
    beyond their bound are the bound: as kernels compute them, to the bit."""
    turned, factor = r.T.astype(np.int64), scale.astype(np.float32) * np.float32(1 / LEVELS)
    inverse = np.float32(1) / bound

    def product(states: Array, columns: slice) -> Array:
        with np.errstate(invalid="ignore"):
            held = np.clip(np.nan_to_num(states) * inverse, -1, 1) * np.float32(LEVELS)
            sums = np.rint(held).astype(np.int64) @ turned[:, columns]
            return np.asarray(sums.astype(np.float32) * factor[columns] * bound)

    return product


def rnn_step(product: Product, functions: Sequence[Function], clip: Function) -> Step:
    """A cell of one gate."""
    (f,) = functions
    return lambda gates, states: (f(clip(gates + product(states[0], slice(None)))),)


def gru_step(
    product: Product, behind: Array, functions: Sequence[Function], clip: Function, *, after: bool
) -> Step:
    """behind: [H], the bias of h's recurrent product.  after: whether the reset gate multiplies that
    product, not the state that enters it."""
    f, g = functions
    h = len(behind)
    first, second = slice(0, 2 * h), slice(2 * h, 3 * h)

    def step(gates: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        (old,) = states
        zr = f(clip(gates[:, first] + product(old, first)))
        z, reset = zr[:, :h], zr[:, h:]
        if after:
            recurrent = reset * (product(old, second) + behind)
        else:
            recurrent = product(reset * old, second) + behind
        new = g(clip(gates[:, second] + recurrent))
        return ((1 - z) * new + z * old,)

    return step


def lstm_step(
    product: Product,
    peepholes: Array,
    functions: Sequence[Function],
    clip: Function,
    *,
    coupled: bool,
) -> Step:
    """peepholes: [3, H], of i, o and f.  coupled: whether f is 1 - i.

    The gates' sums are clipped; the cell on its way to the last activation is not, as in ONNX
    Runtime and OpenVINO (the specification says "the input of activations" and can be read so).
    """
    f, g, last = functions
    pi, po, pf = peepholes

    def step(gates: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        old, cell = states
        i, o, forget, c = np.split(gates + product(old, slice(None)), 4, axis=1)
        i = f(clip(i + pi * cell))
        forget = 1 - i if coupled else f(clip(forget + pf * cell))
        cell = forget * cell + i * g(clip(c))
        o = f(clip(o + po * cell))
        return o * last(cell), cell

    return step


def run_direction(
    gates: Array, step: Step, states: Sequence[Array], lengths: Array | None, *, backward: bool
) -> tuple[Array, list[Array]]:
    """Y [T, N, H] and the last states.  gates: [T, N, G*H].  states: initial ones [N, H], the hidden one first.
    lengths: of the sequences [N], None: T.

    What lies behind a sequence's end is 0 in Y and leaves its states.
    """
    count, batch = gates.shape[:2]
    states = [np.array(s) for s in states]
    lengths = np.full(batch, count) if lengths is None else np.clip(lengths, 0, count)
    y = np.zeros((count, batch, states[0].shape[-1]), gates.dtype)
    for t in range(int(lengths.max(initial=0))):
        at = lengths - 1 - t if backward else np.full(batch, t)
        (rows,) = np.nonzero(t < lengths)
        new = step(gates[at[rows], rows], tuple(s[rows] for s in states))
        for state, value in zip(states, new, strict=True):
            state[rows] = value
        y[at[rows], rows] = new[0]
    # ONNX Runtime gives 0 for a sequence of no steps, whatever its initial states.
    for state in states:
        state[lengths == 0] = 0
    return y, states
