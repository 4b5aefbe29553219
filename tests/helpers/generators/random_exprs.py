"""Random scalar expressions."""

from __future__ import annotations

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.types import f32, i8, i32, u8


class RandomExpr:
    """Grows expressions out of what people write: clips, casts, powers, sums."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, items):
        return items[int(self.rng.integers(len(items)))]

    def literal(self) -> E.Expr:
        return E.const(self.pick([0.0, 1.0, 6.0, -1.0, 0.5, 3.0, 255.0, -128.0]))

    def make(self, depth: int) -> E.Expr:
        if depth == 0:
            return self.pick([E.inp(0), E.inp(0), E.cast(E.inp(1), f32), self.literal()])
        a = self.make(depth - 1)
        kind = int(self.rng.integers(9))
        if kind < 3:
            return E.binary(self.pick(["min", "max"]), a, self.literal())
        if kind == 3:
            return E.unary(self.pick(["neg", "abs", "round", "floor", "tanh", "ceil", "sign"]), a)
        if kind == 4:
            return E.cast(E.cast(a, self.pick([u8, i8, i32])), f32)
        if kind == 5:
            return E.binary(self.pick(["div", "mul", "add"]), a, self.literal())
        if kind == 6:
            power = self.pick([1.0, 2.0, -1.0])
            return E.binary("pow", a, E.const(power))
        b = self.make(int(self.rng.integers(depth)))
        if kind == 7:
            return E.select(E.binary("lt", a, self.literal()), b, a)
        return E.binary(self.pick(["add", "sub", "mul", "min", "max"]), a, b)
