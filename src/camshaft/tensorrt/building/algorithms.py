"""`IAlgorithmSelector`: a script's say in the choice of kernels, and what it is told of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from camshaft.builder.tuning.selection import KernelCandidate, KernelChoice, KernelOperand
from camshaft.errors import BuildError, CamshaftError
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import DataType, TensorFormat
from camshaft.tensorrt.network.params import whole
from camshaft.tensorrt.objects import Result

T = TypeVar("T")
_LINEAR, _INT32 = TensorFormat.LINEAR, DataType.INT32
_KINDS = {
    "f32": DataType.FLOAT,
    "f16": DataType.HALF,
    "bf16": DataType.BF16,
    "i8": DataType.INT8,
    "u8": DataType.UINT8,
    "i32": DataType.INT32,
    "i64": DataType.INT64,
    "bool": DataType.BOOL,
}
_US_IN_MS = 1e3
_BITS = 63
"""Of numbers that stand for kernels: they must fit a signed integer of 64 bits."""


class IAlgorithmIOInfo(Result):
    """An array that a kernel reads or writes."""

    _operand: KernelOperand

    @classmethod
    def _made(cls, operand: KernelOperand) -> IAlgorithmIOInfo:
        made = cls.__new__(cls)
        made._operand = operand
        return made

    @property
    def tensor_format(self) -> TensorFormat:
        """LINEAR; `strides` say where elements lie."""
        return _LINEAR

    @property
    def dtype(self) -> DataType:
        """Type of the elements; INT32 stands for types that DataType lacks."""
        return _KINDS.get(self._operand.dtype, _INT32)

    @property
    def strides(self) -> Dims:
        """Steps between elements along each axis, in elements, at typical sizes."""
        return Dims(self._operand.strides)

    @property
    def vectorized_dim(self) -> int:
        """-1: elements do not come in vectors."""
        return -1

    @property
    def components_per_element(self) -> int:
        """1: elements do not come in vectors."""
        return 1


class IAlgorithmVariant(Result):
    """Which kernel it is: numbers that are the same in every build."""

    _candidate: KernelCandidate

    @classmethod
    def _made(cls, candidate: KernelCandidate) -> IAlgorithmVariant:
        made = cls.__new__(cls)
        made._candidate = candidate
        return made

    @property
    def implementation(self) -> int:
        """Of the kind of kernels."""
        return _number(self._candidate.tactic)

    @property
    def tactic(self) -> int:
        """Of the kernel among its kind."""
        return _number(_identity(self._candidate))


class IAlgorithm(Result):
    """A kernel that a layer may have."""

    _choice: KernelChoice
    _candidate: KernelCandidate

    @classmethod
    def _made(cls, choice: KernelChoice, candidate: KernelCandidate) -> IAlgorithm:
        made = cls.__new__(cls)
        made._choice, made._candidate = choice, candidate
        return made

    @property
    def algorithm_variant(self) -> IAlgorithmVariant:
        """Which kernel it is."""
        return IAlgorithmVariant._made(self._candidate)

    @property
    def timing_msec(self) -> float:
        """Milliseconds; 0 where it is not timed yet."""
        return (self._candidate.time_us or 0.0) / _US_IN_MS

    @property
    def workspace_size(self) -> int:
        """Bytes of scratch memory, at typical sizes."""
        return self._candidate.workspace

    def get_algorithm_io_info(self, index: int) -> IAlgorithmIOInfo:
        """An input, or behind the last of them an output.  IndexError if there is none of this index."""
        return IAlgorithmIOInfo._made(_operand(self._choice, index))


class IAlgorithmContext(Result):
    """A layer, with those that were fused with it."""

    _choice: KernelChoice

    @classmethod
    def _made(cls, choice: KernelChoice) -> IAlgorithmContext:
        made = cls.__new__(cls)
        made._choice = choice
        return made

    @property
    def name(self) -> str:
        """Name of the layer; one that does not compute in FLOAT tells its type: "conv + relu [i8]"."""
        return _name(self._choice)

    @property
    def num_inputs(self) -> int:
        """How many inputs there are, constants apart."""
        return len(self._choice.inputs)

    @property
    def num_outputs(self) -> int:
        """How many outputs there are."""
        return len(self._choice.outputs)

    def get_shape(self, index: int) -> list[Dims]:
        """The least, typical and largest shape of an input, or behind the last of them of an output."""
        return [Dims(shape) for shape in _operand(self._choice, index).shapes]


class IAlgorithmSelector:
    """Base of selectors: which kernels a layer may have, and what each got."""

    def select_algorithms(
        self, context: IAlgorithmContext, choices: Sequence[IAlgorithm]
    ) -> list[int]:
        """Indices of the choices that a layer may have: the fastest of them is taken; none: of all, unless
        BuilderFlag.REJECT_EMPTY_ALGORITHMS is set.  Asked of every layer in each type that a build tries."""
        raise NotImplementedError(f"{type(self).__name__} must override select_algorithms")

    def report_algorithms(
        self, contexts: Sequence[IAlgorithmContext], choices: Sequence[IAlgorithm]
    ) -> None:
        """The kernel of each layer of the engine."""
        raise NotImplementedError(f"{type(self).__name__} must override report_algorithms")


@dataclass
class Selecting:
    """A script's selector as camshaft asks it.

    rejects_empty: whether it must leave a layer one kernel at least.
    """

    theirs: IAlgorithmSelector
    rejects_empty: bool

    def __post_init__(self) -> None:
        self._seen: dict[tuple[str, str], KernelChoice] = {}

    def __call__(self, choice: KernelChoice) -> list[int]:
        """As `BuildConfig.select_kernels`.  BuildError for what the script raises, and for what are no indices."""
        for candidate in choice.candidates:
            self._seen[_name(choice), _identity(candidate)] = choice
        context = IAlgorithmContext._made(choice)
        algorithms = [IAlgorithm._made(choice, c) for c in choice.candidates]
        given = self._asked("select_algorithms", lambda: self.theirs.select_algorithms(context, algorithms))  # fmt: skip
        try:
            indices = [whole(i, "an index") for i in given]
        except TypeError as error:
            raise BuildError(f"{self._method('select_algorithms')} gave {given!r} for layer {context.name!r}; give a list of indices") from error  # fmt: skip
        if not indices and self.rejects_empty:
            raise BuildError(
                f"{self._method('select_algorithms')} leaves layer {context.name!r} no kernel, and "
                "BuilderFlag.REJECT_EMPTY_ALGORITHMS is set"
            )
        return indices or [*range(len(algorithms))]

    def report(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Tell the script which kernels an engine has.  steps: as `Engine.inspect` lists them."""
        contexts, algorithms = [], []
        for step in steps:
            if step["kind"] != "kernel" or not step["typical"]:
                continue
            timed = KernelCandidate(step["tactic"], step["params"], 0, step["time_us"])
            name = _shown(step["name"], step["precision"])
            choice = self._seen.get((name, _identity(timed)))
            if choice is None:
                continue  # a kernel that the builder put in place of one that was chosen
            offered = next(c for c in choice.candidates if _identity(c) == _identity(timed))
            candidate = KernelCandidate(
                timed.tactic, timed.params, offered.workspace, timed.time_us
            )
            contexts.append(IAlgorithmContext._made(choice))
            algorithms.append(IAlgorithm._made(choice, candidate))
        self._asked(
            "report_algorithms", lambda: self.theirs.report_algorithms(contexts, algorithms)
        )

    def _method(self, name: str) -> str:
        return f"{type(self.theirs).__name__}.{name}"

    def _asked(self, method: str, call: Callable[[], T]) -> T:
        """What a method of the script's answers; BuildError for what it raises."""
        try:
            return call()
        except CamshaftError:
            raise
        except Exception as error:  # whatever a script does
            raise BuildError(f"{self._method(method)} raised {type(error).__name__}: {error}") from error  # fmt: skip


def _operand(choice: KernelChoice, index: int) -> KernelOperand:
    every = (*choice.inputs, *choice.outputs)
    if not 0 <= whole(index, "index") < len(every):
        raise IndexError(
            f"index={index}: layer {choice.name!r} has {len(every)} inputs and outputs"
        )
    return every[index]


def _name(choice: KernelChoice) -> str:
    return _shown(choice.name, choice.precision)


def _shown(name: str, precision: str) -> str:
    return name if precision == "f32" else f"{name} [{precision}]"


def _identity(candidate: KernelCandidate) -> str:
    return f"{candidate.tactic} {json.dumps(dict(candidate.params), sort_keys=True, default=str)}"


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> (64 - _BITS)
