"""The stages of a reduction, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onnx import ModelProto

from camshaft.compare.reduction.bodies import opened
from camshaft.compare.reduction.record import recorded
from camshaft.compare.reduction.search import smallest
from camshaft.compare.reduction.simplify import simpler
from camshaft.compare.reduction.source import Arrays, Candidate, Source
from camshaft.errors import ModelError
from camshaft.frontends.onnx.model import load_model

Fails = Callable[[Candidate], bool]
MOST_CHECKS = 500
_MOST_LEVELS = 8
"""Bodies within bodies that are opened."""


@dataclass(frozen=True)
class Reduced:
    """The smallest model found that fails.

    checks: how many models were tried.  before: how many nodes the model had.  complete: whether the search came to its
    end, so that no single node can be left out.  remark: what should be known of the recorded run, else "".
    """

    candidate: Candidate
    checks: int
    before: int
    complete: bool
    remark: str = ""


class _Spent(Exception):
    """No more checks are allowed."""


@dataclass
class _Search:
    """The best so far, and what trying costs."""

    fails: Fails
    most: int
    tell: Callable[[str, int, Candidate | None], None]
    best: Candidate | None = None
    checks: int = 0
    stage: str = field(default="the model")

    def try_(self, candidate: Candidate | None) -> bool:
        """Whether the candidate fails; it is then the best."""
        if candidate is None or not _is_valid(candidate.model):
            return False
        if self.checks >= self.most:
            raise _Spent
        self.checks += 1
        failed = self.fails(candidate)
        if failed:
            self.best = candidate
        self.tell(self.stage, self.checks, candidate if failed else None)
        return failed


def reduce_model(
    model: ModelProto,
    feeds: Arrays,
    fails: Fails,
    *,
    other: str = "onnxruntime",
    most_checks: int = MOST_CHECKS,
    tell: Callable[[str, int, Candidate | None], None] = lambda stage, checks, smaller: None,
) -> Reduced | None:
    """The smallest model found for which `fails` holds, None if it does not hold of the model itself.

    feeds: the model's inputs; a run of the runtime `other` on them is recorded.  tell: called after each check with
    the stage, the number of checks and, where it failed, the model.
    ModelError for a model that is broken.
    """
    proto = load_model(model)
    values, fault = recorded(proto, feeds, other)
    search = _Search(fails, most_checks, tell)
    source = Source(proto, values, fixed=False)
    whole = source.piece(range(len(source.nodes)), [v.name for v in proto.graph.output])
    if whole is None:
        raise ModelError("none of the model's outputs is an array that a node computes")
    if not search.try_(whole):
        return None
    complete = True
    try:
        _run(search, source, other, "" if fault else other)
    except _Spent:
        complete = False
    assert search.best is not None
    return Reduced(search.best, search.checks, len(source.nodes), complete, fault)


def _run(search: _Search, source: Source, other: str, judge: str) -> None:
    """judge: a runtime that can run the model, and must be able to run what is made of it; "" if there is none."""
    search.stage = "sizes fixed"
    ends = [v.name for v in source.proto.graph.output]
    fixed = Source(source.proto, source.values)
    if search.try_(fixed.piece(range(len(fixed.nodes)), ends)):
        source = fixed
    for _ in range(_MOST_LEVELS):
        _cut(search, source)
        assert search.best is not None
        inner = _opened(search, source, other)
        if inner is None:
            break
        source = inner
    if source.fixed:
        search.stage = "sizes"
        assert search.best is not None
        simpler(search.best, search.try_, judge)


def _cut(search: _Search, source: Source) -> None:
    """Leave out nodes, then outputs."""
    search.stage = "nodes"
    kept = smallest(range(len(source.nodes)), lambda part: search.try_(source.piece(part)))
    whole = source.piece(kept)
    assert whole is not None
    ends = [v.name for v in whole.model.graph.output]
    if len(ends) > 1:
        search.stage = "outputs"

        def with_ends(part: Sequence[int]) -> bool:
            return search.try_(source.piece(kept, [ends[i] for i in part]))

        smallest(range(len(ends)), with_ends)


def _opened(search: _Search, source: Source, other: str) -> Source | None:
    """A source whose nodes are those of a body or branch that one of the nodes left holds, and that fails still."""
    assert search.best is not None
    search.stage = "bodies"
    for candidate in opened(search.best, other):
        if search.try_(candidate):
            values, _ = recorded(candidate.model, candidate.feeds, other)
            return Source(candidate.model, values, source.fixed)
    return None


def _is_valid(model: ModelProto) -> bool:
    try:
        load_model(model)
    except ModelError:
        return False
    return True
