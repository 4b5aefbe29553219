"""Every scalar function on every element type behind every anchor: a tactic that takes the spec has
code for it, on every target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.tactics import TACTICS
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.scalar import BINARY, PREDICATES, UNARY
from camshaft.ir.types import DType, boolean, f32, f64, i64, u8
from kernel_corpus import specs
from targets import each_target

DTYPES = (f32, f64, u8, i64, boolean)


@cache
def anchors() -> dict[str, KernelSpec]:
    """A spec for each op that has an epilogue, and element type of its first input."""
    found: dict[str, KernelSpec] = {}
    for spec in specs().values():
        if "epilogue" in dict(spec.attrs):
            found.setdefault(f"{spec.op} of {spec.inputs[0].dtype.name}", spec)
    return found


def with_function(spec: KernelSpec, function: str, dtype: DType) -> KernelSpec:
    """The spec with `function` of its result, as `dtype`, as its result; some types are cast."""
    (out,) = spec.outputs
    epilogue = spec.attr("epilogue")
    assert isinstance(epilogue, Expr)
    value = E.cast(epilogue, dtype)
    args = [value] * (2 if function in BINARY else 1)
    result = boolean if function in PREDICATES else dtype
    made = E.cast(Expr(function, tuple(args)), result if result != boolean else out.dtype)
    attrs = {**dict(spec.attrs), "epilogue": made}
    output = Operand(result if result != boolean else out.dtype, out.shape, out.strides)
    return KernelSpec(spec.op, spec.inputs, (output,), tuple(sorted(attrs.items())))


PAIRS = tuple(product((*UNARY, *BINARY), DTYPES))
SHARES = 3


def check(anchor: str, target: CpuTarget, pairs: Sequence[tuple[str, DType]]) -> None:
    planned = 0
    for function, dtype in pairs:
        spec = with_function(anchors()[anchor], function, dtype)
        for tactic in TACTICS:
            for candidate in tactic.plan(spec, target, 1)[:1]:
                candidate.emit()
                planned += 1
    assert planned


@each_target
@pytest.mark.parametrize("anchor", anchors())
def test_what_is_planned_can_be_emitted(anchor: str, target: CpuTarget) -> None:
    """A third of all pairs, another one behind the next anchor."""
    first = list(anchors()).index(anchor) % SHARES
    check(anchor, target, PAIRS[first::SHARES])


@pytest.mark.slow
@each_target
@pytest.mark.parametrize("anchor", anchors())
def test_all_that_is_planned_can_be_emitted(anchor: str, target: CpuTarget) -> None:
    check(anchor, target, PAIRS)
