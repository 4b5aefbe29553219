"""Recurrent layers as operators that no export takes apart: PyTorch itself unrolls them, for one number of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode


def _like(input: Tensor, hx: Any, params: Sequence[Tensor], *options: Any) -> tuple[Tensor, ...]:
    """Results of the right shapes: [.., directions * H], and the states."""
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    bidirectional = bool(options[-2])
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    return (input.new_empty((*input.shape[:-1], width)), *(torch.empty_like(s) for s in states))


_OPTIONS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"


def _operator(name: str) -> Any:
    """The operator of a function of PyTorch, which has two states where it is an LSTM and one else."""
    whole, states = getattr(torch, name), 2 if name == "lstm" else 1
    given, results = ("Tensor[]" if states == 2 else "Tensor"), ", ".join(["Tensor"] * (1 + states))
    schema = f"(Tensor input, {given} hx, Tensor[] params, {_OPTIONS}) -> ({results})"

    def run(*args: Any) -> tuple[Tensor, ...]:
        return tuple(whole(*args))

    made: Any = torch.library.custom_op(f"camshaft::{name}", run, mutates_args=(), schema=schema)
    made.register_fake(_like)
    return made


_NAMES = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_OPERATORS: Mapping[str, Any] = {name: _operator(name) for name in _NAMES}
_WHOLE: Mapping[Any, Any] = {getattr(torch, name): _OPERATORS[name] for name in _NAMES}
"""PyTorch's function -> the operator that is kept whole."""
WHOLE_OF: Mapping[Any, Any] = {
    form: getattr(torch, name)
    for name in _NAMES
    for form in (_OPERATORS[name], getattr(torch.ops.camshaft, name).default)
}
"""The operator that is kept whole, in each of its forms -> PyTorch's function."""
TRAIN = 6
"""Which argument says that it is training."""
_PADDED = 9
"""Arguments of the forms that take padded sequences; packed ones have others."""


class KeptWhole(TorchFunctionMode):
    """While it is active, recurrent layers are called as operators that stay whole."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kept = _WHOLE.get(func)
        if kept is not None and _is_padded(args, kwargs):
            return kept(*args)
        return func(*args, **(kwargs or {}))


def _is_padded(args: Sequence[Any], kwargs: Any) -> bool:
    return len(args) == _PADDED and not kwargs and isinstance(args[3], bool)


def keep_whole(module: GraphModule) -> None:
    """Call recurrent layers of a graph that Dynamo made as operators that stay whole, in place."""
    for node in module.graph.nodes:
        kept = _WHOLE.get(node.target) if node.op == "call_function" else None
        if kept is not None and _is_padded(node.args, node.kwargs):
            node.target = kept
    module.recompile()
