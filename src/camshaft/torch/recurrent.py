"""Recurrent layers as operators that no export takes apart: PyTorch itself unrolls them, for one number of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode


def _lstm(
    input: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    made = torch.lstm(
        input,
        list(hx),
        list(params),
        has_biases,
        num_layers,
        dropout,
        train,
        bidirectional,
        batch_first,
    )
    return made[0], made[1], made[2]


def _other(name: str) -> Callable[..., Any]:
    whole = getattr(torch, name)

    def run(
        input: Tensor,
        hx: Tensor,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, Tensor]:
        made = whole(
            input,
            hx,
            list(params),
            has_biases,
            num_layers,
            dropout,
            train,
            bidirectional,
            batch_first,
        )
        return made[0], made[1]

    return run


def _like(input: Tensor, hx: Any, params: Sequence[Tensor], *options: Any) -> tuple[Tensor, ...]:
    """Results of the right shapes: [.., directions * H], and the states."""
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    bidirectional = bool(options[-2])
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    return (input.new_empty((*input.shape[:-1], width)), *(torch.empty_like(s) for s in states))


def _operator(name: str, run: Callable[..., Any]) -> Any:
    made: Any = torch.library.custom_op(f"camshaft::{name}", run, mutates_args=())
    made.register_fake(_like)
    return made


_NAMES = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_OPERATORS: Mapping[str, Any] = {
    name: _operator(name, _lstm if name == "lstm" else _other(name)) for name in _NAMES
}
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
