"""Branches and loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor

if TYPE_CHECKING:
    from onnx import GraphProto

Results = Tensor | Sequence[Tensor]


class Control(Elementwise):
    """Branches and loops, whose bodies are functions that add layers."""

    def cond(
        self,
        condition: Tensor,
        then: Callable[[Any], Results],
        orelse: Callable[[Any], Results],
        *,
        name: str | None = None,
    ) -> Any:
        """What one of two functions gives, of which only that one is computed.

        condition: a bool scalar.  then, orelse: called at once, each with a network for its layers; they read tensors of this one and
        return a tensor, or as many as each other, of the same types.
        """
        layer = self._layer_name(name, "If")
        bodies = [self._body(f"{layer}.{side}") for side in ("then", "else")]
        results = [_listed(made(body)) for made, body in zip((then, orelse), bodies, strict=True)]
        if len(results[0]) != len(results[1]):
            raise ModelError(
                f"layer {layer!r}: one side gives {len(results[0])} tensors, the other {len(results[1])}"
            )
        graphs = [b._ended(r) for b, r in zip(bodies, results, strict=True)]
        return self.op(
            "If",
            condition,
            outputs=len(results[0]),
            name=layer,
            then_branch=graphs[0],
            else_branch=graphs[1],
        )

    def loop(
        self,
        body: Callable[..., tuple[Like, Sequence[Tensor], Sequence[Tensor]]],
        carried: Sequence[Like] = (),
        *,
        count: Like = None,
        condition: Like = True,
        name: str | None = None,
    ) -> tuple[Tensor, ...]:
        """Run a body again and again.

        body: called once, as body(network, iteration, *carried); gives (condition to go on, carried for the next iteration, what to stack).
        carried: the first values.  count: most iterations, None for no limit.  condition: whether there is a first iteration.
        Returns the last carried values and the stacks, [iterations, ...].
        """
        layer = self._layer_name(name, "Loop")
        inner = self._body(f"{layer}.body")
        first = [self.tensor(v) for v in carried]
        iteration = inner.input(f"{layer}.iteration", (), "int64")
        before = inner.input(f"{layer}.condition", (), "bool")
        inside = [inner._like(f"{layer}.carried_{i}", v) for i, v in enumerate(first)]
        again, after, stacked = _parts(layer, body(inner, iteration, *inside), _LOOPED)
        if len(after) != len(first):
            raise ModelError(f"layer {layer!r}: the body carries {len(after)} tensors on, and gets {len(first)}")  # fmt: skip
        going = before if again is True else inner.tensor(np.asarray(again) if isinstance(again, bool) else again)  # fmt: skip
        graph = inner._ended([going, *after, *stacked])
        most = None if count is None else count if isinstance(count, Tensor) else self.constant(count, "int64")  # fmt: skip
        begin = condition if isinstance(condition, Tensor) else self.constant(np.asarray(condition))
        outputs = len(after) + len(stacked)
        made = self.op("Loop", most, begin, *first, outputs=outputs, name=layer, body=graph)
        return made if isinstance(made, tuple) else (made,)

    def scan(
        self,
        body: Callable[..., tuple[Sequence[Tensor], Sequence[Tensor]]],
        carried: Sequence[Like],
        inputs: Sequence[Tensor],
        *,
        reverse: bool = False,
        name: str | None = None,
    ) -> tuple[Tensor, ...]:
        """Run a body for each slice of inputs along their first axis.

        body: called once, as body(network, *carried, *slices); gives (carried for the next, what to stack).  reverse: from the last slice on,
        and stacked in the order of the slices.  Returns the last carried values and the stacks.
        """
        layer = self._layer_name(name, "Scan")
        inner = self._body(f"{layer}.body")
        first = [self.tensor(v) for v in carried]
        inside = [inner._like(f"{layer}.carried_{i}", v) for i, v in enumerate(first)]
        slices = [inner._like(f"{layer}.slice_{i}", v, 1) for i, v in enumerate(inputs)]
        after, stacked = _parts(layer, body(inner, *inside, *slices), _SCANNED)
        if len(after) != len(first):
            raise ModelError(f"layer {layer!r}: the body carries {len(after)} tensors on, and gets {len(first)}")  # fmt: skip
        way = int(reverse)
        made = self.op(
            "Scan", *first, *inputs, outputs=len(after) + len(stacked), name=layer, body=inner._ended([*after, *stacked]),
            num_scan_inputs=len(inputs), scan_input_directions=[way] * len(inputs), scan_output_directions=[way] * len(stacked),
        )  # fmt: skip
        return made if isinstance(made, tuple) else (made,)

    def _body(self, name: str) -> Any:
        """A network of this one's class for the layers of a body."""
        return type(self)(name, around=self)

    def _like(self, name: str, tensor: Tensor, skip: int = 0) -> Tensor:
        """An input of a body that has the type of a tensor, less its first `skip` axes."""
        return self.input(name, tensor.shape[skip:], tensor.network.type_of(tensor).elem_type)

    def _ended(self, results: Sequence[Tensor]) -> GraphProto:
        """A body's graph, with these outputs."""
        for tensor in results:
            self._own(tensor)
            is_own = tensor.name in self._made and tensor.name not in self._outputs
            made = tensor if is_own else self._one("Identity", tensor)
            self._outputs[made.name] = made.name
        self._is_closed = True
        return self.graph()


def _listed(results: Results) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else [*results]


_LOOPED = ("condition to go on", "tensors to carry on", "tensors to stack")
_SCANNED = _LOOPED[1:]


def _parts(layer: str, given: Any, wanted: Sequence[str]) -> Sequence[Any]:
    """What a body gives.  ModelError unless it is as many things as it has to give."""
    if not isinstance(given, tuple | list) or len(given) != len(wanted):
        raise ModelError(f"layer {layer!r}: the body must return ({', '.join(wanted)})")
    for part, what in zip(given, wanted, strict=True):
        if what != _LOOPED[0] and not isinstance(part, tuple | list):
            raise ModelError(
                f"layer {layer!r}: {what} must be a list, and the body gives {part!r:.60}"
            )
    return given
