"""Attributes of an op in the spec of its kernel, and back.

A placed graph is channels-last, so specs leave out the attribute that says so: kernels of one
computation then have one spec.  `attrs_of_op` puts it back for the functions of an op.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.backends.base import KernelSpec
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.op import Attr, Attrs
from camshaft.ir.types import TensorType
from camshaft.ops import OPS_BY_NAME

_IMPLIED: Attrs = {"layout": "NHWC"}


def attrs_of_spec(attrs: Attrs) -> tuple[tuple[str, Attr], ...]:
    """What a kernel spec holds of a node's attributes, in order of their names."""
    return tuple((k, v) for k, v in sorted(attrs.items()) if k not in _IMPLIED)


def attrs_of_op(spec: KernelSpec) -> dict[str, Attr]:
    """All attributes of the spec's op."""
    op = OPS_BY_NAME[spec.op]
    implied = {k: v for k, v in _IMPLIED.items() if k in op.attributes}
    return op.complete({**dict(spec.attrs), **implied})


def valid_integers(spec: KernelSpec) -> dict[int, tuple[int, int]]:
    """Operand index -> the least and the greatest integer it may hold (see `OpDef.integers`), for a
    spec whose extents are ints."""
    types = [TensorType(o.dtype, o.shape) for o in spec.inputs]
    valid = OPS_BY_NAME[spec.op].integers(types, attrs_of_op(spec))
    numbers = {
        i: fixed(between, f"the integers valid in operand {i}") for i, between in valid.items()
    }
    return {i: (low, high) for i, (low, high) in numbers.items()}


def sample_operands(spec: KernelSpec, rng: np.random.Generator) -> Sequence[np.ndarray]:
    """Arrays of operands to try kernels on (see `OpDef.samples`), for a spec whose extents are ints; none where random ones
    do."""
    types = [TensorType(o.dtype, o.shape) for o in spec.inputs]
    return OPS_BY_NAME[spec.op].samples(types, attrs_of_op(spec), rng)
