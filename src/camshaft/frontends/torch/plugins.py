"""Custom operators of PyTorch that are plugins of the same name."""

from __future__ import annotations

from typing import Any

from camshaft.frontends.torch.call import Call, Handler
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.graph import Tensor
from camshaft.ir.plugins.registry import found, plugin_named
from camshaft.ir.types import TensorType
from camshaft.ops import functional as F
from camshaft.ops.functional import NoCanonicalForm
from camshaft.ops.plugin import add_plugin


def plugin_handler(name: str) -> Handler | None:
    """What reads calls of an operator ("example::leaky") that is a plugin, None where it is none."""
    return _imported if found(name) is not None else None


def _imported(call: Call) -> Any:
    """Arguments that are tensors are the plugin's inputs, in their order; the others are attributes by their names."""
    plugin = plugin_named(call.name)
    inputs: list[Tensor | None] = []
    values: dict[str, Any] = {}
    for name, value in call.args.items():
        if isinstance(value, Tensor) or (value is None and name not in plugin.attributes):
            inputs.append(value)
        elif isinstance(value, list) and value and all(isinstance(v, Tensor) for v in value):
            inputs += value
        elif value is not None:
            values[name] = value
    while inputs and inputs[-1] is None:
        inputs.pop()
    base = call.builder.local(plugin.op_type)
    names = [base if i == 0 else f"{base}:{i}" for i in range(len(call.results))]
    try:
        made = add_plugin(call.builder, plugin, inputs, values, names, call.builder.layer)
    except UndecidedExtent as error:
        raise NoCanonicalForm(str(error)) from error
    for n, (tensor, wanted) in enumerate(zip(made, call.results, strict=False)):
        _require_same(plugin.name, n, tensor.type, wanted)
    cast = [F.cast(call.builder, t, t.type.dtype.held) for t in made[: len(names)]]
    return cast[0] if len(call.results) == 1 else cast


def _require_same(name: str, number: int, made: TensorType, wanted: TensorType | None) -> None:
    """NoCanonicalForm where a plugin's result is not what PyTorch says of the operator's."""
    if wanted is None or (made.dtype.held, made.rank) == (wanted.dtype, wanted.rank):
        return
    raise NoCanonicalForm(
        f"result {number} of plugin {name!r} is {made}, and that of PyTorch's operator {wanted}"
    )
