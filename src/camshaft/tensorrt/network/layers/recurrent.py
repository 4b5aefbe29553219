"""Recurrent layers of releases before 10: stacks of RNN, LSTM or GRU layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.operations import RNNDirection, RNNGateType, RNNInputMode, RNNOperation
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call, array_of
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, flag, maybe_weights, member, whole
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.weights import Weights

_op, _mode = member(RNNOperation), member(RNNInputMode)
_direction, _gate = member(RNNDirection), member(RNNGateType)
_LSTM, _GRU, _RELU = RNNOperation.LSTM, RNNOperation.GRU, RNNOperation.RELU
_SKIP, _LINEAR = RNNInputMode.SKIP, RNNInputMode.LINEAR
_BOTH, _FORWARD = RNNDirection.BIDIRECTION, RNNDirection.UNIDIRECTION
_ONE_GATE = (RNNGateType.INPUT,)
_GATES = {
    _LSTM: (RNNGateType.INPUT, RNNGateType.OUTPUT, RNNGateType.FORGET, RNNGateType.CELL),
    _GRU: (RNNGateType.UPDATE, RNNGateType.RESET, RNNGateType.HIDDEN),
}
"""Gates in the order of ONNX's weights; of the other operations `_ONE_GATE`."""
_HIDDEN, _CELL, _LENGTHS = 1, 2, 3
"""Numbers of inputs."""

Key = tuple[int, RNNGateType, bool]
"""Layer, gate, and whether the weights are those that the input is multiplied by."""


class IRNNv2Layer(ILayer):
    """Layers of RNN, LSTM or GRU, one upon the other, over [..., steps, input].

    Outputs: all hidden states [..., steps, directions * hidden]; the last ones [..., layers * directions, hidden]; of LSTMs the last cell
    states, alike.  Layers are numbered with their directions: 2 i and 2 i + 1 are both directions of layer i.
    """

    _kind = LayerType.RNN_V2
    _most = 4
    input_mode = Param(
        _mode, "Whether the first layer multiplies its input by weights, or takes it as it is."
    )
    direction = Param(_direction, "Whether steps go forward only, or both ways.")

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return int(self._record.param("num_layers"))

    @property
    def hidden_size(self) -> int:
        """Extent of hidden states."""
        return int(self._record.param("hidden_size"))

    @property
    def max_seq_length(self) -> int:
        """How many steps there are at most: the input's extent."""
        return int(self._record.param("max_seq_length"))

    @property
    def data_length(self) -> int:
        """Extent of the input at each step; -1: open."""
        given = self.get_input(0)
        assert given is not None
        return int(given.shape[-1])

    @property
    def op(self) -> RNNOperation:
        """What each layer computes.  LSTMs have an output more: a layer that is none cannot become one, nor the other way."""
        op: RNNOperation = self._record.param("op")
        return op

    @op.setter
    def op(self, op: RNNOperation) -> None:
        if (_op(op, "op") == _LSTM) != (self.op == _LSTM):
            self._record.graph._refuse(
                f"layer {self.name!r}: op={op} has other outputs than {self.op}; add another layer"
            )
            return
        self._record.assign("op", op)

    @property
    def seq_lengths(self) -> ITensor | None:
        """Steps of each row, INT32 [...]; None: all."""
        return self.get_input(_LENGTHS)

    @seq_lengths.setter
    def seq_lengths(self, lengths: ITensor) -> None:
        self.set_input(_LENGTHS, lengths)

    @property
    def hidden_state(self) -> ITensor | None:
        """First hidden states [..., layers * directions, hidden]; None: zeros."""
        return self.get_input(_HIDDEN)

    @hidden_state.setter
    def hidden_state(self, state: ITensor) -> None:
        self.set_input(_HIDDEN, state)

    @property
    def cell_state(self) -> ITensor | None:
        """First cell states of LSTMs, as hidden states; None: zeros."""
        return self.get_input(_CELL)

    @cell_state.setter
    def cell_state(self, state: ITensor) -> None:
        self.set_input(_CELL, state)

    def set_weights_for_gate(
        self, layer_index: int, gate: RNNGateType, is_w: bool, weights: Any
    ) -> bool:
        """A gate's weights: [hidden, input] if `is_w`, else [hidden, hidden].  False, and an error, if there is no such gate."""
        return _set_gate(
            self, "weights", (layer_index, gate, is_w), maybe_weights(weights, "weights")
        )

    def get_weights_for_gate(self, layer_index: int, gate: RNNGateType, is_w: bool) -> Any:
        """A gate's weights; empty ones where none were set."""
        return _gate_of(self, "weights", (layer_index, gate, is_w))

    def set_bias_for_gate(self, layer_index: int, gate: RNNGateType, is_w: bool, bias: Any) -> bool:
        """A gate's bias, [hidden]; one that was not set is 0.  False, and an error, if there is no such gate."""
        return _set_gate(self, "biases", (layer_index, gate, is_w), maybe_weights(bias, "bias"))

    def get_bias_for_gate(self, layer_index: int, gate: RNNGateType, is_w: bool) -> Any:
        """A gate's bias; an empty one where none was set."""
        return _gate_of(self, "biases", (layer_index, gate, is_w))

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        return _Stack(call).run()


def _set_gate(layer: IRNNv2Layer, what: str, key: Key, value: Weights) -> bool:
    place, gate = whole(key[0], "layer_index"), _gate(key[1], "gate")
    if not 0 <= place < 2 * layer.num_layers or gate not in _GATES.get(layer.op, _ONE_GATE):
        layer._record.graph._refuse(
            f"layer {layer.name!r}, {layer.op}, has no gate {gate} in layer {place}"
        )
        return False
    held: dict[Key, Weights] = layer._record.param(what)
    layer._record.assign(what, held | {(place, gate, flag(key[2], "is_w")): value})
    return True


def _gate_of(layer: IRNNv2Layer, what: str, key: Key) -> Any:
    held: dict[Key, Weights] = layer._record.param(what)
    return held.get(key, Weights()).numpy()


class _Stack:
    """The layers of one call."""

    def __init__(self, call: Call) -> None:
        """ModelError if the input is of another shape than the layer says."""
        self.call, self.net, self.x = call, call.net, call.input(0)
        self.op, self.size, self.count = call["op"], call["hidden_size"], call["num_layers"]
        self.ways = 2 if call["direction"] == _BOTH else 1
        if self.x.rank < 2:
            raise ModelError(f"input has shape {self.x.shape}; it takes [..., steps, input]")
        steps, inputs = self.x.shape[-2:]
        if isinstance(steps, int) and steps != call["max_seq_length"]:
            raise ModelError(
                f"max_seq_length={call['max_seq_length']}, and the input has {steps} steps"
            )
        if not isinstance(inputs, int):
            raise ModelError("the last extent of the input is open; it must be fixed")
        if call["input_mode"] == _SKIP and inputs != self.size:
            raise ModelError(
                f"RNNInputMode.SKIP takes inputs of hidden_size={self.size}, not of {inputs}"
            )
        self.inputs = inputs

    def run(self) -> list[Tensor]:
        net, lengths = self.net, self.call.given(_LENGTHS)
        rows = net.reshape(self.x, [-1, self.call["max_seq_length"], self.inputs])
        x = net.transpose(rows, [1, 0, 2])
        counts = None if lengths is None else net.cast(net.reshape(lengths, [-1]), "int32")
        first = [self._first(_HIDDEN), *([self._first(_CELL)] if self.op == _LSTM else [])]
        last: list[list[Tensor]] = []
        for layer in range(self.count):
            begun = [
                None
                if s is None
                else net.slice(s, [layer * self.ways], [(layer + 1) * self.ways], [0])
                for s in first
            ]
            every, *ends = self._layer(layer, x, counts, begun)
            x = net.reshape(net.transpose(every, [0, 2, 1, 3]), [0, 0, self.ways * self.size])
            last.append(ends)
        outer = net.shape(self.x)
        index = net.slice(outer, [0], [self.x.rank - 2], [0])
        results = [net.transpose(x, [1, 0, 2])]
        for states in zip(*last, strict=True):
            joined = net.concat(states, 0) if len(states) > 1 else states[0]
            results.append(net.transpose(joined, [1, 0, 2]))
        if self.x.rank == 3:
            return results
        tails = [
            [self.call["max_seq_length"], self.ways * self.size],
            *[[self.count * self.ways, self.size]] * len(first),
        ]
        return [
            net.reshape(r, net.concat([index, np.array(t)], 0))
            for r, t in zip(results, tails, strict=True)
        ]

    def _first(self, index: int) -> Tensor | None:
        """First states as [layers * directions, rows, hidden]."""
        given = self.call.given(index)
        if given is None:
            return None
        rows = self.net.reshape(given, [-1, self.count * self.ways, self.size])
        return self.net.transpose(rows, [1, 0, 2])

    def _layer(
        self, layer: int, x: Tensor, lengths: Tensor | None, states: Sequence[Tensor | None]
    ) -> tuple[Tensor, ...]:
        net = self.net
        inputs = self.inputs if layer == 0 else self.ways * self.size
        way = "bidirectional" if self.ways == 2 else "forward"
        places = range(layer * self.ways, (layer + 1) * self.ways)
        weight = net.stack([self._matrix(p, True, inputs) for p in places])
        recurrence = net.stack([self._matrix(p, False, self.size) for p in places])
        bias = net.stack(
            [net.concat([self._bias(p, True), self._bias(p, False)], 0) for p in places]
        )
        if self.op == _LSTM:
            return net.lstm(
                x,
                weight,
                recurrence,
                bias,
                lengths=lengths,
                hidden=states[0],
                cell=states[1],
                direction=way,
            )
        if self.op == _GRU:
            return net.gru(
                x,
                weight,
                recurrence,
                bias,
                lengths=lengths,
                hidden=states[0],
                direction=way,
                linear_before_reset=1,
            )
        kinds = ["Relu" if self.op == _RELU else "Tanh"] * self.ways
        return net.rnn(
            x,
            weight,
            recurrence,
            bias,
            lengths=lengths,
            hidden=states[0],
            direction=way,
            activations=kinds,
        )

    @property
    def _gates(self) -> tuple[RNNGateType, ...]:
        return _GATES.get(self.op, _ONE_GATE)

    def _matrix(self, place: int, is_w: bool, inputs: int) -> Tensor:
        """The weights of all gates: [gates * hidden, inputs]."""
        parts = [self._gate_matrix(place, gate, is_w, inputs) for gate in self._gates]
        return self.net.concat(parts, 0) if len(parts) > 1 else parts[0]

    def _gate_matrix(self, place: int, gate: RNNGateType, is_w: bool, inputs: int) -> Tensor:
        held = self.call["weights"].get((place, gate, is_w))
        skips = is_w and place < self.ways and self.call["input_mode"] == _SKIP
        if skips and (held is None or not held.size):
            return self.net.constant(np.eye(self.size, dtype=self.x.dtype))
        said = f"weights of gate {gate} in layer {place}, is_w={is_w},"
        if skips:
            raise ModelError(
                f"{said} must be empty, since RNNInputMode.SKIP takes the input as it is"
            )
        if held is None or not held.size:
            raise ModelError(f"{said} are not set; call set_weights_for_gate")
        return self._constant(
            held, (self.size, inputs), said, f"{place}.{gate.name}.{'W' if is_w else 'R'}"
        )

    def _bias(self, place: int, is_w: bool) -> Tensor:
        """The biases of all gates: [gates * hidden]."""
        parts = []
        for gate in self._gates:
            held = self.call["biases"].get((place, gate, is_w))
            if held is None or not held.size:
                parts.append(self.net.constant(np.zeros(self.size, self.x.dtype)))
                continue
            said = f"bias of gate {gate} in layer {place}, is_w={is_w},"
            parts.append(
                self._constant(
                    held, (self.size,), said, f"{place}.{gate.name}.{'Wb' if is_w else 'Rb'}"
                )
            )
        return self.net.concat(parts, 0) if len(parts) > 1 else parts[0]

    def _constant(self, held: Weights, shape: tuple[int, ...], said: str, name: str) -> Tensor:
        if held.size != np.prod(shape):
            raise ModelError(f"{said} have {held.size} elements, and shape {shape} not")
        array = array_of(held).reshape(shape).astype(self.x.dtype)
        made = self.net.constant(array, name=f"{self.call.name}.{name}")
        self.call.emission.weights_made(made, held)
        return made


@reported(None)
def add_rnn_v2(
    self: Graph,
    input: ITensor,
    layer_count: int,
    hidden_size: int,
    max_seq_length: int,
    op: RNNOperation,
) -> IRNNv2Layer:
    """Recurrent layers over [..., max_seq_length, data]; their weights are set gate by gate.  ModelError, logged, for sizes below 1."""
    sizes = {
        "num_layers": whole(layer_count, "layer_count"),
        "hidden_size": whole(hidden_size, "hidden_size"),
        "max_seq_length": whole(max_seq_length, "max_seq_length"),
    }
    for name, size in sizes.items():
        if size < 1:
            raise ModelError(f"{name}={size} must be 1 or more")
    kind = _op(op, "op")
    params: dict[str, Any] = {**sizes, "op": kind, "input_mode": _LINEAR, "direction": _FORWARD}
    outputs = 3 if kind == _LSTM else 2
    return self._add(IRNNv2Layer, [input], outputs, weights={}, biases={}, **params)
