"""A built engine beside another runtime: the errors of all tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.compare.others import Arrays, run_other
from camshaft.compare.stored import real_reference, stored_tensors
from camshaft.compare.tensor_error import TensorError, in_model_order, tensor_error
from camshaft.feeds import arrays_of
from camshaft.frontends.onnx.model import load_model
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession


@dataclass(frozen=True)
class Comparison:
    """The errors of all tensors compared, worst first.

    unmatched: tensors of the built graph that the model has no counterpart of, or none of the same
    axes.
    """

    other: str
    tensors: tuple[TensorError, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[TensorError, ...]:
        """Of the model's outputs only."""
        return tuple(t for t in self.tensors if t.is_output)

    def beyond(self, tolerance: float) -> tuple[TensorError, ...]:
        """Outputs whose relative error exceeds the tolerance."""
        return tuple(t for t in self.outputs if not t.relative <= tolerance)


_ABSENT = np.empty((0,) * 9, np.float32)
"""Stands for an element of a sequence or map that one of the two has not: no result has its shape."""


def outputs_of(engine: Engine, feeds: Arrays) -> dict[str, Any]:
    """All outputs of the model: of states, which are set to those among the feeds, what a call leaves."""
    if not engine.states:
        return engine(dict(feeds))
    with engine.create_context(engine.threads) as context:
        made = context.run(context.states.take(feeds))
        return {**made, **{s.output: context.states[name] for name, s in engine.states.items()}}


def output_errors(
    made: Mapping[str, Any], wanted: Mapping[str, Any], order: int = 0
) -> list[TensorError]:
    """The errors of all outputs in `made`.  order: their place among the tensors compared."""
    ours = dict(arrays_of(made))
    theirs = dict(arrays_of({n: wanted[n] for n in made}))
    return [
        tensor_error(n, ours.get(n, _ABSENT), theirs.get(n, _ABSENT), is_output=True, order=order)
        for n in dict.fromkeys((*ours, *theirs))
    ]


def compare(
    model: Any,
    engine: Engine,
    feeds: Arrays,
    other: str = "onnxruntime",
    session: BuildSession | None = None,
) -> Comparison:
    """Run `feeds` through `engine` and the ONNX `model`, and measure how far they are apart.

    session: the session that built the engine, to compare its intermediate tensors too.
    Errors as in `import_onnx`, `run_other` and `ExecutionContext.run`.
    """
    proto = load_model(model)
    made = outputs_of(engine, feeds)
    between = {} if session is None else stored_tensors(session)
    known = {o for n in proto.graph.node for o in n.output}
    partner = {n: n if n in known else s.name for n, s in between.items()}
    matched = {n: p for n, p in partner.items() if p in known and p not in made}
    wanted = run_other(other, proto, feeds, list(dict.fromkeys((*made, *matched.values()))))
    errors = output_errors(made, wanted, len(between))
    seen = session.tapped(list(matched))(dict(feeds)) if session is not None and matched else {}
    unmatched = [n for n, p in partner.items() if p not in known]
    for order, (name, stored) in enumerate(between.items()):
        if name not in matched:
            continue
        want = real_reference(np.asarray(wanted[matched[name]]), stored)
        got = in_model_order(stored.real(seen[name]), want)
        if got is None:
            unmatched.append(name)
            continue
        kind = seen[name].dtype.name
        errors.append(tensor_error(matched[name], got, want, order=order, stored=kind))
    errors.sort(key=lambda e: (-e.relative, e.order))
    return Comparison(other, tuple(errors), tuple(unmatched))
