"""One graph with the weights of several modules: Dynamo compiles modules of one kind once, and gives the weights with each call."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx import GraphModule

from camshaft.errors import BindingError
from camshaft.torch.parts import Build, Split, split, versions

MOST = 8
"""Sets of weights that one graph has engines for; calls with others are left to PyTorch."""


class Options(Protocol):
    """least: the fewest operators that become an engine.  engine: builds one.  made: takes what was made."""

    least: int
    made: list[Split]

    @property
    def engine(self) -> Build: ...


@dataclass(frozen=True)
class _Variant:
    split: Split
    weights: Sequence[torch.Tensor]
    versions: Sequence[tuple[int, int]]

    def takes(self, given: Sequence[torch.Tensor]) -> bool:
        """Whether it was made for these weights, which lie where they lay then."""
        return all(
            a is b or a.data_ptr() == at
            for a, b, (_, at) in zip(given, self.weights, self.versions, strict=True)
        )


class Variants:
    """A graph, with engines for each set of weights that it is called with.

    Calls are BindingErrors where weights of a set were changed in place since its engines were built.
    """

    _boxed_call = False

    def __init__(
        self, options: Options, graph: GraphModule, weights: Mapping[int, torch.Tensor]
    ) -> None:
        """weights: number of a placeholder -> the weight that stands there now."""
        self._options, self._graph = options, graph
        self._at = tuple(weights)
        self._lock = threading.Lock()
        self._variants = [self._variant([*weights.values()])]

    def __call__(self, *args: Any) -> Any:
        given = [args[n] for n in self._at]
        found = self._for(given)
        if found is None:
            return self._graph.forward(*args)
        if versions(found.weights) != found.versions:
            raise BindingError(
                "weights of the module were changed since it was compiled; call torch.compiler.reset() to compile it again"
            )
        return found.split.run(*args)

    def _for(self, given: Sequence[torch.Tensor]) -> _Variant | None:
        """The engines of these weights, made now if there are none; None where there are too many."""
        for variant in self._variants:
            if variant.takes(given):
                return variant
        with self._lock:
            for variant in self._variants:
                if variant.takes(given):
                    return variant
            if len(self._variants) < MOST:
                self._variants.append(self._variant(given))
                return self._variants[-1]
        warnings.warn(
            f"more than {MOST} sets of weights for one graph: PyTorch computes it with others",
            stacklevel=3,
        )
        return None

    def _variant(self, weights: Sequence[torch.Tensor]) -> _Variant:
        module = GraphModule(self._graph, copy.deepcopy(self._graph.graph))
        holes = [n for n in module.graph.nodes if n.op == "placeholder"]
        held = {holes[n]: w for n, w in zip(self._at, weights, strict=True)}
        with unset_fake_temporarily():  # weights are real
            made = split(module, held, self._options.least, self._options.engine)
        self._options.made.append(made)
        return _Variant(made, weights, versions(weights))
