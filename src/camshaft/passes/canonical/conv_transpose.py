"""Transposed convolution as plain convolutions whose outputs interleave.

With stride s, the output pixels of one residue modulo s are an ordinary stride-1 convolution of
the input with every s-th filter tap, flipped.  So a transposed convolution with strides (s, t) is
s*t convolutions with together exactly the multiplications that are needed, and their results are
interleaved, which costs nothing once the memory plan lets each write to its own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir.attrs import axis_attr, int_attr, ints_attr
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import fixed_extent, is_static
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import BROADCAST, CONV, CONV_TRANSPOSE, DEQUANTIZE, INTERLEAVE, SLICE, TRANSPOSE
from camshaft.passes.rewrite import Rewrite, Rewriter


@dataclass(frozen=True)
class Residue:
    """One residue along one axis: output pixel stride*q + a, for q < count.

    taps: filter indices in the order in which their input pixels ascend (empty: all zeros).
    before, after: padding of the input; negative values are pixels to cut off.
    """

    taps: tuple[int, ...]
    dilation: int
    before: int
    after: int


def residues(
    size: Extent, out: Extent, kernel: int, stride: int, dilation: int, pad: int
) -> tuple[Residue, ...]:
    """The residues of one axis.  out: extent of the transposed convolution's output.

    How many pixels a residue has more than the input is the same for all sizes, as `out` is a
    multiple of `size` by the stride, plus a number.
    """
    more = fixed_extent(ceil_div(out, stride) - size, "pixels of a transposed convolution")
    found = []
    for a in range(stride):
        taps = [r for r in range(kernel) if (a + pad - r * dilation) % stride == 0]
        taps.reverse()
        if not taps:
            found.append(Residue((), 1, 0, 0))
            continue
        offsets = [(a + pad - r * dilation) // stride for r in taps]
        step = offsets[1] - offsets[0] if len(offsets) > 1 else 1
        reach = step * (len(taps) - 1)
        found.append(Residue(tuple(taps), step, -offsets[0], more + offsets[0] + reach))
    return tuple(found)


@dataclass(frozen=True)
class _Filters:
    """The weights [C, K/g, R, S] of a transposed convolution: numbers, or integers with a scale.

    source: the constant that they are, if they are one.  params: scale and zero point of dequantized weights, each for all or for every output channel.
    """

    values: np.ndarray
    groups: int
    params: tuple[np.ndarray, ...] = ()
    source: Tensor | None = None

    @staticmethod
    def of(node: Node, r: Rewriter) -> _Filters | None:
        """Those of `node`; None where they are no constants."""
        groups, w = int_attr(node, "groups"), node.args[1]
        if w.is_const:
            return _Filters(w.content, groups, source=w)
        made = r.producer(w, DEQUANTIZE)
        if made is None or not all(t.is_const for t in made.args):
            return None
        values, scale, zero = (t.array for t in made.args)
        if made.attrs["block"] or (
            scale.ndim and axis_attr(made, values.ndim) != 1
        ):  # by input channel: no integer sum
            return _Filters(DEQUANTIZE.reference([values, scale, zero], made.attrs)[0], groups)
        params = [np.tile(p, groups) if p.ndim else p for p in (scale, zero)]
        return _Filters(values, groups, tuple(params))

    @property
    def channels(self) -> int:
        """Output channels of all groups."""
        return int(self.values.shape[1]) * self.groups

    def at(self, rows: Residue, cols: Residue, node: Node, r: Rewriter) -> Tensor:
        """The taps of a residue as a convolution's weights [K, R', S', C/g]."""
        name, taps = node.args[1].name, (rows.taps, cols.taps)
        if self.source is not None:
            return r.builder.derived(
                _filters_of_taps,
                [self.source],
                name,
                rows=taps[0],
                cols=taps[1],
                groups=self.groups,
            )
        constant = r.builder.constant(_filters_of_taps(self.values, *taps, self.groups), name)
        if not self.params:
            return constant
        params = [r.builder.constant(p, f"{name}:parameter") for p in self.params]
        attrs: dict[str, Attr] = {"axis": 0}
        return r.emit(DEQUANTIZE, [constant, *params], attrs, like=node, output=f"{name}:part")


def _filters_of_taps(
    values: np.ndarray, rows: tuple[int, ...], cols: tuple[int, ...], groups: int
) -> np.ndarray:
    """Some taps of filters [C, K/g, R, S] as a convolution's weights [K, R', S', C/g]."""
    taps = values[:, :, list(rows), :][:, :, :, list(cols)]
    taps = taps.reshape(groups, -1, *taps.shape[1:]).transpose(0, 2, 3, 4, 1)
    return np.ascontiguousarray(taps.reshape(values.shape[1] * groups, *taps.shape[2:]))


class LowerConvTranspose(Rewrite):
    """conv_transpose with constant weights -> strides[0]*strides[1] convolutions, interleaved.

    Weights that are dequantized constants stay so, and the convolutions can be INT8.
    """

    name = "lower-conv-transpose"
    ops = (CONV_TRANSPOSE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        filters = _Filters.of(node, r)
        if filters is None:
            return None
        out = node.output
        strides, dilations, pads = (ints_attr(node, n) for n in ("strides", "dilations", "pads"))
        rows, cols = (
            residues(
                node.args[0].shape[2 + a],
                out.shape[2 + a],
                filters.values.shape[2 + a],
                strides[a],
                dilations[a],
                pads[a],
            )
            for a in (0, 1)
        )
        if not all(self._reads_image(p, node.args[0].shape[2]) for p in rows):
            return None
        if not all(self._reads_image(q, node.args[0].shape[3]) for q in cols):
            return None
        x = r.emit(
            TRANSPOSE, [node.args[0]], {"perm": (0, 2, 3, 1)}, like=node, output=f"{out.name}:in"
        )
        counts = tuple(ceil_div(out.shape[2 + a], strides[a]) for a in (0, 1))
        parts = [self._part(node, x, filters, (p, q), counts, r) for p in rows for q in cols]
        y = parts[0]
        if len(parts) > 1:
            attrs: dict[str, Attr] = {"blocks": strides}
            y = r.emit(INTERLEAVE, parts, attrs, like=node, output=f"{out.name}:all")
        shape = (out.shape[0], out.shape[2], out.shape[3], out.shape[1])
        if y.shape != shape:
            cut: dict[str, Attr] = {"starts": (0,) * 4, "sizes": shape, "steps": (1,) * 4}
            y = r.emit(SLICE, [y], cut, like=node, output=f"{out.name}:cut")
        return [r.emit(TRANSPOSE, [y], {"perm": (0, 3, 1, 2)}, like=node)]

    @staticmethod
    def _reads_image(residue: Residue, size: Extent) -> bool:
        """Whether something of the image is left after cutting off negative padding."""
        return size + min(residue.before, 0) + min(residue.after, 0) >= 1

    def _part(
        self,
        node: Node,
        x: Tensor,
        filters: _Filters,
        at: tuple[Residue, Residue],
        counts: Shape,
        r: Rewriter,
    ) -> Tensor:
        if not at[0].taps or not at[1].taps:
            shape = (x.shape[0], *counts, filters.channels)
            return self._zeros(node, shape, r)
        (top, left), (bottom, right) = (p.before for p in at), (p.after for p in at)
        attrs: dict[str, Attr] = {
            "layout": "NHWC",
            "groups": filters.groups,
            "dilations": (at[0].dilation, at[1].dilation),
            "pads": (max(top, 0), max(left, 0), max(bottom, 0), max(right, 0)),
        }
        x = self._cut(node, x, (top, left, bottom, right), r)
        w = filters.at(*at, node, r)
        return r.emit(CONV, [x, w], attrs, like=node, output=f"{node.output.name}:part")

    @staticmethod
    def _zeros(node: Node, shape: Shape, r: Rewriter) -> Tensor:
        dtype = node.output.type.dtype.numpy
        if is_static(shape):
            return r.builder.constant(np.zeros(shape, dtype), "zeros")
        zero = r.builder.constant(np.zeros((1,) * len(shape), dtype), "zero")
        label = f"{node.output.name}:zeros"
        return r.emit(BROADCAST, [zero], {"shape": shape}, like=node, output=label)

    @staticmethod
    def _cut(node: Node, x: Tensor, pads: tuple[int, int, int, int], r: Rewriter) -> Tensor:
        if min(pads) >= 0:
            return x
        top, left, bottom, right = (max(-p, 0) for p in pads)
        n, h, w, c = x.shape
        attrs: dict[str, Attr] = {
            "starts": (0, top, left, 0),
            "sizes": (n, h - top - bottom, w - left - right, c),
            "steps": (1, 1, 1, 1),
        }
        return r.emit(SLICE, [x], attrs, like=node, output=f"{node.output.name}:cut-in")

    def example(self) -> Graph:
        b = GraphBuilder("deconv")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (1, 4, 5, 6)))
        w = b.constant(rng.standard_normal((4, 3, 4, 3), np.float32), "w")
        attrs: dict[str, Attr] = {"strides": (2, 2), "pads": (1, 0, 1, 1), "groups": 2}
        return b.graph({"y": b.emit(CONV_TRANSPOSE, [x, w], attrs, name="deconv")})


LOWERINGS: tuple[Rewrite, ...] = (LowerConvTranspose(),)
