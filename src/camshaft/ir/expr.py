"""Scalar expressions: the one small language for elementwise work.

A pointwise operator, a chain of them, and the epilogue of a convolution are each one `Expr` over
numbered inputs.  Backends print an expression (LLVM values, Triton text); `evaluate` is its
meaning in NumPy.  Expressions are immutable, hashable and compare by structure, so they can be
dictionary keys and parts of a kernel's identity.

The builder functions (`add`, `mul`, `maximum`, ...) fold constants and drop identities
(x*1, x+0), so equal meanings tend to be equal objects.  They never reassociate floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.extents.sizes import parse as parse_extent
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.scalar import BINARY, PREDICATES, UNARY
from camshaft.ir.scalar import convert as convert  # part of the language: E.convert
from camshaft.ir.types import DType, boolean, dtype_named, dtype_of, f32


@dataclass(frozen=True, slots=True)
class Expr:
    """One node of a scalar expression tree (shared subtrees are allowed and evaluated once).

    op: a name in `ir.scalar`, or "input", "const", "extent", "cast", "select".  args: operand
    expressions.  value: for "const" the number, for "extent" the symbolic extent, for "input" the
    input's index, else None.  dtype: for "const", "extent" and "cast" the element type, else None
    (it follows from the operands).

    "round" rounds half to even.  "min" and "max" are NaN where an operand is, as NumPy's; which
    zero they return of -0 and 0 is open.  "cast" from float to an integer type *saturates* after
    rounding half to even: it is what requantization needs, and the only float-to-int
    conversion kernels make (`trunc` builds C's truncation from floor and ceil).
    NaN casts to the smallest value of the integer type.  "cast" to a float type that has no infinity
    gives NaN beyond its largest value, or where it has none either, the largest; to powers of two
    (f8e8m0) it goes toward zero.  Integers wrap: in sums, products, -x and
    |x| of the smallest value, and in casts between integer types.  "div" of integers truncates
    towards zero, "mod" has the sign of the divisor, as Python's; by zero both give 0.
    """

    op: str
    args: tuple[Expr, ...] = ()
    value: Any = None
    dtype: DType | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Kept, because passes use expressions as dictionary keys and hashing walks the tree.
        object.__setattr__(self, "_hash", hash((self.op, self.args, self.value, self.dtype)))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return text(self)


def inp(index: int) -> Expr:
    """Input number `index`."""
    return Expr("input", value=index)


def const(value: float | bool, dtype: DType = f32) -> Expr:
    """A literal.  Floats are rounded to `dtype` at once, so that text and meaning agree."""
    if dtype.is_float:
        return Expr("const", value=float(np.asarray(value, dtype.numpy)), dtype=dtype)
    return Expr("const", value=int(value), dtype=dtype)


def extent(e: Extent, dtype: DType = f32) -> Expr:
    """An extent as a number: a literal, or known when sizes are set."""
    return const(e, dtype) if isinstance(e, int) else Expr("extent", value=e, dtype=dtype)


def cast(x: Expr, dtype: DType) -> Expr:
    """Convert to `dtype` (see `Expr` for the rounding and saturation of float to int)."""
    if x.dtype == dtype and x.op in ("cast", "const"):
        return x
    if x.op == "const":
        return _folded(Expr("cast", (x,), dtype=dtype))
    return Expr("cast", (x,), dtype=dtype)


def unary(op: str, x: Expr) -> Expr:
    """Apply the unary operator `op`."""
    if op not in UNARY:
        raise ModelError(f"no unary scalar operator {op!r}")
    e = Expr(op, (x,))
    return _folded(e) if x.op == "const" else e


def binary(op: str, a: Expr, b: Expr) -> Expr:
    """Apply the binary operator `op`, dropping identities."""
    if op not in BINARY:
        raise ModelError(f"no binary scalar operator {op!r}")
    e = Expr(op, (a, b))
    if a.op == b.op == "const":
        return _folded(e)
    if b.op == "const" and (op, b.value) in (("add", 0), ("sub", 0), ("mul", 1), ("div", 1)):
        return a
    if a.op == "const" and (op, a.value) in (("add", 0), ("mul", 1)):
        return b
    return e


def select(condition: Expr, if_true: Expr, if_false: Expr) -> Expr:
    """`if_true` where `condition` holds, else `if_false`."""
    if condition.op == "const":
        return if_true if condition.value else if_false
    return Expr("select", (condition, if_true, if_false))


def add(a: Expr, b: Expr) -> Expr:
    """a + b."""
    return binary("add", a, b)


def sub(a: Expr, b: Expr) -> Expr:
    """a - b."""
    return binary("sub", a, b)


def mul(a: Expr, b: Expr) -> Expr:
    """a * b."""
    return binary("mul", a, b)


def div(a: Expr, b: Expr) -> Expr:
    """a / b; integers truncate towards zero, and give 0 where b is 0."""
    return binary("div", a, b)


def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller operand; NaN if one is NaN."""
    return binary("min", a, b)


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger operand; NaN if one is NaN."""
    return binary("max", a, b)


def clip(x: Expr, low: float | None, high: float | None) -> Expr:
    """max(low, min(high, x)); a None bound is open."""
    if high is not None:
        x = minimum(x, const(high))
    return x if low is None else maximum(x, const(low))


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + exp(-x))."""
    return unary("reciprocal", add(unary("exp", unary("neg", x)), const(1.0)))


def quantize(x: Expr, scale: Expr, zero_point: int, dtype: DType) -> Expr:
    """ONNX QuantizeLinear: saturate(round_half_even(x / scale) + zero_point)."""
    q = unary("round", div(x, scale))
    return cast(add(q, const(float(zero_point))), dtype)


def dequantize(x: Expr, scale: Expr, zero_point: int) -> Expr:
    """ONNX DequantizeLinear: (x - zero_point) * scale, in float."""
    return mul(sub(cast(x, f32), const(float(zero_point))), scale)


# --- structure ------------------------------------------------------------------------------


def substitute(e: Expr, inputs: Sequence[Expr]) -> Expr:
    """Replace input i by `inputs[i]`; shared subtrees stay shared."""

    def change(x: Expr, args: tuple[Expr, ...]) -> Expr:
        return inputs[int(x.value or 0)] if x.op == "input" else with_args(x, args)

    return rebuilt(e, change)


def rebuilt(e: Expr, change: Callable[[Expr, tuple[Expr, ...]], Expr]) -> Expr:
    """The expression made anew from its leaves up; shared subtrees stay shared.

    change: (a node, its operands as they are now) -> what stands for the node.
    """
    done: dict[Expr, Expr] = {}
    for x in nodes(e):
        done[x] = change(x, tuple(done[a] for a in x.args))
    return done[e]


def at_sizes(e: Expr, value: Callable[[Extent], Extent]) -> Expr:
    """The expression with `value` applied to its extents; literals where that gives ints."""

    def change(x: Expr, args: tuple[Expr, ...]) -> Expr:
        if x.op == "extent":
            assert x.dtype is not None
            return extent(value(x.value), x.dtype)
        return x if args == x.args else with_args(x, args)

    return rebuilt(e, change)


def extents_in(e: Expr) -> tuple[Dim, ...]:
    """The symbolic extents that occur."""
    return tuple(x.value for x in nodes(e) if x.op == "extent")


def shift(e: Expr, offset: int) -> Expr:
    """Add `offset` to every input's index."""
    return substitute(e, [inp(i + offset) for i in range(input_count(e))])


def with_args(x: Expr, args: tuple[Expr, ...]) -> Expr:
    """The same operation on other operands, folded and simplified as the builder functions do."""
    if not args:
        return x
    if x.op == "cast":
        assert x.dtype is not None
        return cast(args[0], x.dtype)
    if x.op == "select":
        return select(*args)
    return unary(x.op, args[0]) if len(args) == 1 else binary(x.op, *args)


def used_inputs(e: Expr) -> tuple[int, ...]:
    """Indices of the inputs that occur, ascending."""
    return tuple(sorted({int(x.value or 0) for x in nodes(e) if x.op == "input"}))


def input_count(e: Expr) -> int:
    """One more than the largest input index (0 if there is none)."""
    return max(used_inputs(e), default=-1) + 1


def nodes(e: Expr) -> tuple[Expr, ...]:
    """Distinct nodes, operands before their users."""
    order: dict[Expr, None] = {}

    def walk(x: Expr) -> None:
        if x not in order:
            for a in x.args:
                walk(a)
            order[x] = None

    walk(e)
    return tuple(order)


def cost(e: Expr) -> int:
    """Operations in the expression, inputs and constants not counted."""
    return sum(1 for x in nodes(e) if x.args)


def result_dtype(e: Expr, inputs: Sequence[DType]) -> DType:
    """Element type of the result, given the inputs' types."""
    known: dict[Expr, DType] = {}
    for x in nodes(e):
        known[x] = node_dtype(x, [known[a] for a in x.args], inputs)
    return known[e]


def node_dtype(x: Expr, args: Sequence[DType], inputs: Sequence[DType]) -> DType:
    """Element type of one node, given its operands' types and the inputs'."""
    if x.op == "input":
        return inputs[int(x.value or 0)]
    if x.dtype is not None:
        return x.dtype
    if x.op in PREDICATES:
        return boolean
    kinds = set(args[1:] if x.op == "select" else args)
    if len(kinds) != 1:
        raise ModelError(f"operands of {x.op!r} have different element types {kinds} in {x}")
    return kinds.pop()


_ONLY_F32 = frozenset({"exp", "log", "tanh", "erf", "sin", "cos", "pow"})


def has_code(e: Expr, inputs: Sequence[DType]) -> bool:
    """Whether kernels have code for all functions in it: exp and its like for f32 alone, remainders
    for integers.  The others are computed by the reference, and apart, so that nothing else is."""
    for x in nodes(e):
        if x.op in _ONLY_F32 and result_dtype(x.args[0], inputs) != f32:
            return False
        if x.op == "mod" and result_dtype(x.args[0], inputs).is_float:
            return False
    return True


# --- meaning --------------------------------------------------------------------------------


def evaluate(e: Expr, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The expression on NumPy arrays, which broadcast; arithmetic is done in the operands' types."""
    values: dict[Expr, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for x in nodes(e):
            args = [values[a] for a in x.args]
            if x.op == "input":
                values[x] = np.asarray(inputs[int(x.value or 0)])
            elif x.op == "const":
                assert x.dtype is not None
                values[x] = np.asarray(x.value, x.dtype.numpy)
            elif x.op == "extent":
                assert x.dtype is not None
                values[x] = np.asarray(int(x.value), x.dtype.numpy)
            elif x.op == "cast":
                assert x.dtype is not None
                values[x] = convert(args[0], x.dtype)
            elif x.op == "select":
                values[x] = np.where(*args)
            elif len(args) == 1:
                values[x] = np.asarray(UNARY[x.op](args[0]))
            else:
                values[x] = np.asarray(BINARY[x.op](args[0], args[1]))
    return values[e]


def _folded(e: Expr) -> Expr:
    result = evaluate(e, [])
    return const(result.item(), dtype_of(result))


# --- text -----------------------------------------------------------------------------------


def text(e: Expr) -> str:
    """A one-line prefix form that `parse` reads back exactly: mul(i0,f32:0x1.8p+1)."""
    if e.op == "input":
        return f"i{e.value}"
    if e.op == "const":
        assert e.dtype is not None
        literal = float(e.value or 0).hex() if e.dtype.is_float else str(e.value)
        return f"{e.dtype.name}:{literal}"
    if e.op == "extent":
        assert e.dtype is not None
        return f"{e.dtype.name}[{e.value}]"
    name = f"cast_{e.dtype.name}" if e.op == "cast" and e.dtype else e.op
    return f"{name}({','.join(text(a) for a in e.args)})"


def parse(source: str, symbols: Mapping[str, Symbol] | None = None) -> Expr:
    """Inverse of `text`; ModelError names the offending place.  symbols: those of its extents."""
    position = 0

    def term() -> Expr:
        nonlocal position
        start = position
        while position < len(source) and source[position] not in "(),":
            closing = source.find("]", position) if source[position] == "[" else position
            position = max(closing, position) + 1  # an extent may hold parentheses and commas
        word = source[start:position]
        if position < len(source) and source[position] == "(":
            args = []
            while source[position] != ")":
                position += 1
                args.append(term())
                if position >= len(source):
                    raise ModelError(f"expression {source!r}: missing ')'")
            position += 1
            return _parsed_call(word, tuple(args), source)
        if word.endswith("]"):
            return _parsed_extent(word, symbols or {}, source)
        if ":" in word:
            name, literal = word.split(":")
            dtype = dtype_named(name)
            return const(float.fromhex(literal) if dtype.is_float else int(literal), dtype)
        if word[:1] == "i" and word[1:].isdigit():
            return inp(int(word[1:]))
        raise ModelError(f"expression {source!r}: cannot read {word!r} at {start}")

    result = term()
    if position != len(source):
        raise ModelError(f"expression {source!r}: trailing text at {position}")
    return result


def _parsed_extent(word: str, symbols: Mapping[str, Symbol], source: str) -> Expr:
    name, _, inside = word[:-1].partition("[")
    try:
        return extent(parse_extent(inside, symbols), dtype_named(name))
    except ValueError as error:
        raise ModelError(f"expression {source!r}: {error}") from None


def _parsed_call(word: str, args: tuple[Expr, ...], source: str) -> Expr:
    if word.startswith("cast_") and len(args) == 1:
        return Expr("cast", args, dtype=dtype_named(word[5:]))
    if (word in UNARY and len(args) == 1) or (word in BINARY and len(args) == 2):
        return Expr(word, args)
    if word == "select" and len(args) == 3:
        return Expr(word, args)
    raise ModelError(f"expression {source!r}: no operator {word!r} with {len(args)} operands")
