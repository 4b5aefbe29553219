"""What behaves otherwise in training and of which an exported program knows only the evaluation: batch norm, dropout, and
recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn import functional

from camshaft.frontends.torch.walk import name_of
from camshaft.torch.recurrent import TRAIN as _TRAIN
from camshaft.torch.recurrent import WHOLE_OF

_BATCH_NORM = "aten::_native_batch_norm_legit_no_training"
_DROPOUTS: tuple[type[nn.Module], ...] = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip


class BatchNorm(nn.Module):
    """Batch norm whose parameters and statistics are arguments.  In training it goes by the batch and changes running statistics, unless these
    are frozen.

    momentum: None averages over all batches; seen: their number, where the module counts it.
    """

    def __init__(self, momentum: float | None, eps: float) -> None:
        super().__init__()
        self.momentum, self.eps, self.frozen = momentum, eps, False

    def get_extra_state(self) -> Tensor:
        """Whether statistics are frozen."""
        return torch.tensor(self.frozen)

    def set_extra_state(self, state: Tensor) -> None:
        """Freeze statistics, or let training change them again."""
        self.frozen = bool(state)

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        seen: Tensor | None,
    ) -> Tensor:
        training, momentum = self.training and not self.frozen, self.momentum or 0.0
        if training and seen is not None:
            seen.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(seen)
        return functional.batch_norm(x, mean, var, weight, bias, training, momentum, self.eps)


class Recurrent(nn.Module):
    """A recurrent layer whose weights are arguments; in training it drops between layers."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args[:_TRAIN], self.training, *args[_TRAIN + 1 :])


def as_in_training(module: GraphModule, model: nn.Module) -> None:
    """Put modules that know of training in the place of batch norms, dropouts and recurrent layers, in place, and what has a gradient in that
    of copies.

    module: an exported program's.  model: what it was exported of, in which dropouts are found.
    """
    for node in list(module.graph.nodes):
        if node.op == "call_function" and name_of(node) == _BATCH_NORM:
            *args, momentum, eps = node.args
            norm, seen = _norm(module, node, model)
            layer = BatchNorm(momentum if norm is None else norm.momentum, eps)
            _replace(module, _first(node), "batch_norm", layer, (*args, seen))
        elif node.op == "call_function" and node.target in WHOLE_OF:
            layer = Recurrent(WHOLE_OF[node.target])
            _replace(module, node, node.name, layer, node.args)
        elif node.op == "call_function" and name_of(node) == "aten::copy":
            node.target = _copied
        elif node.op == "call_function" and name_of(node) == "aten::clone":
            found = _dropout(node, model)
            if found is not None:
                _replace(module, node, "dropout", found, (node.args[0],))
    module.graph.eliminate_dead_code()


def _copied(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """`source` in the type and shape of x: aten::copy, of which PyTorch has no gradient."""
    return source.to(x.dtype).expand_as(x)


def _norm(module: GraphModule, node: Node, model: nn.Module) -> tuple[Any, Node | None]:
    """The module that a batch norm was exported of, and the number of batches that it counts, which programs leave out; None where there is none."""
    path = str(getattr(node.args[3], "target", "")).rpartition(".")[0]
    norm = _at(model, path)
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return None, None
    count = norm.num_batches_tracked
    if count is None:
        return norm, None
    module.get_submodule(path).register_buffer("num_batches_tracked", count)
    with module.graph.inserting_before(node):
        return norm, module.graph.get_attr(f"{path}.num_batches_tracked".lstrip("."))


def _at(model: nn.Module, path: str) -> nn.Module | None:
    """The module of this path, None where there is none."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _first(node: Node) -> Node:
    return next(u for u in node.users if name_of(u) == "getitem" and u.args[1] == 0)


def _replace(
    module: GraphModule, node: Node, called: str, layer: nn.Module, args: tuple[Any, ...]
) -> None:
    name = added(module, called, layer)
    with module.graph.inserting_before(node):
        made = module.graph.call_module(name, args)
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
    module.graph.erase_node(node)


def added(module: GraphModule, name: str, layer: nn.Module) -> str:
    """Hold a module under this name, or one like it, and say which."""
    free = name
    number = 0
    while hasattr(module, free):
        number += 1
        free = f"{name}_{number}"
    module.add_module(free, layer)
    return free


def _dropout(node: Node, model: nn.Module) -> nn.Module | None:
    """A copy of the dropout module that a copy of a tensor is all that is left of."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    layer = _at(model, stack[-1][0] if stack else "")
    if not isinstance(layer, _DROPOUTS):
        return None
    made: Callable[..., nn.Module] = type(layer)
    return made(layer.p)
