"""Algorithm selectors: what kernels a build has to choose from for each layer, and what it chose.

A layer is what the engine has as one step, of one precision; an algorithm is a kernel for it, with its parameters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from camshaft.backends.base import KernelSpec, Operand
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.contest import Offer
from camshaft.builder.tuning.timing_cache import Record
from camshaft.errors import BuildError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.sizes import typical
from camshaft.runtime.engine import Engine
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType, TensorFormat
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.network.params import whole
from camshaft.tensorrt.objects import Result
from camshaft.tensorrt.running.ends import kind_of

_OPEN = (1 << 31) - 1
"""Stands for the most of a size that has no bound."""
_LINEAR = TensorFormat.LINEAR


class IAlgorithmIOInfo(Result):
    """How an input or output of an algorithm lies in memory."""

    _operand: Operand

    @classmethod
    def _made(cls, operand: Operand) -> IAlgorithmIOInfo:
        made = cls.__new__(cls)
        made._operand = operand
        return made

    @property
    def tensor_format(self) -> TensorFormat:
        """LINEAR: strides say how it lies."""
        return _LINEAR

    @property
    def dtype(self) -> DataType:
        """Type of the elements; of those that TensorRT lacks that of their bytes."""
        return kind_of(self._operand.dtype)

    @property
    def strides(self) -> Dims:
        """Elements from one index to the next along each axis, of typical sizes."""
        return Dims([typical(stride) for stride in self._operand.strides])

    @property
    def vectorized_dim(self) -> int:
        """-1: there is none."""
        return -1

    @property
    def components_per_element(self) -> int:
        """1."""
        return 1


class IAlgorithmVariant(Result):
    """Which kernel it is."""

    _record: Record

    @classmethod
    def _made(cls, record: Record) -> IAlgorithmVariant:
        made = cls.__new__(cls)
        made._record = record
        return made

    @property
    def implementation(self) -> int:
        """63 bits that name the tactic."""
        return _number(self._record.tactic)

    @property
    def tactic(self) -> int:
        """63 bits that name the tactic's parameters."""
        return _number(self._record.id)


class IAlgorithm(Result):
    """A kernel for a layer."""

    _spec: KernelSpec
    _record: Record
    _workspace: int

    @classmethod
    def _made(cls, spec: KernelSpec, record: Record, workspace: int) -> IAlgorithm:
        made = cls.__new__(cls)
        made._spec, made._record, made._workspace = spec, record, workspace
        return made

    def get_algorithm_io_info(self, index: int) -> IAlgorithmIOInfo | None:
        """Of an input, or behind them of an output; None: there is none."""
        operands, at = _operands(self._spec), whole(index, "index")
        return IAlgorithmIOInfo._made(operands[at]) if 0 <= at < len(operands) else None

    @property
    def algorithm_variant(self) -> IAlgorithmVariant:
        """Which kernel it is."""
        return IAlgorithmVariant._made(self._record)

    @property
    def timing_msec(self) -> float:
        """Milliseconds of a run; 0 where it is not timed, as before it is chosen."""
        return self._record.time_us / 1000

    @property
    def workspace_size(self) -> int:
        """Bytes of scratch memory, of typical sizes."""
        return self._workspace


class IAlgorithmContext(Result):
    """A layer."""

    _name: str
    _spec: KernelSpec

    @classmethod
    def _made(cls, name: str, spec: KernelSpec) -> IAlgorithmContext:
        made = cls.__new__(cls)
        made._name, made._spec = name, spec
        return made

    @property
    def name(self) -> str:
        """Name of the step, made of those of the network's layers in it."""
        return self._name

    def get_shape(self, index: int) -> list[Dims]:
        """The least, typical and most shape of an input, or behind them of an output; none, if there is no such.

        As kernels see it: there may be axes of extent 1 more than in the network, and channels may lie last."""
        operands, at = _operands(self._spec), whole(index, "index")
        if not 0 <= at < len(operands):
            return []
        extents = operands[at].shape
        return [
            Dims([int(bounds(e)[0]) for e in extents]),
            Dims([typical(e) for e in extents]),
            Dims([int(min(bounds(e)[1], _OPEN)) for e in extents]),
        ]

    @property
    def num_inputs(self) -> int:
        """Inputs, weights included."""
        return len(self._spec.inputs)

    @property
    def num_outputs(self) -> int:
        """Outputs."""
        return len(self._spec.outputs)


class IAlgorithmSelector:
    """Base of selectors."""

    def select_algorithms(
        self, context: IAlgorithmContext, choices: Sequence[IAlgorithm]
    ) -> list[int]:
        """Indices of the choices that a layer may have, of which the fastest is taken; none: all."""
        raise NotImplementedError(f"{type(self).__name__} must override select_algorithms")

    def report_algorithms(
        self, contexts: Sequence[IAlgorithmContext], choices: Sequence[IAlgorithm]
    ) -> None:
        """What was chosen for each layer."""
        raise NotImplementedError(f"{type(self).__name__} must override report_algorithms")


@dataclass(frozen=True)
class _Seen:
    """A kernel that a layer was offered."""

    spec: KernelSpec
    workspace: int


class Selection:
    """A script's selector as builds ask it."""

    def __init__(
        self, theirs: IAlgorithmSelector, threads: int, rejects_empty: bool, reports: Reports
    ) -> None:
        """threads: that kernels are for.  rejects_empty: whether to choose nothing for a layer is an error."""
        self._theirs, self._threads = theirs, threads
        self._rejects_empty, self._reports = rejects_empty, reports
        self._seen: dict[tuple[str, str, str], _Seen] = {}

    def select(self, task: Task, offers: Sequence[Offer]) -> Sequence[Offer]:
        """As `builder.tuning.tuner.Select`.  BuildError for indices that are none, and for what the selector raises."""
        spec = task.spec
        assert spec is not None
        sizes = [typical(o.candidate.workspace(self._threads)) for o in offers]
        choices = [IAlgorithm._made(spec, o.record(0.0), n) for o, n in zip(offers, sizes, strict=True)]  # fmt: skip
        chosen = self._asked(
            "select_algorithms",
            lambda: [
                whole(i, "index")
                for i in self._theirs.select_algorithms(
                    IAlgorithmContext._made(task.name, spec), choices
                )
            ],
        )
        if not all(0 <= i < len(offers) for i in chosen):
            raise BuildError(
                f"{self._name}.select_algorithms gave {chosen} for layer {task.name!r}, which has {len(offers)} choices"
            )
        if not chosen and self._rejects_empty:
            raise BuildError(
                f"{self._name}.select_algorithms chose nothing for layer {task.name!r}; clear BuilderFlag.REJECT_EMPTY_ALGORITHMS"
            )
        for offer, workspace in zip(offers, sizes, strict=True):
            self._seen[task.name, task.precision, offer.id] = _Seen(spec, workspace)
        return [offers[i] for i in sorted(set(chosen))] or offers

    def report(self, engine: Engine) -> None:
        """Tell the selector of the steps whose kernels it could choose.  BuildError for what it raises."""
        contexts, choices = [], []
        for note in engine.notes:
            record = Record(note.tactic, note.params, note.time_us)
            seen = self._seen.get((note.name, note.precision, record.id))
            if seen is not None:
                contexts.append(IAlgorithmContext._made(note.name, seen.spec))
                choices.append(IAlgorithm._made(seen.spec, record, seen.workspace))
        self._asked("report_algorithms", lambda: self._theirs.report_algorithms(contexts, choices))

    @property
    def _name(self) -> str:
        return type(self._theirs).__name__

    def _asked(self, method: str, call: Any) -> Any:
        try:
            return call()
        except Exception as error:  # whatever a script does
            raise BuildError(
                f"{self._name}.{method} raised {type(error).__name__}: {error}"
            ) from error


def _operands(spec: KernelSpec) -> tuple[Operand, ...]:
    return (*spec.inputs, *spec.outputs)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1
