"""A trial: one spec's operands, its reference result, and candidates run and timed on them.

A candidate is first run and checked on the weights that the task has (`Trial.prepare`, `Trial.check`). What is timed
(`Trial.timed`) is the kernel repeated on *different copies of its weights*: in a net, weights come from
beyond the L2 cache while activations were just written, and repeating on one copy would time something
that never happens. All candidates read the same copies (`spare.SpareWeights`), whose values don't matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from camshaft.backends.base import Candidate, Kernel, KernelSpec, Operand, Params
from camshaft.builder.spec_attrs import sample_operands, valid_integers
from camshaft.builder.tuning.bound_candidate import BoundCandidate, Operands
from camshaft.builder.tuning.reference import Reference, references
from camshaft.builder.tuning.spare import PackedForm, SpareWeights
from camshaft.builder.tuning.values import random_values
from camshaft.errors import BuildError, ModelError
from camshaft.ir.extents.sizes import evaluate, fixed, fixed_extent, typical_sizes
from camshaft.ir.strides import span
from camshaft.ops import OPS_BY_NAME, PLUGIN
from camshaft.runtime.file.manifest import Fingerprint

BEYOND_L2 = 4 << 20
"""Bytes of weights after which earlier ones have left any L2 cache."""
MOST_COPIES = 64
LONGEST_RUN_US = 3000.0
MOST_ACCEPTED = 3
"""Right results that are kept, to compare others with."""
POISON = 0xCD


class Trial(Operands):
    """Operands of one spec and the reference's answer on them."""

    def __init__(
        self,
        spec: KernelSpec,
        constants: Sequence[np.ndarray],
        threads: int,
        fingerprint: Fingerprint,
        spread: int = BEYOND_L2,
        expected_us: float = 0.0,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """constants: the constant operands as some task really has them, in operand order.

        spread: bytes of other weights that a net reads before it comes back to the same ones.
        expected_us: about how long one kernel runs; bounds how often it is repeated.
        sizes: of the spec's symbols (default: the typical ones).
        """
        self.sizes = typical_sizes(spec.symbols) if sizes is None else dict(sizes)
        spec = spec.at(self.sizes)
        self.spec, self.constants, self.threads = spec, list(constants), threads
        self.fingerprint = fingerprint
        self.spread = spread
        self.most_copies = MOST_COPIES
        if expected_us:
            self.most_copies = max(2, min(MOST_COPIES, int(LONGEST_RUN_US / expected_us)))
        self.feeds = _feeds(spec)
        self.results = {
            f"y{i}": np.empty(_elements(o), o.dtype.numpy) for i, o in enumerate(spec.outputs)
        }
        self._accepted: list[list[np.ndarray]] = []

    @cached_property
    def expected(self) -> list[Reference]:
        """What the reference makes of the operands, and what else is right."""
        rest = iter(self.constants)
        operands = [
            next(rest) if o.const else _view(self.feeds[f"x{i}"], o)
            for i, o in enumerate(self.spec.inputs)
        ]
        try:
            return references(self.spec, operands)
        except ModelError as error:
            if self.spec.op != PLUGIN.name:
                raise
            raise BuildError(
                f"{error}; this was on operands on which its kernels are tried: `samples` or `integers` of the plugin say others"
            ) from error

    def forget_expected(self) -> None:
        """Release what only checks need."""
        self.__dict__.pop("expected", None)
        self._accepted = []

    def prepare(self, candidate: Candidate, kernel: Kernel) -> tuple[BoundCandidate, PackedForm]:
        """A candidate ready to run once on the task's own weights, and the form of these."""
        packed = list(candidate.prepack(self.constants))
        runner = self.bind(kernel, self._room(candidate), [packed], kernel.expansions)
        return runner, PackedForm.of(packed, kernel)

    def timed(
        self, candidate: Candidate, kernel: Kernel, form: PackedForm, spare: SpareWeights
    ) -> BoundCandidate:
        """A candidate ready to be timed, whose packed constants are of this form."""
        copies = 1
        if form.nbytes:
            copies = min(self.most_copies, max(1, -(-self.spread // form.nbytes)))
        return self.bind(kernel, self._room(candidate), spare.copies(form, copies))

    def _room(self, candidate: Candidate) -> int:
        return evaluate(candidate.workspace(self.threads), self.sizes)

    def check(self, runner: BoundCandidate) -> str:
        """Empty if the candidate's outputs are right, else what is wrong with them.

        A result that equals one that was right is right.
        """
        for a in self.results.values():
            a.view(np.uint8).fill(POISON)
        runner.run()
        found = [_view(self.results[f"y{i}"], o) for i, o in enumerate(self.spec.outputs)]
        if any(all(map(np.array_equal, found, known)) for known in self._accepted):
            return ""
        for i, (got, want) in enumerate(zip(found, self.expected, strict=True)):
            problem = want.check(got)
            if problem:
                return f"output {i}: {problem}"
        if len(self._accepted) < MOST_ACCEPTED:
            self._accepted.append([got.copy() for got in found])
        return ""


def _feeds(spec: KernelSpec) -> dict[str, np.ndarray]:
    """The memory of each operand that is not constant, by name."""
    rng, varying = np.random.default_rng(0), [i for i, o in enumerate(spec.inputs) if not o.const]
    samples = sample_operands(spec, rng)
    if samples:
        return {f"x{i}": _laid_out(samples[i], spec.inputs[i]) for i in varying}
    valid, ascending = valid_integers(spec), OPS_BY_NAME[spec.op].ascending
    return {
        f"x{i}": _ascending(o, valid[i])
        if i in ascending
        else random_values(o.dtype, _elements(o), rng, valid.get(i))
        for i, o in ((i, spec.inputs[i]) for i in varying)
    }


def _laid_out(array: np.ndarray, operand: Operand) -> np.ndarray:
    """Memory that holds an operand of these elements."""
    memory = np.zeros(_elements(operand), operand.dtype.numpy)
    _view(memory, operand)[...] = array
    return memory


def _ascending(operand: Operand, valid: tuple[int, int]) -> np.ndarray:
    """Integers in equal steps from the least valid one to the greatest."""
    values = np.linspace(*valid, _elements(operand)).round()
    return values.astype(operand.dtype.numpy)


def _elements(operand: Operand) -> int:
    """Elements of the memory that holds an operand without symbols."""
    return fixed_extent(span(operand.shape, operand.strides), "the size of an operand")


def _view(memory: np.ndarray, operand: Operand) -> np.ndarray:
    shape = fixed(operand.shape, "the shape of an operand")
    strides = fixed(operand.strides, "the strides of an operand")
    return np.lib.stride_tricks.as_strided(memory, shape, [s * memory.itemsize for s in strides])


def failed(spec: KernelSpec, tactic: str, params: Params, problem: str) -> BuildError:
    """The error for a kernel that computes the wrong thing (a fault of camshaft, or of a plugin)."""
    if spec.op == PLUGIN.name:
        return BuildError(
            f"kernel {params['kernel']!r} of plugin {spec.attr('plugin')!r} computes something else than its reference "
            f"for {spec.key()}: {problem}; mend it, or say its tolerance"
        )
    return BuildError(
        f"tactic {tactic} {dict(params)} computes a wrong result for {spec.key()}: {problem}; "
        "please report this with the model"
    )
