"""ONNX's own test suite run against `camshaft.backend`, and how much of it passes.

    python -m benchmarks.conformance                       # tables, and what fails and why
    python -m benchmarks.conformance --only resize         # cases whose name holds "resize"
    python -m benchmarks.conformance --write docs/conformance.md

Cases and checks are onnx's (`onnx.backend.test`): node, simple, real (its "light" networks),
pytorch-converted and pytorch-operator.  Nothing about a model is changed before it is built.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import tempfile
import time
import unittest
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
from onnx import ModelProto, NodeProto
from onnx.backend.test import BackendTest
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from camshaft.backend import CamshaftBackend, CamshaftRep

GROUPS = {
    "node": "Node",
    "simple": "Simple",
    "real": "Real",
    "pytorch-converted": "PyTorchConverted",
    "pytorch-operator": "PyTorchOperator",
}
"""Kind of case -> its name in the classes that `onnx.backend.test` gathers its tests in."""

EXCUSED = Path(__file__).parent.parent / "tests" / "data" / "conformance_excused.txt"
"""The cases that do not pass, and why: lines "case: reason"."""

MARKS = ("<!-- conformance -->", "<!-- conformance:end -->")
"""What the tables of a page stand between."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    group: a key of GROUPS.  operator: the one that a node case tests, "" in other groups.
    trains: whether the case is about training.  host_steps: those of its engine, if it was built.
    fault: the exception, "" if the case passed.
    """

    case: str
    group: str
    operator: str
    trains: bool
    host_steps: tuple[str, ...]
    fault: str

    @property
    def passes(self) -> bool:
        """Whether outputs are what they should be."""
        return not self.fault

    @property
    def is_native(self) -> bool:
        """Whether the case passes, all of it in machine code."""
        return self.passes and not self.host_steps


# -- cases -----------------------------------------------------------------------------------------


def all_cases() -> list[TestCase]:
    """The whole suite; generating the node cases takes about ten seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for group in GROUPS for case in load_model_tests(kind=group)]


def node_cases(names: Iterable[str]) -> list[TestCase]:
    """The node cases whose names begin with "test_" and one of `names`, which are also names of
    modules of `onnx.backend.test.case.node`: the others are not generated."""
    node = importlib.import_module("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            importlib.import_module(f"{node.__name__}.{name}")
    begins = tuple(f"test_{name}" for name in names)
    return [case for case in node._NodeTestCases if case.name.startswith(begins)]


def _model_of(case: TestCase) -> ModelProto:
    if case.model is not None:
        return case.model
    if case.model_dir is not None:
        return onnx.load(os.path.join(case.model_dir, "model.onnx"))
    return ModelProto()  # a network of the group "real"


def _trains(case: TestCase) -> bool:
    """Whether the case is about training: gradients, optimizers, an operator in training mode."""
    model = _model_of(case)
    if any("training" in o.domain for o in model.opset_import):
        return True
    return any(_in_training_mode(node, case) for node in model.graph.node)


def _in_training_mode(node: NodeProto, case: TestCase) -> bool:
    if any(a.name == "training_mode" and a.i for a in node.attribute):
        return True
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    names = [v.name for v in _model_of(case).graph.input]
    place = names.index(node.input[2]) if node.input[2] in names else len(names)
    return any(place < len(given) and bool(given[place]) for given, _ in case.data_sets or ())


def _operators(cases: Sequence[TestCase]) -> dict[str, str]:
    """Node case -> the operator it tests; a case of a function's body tests the function's."""
    found: dict[str, str] = {}
    for case in cases:
        whole = re.sub(r"_expanded(_ver\d+)?$", "", case.name)
        if case.kind == "node":
            node = _model_of(case).graph.node[0]
            domain = f"{node.domain}." if node.domain else ""
            found[case.name] = found.get(whole, domain + node.op_type)
    return found


# -- running them ----------------------------------------------------------------------------------


class _Watched(CamshaftBackend):
    """The backend; remembers what it prepared last."""

    last: CamshaftRep | None = None

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> CamshaftRep:
        cls.last = super().prepare(model, device, threads=1, **kwargs)
        return cls.last


def _suite(cases: Iterable[TestCase]) -> unittest.TestSuite:
    """onnx's runner, on chosen cases instead of all."""
    of_kind = {kind: [case for case in cases if case.kind == kind] for kind in GROUPS}
    with patch("onnx.backend.test.runner.load_model_tests", lambda kind: of_kind[kind]):
        return BackendTest(_Watched, __name__).test_suite


class _Result(unittest.TestResult):
    """Collects faults by the names of tests, and the host steps of what they built."""

    def __init__(self, step: Callable[[str, str], None]) -> None:
        super().__init__()
        self.step = step
        self.faults: dict[str, str] = {}
        self.host_steps: dict[str, tuple[str, ...]] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        _Watched.last = None

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self.faults[_name(test)] = _line(err[1])

    addFailure = addError

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        name = _name(test)
        self.host_steps[name] = _Watched.last.host_steps if _Watched.last else ()
        self.step(name, self.faults.get(name, ""))


def _name(test: unittest.TestCase) -> str:
    """Class and method of a test."""
    return ".".join(test.id().split(".")[-2:])


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"


def run(
    cases: Sequence[TestCase], step: Callable[[str, str], None] = lambda name, fault: None
) -> list[Outcome]:
    """Run cases as onnx's runner does: build, run on the data sets, compare.

    step: called after each with the name of the test and its fault, if any.
    """
    result = _Result(step)
    with warnings.catch_warnings(), _scratch_models():
        warnings.simplefilter("ignore")
        _suite(cases).run(result)
    operators = _operators(cases)
    outcomes = []
    for case in cases:
        test = f"OnnxBackend{GROUPS[case.kind]}ModelTest.{case.name}_cpu"
        outcomes.append(
            Outcome(
                case.name,
                case.kind,
                operators.get(case.name, ""),
                _trains(case),
                result.host_steps[test],
                result.faults.get(test, ""),
            )
        )
    return outcomes


@contextmanager
def _scratch_models() -> Iterator[None]:
    """A folder of its own for the data that onnx's runner writes for the group "real"."""
    before = os.environ.get("ONNX_MODELS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ONNX_MODELS"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["ONNX_MODELS"]
            else:
                os.environ["ONNX_MODELS"] = before


# -- what is excused -------------------------------------------------------------------------------


def excused() -> dict[str, str]:
    """Case -> why it does not pass."""
    lines = EXCUSED.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(": ", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


# -- tables ----------------------------------------------------------------------------------------


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "0"


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    passing, native = sum(o.passes for o in outcomes), sum(o.is_native for o in outcomes)
    count = len(outcomes)
    return f"| {name} | {count} | {_share(passing, count)} | {_share(native, count)} |"


def by_group(outcomes: Sequence[Outcome]) -> str:
    """A table: cases of inference in each group, how many pass, how many in machine code alone."""
    inference = [o for o in outcomes if not o.trains]
    lines = ["| group | cases | pass | without host steps |", "|---|---|---|---|"]
    lines += [_row(g, of) for g in GROUPS if (of := [o for o in inference if o.group == g])]
    return "\n".join([*lines, _row("all", inference)])


def by_operator(outcomes: Sequence[Outcome]) -> str:
    """The same by the operator that a node case tests."""
    inference = [o for o in outcomes if o.operator and not o.trains]
    lines = ["| operator | cases | pass | without host steps |", "|---|---|---|---|"]
    for operator in sorted({o.operator for o in inference}):
        lines.append(_row(operator, [o for o in inference if o.operator == operator]))
    return "\n".join(lines)


def summary(outcomes: Sequence[Outcome]) -> str:
    """In how many operators every case passes, and does so without host steps."""
    inference = [o for o in outcomes if o.operator and not o.trains]
    every = {o.operator for o in inference}
    failing = {o.operator for o in inference if not o.passes}
    hosted = {o.operator for o in inference if not o.is_native}
    return (
        f"All inference cases pass for {len(every - failing)} of {len(every)} operators, and without "
        f"any host step for {len(every - hosted)}."
    )


def report(outcomes: Sequence[Outcome]) -> str:
    """The tables as Markdown."""
    tables = (by_group(outcomes), summary(outcomes), by_operator(outcomes))
    return f"onnx {onnx.__version__}.\n\n" + "\n\n".join(tables)


def failures(outcomes: Sequence[Outcome]) -> str:
    """What fails, grouped by the fault; names and numbers in it do not matter."""
    kinds: dict[str, list[Outcome]] = {}
    for o in outcomes:
        if not o.passes:
            kind = re.sub(r"'[^']*'|-?\d+(\.\d+)?(e[-+]?\d+)?", "~", o.fault)[:120]
            kinds.setdefault(kind, []).append(o)
    lines = []
    for kind, of in sorted(kinds.items(), key=lambda item: -len(item[1])):
        operators = Counter(o.operator or o.group for o in of)
        of_each = ", ".join(f"{n} {c}" for n, c in operators.most_common())
        lines.append(f"\n{len(of)} x {kind}\n  ({of_each})")
        lines += [f"    {o.case}{' (training)' * o.trains}: {o.fault[:300]}" for o in of]
    return "\n".join(lines)


def write(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Put the tables between the marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    text = f"{before}{MARKS[0]}\n{report(outcomes)}\n{MARKS[1]}{after}"
    page.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.conformance", description=__doc__)
    parser.add_argument("--only", help="a regular expression of names of cases")
    parser.add_argument("--write", type=Path, help="the page whose tables are brought up to date")
    parser.add_argument("--failures", type=Path, help="the file for what fails, by kind")
    arguments = parser.parse_args()
    cases = all_cases()
    if arguments.only:
        cases = [c for c in cases if re.search(arguments.only, c.name)]
    start = time.perf_counter()
    outcomes = run(cases)
    print(report(outcomes))
    print(f"\n{len(cases)} cases in {time.perf_counter() - start:.0f} s")
    if arguments.failures is None:
        print(failures(outcomes))
    else:
        arguments.failures.write_text(failures(outcomes) + "\n", encoding="utf-8")
    if arguments.write is not None:
        write(arguments.write, outcomes)


if __name__ == "__main__":
    main()
