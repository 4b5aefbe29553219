"""Tactic: direct convolution, FP32, half precision and INT8, any filter, stride, padding, dilation and groups.

Spec "conv": inputs x [N,H,W,C] (f32, bf16, f16 or u8, any strides), constant w [K,R,S,C/groups] (dense; f32,
the same half floats or s8; half floats also for f32 images), then epilogue operands; output [N,OH,OW,K],
channels adjacent.  Attributes: strides, dilations (rows, columns), pads (top, left, bottom, right), groups,
x_zero_point, epilogue.  INT8 sums are exact i32 sums of (x - zero point) * w; padding adds nothing.

Parameters: rows, cols (register tile: pixels x vectors of output channels), block (output rows, or
tiles where pixels form one row, of a work item), order ("panel": items of one weight panel follow
each other, "pixel": items of one block of pixels do), sums (that take turns, 1 where it is left out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import cast

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.conv.emit import ConvEmitter
from camshaft.backends.cpu.conv.features import direct_features
from camshaft.backends.cpu.conv.open_rows import OpenConvEmitter
from camshaft.backends.cpu.conv.pack import pack_compensation, pack_prefix_sums, pack_weights
from camshaft.backends.cpu.conv.plan import ConvPlan
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.conv.search import candidates
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.pointwise.support import printable
from camshaft.backends.cpu.products.form import may_meet
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import HALVES, DType, TensorType, f32, i8, i32, u8

_FEW_CHANNELS = 4


class ConvDirect:
    """Direct convolution on register tiles with static clipping at the image's borders."""

    name = "conv_direct"
    version = 5

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[ConvDirectCandidate]:
        """Register tiles and loop orders, for any convolution with constant weights whose output
        channels are adjacent."""
        if not _is_supported(spec):
            return ()
        p = ConvProblem.of(spec)
        return [
            ConvDirectCandidate(spec, target, p, params)
            for params in candidates(p, target, threads)
        ]


def takes_any_strides(operand: int, type: TensorType) -> bool:
    """Whether an operand need not have adjacent channels: float images of so few of them that they
    are read one by one anyhow."""
    if operand != 0 or type.dtype not in (f32, *HALVES):
        return False
    channels = type.shape[-1]
    return isinstance(channels, int) and channels <= _FEW_CHANNELS


def _is_supported(spec: KernelSpec) -> bool:
    if spec.op != "conv" or dict(spec.attrs).get("layout", "NHWC") != "NHWC":
        return False
    x, w, *operands = spec.inputs
    y = spec.outputs[0]
    types = [x.dtype.accumulator, *(o.dtype for o in operands)]
    return (
        ((x.dtype, w.dtype) == (u8, i8) or (x.dtype.is_float and may_meet(x.dtype, w.dtype)))
        and printable(ConvProblem.of(spec).epilogue, types)
        and w.const
        and not x.const
        and (y.strides[3] == 1 or y.shape[3] == 1)
        and 0 not in y.shape
        and 0 not in w.shape
    )


class ConvDirectCandidate(CpuCandidate[ConvProblem]):
    """One register tile and loop order; parameters as in the module's text."""

    @property
    def is_open(self) -> bool:
        """Whether the height or the width is symbolic (images may be as many as they like)."""
        return self.problem.has_open_rows or self.problem.has_open_columns

    @cached_property
    def tiling(self) -> ConvPlan:
        """The tiles and items that the parameters ask for."""
        p, params = self.problem, self.params
        return ConvPlan(
            problem=p,
            rows=int(params["rows"]) if p.has_open_columns else min(int(params["rows"]), p.columns),
            cols=int(params["cols"]),
            lanes=self.target.lanes(f32),
            block=int(params["block"]),
            panel_major=cast(str, params["order"]) == "panel",
            sums=int(params.get("sums", 1)),
        )

    @property
    def packing(self) -> Packing:
        """In panels, in groups of channels."""
        return ("panels", self.tiling.kb, self.problem.form.group)

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Weight panels, compensation (only with a zero point), constant epilogue operands."""
        numbers = constant_numbers(self.spec)
        w = constants[numbers[1]]
        packed = [pack_weights(self.tiling, w)]
        if self.problem.zero_point:
            pack = pack_prefix_sums if self.is_open else pack_compensation
            packed.append(pack(self.tiling, w))
        return packed + [np.ascontiguousarray(constants[numbers[n]]) for n in numbers if n > 1]

    def features(self, threads: int) -> Mapping[str, float]:
        """As `conv.features` says; none of half floats, to which no model was fitted."""
        if self.problem.w_dtype in HALVES:
            return {}
        return direct_features(self.problem.typical, self.params, self.target, threads)

    def emit(self) -> Source:
        """One phase; work items are (weight panel, block of pixels) pairs."""
        spec, p = self.spec, self.problem
        dtypes: list[DType] = [p.form.unit]
        if p.zero_point:
            dtypes.append(i32)
        packed: dict[int, int] = {}
        for number in constant_numbers(spec, first=2):
            packed[number] = len(dtypes)
            dtypes.append(spec.inputs[number].dtype)
        module = Module(self.target)
        with module.phase(ConvDirect.name, self.tiling.items, phase_args(spec, dtypes)) as k:
            emitter = OpenConvEmitter if self.is_open else ConvEmitter
            emitter(k, spec, self.tiling, packed).emit()
        return module.source()
