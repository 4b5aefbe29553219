"""A convolution as its tactics see it: extents, strides and windows taken out of the spec.

`ConvProblem.of` reads a "conv" spec (see `direct` for its operands) and merges pixel axes
where nothing distinguishes them: a 1x1 convolution without stride or padding works on one long row
of pixels, so that its tiles never end at the end of an image row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.products.form import ProductForm
from camshaft.errors import BuildError
from camshaft.ir.attrs import expr_attr, int_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent, known_different
from camshaft.ir.extents.sizes import fixed, fixed_extent, typical
from camshaft.ir.types import DType, Shape

STATIC_ELEMENTS = 48
"""Largest filter row (columns x channels) whose products are all written out."""


@dataclass(frozen=True)
class ConvProblem:
    """Extents, element strides and windows of one convolution.

    n, h, w: input images and extents; oh, ow: output extents; all of these may be symbolic.  groups
    of c input and k output channels each (all channels: groups * c, groups * k).  r, s: filter extents.
    stride, dilation: (rows, columns).  pad: (top, left), pad_end: (bottom, right).
    x_strides: element strides of x for (image, row, column, channel).
    x_dtype, w_dtype: element types of images and filters.
    zero_point: what a u8 input means by 0.
    output, operands: the output and the epilogue operands with the same merged pixel axes.
    """

    n: Extent
    h: Extent
    w: Extent
    oh: Extent
    ow: Extent
    groups: int
    c: int
    k: int
    r: int
    s: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    pad_end: tuple[int, int]
    x_strides: tuple[Extent, Extent, Extent, Extent]
    x_dtype: DType
    w_dtype: DType
    zero_point: int
    epilogue: Expr
    output: Operand
    operands: tuple[Operand, ...]

    @staticmethod
    def of(spec: KernelSpec) -> ConvProblem:
        """Read a "conv" spec; BuildError when its parts do not fit together."""
        x, w, *operands = spec.inputs
        y = spec.outputs[0]
        groups = int_attr(spec, "groups")
        top, left, bottom, right = pads = _counted(spec, "pads", 4)
        sh, sw = _counted(spec, "strides", 2)
        dh, dw = _counted(spec, "dilations", 2)
        n, h, width, channels = x.shape
        image, row, column, channel = x.strides
        k, r, s, c = fixed(w.shape, "the shape of filters")
        _, oh, ow, _ = y.shape
        expected = (
            n,
            (h + pads[0] + pads[2] - (r - 1) * dh - 1) // sh + 1,
            (width + pads[1] + pads[3] - (s - 1) * dw - 1) // sw + 1,
            k,
        )
        pairs = [*zip(y.shape, expected, strict=True), (channels, c * groups)]
        if any(known_different(a, b) for a, b in pairs) or k % groups:
            raise BuildError(
                f"convolution of {x} with {w}, groups {groups}, pads {pads}, strides {(sh, sw)}, "
                f"dilations {(dh, dw)} gives {list(expected)}, not {y}"
            )
        problem = ConvProblem(
            n=n,
            h=h,
            w=width,
            oh=oh,
            ow=ow,
            groups=groups,
            c=c,
            k=k // groups,
            r=r,
            s=s,
            stride=(sh, sw),
            dilation=(dh, dw),
            pad=(top, left),
            pad_end=(bottom, right),
            x_strides=(image, row, column, channel),
            x_dtype=x.dtype,
            w_dtype=w.dtype,
            zero_point=int_attr(spec, "x_zero_point"),
            epilogue=expr_attr(spec, "epilogue"),
            output=y,
            operands=tuple(_ranked(o) for o in operands),
        )
        return problem._merged()

    # --- windows --------------------------------------------------------------------------

    def column(self, ow: int, tap: int) -> int:
        """Input column under filter column `tap` of output column `ow` (may be outside)."""
        return ow * self.stride[1] - self.pad[1] + tap * self.dilation[1]

    def has_column(self, ow: int, tap: int) -> bool:
        """Whether that column lies in the image."""
        return 0 <= self.column(ow, tap) < self.w

    @property
    def rows(self) -> int:
        """Output rows, where their number is fixed."""
        return fixed_extent(self.oh, "the height of a convolution")

    @property
    def columns(self) -> int:
        """Output columns, where their number is fixed."""
        return fixed_extent(self.ow, "the width of a convolution")

    def rows_of(self, oh: int) -> tuple[int, int]:
        """First and one past the last filter row inside the image for output row `oh`."""
        return self._clip(oh, self.stride[0], self.pad[0], self.dilation[0], self.r, self.h)

    def columns_of(self, ow: int) -> tuple[int, int]:
        """First and one past the last filter column inside the image for output column `ow`."""
        return self._clip(ow, self.stride[1], self.pad[1], self.dilation[1], self.s, self.w)

    @staticmethod
    def _clip(
        o: int, stride: int, pad: int, dilation: int, taps: int, extent: Extent
    ) -> tuple[int, int]:
        inside = [t for t in range(taps) if 0 <= o * stride - pad + t * dilation < extent]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    @property
    def has_open_rows(self) -> bool:
        """Whether the height, of the image and so of the result, is symbolic."""
        return not isinstance(self.h, int)

    @property
    def has_open_columns(self) -> bool:
        """Whether the width is symbolic."""
        return not isinstance(self.w, int)

    @property
    def typical(self) -> SizedConvProblem:
        """The same at typical sizes, for cost models."""
        image, row, column, channel = (typical(s) for s in self.x_strides)
        parts = {f.name: getattr(self, f.name) for f in fields(ConvProblem)}
        parts |= {name: typical(parts[name]) for name in ("n", "h", "w", "oh", "ow")}
        return SizedConvProblem(**{**parts, "x_strides": (image, row, column, channel)})

    @property
    def clips_rows(self) -> bool:
        """Whether some output row has filter rows outside the image (may have, at open heights)."""
        if self.has_open_rows:
            return self.pad[0] > 0 or self.pad_end[0] > 0
        return any(self.rows_of(oh) != (0, self.r) for oh in range(self.rows))

    @property
    def is_int8(self) -> bool:
        """u8 inputs and s8 weights, i32 sums (else floats and f32 sums)."""
        return self.x_dtype.is_int

    @property
    def has_few_channels(self) -> bool:
        """Whether a filter row has so few elements that its products may all be written out."""
        return self.c <= 4 and self.s * self.c <= STATIC_ELEMENTS

    @property
    def form(self) -> ProductForm:
        """How a step of the reduction multiplies; floats of few channels are taken one by one."""
        if not self.is_int8 and self.has_few_channels:
            return ProductForm.plain(self.x_dtype, self.w_dtype)
        adjacent = self.c == 1 or self.x_strides[3] == 1
        return ProductForm.packed(self.x_dtype, self.w_dtype, adjacent=adjacent)

    @property
    def reduction(self) -> int:
        """Products per output element."""
        return self.r * self.s * self.c

    # --- merging pixel axes ---------------------------------------------------------------

    def _merged(self) -> ConvProblem:
        is_pointwise = (self.r, self.s, self.stride, self.pad) == (1, 1, (1, 1), (0, 0))
        if not is_pointwise or (self.oh, self.ow) != (self.h, self.w):
            return self
        arrays = [self.x_strides, self.output.strides, *(o.strides for o in self.operands)]
        problem = self
        if all(_mergeable(self.h, a[1], self.w, a[2]) for a in arrays):
            arrays = [(a[0], 0, a[1] if self.w == 1 else a[2], a[3]) for a in arrays]
            pixels = self.h * self.w
            problem = problem._with_rows(self.n, 1, pixels)
            if all(_mergeable(self.n, a[0], pixels, a[2]) for a in arrays):
                arrays = [(0, 0, a[0] if pixels == 1 else a[2], a[3]) for a in arrays]
                problem = problem._with_rows(1, 1, self.n * pixels)
        image, row, column, channel = arrays[0]
        return replace(
            problem,
            x_strides=(image, row, column, channel),
            output=_reshaped(self.output, problem, arrays[1]),
            operands=tuple(
                _reshaped(o, problem, a) for o, a in zip(self.operands, arrays[2:], strict=True)
            ),
        )

    def _with_rows(self, n: Extent, h: Extent, w: Extent) -> ConvProblem:
        return replace(self, n=n, h=h, w=w, oh=h, ow=w)


@dataclass(frozen=True)
class SizedConvProblem(ConvProblem):
    """A convolution whose extents and strides are numbers."""

    n: int
    h: int
    w: int
    oh: int
    ow: int
    x_strides: tuple[int, int, int, int]


def _mergeable(count: Extent, outer: Extent, extent: Extent, inner: Extent) -> bool:
    """Whether `count` runs of `extent` elements lie one behind the other."""
    return count == 1 or extent == 1 or outer == inner * extent


def _reshaped(operand: Operand, p: ConvProblem, strides: Sequence[Extent]) -> Operand:
    extents = (p.n, p.oh, p.ow, operand.shape[3])
    shape = tuple(1 if s == 0 else d for d, s in zip(extents, strides, strict=True))
    return Operand(operand.dtype, shape, tuple(strides), operand.const)


def _ranked(operand: Operand) -> Operand:
    """The operand with four axes and stride 0 where it is broadcast."""
    shape: Shape = (1,) * (4 - len(operand.shape)) + operand.shape
    return Operand(operand.dtype, shape, operand.strides_over(4), operand.const)


def _counted(spec: KernelSpec, name: str, count: int) -> tuple[int, ...]:
    values = ints_attr(spec, name)
    if len(values) != count:
        raise BuildError(f"attribute {name!r} of a convolution needs {count} numbers, got {values}")
    return values
