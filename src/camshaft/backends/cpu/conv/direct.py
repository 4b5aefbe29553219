"""Tactic: direct convolution, FP32 and INT8, any filter, stride, padding, dilation and groups.

Spec "conv": inputs x [N,H,W,C] (f32 or u8, any strides), constant w [K,R,S,C/groups] (f32 or s8,
dense), then epilogue operands; output [N,OH,OW,K], channels adjacent.  Attributes: strides,
dilations (rows, columns), pads (top, left, bottom, right), groups, x_zero_point, epilogue.  INT8
sums are exact i32 sums of (x - zero point) * w; padding adds nothing.

Parameters: rows, cols (register tile: pixels x vectors of output channels), block (output rows, or
tiles where pixels form one row, of a work item), order ("panel": items of one weight panel follow
each other, "pixel": items of one block of pixels do).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from camshaft.backends.base import KernelSpec, Params, Source
from camshaft.backends.cpu.abi import constant_numbers, phase_args
from camshaft.backends.cpu.conv.emit import ConvEmitter
from camshaft.backends.cpu.conv.pack import pack_compensation, pack_weights
from camshaft.backends.cpu.conv.plan import ConvPlan
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.conv.search import candidates
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.tactic_defaults import TacticDefaults
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import DType, f32, i8, i32, u8


class ConvDirect(TacticDefaults):
    """Direct convolution on register tiles with static clipping at the image's borders."""

    name = "conv_direct"
    version = 1

    def supports(self, spec: KernelSpec, target: CpuTarget) -> bool:
        """Any convolution with constant weights whose output channels are adjacent."""
        if spec.op != "conv" or dict(spec.attrs).get("layout", "NHWC") != "NHWC":
            return False
        x, w = spec.inputs[:2]
        y = spec.outputs[0]
        return (
            (x.dtype, w.dtype) in ((f32, f32), (u8, i8))
            and w.const
            and not x.const
            and (y.strides[3] == 1 or y.shape[3] == 1)
            and 0 not in y.shape
            and 0 not in w.shape
        )

    def candidates(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[Params]:
        """Register tiles and loop orders, best guess first."""
        return candidates(ConvProblem.of(spec), target, threads)

    def prepack(
        self, spec: KernelSpec, params: Params, target: CpuTarget, constants: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """Weight panels, compensation (only with a zero point), constant epilogue operands."""
        plan = plan_of(spec, params, target)
        numbers = constant_numbers(spec)
        w = constants[numbers[1]]
        packed = [pack_weights(plan, w)]
        if plan.problem.zero_point:
            packed.append(pack_compensation(plan, w))
        return packed + [np.ascontiguousarray(constants[numbers[n]]) for n in numbers if n > 1]

    def emit(self, spec: KernelSpec, params: Params, target: CpuTarget) -> Source:
        """One phase; work items are (weight panel, block of pixels) pairs."""
        plan = plan_of(spec, params, target)
        dtypes: list[DType] = [i32 if plan.problem.is_int8 else f32]
        if plan.problem.zero_point:
            dtypes.append(i32)
        packed: dict[int, int] = {}
        for number in constant_numbers(spec, first=2):
            packed[number] = len(dtypes)
            dtypes.append(spec.inputs[number].dtype)
        module = Module(target)
        with module.phase(self.name, plan.items, phase_args(spec, dtypes)) as k:
            ConvEmitter(k, spec, plan, packed).emit()
        return module.source()


def plan_of(spec: KernelSpec, params: Params, target: CpuTarget) -> ConvPlan:
    """The tiles and items that `params` ask for."""
    problem = ConvProblem.of(spec)
    return ConvPlan(
        problem=problem,
        rows=min(int(params["rows"]), problem.ow),
        cols=int(params["cols"]),
        lanes=target.lanes(f32),
        block=int(params["block"]),
        panel_major=cast(str, params["order"]) == "panel",
    )
