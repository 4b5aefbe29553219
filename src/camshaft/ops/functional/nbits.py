"""Linear layers whose constant weights are integers of few bits, which stay packed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.few_bits import packed, packed_width, unpacked
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.functional.core import constant, emit, require_same
from camshaft.ops.functional.movement.shape import reshape
from camshaft.ops.functional.movement.slicing import take
from camshaft.ops.nbits import MATMUL_NBITS

_NO_ZEROS = np.zeros((0, 0), np.uint8)


@dataclass(frozen=True)
class NbitsMatrix:
    """A matrix [N, k] of integers of `bits` bits; what each block of a row stands for is
    (integer - zero) * scale.

    w: u8 [N, k * bits / 8].  scale: f32, f16 or bf16 [N, blocks].  zero: u8 or f32 [N, blocks], or [0, 0],
    which stands for 2**(bits - 1).  order: the column of x that each column is multiplied by; None:
    its own.
    """

    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    k: int
    bits: int
    block: int
    order: np.ndarray | None = None

    @staticmethod
    def of(
        w: np.ndarray,
        scale: np.ndarray,
        zero: np.ndarray | None,
        k: int,
        *,
        bits: int,
        block: int,
        order: np.ndarray | None = None,
    ) -> NbitsMatrix:
        """The matrix with its tables in the smallest form that holds their values.

        w: packed rows of 2, 4 or 8 bits; those of 2 become 4.  zero: [N, blocks] of integers or floats;
        2**(bits - 1) where None.
        """
        middle = float(1 << bits - 1)
        if bits == 2:
            if zero is None:
                zero = np.full(scale.shape, middle, np.float32)
            w, bits = packed(_quarters(w, k), 4), 4
            middle = float(1 << bits - 1)
        rows = np.ascontiguousarray(w[:, : packed_width(k, bits)])
        scales, zeros = _frozen(_narrow_scale(scale)), _frozen(_narrow_zero(zero, middle))
        return NbitsMatrix(_frozen(rows), scales, zeros, k, bits, min(block, k), order)

    @staticmethod
    def of_integers(
        whole: np.ndarray, scale: np.ndarray, zero: np.ndarray, block: int
    ) -> NbitsMatrix:
        """The matrix of bytes [N, k], signed or unsigned; of 4 bits where all fit, else of 8.

        scale, zero: [N, blocks].
        """
        low, high = int(whole.min(initial=0)), int(whole.max(initial=0))
        signed = whole.dtype == np.int8
        bits = 4 if (low >= -8 and high <= 7) or (not signed and high <= 15) else 8
        middle = 1 << bits - 1 if signed else 0
        stored = (whole.view(np.uint8) + np.uint8(middle)) if signed else whole
        zeros = zero.astype(np.float32) + np.float32(middle)
        k = whole.shape[1]
        return NbitsMatrix.of(packed(stored, bits), scale, zeros, k, bits=bits, block=block)

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.w)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _quarters(w: np.ndarray, k: int) -> np.ndarray:
    """Integers of 2 bits, u8 [N, k], lowest bits first."""
    parts = np.stack([w >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1)
    return parts.reshape(len(w), -1)[:, :k]


def _narrow_scale(scale: np.ndarray) -> np.ndarray:
    """As f16, where that holds every value."""
    if scale.dtype != np.float32:
        return np.array(scale)
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), scale) else np.array(scale)


def _narrow_zero(zero: np.ndarray | None, middle: float) -> np.ndarray:
    """Nothing where all are `middle`, bytes where they are whole numbers, else f32."""
    if zero is None or (zero.size and np.all(zero == middle)):
        return np.array(_NO_ZEROS)
    wide = zero.astype(np.float32)
    if np.all((wide >= 0) & (wide <= 255) & (wide == np.floor(wide))):
        return wide.astype(np.uint8)
    return wide


def by_groups(
    w: np.ndarray, k: int, groups: np.ndarray, *, bits: int, block: int
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Packed rows with the columns of each group side by side, and the order of columns that makes
    them so (None: as they are); None if groups have other sizes than blocks.

    groups: [k], the group of each column.
    """
    blocks = np.arange(k) // block
    if np.array_equal(groups, blocks):
        return w, None
    order = np.argsort(groups, kind="stable")
    if not np.array_equal(groups[order], blocks):
        return None
    if bits == 2:
        return None
    return packed(unpacked(w, k, bits)[:, order], bits), order.astype(np.int64)


def linear_nbits(
    builder: GraphBuilder,
    x: Tensor,
    matrix: NbitsMatrix,
    bias: Tensor | None = None,
    *,
    int8: bool = False,
    output: str | None = None,
) -> Tensor:
    """x f32 [..., K] times the transposed matrix [N, K], plus bias [N]: [..., N].

    int8: whether activations may be quantized to 8 bits, each block of a row by its own magnitude.
    """
    if not x.type.rank:
        raise ModelError(f"input {x.type} must not be a scalar")
    misfit = f"rows of {x.type} are not multiplied by {matrix.k} packed weights"
    require_same(builder, x.shape[-1], matrix.k, misfit)
    rows = reshape(builder, x, (1, matrix.k)) if x.type.rank == 1 else x
    if matrix.order is not None:
        rows = take(builder, rows, constant(builder, matrix.order, "order"), -1)
    tables = {"weights": matrix.w, "scales": matrix.scale, "zero points": matrix.zero}
    operands = [rows, *(constant(builder, a, what) for what, a in tables.items())]
    attrs: dict[str, object] = {"bits": matrix.bits, "block": matrix.block, "int8": int8}
    if bias is not None:
        wrong = f"bias {bias.type} has not one value for each of {matrix.n} rows"
        if bias.type.rank != 1:
            raise ModelError(wrong)
        require_same(builder, bias.shape[0], matrix.n, wrong)
        operands.append(bias)
        attrs["epilogue"] = E.add(E.inp(0), E.inp(1))
    held = None if x.type.rank == 1 else output
    y = emit(builder, MATMUL_NBITS, operands, attrs, held)
    return reshape(builder, y, (matrix.n,), output=output) if x.type.rank == 1 else y
