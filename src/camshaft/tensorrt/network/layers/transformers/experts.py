"""Mixtures of experts."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.operations import MoEActType
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.element_types import FLOAT
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, dims, member, number
from camshaft.tensorrt.network.tensor import ITensor

_activation, _type = member(MoEActType), member(DataType)
_SILU, _NOTHING = MoEActType.SILU, MoEActType.NONE
_FP8 = DataType.FP8
_GATE, _UP, _DOWN, _BIASES, _SCALE = 3, 4, 5, 6, 9


class IMoELayer(ILayer):
    """For each token the sum of some experts' results, each by its score: down(up(x) * act(gate(x))).

    Inputs: 0 hidden states [batch, steps, hidden], 1 experts and 2 scores of each token [batch, steps, chosen]; weights and biases by
    `set_gated_weights` and `set_gated_biases`.  Every expert computes every token here.
    """

    _kind = LayerType.MOE
    _most = 10
    activation_type = Param(_activation, "What the gate goes through.")
    quantization_to_type = Param(
        _type, "Type that down's input is quantized to; FLOAT: none, the only one that is computed."
    )
    quantization_block_shape = dims("Extents of blocks of that quantization.")
    dyn_q_output_scale_type = Param(_type, "Type of scales of that quantization.")
    swiglu_param_limit = Param(
        number, "Most that the gate gives, and most magnitude of up's result."
    )
    swiglu_param_alpha = Param(number, "What the gate is multiplied by in the sigmoid.")
    swiglu_param_beta = Param(number, "Put to up's result.")

    def set_input(self, index: int, tensor: ITensor) -> None:
        """Read another tensor."""
        super().set_input(index, tensor)

    def set_gated_weights(
        self,
        fc_gate_weights: ITensor,
        fc_up_weights: ITensor,
        fc_down_weights: ITensor,
        activation_type: MoEActType,
    ) -> None:
        """Weights [experts, hidden, inner] of gate and up, [experts, inner, hidden] of down."""
        self._record.assign("activation_type", _activation(activation_type, "activation_type"))
        for i, tensor in enumerate((fc_gate_weights, fc_up_weights, fc_down_weights)):
            self.set_input(_GATE + i, tensor)

    def set_gated_biases(
        self, fc_gate_biases: ITensor, fc_up_biases: ITensor, fc_down_biases: ITensor
    ) -> None:
        """Biases [experts, inner] of gate and up, [experts, hidden] of down."""
        for i, tensor in enumerate((fc_gate_biases, fc_up_biases, fc_down_biases)):
            self.set_input(_BIASES + i, tensor)

    def set_quantization_static(
        self, fc_down_activation_scale: ITensor, data_type: DataType
    ) -> None:
        """Quantize down's input by a scale; builds refuse it."""
        self._record.assign("quantization_to_type", _type(data_type, "data_type"))
        self.set_input(_SCALE, fc_down_activation_scale)

    def set_quantization_dynamic_dbl_q(
        self,
        fc_down_activation_dbl_q_scale: ITensor,
        data_type: DataType,
        block_shape: Dims,
        dyn_q_output_scale_type: DataType,
    ) -> None:
        """Quantize down's input by blocks, whose scales are quantized too; builds refuse it."""
        self.set_quantization_static(fc_down_activation_dbl_q_scale, data_type)
        self.quantization_block_shape = block_shape
        self.dyn_q_output_scale_type = dyn_q_output_scale_type

    def set_swiglu_params(self, limit: float, alpha: float, beta: float) -> None:
        """All three."""
        self.swiglu_param_limit = limit
        self.swiglu_param_alpha = alpha
        self.swiglu_param_beta = beta

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        if call["quantization_to_type"] != FLOAT:
            raise ModelError(
                f"experts in {call['quantization_to_type']} are not computed here; leave quantization_to_type at FLOAT"
            )
        net, x, chosen, scores = call.net, call.input(0), call.input(1), call.input(2)
        weights = [call.given(i) for i in range(_GATE, _BIASES)]
        biases = [call.given(i) for i in range(_BIASES, _SCALE)]
        gate, up, down = (_set(w, "weights are not set; call set_gated_weights") for w in weights)
        for given in (x, chosen, scores, gate, up, down):
            if given.rank != 3:
                raise ModelError(f"an input has shape {given.shape}; all have three axes")
        experts, hidden = gate.shape[0], down.shape[-1]
        if not (isinstance(experts, int) and isinstance(hidden, int)):
            raise ModelError("the extents of weights are open; they must be fixed")
        tokens = net.unsqueeze(net.reshape(x, [-1, hidden]), 0)
        inner = _gated(
            call, _linear(call, tokens, gate, biases[0]), _linear(call, tokens, up, biases[1])
        )
        results = _linear(call, inner, down, biases[2])  # [experts, tokens, hidden]
        numbers = np.arange(experts).reshape(experts, 1, 1)
        flat = net.reshape(net.cast(chosen, "int64"), net.concat([np.array([1, -1]), net.gather(net.shape(chosen), np.array([2]))], 0))  # fmt: skip
        is_chosen = net.cast(net.equal(flat, numbers), x.dtype)
        share = net.sum(net.mul(is_chosen, net.reshape(net.cast(scores, x.dtype), net.shape(flat))), [2], keep=True)  # fmt: skip
        mixed = net.sum(net.mul(results, share), [0])
        return [net.reshape(mixed, net.shape(x), name=call.name)]


def _set(given: Tensor | None, otherwise: str) -> Tensor:
    if given is None:
        raise ModelError(otherwise)
    return given


def _linear(call: Call, x: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
    made = call.net.matmul(x, weights)
    return made if biases is None else call.net.add(made, call.net.unsqueeze(biases, 1))


def _gated(call: Call, gate: Tensor, up: Tensor) -> Tensor:
    net, limit = call.net, call["swiglu_param_limit"]
    if limit != inf:
        gate = net.minimum(gate, limit)
        up = net.maximum(net.minimum(up, limit), -limit)
    if call["activation_type"] == _SILU:
        alpha = call["swiglu_param_alpha"]
        gate = net.mul(gate, net.sigmoid(gate if alpha == 1 else net.mul(gate, alpha)))
    beta = call["swiglu_param_beta"]
    return net.mul(gate, net.add(up, beta) if beta else up)


@reported(None)
def add_moe(
    self: Graph,
    hidden_states: ITensor,
    selected_experts_for_tokens: ITensor,
    scores_for_selected_experts: ITensor,
) -> IMoELayer:
    """A mixture of experts, whose weights `set_gated_weights` gives."""
    params: dict[str, Any] = {
        "activation_type": _NOTHING,
        "quantization_to_type": FLOAT,
        "quantization_block_shape": (),
        "dyn_q_output_scale_type": _FP8,
        "swiglu_param_limit": inf,
        "swiglu_param_alpha": 1.0,
        "swiglu_param_beta": 0.0,
    }
    given = [hidden_states, selected_experts_for_tokens, scores_for_selected_experts]
    return self._add(IMoELayer, given, **params)
