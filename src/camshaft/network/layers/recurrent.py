"""Recurrent layers."""

from __future__ import annotations

from typing import Any

from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor


class Recurrent(Elementwise):
    """LSTM, GRU and plain recurrent layers, in ONNX's forms: x is [steps, batch, input]; weights have a first axis of directions (1, or 2 where
    direction is "bidirectional"), and results are [steps, directions, batch, hidden]."""

    def lstm(
        self,
        x: Tensor,
        weight: Like,
        recurrence: Like,
        bias: Like = None,
        *,
        lengths: Like = None,
        hidden: Like = None,
        cell: Like = None,
        direction: str = "forward",
        name: str | None = None,
        **attributes: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """An LSTM: all hidden states, the last one, the last cell state.

        weight: [directions, 4 hidden, input], gates in the order input, output, forget, cell; recurrence: [directions, 4 hidden, hidden]; bias:
        [directions, 8 hidden].  lengths: [batch], steps of each row.  hidden, cell: first states, [directions, batch, hidden].
        """
        given = self._weights("LSTM", name, x, weight, recurrence, bias)
        made = self._recurrent("LSTM", 3, given, lengths, (hidden, cell), direction, attributes)
        return made[0], made[1], made[2]

    def gru(
        self,
        x: Tensor,
        weight: Like,
        recurrence: Like,
        bias: Like = None,
        *,
        lengths: Like = None,
        hidden: Like = None,
        direction: str = "forward",
        name: str | None = None,
        **attributes: Any,
    ) -> tuple[Tensor, Tensor]:
        """A GRU: all hidden states and the last one.  As `lstm`, gates in the order update, reset, hidden; linear_before_reset=1 is
        PyTorch's form."""
        given = self._weights("GRU", name, x, weight, recurrence, bias)
        made = self._recurrent("GRU", 2, given, lengths, (hidden,), direction, attributes)
        return made[0], made[1]

    def rnn(
        self,
        x: Tensor,
        weight: Like,
        recurrence: Like,
        bias: Like = None,
        *,
        lengths: Like = None,
        hidden: Like = None,
        direction: str = "forward",
        name: str | None = None,
        **attributes: Any,
    ) -> tuple[Tensor, Tensor]:
        """A plain recurrent layer: all hidden states and the last one.  As `lstm`, one gate; activations=["Relu"] instead of tanh."""
        given = self._weights("RNN", name, x, weight, recurrence, bias)
        made = self._recurrent("RNN", 2, given, lengths, (hidden,), direction, attributes)
        return made[0], made[1]

    def _weights(
        self, op: str, name: str | None, x: Tensor, *weights: Like
    ) -> tuple[str, list[Tensor | None]]:
        layer = self._layer_name(name, op)
        named = zip(weights, ("weight", "recurrence", "bias"), strict=True)
        return layer, [x, *(None if w is None else self.tensor(w, x, f"{layer}.{n}") for w, n in named)]  # fmt: skip

    def _recurrent(
        self,
        op: str,
        outputs: int,
        given: tuple[str, list[Tensor | None]],
        lengths: Like,
        states: tuple[Like, ...],
        direction: str,
        attributes: dict[str, Any],
    ) -> tuple[Tensor, ...]:
        layer, inputs = given
        recurrence = inputs[2]
        assert recurrence is not None
        size = recurrence.shape[-1]
        counts = None
        if lengths is not None:
            counts = lengths if isinstance(lengths, Tensor) else self.constant(lengths, "int32")
        attributes = {"hidden_size": size, "direction": direction, **attributes}
        made: tuple[Tensor, ...] = self.op(
            op, *inputs, counts, *states, outputs=outputs, name=layer, **attributes
        )
        return made
