"""What packing and code of an INT8 depthwise candidate must agree on."""

from __future__ import annotations

from camshaft.backends.base import KernelSpec, Operand, Params
from camshaft.backends.cpu.conv.depthwise.quads import Quads, channel_blocks, padded_channels
from camshaft.backends.cpu.conv.depthwise.units import Units
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import fixed_extent, typical
from camshaft.ir.types import DType, i32

_LINE = 64


class DepthwiseLayout:
    """What packing and code of one candidate must agree on."""

    def __init__(
        self, spec: KernelSpec, problem: ConvProblem, params: Params, target: CpuTarget
    ) -> None:
        self.spec, self.target = spec, target
        self.problem = p = problem
        self.tall, self.rows = int(params["tall"]), int(params["rows"])
        self.unroll = int(params["unroll"])
        self.constants = [n for n, o in enumerate(spec.inputs) if o.const]
        varying = [n for n in range(2, len(spec.inputs)) if self._has_channels(n)]
        self.in_lane_order = all(self.is_per_channel(n) for n in varying)
        self.blocks = channel_blocks(p.groups, target, self._fold())

    @property
    def blank_row(self) -> int:
        """Bytes of packed zero points: a row of them where some rows lie outside the image, a pixel
        where rows are of open width."""
        p = self.problem
        if p.has_open_columns:
            return p.groups
        if not p.clips_rows:
            return 1
        return fixed_extent((p.w - 1) * p.x_strides[2] + p.groups, "a row of zero points")

    @property
    def scratch_row(self) -> Extent:
        """Bytes of a row of zero points in a worker's scratch memory, in whole cache lines."""
        p = self.problem
        if not (p.has_open_columns and p.clips_rows):
            return 0
        return ceil_div((p.w - 1) * p.x_strides[2] + p.groups, _LINE) * _LINE

    @property
    def fold(self) -> int:
        """Neighbouring pixels to a vector."""
        return self.blocks[0].fold

    @property
    def fewest(self) -> int:
        """Units of the shortest row of open width for which streams have code: its left units end
        inside the image, its right ones begin inside, and between them are enough for a loop."""
        units = [Units(self.problem, Quads(self.problem, t), self.fold) for t in (self.tall, 1)]
        return max(u.left + u.right for u in units) + self.unroll

    def _fold(self) -> int:
        """Neighbouring pixels to a vector: several where pixels are narrow and rows dense."""
        p = self.problem
        fold, rest = divmod(self.target.vector_bits // 8, p.groups)
        dense = p.x_strides[2] == p.output.strides[2] == p.groups
        alike = self.in_lane_order and not any(any(o.strides[:3]) for o in p.operands)
        even = typical(p.ow) % max(1, fold) == 0 and (fold <= 4 or not p.has_open_columns)
        fits = fold > 1 and rest == 0 and p.stride[1] == 1 and even
        return fold if fits and dense and alike else 1

    @property
    def dtypes(self) -> list[DType]:
        """Element types of the epilogue's inputs."""
        return [i32, *(o.dtype for o in self.problem.operands)]

    def _has_channels(self, number: int) -> bool:
        return self.problem.operands[number - 2].strides[3] != 0

    def is_per_channel(self, number: int) -> bool:
        """Whether an epilogue operand is constant with one value per channel."""
        operand = self.problem.operands[number - 2]
        return operand.const and self._has_channels(number) and not any(operand.strides[:3])

    def operands(self) -> list[Operand]:
        """The epilogue operands as the kernel sees them."""
        result = list(self.problem.operands)
        if self.in_lane_order:
            padded = padded_channels(self.blocks)
            for n, operand in enumerate(result):
                if self.is_per_channel(n + 2):
                    result[n] = Operand(operand.dtype, (1, 1, 1, padded), (0, 0, 0, 1), True)
        return result
