"""Arithmetic of the kernel language on scalars and vectors alike.

Operands of one operation have one element type; a scalar operand of a vector operation and a
Python number are spread over the lanes.  Integers wrap, floats follow IEEE 754 without reordering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from camshaft.backends.cpu.lang.emitter import Emitter
from camshaft.backends.cpu.lang.values import Number, Value, llvm_type
from camshaft.errors import BuildError
from camshaft.ir.extents.extent import Dim, Extent, extent_of, operands
from camshaft.ir.extents.symbol import Atom, Symbol, terms_of
from camshaft.ir.types import DType, boolean, i64

_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}


class Arithmetic(Emitter):
    """Element-wise operations, shuffles and reductions."""

    # --- operands ---------------------------------------------------------------------------

    def pair(self, a: Number, b: Number) -> tuple[Value, Value]:
        """Both operands as values of one type; BuildError when the element types differ."""
        if isinstance(a, Value) and isinstance(b, Value):
            return self._alike(a, b)
        if not isinstance(a, Value):
            if isinstance(a, Dim):
                return self.pair(self.index(a), b)
            if isinstance(b, Dim):
                return self.pair(a, self.index(b))
            if not isinstance(b, Value):
                raise BuildError("an operation needs at least one value; use k.const")
            return self.const(a, b.dtype, b.lanes), b
        if isinstance(b, Dim):
            return self.pair(a, self.index(b))
        assert not isinstance(b, Value)
        return a, self.const(b, a.dtype, a.lanes)

    def _alike(self, a: Value, b: Value) -> tuple[Value, Value]:
        """As `pair`, for two values."""
        if a.dtype is not b.dtype:
            raise BuildError(f"operands have types {a.type} ({a.dtype}) and {b.type} ({b.dtype})")
        if a.lanes == b.lanes:
            return a, b
        lanes = max(a.lanes, b.lanes)
        return self.splat(a, lanes), self.splat(b, lanes)

    def splat(self, x: Value, lanes: int) -> Value:
        """Spread a scalar over `lanes` (a vector of that many lanes passes through)."""
        if x.lanes == lanes:
            return x
        if x.lanes != 1:
            raise BuildError(f"{x.type} cannot become a vector of {lanes} lanes")
        if not x.ref.startswith("%"):
            return Value(self, f"splat ({x.type} {x.ref})", x.dtype, lanes)
        vector = llvm_type(x.dtype, lanes)
        one = self.emit(f"insertelement {vector} poison, {x.type} {x.ref}, i32 0")
        mask = f"<{lanes} x i32> zeroinitializer"
        return self.value(f"shufflevector {vector} {one}, {vector} poison, {mask}", x.dtype, lanes)

    def _binary(self, op: str, a: Value, b: Value) -> Value:
        return self.value(f"{op} {a.type} {a.ref}, {b.ref}", a.dtype, a.lanes)

    # --- extents ----------------------------------------------------------------------------

    def _computed(self, e: Extent) -> Value:
        total = self.const(0, i64)
        for monomial, coefficient in terms_of(e):
            product = self.const(coefficient, i64)
            for atom, power in monomial:
                for _ in range(power):
                    product = self.mul(product, self._atom(atom))
            total = self.add(total, product)
        return total

    def _atom(self, atom: Atom) -> Value:
        """Divisions are of extents that are not negative."""
        if isinstance(atom, Symbol):
            return self._here[atom] if atom in self._here else self.index(extent_of(atom))
        a, b = (self._computed(x) for x in operands(atom))
        ways = {"div": self.udiv, "mod": self.urem, "min": self.min, "max": self.max}
        return ways[atom.op](a, b)

    # --- basic operations -------------------------------------------------------------------

    def add(self, a: Number, b: Number) -> Value:
        """a + b.  An index plus constant 0 costs nothing."""
        if isinstance(a, Value) and a.dtype.is_int and b is not a and _is(b, 0):
            return a
        if isinstance(b, Value) and b.dtype.is_int and _is(a, 0):
            return b
        x, y = self.pair(a, b)
        return self._binary("fadd" if x.dtype.is_float else _wrap("add", x), x, y)

    def sub(self, a: Number, b: Number) -> Value:
        """a - b."""
        if isinstance(a, Value) and a.dtype.is_int and _is(b, 0):
            return a
        x, y = self.pair(a, b)
        return self._binary("fsub" if x.dtype.is_float else _wrap("sub", x), x, y)

    def mul(self, a: Number, b: Number) -> Value:
        """a * b.  An integer times constant 1 costs nothing."""
        if isinstance(a, Value) and a.dtype.is_int and _is(b, 1):
            return a
        if isinstance(b, Value) and b.dtype.is_int and _is(a, 1):
            return b
        x, y = self.pair(a, b)
        return self._binary("fmul" if x.dtype.is_float else _wrap("mul", x), x, y)

    def div(self, a: Number, b: Number) -> Value:
        """a / b: IEEE division of floats; integers truncate towards zero (b must not be 0)."""
        x, y = self.pair(a, b)
        op = "fdiv" if x.dtype.is_float else ("sdiv" if x.dtype.kind == "i" else "udiv")
        return self._binary(op, x, y)

    def rem(self, a: Number, b: Number) -> Value:
        """Integer remainder with the sign of the dividend (b must not be 0)."""
        x, y = self.pair(a, b)
        return self._binary("srem" if x.dtype.kind == "i" else "urem", x, y)

    def udiv(self, a: Number, b: Number) -> Value:
        """Quotient of non-negative integers."""
        if isinstance(a, Value) and _is(b, 1):
            return a
        return self._binary("udiv", *self.pair(a, b))

    def urem(self, a: Number, b: Number) -> Value:
        """Remainder of non-negative integers."""
        return self._binary("urem", *self.pair(a, b))

    def neg(self, x: Value) -> Value:
        """-x."""
        if x.dtype.is_float:
            return self.value(f"fneg {x.type} {x.ref}", x.dtype, x.lanes)
        return self.sub(self.const(0, x.dtype, x.lanes), x)

    def fma(self, a: Number, b: Number, c: Value) -> Value:
        """a * b + c, rounded once where the target has the instruction (else twice)."""
        x, y = self.pair(a, b)
        x, z = self.pair(x, c)
        y, z = self.pair(y, z)
        if not self.target.has_fma:
            return self.add(self.mul(x, y), z)
        return self._overloaded("llvm.fma", x, y, z)

    def min(self, a: Number, b: Number) -> Value:
        """The smaller operand; NaN if one is NaN.  One instruction if one is a constant."""
        return self._extreme("min", a, b)

    def max(self, a: Number, b: Number) -> Value:
        """The larger operand; NaN if one is NaN.  One instruction if one is a constant."""
        return self._extreme("max", a, b)

    def _extreme(self, which: str, a: Number, b: Number) -> Value:
        x, y = self.pair(a, b)
        if not x.dtype.is_float:
            return self._overloaded(f"llvm.{'s' if x.dtype.kind == 'i' else 'u'}{which}", x, y)
        name = f"llvm.{which}imum.{type_suffix(x)}"
        callee = self.intrinsic(name, x.type, [x.type, x.type])
        # nsz: which zero comes out of -0 and 0 is open.
        return self.value(
            f"call nsz {callee}({x.type} {x.ref}, {y.type} {y.ref})", x.dtype, x.lanes
        )

    def lesser(self, a: Number, b: Number) -> Value:
        """a < b ? a : b of floats, x86's own instruction: b if either is NaN."""
        return self.select(self.compare("lt", a, b), a, b)

    def greater(self, a: Number, b: Number) -> Value:
        """a > b ? a : b of floats, x86's own instruction: b if either is NaN."""
        return self.select(self.compare("gt", a, b), a, b)

    def abs(self, x: Value) -> Value:
        """|x| (the smallest integer stays as it is)."""
        if x.dtype.is_float:
            return self._overloaded("llvm.fabs", x)
        if x.dtype.kind == "u":
            return x
        name = f"llvm.abs.{type_suffix(x)}"
        return self.call_intrinsic(name, x.dtype, x.lanes, x, immediates=["i1 false"])

    def sqrt(self, x: Value) -> Value:
        """Square root, correctly rounded."""
        return self._overloaded("llvm.sqrt", x)

    def _overloaded(self, name: str, *args: Value) -> Value:
        first = args[0]
        return self.call_intrinsic(f"{name}.{type_suffix(first)}", first.dtype, first.lanes, *args)

    # --- bits, comparisons, choice ----------------------------------------------------------

    def bit(self, op: str, a: Number, b: Number) -> Value:
        """Bitwise "and", "or", "xor" of integers or bools."""
        return self._binary(op, *self.pair(a, b))

    def shift(self, op: str, x: Value, by: Number) -> Value:
        """ "shl", "lshr" (zeros come in) or "ashr" (the sign comes in)."""
        return self._binary(op, *self.pair(x, by))

    def bitcast(self, x: Value, dtype: DType, lanes: int | None = None) -> Value:
        """The same bits as another type; lanes follow from the size."""
        lanes = x.lanes * x.dtype.bits // dtype.bits if lanes is None else lanes
        if llvm_type(dtype, lanes) == x.type:
            return Value(self, x.ref, dtype, lanes)
        return self.value(f"bitcast {x.type} {x.ref} to {llvm_type(dtype, lanes)}", dtype, lanes)

    def compare(self, op: str, a: Number, b: Number) -> Value:
        """ "lt", "le", "gt", "ge", "eq", "ne" as bool lanes; false with NaN, except "ne"."""
        x, y = self.pair(a, b)
        if x.dtype.is_float:
            code = f"fcmp {_FLOAT_COMPARE[op]}"
        elif op in ("eq", "ne"):
            code = f"icmp {op}"
        else:
            code = f"icmp {'s' if x.dtype.kind == 'i' else 'u'}{op}"
        return self.value(f"{code} {x.type} {x.ref}, {y.ref}", boolean, x.lanes)

    def eq(self, a: Number, b: Number) -> Value:
        """a == b."""
        return self.compare("eq", a, b)

    def ne(self, a: Number, b: Number) -> Value:
        """a != b."""
        return self.compare("ne", a, b)

    def not_(self, x: Value) -> Value:
        """Logical not of bools."""
        return self.bit("xor", x, True)

    def isnan(self, x: Value) -> Value:
        """Whether lanes are NaN."""
        return self.value(f"fcmp uno {x.type} {x.ref}, {x.ref}", boolean, x.lanes)

    def select(self, condition: Value, if_true: Number, if_false: Number) -> Value:
        """Lane by lane choice."""
        x, y = self.pair(if_true, if_false)
        lanes = max(x.lanes, condition.lanes)
        x, y = self.splat(x, lanes), self.splat(y, lanes)
        c = condition
        return self.value(
            f"select {c.type} {c.ref}, {x.type} {x.ref}, {y.type} {y.ref}", x.dtype, lanes
        )

    # --- lanes ------------------------------------------------------------------------------

    def extract(self, x: Value, lane: int | Value) -> Value:
        """One lane as a scalar."""
        place = self.index(lane)
        return self.value(f"extractelement {x.type} {x.ref}, i64 {place.ref}", x.dtype)

    def insert(self, x: Value, scalar: Value, lane: int) -> Value:
        """`x` with one lane replaced."""
        return self.value(
            f"insertelement {x.type} {x.ref}, {scalar.type} {scalar.ref}, i32 {lane}",
            x.dtype,
            x.lanes,
        )

    def shuffle(self, a: Value, b: Value | None, lanes: Sequence[int]) -> Value:
        """Lanes picked from a followed by b; -1 leaves a lane undefined."""
        picks = ", ".join("i32 poison" if n < 0 else f"i32 {n}" for n in lanes)
        other = b.ref if b is not None else "poison"
        count = len(lanes)
        text = f"shufflevector {a.type} {a.ref}, {a.type} {other}, <{count} x i32> <{picks}>"
        return self.value(text, a.dtype, count)

    def concat(self, a: Value, b: Value) -> Value:
        """a's lanes followed by b's."""
        return self.shuffle(a, b, range(a.lanes + b.lanes))

    def reduce(self, x: Value, join: Callable[[Value, Value], Value]) -> Value:
        """The lanes of x joined by a fixed tree, halves first."""
        while x.lanes > 1:
            half = x.lanes // 2
            low = self.shuffle(x, None, range(half))
            high = self.shuffle(x, None, range(half, 2 * half))
            if half == 1:
                low, high = self.extract(x, 0), self.extract(x, 1)
            x = join(low, high)
        return x

    def fold(self, values: Sequence[Value], join: Callable[[Value, Value], Value]) -> Value:
        """All values joined as a balanced tree."""
        values = list(values)
        while len(values) > 1:
            pairs = [join(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
            values = pairs + values[len(values) - len(values) % 2 :]
        return values[0]


def _is(x: Number, constant: int) -> bool:
    return not isinstance(x, Value) and x == constant


def _wrap(op: str, x: Value) -> str:
    """Indices never overflow, which lets LLVM fold address arithmetic; data wraps."""
    return f"{op} nsw" if x.dtype == i64 and x.lanes == 1 else op


def type_suffix(x: Value) -> str:
    """The type as overloaded intrinsics spell it, for example "v16f32"."""
    kind = {"half": "f16", "float": "f32", "double": "f64"}
    scalar = llvm_type(x.dtype)
    scalar = kind.get(scalar, scalar)
    return scalar if x.lanes == 1 else f"v{x.lanes}{scalar}"
