"""LSTM, GRU and RNN by ONNX's equations, of every opset since 7, with all their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.cells import (
    DIRECTIONS,
    Array,
    Function,
    Step,
    activations_of,
    clipped,
    gru_step,
    lstm_step,
    product_with,
    rnn_step,
    run_direction,
)
from camshaft.ops.hosted.call import Call, Value, computed


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))


_ACTIVATIONS: Mapping[str, Callable[..., Array]] = {
    "affine": lambda x, a, b: a * x + b,
    "elu": _elu,
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "leakyrelu": lambda x, a: np.where(x >= 0, x, a * x),
    "relu": lambda x: np.maximum(x, 0),
    "scaledtanh": lambda x, a, b: a * np.tanh(b * x),
    "sigmoid": _sigmoid,
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
    "thresholdedrelu": lambda x, a: np.where(x >= a, x, 0),
}
"""Name in lower case -> function of x, alpha, beta."""


def _activations(call: Call, kind: str, directions: int) -> list[list[Function]]:
    """The activations of each direction."""
    floats = (call.attr_floats(f"activation_{name}") for name in ("alpha", "beta"))
    found = activations_of(kind, directions, call.attr_strings("activations"), *floats)
    return [[_function(*activation) for activation in each] for each in found]


def _function(name: str, parameters: Sequence[float]) -> Function:
    function = _ACTIVATIONS[name]
    return lambda x: function(x, *parameters).astype(x.dtype, copy=False)


@dataclass(frozen=True)
class _Layer:
    """One layer, time first.  x: [T, N, I].  w, r: [D, G*H, I or H].  b: [D, 2*G*H].

    states: initial ones, [D, N, H] each.  lengths: of the sequences, [N].
    """

    x: Array
    w: Array
    r: Array
    b: Array
    states: list[Array]
    lengths: Array
    reversed: tuple[bool, ...]
    hidden: int
    batch_first: bool

    @classmethod
    def of(cls, call: Call, gates: int, states: Sequence[int]) -> _Layer:
        """gates: how many.  states: numbers of the inputs that hold initial states."""
        x, w, r = (computed(call.array(i)) for i in range(3))
        direction = call.choice("direction", "forward", tuple(DIRECTIONS))
        backward = DIRECTIONS[direction]
        count, hidden = len(backward), r.shape[-1]
        if call.attr_int("hidden_size", hidden) != hidden:
            raise ModelError(
                f"hidden_size={call.attr_int('hidden_size')} is not {hidden}, as R has it"
            )
        batch_first = call.attr_flag("layout")
        x = x.swapaxes(0, 1) if batch_first else x
        steps, batch, width = x.shape
        misfit = f"X {list(x.shape)}, W {list(w.shape)} and R {list(r.shape)} do not fit"
        if w.shape != (count, gates * hidden, width) or r.shape != (count, gates * hidden, hidden):
            raise ModelError(f"{misfit} a {direction} layer with {gates} gates")
        b = call.given(3)
        bias = np.zeros((count, 2 * gates * hidden), x.dtype) if b is None else computed(b)
        initial = []
        for number in states:
            given = call.given(number)
            if given is None:
                initial.append(np.zeros((count, batch, hidden), x.dtype))
            else:
                given = given.astype(x.dtype)  # a copy: a run writes to it
                initial.append(given.swapaxes(0, 1) if batch_first else given)
        lengths = call.given(4)
        if lengths is None:
            lengths = np.full(batch, steps)
        elif lengths.shape != (batch,) or ((lengths < 0) | (lengths > steps)).any():
            raise ModelError(
                f"sequence_lens {lengths.tolist()} are not {batch} numbers from 0 to {steps}"
            )
        return cls(x, w, r, bias, initial, lengths, backward, hidden, batch_first)

    def run(self, steps: Sequence[Step], sums: Sequence[Array]) -> list[Array]:
        """Y, then the last states.  steps: of each direction.  sums: biases added to x @ W^T."""
        made = []
        for d, backward in enumerate(self.reversed):
            gates = self.x @ self.w[d].T + sums[d]
            states = [s[d] for s in self.states]
            made.append(run_direction(gates, steps[d], states, self.lengths, backward=backward))
        y = np.stack([m[0] for m in made], axis=1)
        last = [np.stack(parts) for parts in zip(*(m[1] for m in made), strict=True)]
        if self.batch_first:
            y = y.transpose(2, 0, 1, 3)
            last = [s.swapaxes(0, 1) for s in last]
        return [y, *last]


def _results(call: Call, results: Sequence[Array]) -> list[Value]:
    return [r.astype(call.array(0).dtype, copy=False) for r in results]


def rnn(call: Call) -> Sequence[Value]:
    """RNN(X, W, R, B, sequence_lens, initial_h) -> Y, Y_h."""
    layer = _Layer.of(call, 1, (5,))
    functions = _activations(call, "rnn", len(layer.reversed))
    clip = clipped(call.attr_float("clip", 0.0))
    count = range(len(layer.reversed))
    steps = [rnn_step(product_with(layer.r[d]), functions[d], clip) for d in count]
    sums = [layer.b[d].reshape(2, -1).sum(0) for d in count]
    return _results(call, layer.run(steps, sums))


def gru(call: Call) -> Sequence[Value]:
    """GRU(X, W, R, B, sequence_lens, initial_h) -> Y, Y_h; gates in the order z, r, h."""
    layer = _Layer.of(call, 3, (5,))
    functions = _activations(call, "gru", len(layer.reversed))
    clip, after = clipped(call.attr_float("clip", 0.0)), call.attr_flag("linear_before_reset")
    steps, sums = [], []
    for d in range(len(layer.reversed)):
        entering, recurring = layer.b[d].reshape(2, 3, layer.hidden)
        steps.append(
            gru_step(product_with(layer.r[d]), recurring[2], functions[d], clip, after=after)
        )
        sums.append(np.concatenate([*(entering + recurring)[:2], entering[2]]))
    return _results(call, layer.run(steps, sums))


def lstm(call: Call, seen: Function = np.asarray) -> Sequence[Value]:
    """LSTM(X, W, R, B, sequence_lens, initial_h, initial_c, P) -> Y, Y_h, Y_c; gates: i, o, f, c.

    seen: what the products see of the input, and of the hidden states at each step.
    """
    layer = _Layer.of(call, 4, (5, 6))
    layer = replace(layer, x=seen(layer.x))
    functions = _activations(call, "lstm", len(layer.reversed))
    clip, coupled = clipped(call.attr_float("clip", 0.0)), call.attr_flag("input_forget")
    given, h, count = call.given(7), layer.hidden, range(len(layer.reversed))
    peepholes = np.zeros((len(count), 3 * h), layer.x.dtype) if given is None else given
    if peepholes.shape != (len(count), 3 * h):
        raise ModelError(f"peepholes {list(peepholes.shape)} are not [{len(count)}, {3 * h}]")
    steps = [
        lstm_step(
            product_with(layer.r[d], seen),
            computed(peepholes[d]).reshape(3, h),
            functions[d],
            clip,
            coupled=coupled,
        )
        for d in count
    ]
    sums = [layer.b[d].reshape(2, -1).sum(0) for d in count]
    return _results(call, layer.run(steps, sums))
