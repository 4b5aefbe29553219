"""How one candidate of a matrix product lays out b, and how it multiplies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camshaft.backends.base import Packing, Params
from camshaft.backends.cpu.matmul.problem import MatmulProblem
from camshaft.backends.cpu.products.form import ProductForm
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.types import bf16, f32

ALIGN = 64


@dataclass(frozen=True)
class Layout:
    """Where the kernel finds b and the columns' constants.

    source: "packed" (constant), "direct" (b as it lies), "workspace" (packed by a phase) or "scratch" (a panel at a
        time, packed by the worker that multiplies by it).
    form: how b, as the kernel reads it, is multiplied; `form.w` is what panels hold.
    whole: the number of groups of a panel is rounded up to a multiple of it, by zeros.
    """

    source: str
    rows: int
    cols: int
    lanes: int
    form: ProductForm
    whole: int = 1

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.cols * self.lanes

    @property
    def packing(self) -> Packing:
        """Of constant panels, as a convolution of single pixels calls the same ones."""
        whole = (self.whole,) if self.whole > 1 else ()
        return ("panels", self.width, self.form.group, *whole)

    def depth(self, p: MatmulProblem) -> Extent:
        """Groups of the reduction in a panel."""
        return -(-p.k // (self.form.group * self.whole)) * self.whole

    def panel_elements(self, p: MatmulProblem) -> Extent:
        """Elements of one panel."""
        return self.depth(p) * self.width * self.form.group

    def panel_bytes(self, p: MatmulProblem) -> Extent:
        """Bytes of all panels, rounded up to where the columns' constants start."""
        size = p.matrices * p.panels(self.width) * self.panel_elements(p) * self.form.w.bytes
        return -(-size // ALIGN) * ALIGN


def layout_of(p: MatmulProblem, params: Params, target: CpuTarget) -> Layout:
    """The register tile and the place of b."""
    source, form = _source_and_form(p, target)
    if params.get("packs"):
        source, form = "scratch", ProductForm.plain(p.a_dtype, f32)
    return Layout(source, int(params["rows"]), int(params["cols"]), target.lanes(f32), form)


def _source_and_form(p: MatmulProblem, target: CpuTarget) -> tuple[str, ProductForm]:
    """Halves that a phase packs are widened by it, unless the target multiplies pairs of them."""
    adjacent = p.k == 1 or p.a_steps[-1] == 1
    packed = ProductForm.packed(p.a_dtype, p.b_dtype, adjacent=adjacent)
    if p.b_const:
        return "packed", packed
    pairs = packed.dot and p.b_dtype == bf16 and isinstance(p.k, int) and target.has_bf16
    if p.integer or pairs:
        return "workspace", packed
    if p.b_strides[-1] == 1 or p.n == 1:
        return "direct", ProductForm.plain(p.a_dtype, p.b_dtype)
    return "workspace", ProductForm.plain(p.a_dtype, f32)


def may_pack(p: MatmulProblem, target: CpuTarget) -> bool:
    """Whether workers may pack panels of floats for themselves, which otherwise are read where they lie."""
    return _source_and_form(p, target)[0] == "direct"


def packed_b(p: MatmulProblem, b: np.ndarray, layout: Layout) -> list[np.ndarray]:
    """A constant b in panels; for integers also the constant of every (padded) column, i32."""
    form, width = layout.form, layout.width
    matrices, depth, panels = fixed(
        (p.matrices, layout.depth(p), p.panels(width)), "constant matrices"
    )
    k, n = b.shape[-2:]
    b = np.asarray(b).reshape(matrices, k, n)
    rows = depth * form.group
    wide = np.zeros((matrices, rows, panels * width), np.int16 if p.integer else b.dtype)
    wide[:, :k, :n] = b
    constants: list[np.ndarray] = []
    if p.integer:
        wide[:, :k, :n] += p.shifts[1]
        a_zero, b_zero = p.zeros
        sums = wide.sum(axis=1, dtype=np.int64)
        constants.append((k * a_zero * b_zero - a_zero * sums).astype(np.int32))
        wide = wide.astype(np.int8)
    if form.group == 1:
        view = wide.reshape(matrices, rows, panels, width).transpose(0, 2, 1, 3)
    else:
        grouped = wide.reshape(matrices, depth, form.group, panels, width)
        view = grouped.transpose(0, 3, 1, 4, 2)
    return [np.ascontiguousarray(view), *constants]
