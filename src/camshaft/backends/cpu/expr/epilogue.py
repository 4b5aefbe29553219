"""Prints scalar expressions as vector code, and applies them where a kernel's result is stored.

`emit_expr` is the CPU's printer of `ir.expr`.  `Epilogue` adds the operands: it loads residuals,
biases and scales at an output position and stores the result in the output's type.  Every tactic
ends in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from camshaft.backends.base import Operand
from camshaft.backends.cpu.expr import math
from camshaft.backends.cpu.expr.idioms import Idiom, plan
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.lang.memory import Count
from camshaft.errors import BuildError
from camshaft.ir.expr import Expr, nodes
from camshaft.ir.strides import Strides
from camshaft.ir.types import boolean, f32

_CHAINS = frozenset({"erf", "exp", "log", "pow", "sin", "cos", "tanh"})
_BESIDE = 4
"""Vectors that go through such functions side by side."""
_WIDE = 512

_UNARY: dict[str, Callable[[FunctionBuilder, Value], Value]] = {
    "neg": lambda k, x: k.neg(x),
    "abs": lambda k, x: k.abs(x),
    "exp": math.exp,
    "log": math.log,
    "sqrt": lambda k, x: k.sqrt(x),
    "tanh": math.tanh,
    "erf": math.erf,
    "floor": lambda k, x: k.floor(x) if x.dtype.is_float else x,
    "ceil": lambda k, x: k.ceil(x) if x.dtype.is_float else x,
    "round": lambda k, x: k.round(x) if x.dtype.is_float else x,
    "sign": lambda k, x: _sign(k, x),
    "not": lambda k, x: k.not_(k.cast(x, boolean)),
    "sin": math.sin,
    "cos": math.cos,
    "reciprocal": lambda k, x: k.div(1, x),
    "isnan": lambda k, x: k.isnan(x),
    "isinf": lambda k, x: k.eq(k.abs(x), float("inf")),
}

_BINARY: dict[str, Callable[[FunctionBuilder, Value, Value], Value]] = {
    "add": lambda k, a, b: k.add(a, b),
    "sub": lambda k, a, b: k.sub(a, b),
    "mul": lambda k, a, b: k.mul(a, b),
    "div": lambda k, a, b: _divide(k, a, b),
    "mod": lambda k, a, b: _modulo(k, a, b),
    "pow": lambda k, a, b: math.power(k, a, b),
    "min": lambda k, a, b: k.min(a, b),
    "max": lambda k, a, b: k.max(a, b),
    "lt": lambda k, a, b: k.compare("lt", a, b),
    "le": lambda k, a, b: k.compare("le", a, b),
    "eq": lambda k, a, b: k.eq(a, b),
    "and": lambda k, a, b: k.bit("and", k.cast(a, boolean), k.cast(b, boolean)),
    "or": lambda k, a, b: k.bit("or", k.cast(a, boolean), k.cast(b, boolean)),
    "xor": lambda k, a, b: k.bit("xor", k.cast(a, boolean), k.cast(b, boolean)),
}


def emit_expr(
    k: FunctionBuilder, expr: Expr, inputs: Sequence[Value], *, coarse: bool = False
) -> Value:
    """Code for `expr` with input i being `inputs[i]`; scalars spread over the vectors' lanes.

    Shared subtrees are computed once.  A product in f32 used only by one sum becomes a fused
    multiply-add, which may differ from NumPy in the last bit (products in f64 stay as they are: f64
    is used for indices, which must be exact); sigmoids and requantization have shorter code of
    their own (see `idioms`).  coarse: the result is about to become 8 bits.
    """
    order, found = plan(expr, coarse=coarse)
    lanes = max((v.lanes for v in inputs), default=1)
    fused = _fusable(order, found)
    done: dict[Expr, Value] = {}
    for e in order:
        if e in found:
            done[e] = found[e].emit(k, [done[a] for a in found[e].operands])
        elif e not in fused:
            done[e] = _emit_node(k, e, done, inputs, lanes, fused)
    return done[expr]


def _emit_node(
    k: FunctionBuilder,
    e: Expr,
    done: dict[Expr, Value],
    inputs: Sequence[Value],
    lanes: int,
    fused: frozenset[Expr],
) -> Value:
    if e.op == "input":
        return k.splat(inputs[int(e.value or 0)], lanes)
    if e.op == "extent":
        assert e.dtype is not None
        return k.splat(k.cast(k.index(e.value), e.dtype), lanes)
    if e.op == "const":
        assert e.dtype is not None
        return k.const(e.value or 0, e.dtype, lanes)
    if e.op == "cast":
        assert e.dtype is not None
        return k.cast(done[e.args[0]], e.dtype)
    if e.op == "select":
        return k.select(*(done[a] for a in e.args))
    if any(a in fused for a in e.args):
        product = _multiply_add(k, e, done, fused)
        if product is not None:
            return product
    args = [done[a] for a in e.args]
    return _UNARY[e.op](k, *args) if len(args) == 1 else _BINARY[e.op](k, *args)


def _fusable(order: Sequence[Expr], found: Mapping[Expr, Idiom]) -> frozenset[Expr]:
    """Products that have one user, which adds or subtracts them (one product per sum)."""
    users: dict[Expr, int] = {}
    for e in order:
        for a in found[e].operands if e in found else e.args:
            users[a] = users.get(a, 0) + 1
    fused: set[Expr] = set()
    for e in order:
        if e.op in ("add", "sub") and e not in found:
            products = [a for a in e.args if a.op == "mul" and users[a] == 1 and a not in found]
            fused.update(products[:1])
    return frozenset(fused)


def _multiply_add(
    k: FunctionBuilder, e: Expr, done: dict[Expr, Value], fused: frozenset[Expr]
) -> Value | None:
    a, b = e.args
    product, other = (a, b) if a in fused else (b, a)
    x, y = (done[p] for p in product.args)
    z = done[other]
    if x.dtype != f32:
        p = k.mul(x, y)
        left, right = (p, z) if product is a else (z, p)
        return k.add(left, right) if e.op == "add" else k.sub(left, right)
    if e.op == "add":
        return k.fma(x, y, z)
    return k.fma(x, y, -z) if product is a else k.fma(-x, y, z)


def _sign(k: FunctionBuilder, x: Value) -> Value:
    one, zero = k.const(1, x.dtype, x.lanes), k.const(0, x.dtype, x.lanes)
    if x.dtype.kind == "u":
        return k.select(x > 0, one, zero)
    result = k.select(x > 0, one, k.select(x < 0, k.const(-1, x.dtype, x.lanes), zero))
    return k.select(k.isnan(x), x, result) if x.dtype.is_float else result


def _divide(k: FunctionBuilder, a: Value, b: Value) -> Value:
    if a.dtype.is_float:
        return k.div(a, b)
    quotient = k.div(a, _safe_divisor(k, b))
    if a.dtype.kind == "i":
        quotient = k.select(k.eq(b, -1), -a, quotient)
    return k.select(k.eq(b, 0), 0, quotient)


def _modulo(k: FunctionBuilder, a: Value, b: Value) -> Value:
    """Remainder with the sign of the divisor; integers modulo 0 give 0."""
    if a.dtype.is_float:
        # a - floor(a/b)*b loses precision for large quotients; LLVM's frem would call libm.
        raise BuildError("mod has CPU code for integers only; run float mod on the host")
    r = k.rem(a, _safe_divisor(k, b))
    if a.dtype.kind == "i":
        differ = k.bit("and", k.ne(r, 0), (r ^ b) < 0)
        r = k.select(differ, r + b, r)
    return r


def _safe_divisor(k: FunctionBuilder, b: Value) -> Value:
    """1 for the divisors that trap: 0, and -1 under the smallest integer."""
    traps = k.eq(b, 0)
    if b.dtype.kind == "i":
        traps = k.bit("or", traps, k.eq(b, -1))
    return k.select(traps, 1, b)


def is_chain(expr: Expr) -> bool:
    """Whether an expression has functions that take tens of operations, one after the other."""
    return any(e.op in _CHAINS for e in nodes(expr))


def _joined(k: FunctionBuilder, values: Sequence[Value], lanes: int) -> Value:
    """The lanes of 2, 4, ... values behind each other; scalars are spread over `lanes`."""
    parts = [k.splat(v, lanes) for v in values]
    while len(parts) > 1:
        parts = [k.concat(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


# --- operands -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Access:
    """How an epilogue reads or writes one operand: where it lies and its stride per output axis."""

    pointer: Pointer
    strides: Strides

    def at(self, index: Sequence[Index]) -> Access:
        """The same operand seen from output position `index`."""
        pointer = self.pointer
        for position, stride in zip(index, self.strides, strict=True):
            if stride == 0:
                continue
            if (isinstance(position, Value) and stride != 1) or isinstance(position, int):
                position = position * stride
            pointer = pointer.at(position)
        return Access(pointer, self.strides)


Result = tuple[Value, Sequence[Index], Count]
"""What an epilogue takes: lanes, their offset, how many of them exist (None: all)."""


class Epilogue:
    """Applies an epilogue expression at output positions.

    expr: input 0 is the kernel's result, input i >= 1 is operands[i - 1].
    operands, pointers: the epilogue operands and where they lie.
    output, out: the result and where it goes; its last axis is the vector axis.
    coarse: the caller turns what `apply` gives into 8 bits.
    """

    def __init__(
        self,
        k: FunctionBuilder,
        expr: Expr,
        operands: Sequence[Operand],
        pointers: Sequence[Pointer],
        output: Operand,
        out: Pointer,
        *,
        coarse: bool = False,
    ) -> None:
        self.k = k
        self.expr = expr
        self.coarse = coarse
        rank = len(output.shape)
        self._operands = [
            Access(pointer, operand.strides_over(rank))
            for operand, pointer in zip(operands, pointers, strict=True)
        ]
        self._output = Access(out, output.strides)

    def at(self, index: Sequence[Index]) -> Epilogue:
        """The epilogue seen from output position `index` (one entry per output axis)."""
        moved = Epilogue.__new__(Epilogue)
        moved.k, moved.expr, moved.coarse = self.k, self.expr, self.coarse
        moved._operands = [a.at(index) for a in self._operands]
        moved._output = self._output.at(index)
        return moved

    def apply(self, result: Value, offset: Sequence[Index], count: Count = None) -> Value:
        """The expression on `result`, whose lanes lie along the last axis from `offset` on.

        count: how many lanes exist (None: all); operands are not read beyond.
        """
        values = self._inputs(result, offset, count)
        return emit_expr(self.k, self.expr, values, coarse=self.coarse)

    def store_all(self, results: Iterable[Result]) -> None:
        """`store` of several results, each with its offset and how many of its lanes exist.

        Functions are long chains of operations, of which a core has no more than two or three in flight: where
        the expression has some, vectors go through it side by side.  Else each is stored before the next is
        computed.
        """
        beside = _BESIDE if is_chain(self.expr) and self.k.target.vector_bits < _WIDE else 1
        waiting: list[Result] = []
        for result in results:
            waiting.append(result)
            if len(waiting) == beside:
                self._store_beside(waiting)
                waiting = []
        while waiting:
            count = 1 << (len(waiting).bit_length() - 1)
            self._store_beside(waiting[:count])
            waiting = waiting[count:]

    def _store_beside(self, group: Sequence[Result]) -> None:
        """Store 1, 2, 4, ... results as one wide vector."""
        k, lanes = self.k, group[0][0].lanes
        if len(group) == 1 or any(value.lanes != lanes for value, _, _ in group):
            for value, offset, count in group:
                self.store(value, offset, count)
            return
        columns = zip(*(self._inputs(*given) for given in group), strict=True)
        values = [_joined(k, column, lanes) for column in columns]
        y = emit_expr(k, self.expr, values, coarse=self.coarse)
        for i, (_, offset, count) in enumerate(group):
            part = k.shuffle(y, None, range(i * lanes, (i + 1) * lanes))
            access = self._output.at(offset)
            k.store_strided(part, access.pointer, access.strides[-1] or 1, count)

    def _inputs(self, result: Value, offset: Sequence[Index], count: Count) -> list[Value]:
        operands = [self._load(a.at(offset), result.lanes, count) for a in self._operands]
        return [result, *operands]

    def store(self, result: Value, offset: Sequence[Index], count: Count = None) -> None:
        """Apply the expression to `result` and store it at `offset` from this position."""
        value = self.apply(result, offset, count)
        access = self._output.at(offset)
        self.k.store_strided(value, access.pointer, access.strides[-1] or 1, count)

    def _load(self, access: Access, lanes: int, count: Count) -> Value:
        stride = access.strides[-1]
        if stride == 0:
            return self.k.load(access.pointer)
        return self.k.load_strided(access.pointer, stride, lanes, count)
