"""ATen operators that run through sequences."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F
from camshaft.ops.cells import STATES

_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
"""PyTorch's gates in the order of ours: i, f, g, o; r, z, n."""
_FUNCTIONS = {"lstm": ("sigmoid", "tanh", "tanh"), "gru": ("sigmoid", "tanh")}


@handles(*(f"camshaft::{n}" for n in ("lstm", "gru", "rnn_tanh", "rnn_relu")))
def recurrent(c: Call) -> list[Tensor]:
    """All layers, each of one or two directions; the results, and the last states of all."""
    if c["train"] and c["dropout"]:
        raise c.refuse("it is training: call model.eval() first")
    kind, _, function = c.name.removeprefix("camshaft::").partition("_")
    functions = _FUNCTIONS.get(kind, (function,))
    cell = F.Cell(kind, [F.cell_activation(f, ()) for f in functions], after=kind == "gru")
    directions, count = 1 + bool(c["bidirectional"]), int(c["num_layers"])
    weights = _weights(c, kind, directions, count)
    b, x = c.builder, c.tensor("input")
    given: Sequence[Tensor] = c["hx"] if kind == "lstm" else [c["hx"]]
    if c["batch_first"]:
        x = F.transpose(b, x, (1, 0, 2))
    ends: list[list[Tensor]] = [[] for _ in range(STATES[kind])]
    for layer, held in enumerate(weights):
        states = [F.narrow(b, s, 0, layer * directions, directions) for s in given]
        y, *last = F.recurrent(b, x, held, cell, (False, True)[:directions], None, states)
        steps, _, batch, hidden = y.shape
        x = F.reshape(b, F.transpose(b, y, (0, 2, 1, 3)), (steps, batch, directions * hidden))
        for end, state in zip(ends, last, strict=True):
            end.append(state)
    if c["batch_first"]:
        x = F.transpose(b, x, (1, 0, 2))
    return [x, *(F.concat(b, e, 0) if count > 1 else e[0] for e in ends)]


def _weights(c: Call, kind: str, directions: int, count: int) -> list[F.CellWeights]:
    """Those of each layer."""
    params, each = c["params"], 4 if c["has_biases"] else 2
    if len(params) != each * directions * count:
        raise c.refuse("projections of the hidden state are not computed")
    b = c.builder

    def turned(t: Tensor) -> Tensor:
        hidden = t.shape[0] // len(_ORDER[kind])
        parts = [F.narrow(b, t, 0, n * hidden, hidden) for n in _ORDER[kind]]
        return F.unsqueeze(b, F.concat(b, parts, 0) if len(parts) > 1 else t, 0)

    def joined(parts: Sequence[Tensor], axis: int) -> Tensor:
        return F.concat(b, parts, axis) if len(parts) > 1 else parts[0]

    found = []
    for layer in range(count):
        at = layer * directions * each
        sides = [params[at + n * each : at + (n + 1) * each] for n in range(directions)]
        w, r, *biases = (joined([turned(s[n]) for s in sides], 0) for n in range(each))
        found.append(F.CellWeights(w, r, joined(biases, 1) if biases else None))
    return found
