"""Depthwise convolution in FP32: every channel has its own filter.

Tactic for op "conv" with as many groups as input and output channels.  Lanes are channels.  A tile
is `cols` neighbouring pixels of an output row, whose sums stay in registers; for each filter row
its weights are loaded once and each input pixel of the row once, for all the sums it adds to.
A tile is followed down the image, so that the rows shared with the one before are still in the
first cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.backends.base import KernelSpec, Params, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.conv_depthwise_tiles import (
    UNROLL_LIMIT,
    ColumnRun,
    Items,
    column_runs,
    distinct,
    is_depthwise,
    row_blocks,
    row_bounds,
)
from camshaft.backends.cpu.conv_problem import ConvProblem
from camshaft.backends.cpu.epilogue import Epilogue
from camshaft.backends.cpu.lang import Arg, Kernel, Module, Scalar, Value
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32


class ConvDepthwiseF32:
    """Depthwise convolution, f32 x [N,H,W,C] and w [C,R,S,1] to y [N,OH,OW,C].

    Parameters: cols, output pixels of a tile; rows, output rows of a work item; vectors, channel
    vectors of a work item.
    """

    name = "conv_depthwise_f32"
    version = 1

    def supports(self, spec: KernelSpec, target: CpuTarget) -> bool:
        """Depthwise f32 convolutions with contiguous channels; any window, pads and pitch."""
        return is_depthwise(spec, f32)

    def candidates(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[Params]:
        """Tiles that fill the registers, in bands of rows that keep `threads` busy."""
        p = ConvProblem.of(spec)
        most = max(1, min(target.registers - p.s - 2, UNROLL_LIMIT // p.s))
        widths = [w for w in (14, 7, 10, 8, 4, 2, 1) if w <= most]
        best = min(widths, key=lambda w: (-(-p.ow // w) * w + (w < 7) * p.ow, -w))
        vectors = -(-p.groups // target.lanes(f32))
        rows = row_blocks(p.oh, vectors * p.n, threads, 7)
        found: list[Params] = [
            {"cols": best, "rows": rows, "vectors": 1},
            {"cols": max(1, best // 2), "rows": rows, "vectors": 1},
            {"cols": best, "rows": max(1, -(-rows // 2)), "vectors": 1},
        ]
        return distinct(found)

    def prepack(
        self, spec: KernelSpec, params: Params, target: CpuTarget, constants: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """Weights [C/L][R][S][L], L lanes of a vector, the tail filled with 0; the rest as is."""
        lanes = target.lanes(f32)
        c, r, s, _ = constants[0].shape
        padded = np.zeros((-(-c // lanes) * lanes, r, s), np.float32)
        padded[:c] = constants[0][..., 0]
        packed = padded.reshape(-1, lanes, r, s).transpose(0, 2, 3, 1)
        return [np.ascontiguousarray(packed), *constants[1:]]

    def workspace(self, spec: KernelSpec, params: Params, threads: int) -> int:
        """None."""
        return 0

    def emit(self, spec: KernelSpec, params: Params, target: CpuTarget) -> Source:
        """One phase; full channel vectors and the tail are functions of their own."""
        return _Writer(spec, params, target).source()


class _Writer:
    """Writes the program of one candidate."""

    def __init__(self, spec: KernelSpec, params: Params, target: CpuTarget) -> None:
        self.spec, self.params, self.target = spec, params, target
        self.p = ConvProblem.of(spec)
        self.lanes = target.lanes(f32)
        self.runs = column_runs(self.p, int(params["cols"]))
        self.constants = constant_numbers(spec)
        types = [o.dtype for o in spec.inputs if o.const]
        self.args = phase_args(spec, types)

    def source(self) -> Source:
        """The module: a phase over items that calls a band function per channel vector."""
        module = Module(self.target)
        full, tail = divmod(self.p.groups, self.lanes)
        if full:
            self._band_function(module, "band", self.lanes)
        if tail:
            self._band_function(module, "band_tail", tail)
        per_item = int(self.params["vectors"])
        items = Items(
            self.p.n, self.p.oh, int(self.params["rows"]), -(-(full + (tail > 0)) // per_item)
        )
        with module.phase("conv_depthwise", items.count, self.args) as k:
            pointers = [k.args[a.name] for a in self.args]
            with k.loop(k.begin, k.end) as item:
                image, first, last, block = items.decode(k, item)
                vector = block * per_item
                with k.loop(vector, k.min(vector + per_item, full)) as v:
                    if full:
                        k.call("band", *pointers, image, first, last, v)
                if tail:
                    with k.if_(k.eq(block, items.blocks - 1)):
                        k.call("band_tail", *pointers, image, first, last, k.index(full))
        return module.source()

    def _band_function(self, module: Module, symbol: str, count: int) -> None:
        """One channel vector (`count` channels exist) of output rows first..last-1."""
        params: list[Arg | Scalar] = [*self.args]
        params += [Scalar(s) for s in ("image", "first", "last", "vector")]
        with module.function(symbol, params) as k:
            image, first, last = (k.scalars[s] for s in ("image", "first", "last"))
            for run in self.runs:
                with k.loop(0, run.count) as tile, k.loop(first, last) as oh:
                    self._tile(k, run, image, oh, tile, count)

    def _tile(
        self, k: Kernel, run: ColumnRun, image: Value, oh: Value, tile: Value, count: int
    ) -> None:
        p, lanes = self.p, self.lanes
        channel = k.scalars["vector"] * lanes
        ow = tile * run.width + run.start
        sn, sy, sx, _ = p.x_strides
        x = k.args["in0"].at(image * sn + channel).at(oh * (p.stride[0] * sy) - p.pad[0] * sy)
        x = x.at(ow * (p.stride[1] * sx)).at(-p.pad[1] * sx)
        w = k.args["packed0"].at(k.scalars["vector"] * (p.r * p.s * lanes)).aligned(64)
        acc: list[Value] = [k.const(0.0, f32, lanes) for _ in range(run.width)]
        low, high = row_bounds(k, p, oh)
        with k.loop(low, high, carry=acc) as r:
            row = x.at(r * (p.dilation[0] * sy))
            taps = w.at(r * (p.s * lanes)).aligned(64)
            weights = [k.load(taps.at(s * lanes), lanes) for s in range(p.s)]
            for column, users in run.taps(p).items():
                pixel = k.load(row.at(column * sx), lanes, count)
                for i, s in users:
                    acc[i] = k.fma(pixel, weights[s], acc[i])
        epilogue = self._epilogue(k).at((image, oh, ow, channel))
        for i in range(run.width):
            epilogue.store(acc[i], (0, 0, i, 0), count)

    def _epilogue(self, k: Kernel) -> Epilogue:
        places = constant_numbers(self.spec, 2)
        pointers = [
            operand_pointer(k, self.spec, n, places) for n in range(2, len(self.spec.inputs))
        ]
        p = self.p
        return Epilogue(k, p.epilogue, p.operands, pointers, p.output, k.args["out0"])
