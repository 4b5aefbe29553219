"""A product with weights of few bits in numbers, and the packed form of the weights.

Weights are packed for vectors of columns, not for rows: a panel of `width` columns is one stream of
bytes, block after block, and of a block first its weights, then the columns' scales, then their zero
points.  A 32-bit lane holds neighbouring weights of one column.  Of 4 bits, byte i of a lane holds
weight i in its low and weight i + 4 in its high half, so that each half is what a dot product of
bytes takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.matmul.problem import MatmulProblem
from camshaft.backends.cpu.pointwise.support import printable
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.extents.sizes import fixed_extent, is_static, typical
from camshaft.ir.few_bits import unpacked
from camshaft.ir.types import DType, f32

ANCHORS = 4
_LANE_BITS = 32
_FEW_ROWS = 8


@dataclass(frozen=True)
class NbitsProblem:
    """product: rows of x, epilogue and output as of a product of floats [K, N].

    n: columns.  block: weights of a column that share a scale, `k` of them in all.
    zero: type of the zero points, None where they are 2**(bits - 1) throughout.
    """

    product: MatmulProblem
    n: int
    k: int
    bits: int
    block: int
    int8: bool
    scale: DType
    zero: DType | None

    @staticmethod
    def of(spec: KernelSpec) -> NbitsProblem:
        """The numbers of a "matmul_nbits" spec."""
        x, w, scale, zero = spec.inputs[:ANCHORS]
        n = fixed_extent(w.shape[0], "N of packed weights")
        k = fixed_extent(x.shape[-1], "K of packed weights")
        floats = Operand.dense(f32, (k, n), const=True)
        plain = replace(spec, op="matmul", inputs=(x, floats, *spec.inputs[ANCHORS:]))
        return NbitsProblem(
            product=MatmulProblem.of(plain),
            n=n,
            k=k,
            bits=int_attr(spec, "bits"),
            block=min(int_attr(spec, "block"), k),
            int8=bool(spec.attr("int8")),
            scale=scale.dtype,
            zero=None if zero.shape == (0, 0) else zero.dtype,
        )

    @property
    def per_lane(self) -> int:
        """Weights in a lane."""
        return _LANE_BITS // self.bits

    @property
    def blocks(self) -> int:
        """Blocks of a column; the last one may be short."""
        return -(-self.k // self.block)

    @property
    def whole(self) -> int:
        """Blocks that are not short."""
        return self.k // self.block

    @property
    def streamed(self) -> bool:
        """Whether few rows are multiplied by the weights, which then come from memory."""
        return typical(self.product.m) <= _FEW_ROWS

    @property
    def middle(self) -> int:
        """The zero point of weights without zero points."""
        return 1 << self.bits - 1

    def block_bytes(self, length: int, width: int) -> int:
        """Bytes of a block of `length` weights a column in a panel."""
        tables = self.scale.bytes + (self.zero.bytes if self.zero else 0)
        return width * (4 * -(-length // self.per_lane) + tables)

    def panel_bytes(self, width: int) -> int:
        """Bytes of a panel."""
        short = self.k - self.whole * self.block
        size = self.whole * self.block_bytes(self.block, width)
        return size + (self.block_bytes(short, width) if short else 0)

    def panels(self, width: int) -> int:
        """Panels that cover all columns."""
        return -(-self.n // width)


def is_supported(spec: KernelSpec) -> bool:
    """Whether the tactics have code for the spec."""
    if spec.op != "matmul_nbits" or len(spec.inputs) < ANCHORS:
        return False
    x, *weights = spec.inputs[:ANCHORS]
    if not all(o.const for o in weights) or not is_static((*weights[0].shape, x.shape[-1])):
        return False
    if 0 in (*x.shape, *weights[0].shape) or (x.strides[-1] != 1 and x.shape[-1] != 1):
        return False
    epilogue = expr_attr(spec, "epilogue", E.inp(0))
    return printable(epilogue, [f32, *(o.dtype for o in spec.inputs[ANCHORS:])])


def packed_panels(
    p: NbitsProblem, constants: list[np.ndarray], width: int, *, signed: bool
) -> np.ndarray:
    """Weights, scales and zero points in panels, u8 [panels, bytes].

    constants: w, scale, zero as the op has them.  signed: weights less 2**(bits - 1), as two's
    complement; zero points likewise, where they are floats.  Columns that do not exist are zeros.
    """
    w, scale, zero = constants
    out = np.empty((p.panels(width), p.panel_bytes(width)), np.uint8)
    for panel in range(p.panels(width)):
        columns = slice(panel * width, min(p.n, (panel + 1) * width))
        whole = np.zeros((width, p.k), np.uint8)
        whole[: columns.stop - columns.start] = unpacked(w[columns], p.k, p.bits)
        if signed:
            whole ^= p.middle
        tables = [_padded(scale[columns], width)]
        if p.zero is not None:
            tables.append(_padded(zero[columns], width))
        _write_panel(p, out[panel], whole, tables)
    return out


def _padded(table: np.ndarray, width: int) -> np.ndarray:
    full = np.zeros((width, table.shape[1]), table.dtype)
    full[: len(table)] = table
    return full


def _write_panel(
    p: NbitsProblem, out: np.ndarray, whole: np.ndarray, tables: list[np.ndarray]
) -> None:
    """One panel of columns.  whole: u8 [width, K].  tables: [width, blocks] each."""
    width, start = len(whole), 0
    for first, count, length in ((0, p.whole, p.block), (p.whole, 1, p.k - p.whole * p.block)):
        if not count or not length:
            continue
        size = p.block_bytes(length, width)
        view = out[start : start + count * size].reshape(count, size)
        low = first * p.block
        part = whole[:, low : low + count * length].reshape(width, count, length)
        lanes = -(-length // p.per_lane)
        padded = np.zeros((width, count, lanes, p.per_lane), np.uint8)
        padded.reshape(width, count, -1)[..., :length] = part
        quads: np.ndarray = padded
        if p.bits == 4:
            quads = padded[..., :4] & 15 | padded[..., 4:] << 4
        quads = quads.transpose(1, 2, 0, 3)
        place = lanes * width * 4
        view[:, :place] = quads.reshape(count, -1)
        for table in tables:
            turned = np.ascontiguousarray(table[:, first : first + count].T).view(np.uint8)
            view[:, place : place + turned.shape[1]] = turned
            place += turned.shape[1]
        start += count * size
