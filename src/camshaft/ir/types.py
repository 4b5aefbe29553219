"""Element types and tensor types: the vocabulary that every other module shares.

A `TensorType` says what a value *means* (element type and logical shape).  How it lies in memory
(strides, offset) is decided by the build and carried by `backends.base.Operand`, never here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent, largest, ranges_of, symbols_of
from camshaft.ir.extents.sizes import fixed, is_static
from camshaft.ir.extents.symbol import UndecidedExtent


@dataclass(frozen=True, eq=False)
class DType:
    """An element type.  There is one object for each, and `==` asks whether it is the same one: code
    generation asks several times an instruction.

    name: short name used in dumps, cache keys and engine files ("f32", "u8", ...).
    bits: of information; fewer than 8 are the low bits of a byte, the others of which are 0.
    kind: "f" float, "i" signed, "u" unsigned, "b" bool, "s" string.
    fraction: bits of a float's significand behind the point; the exponent has the others but one.
    special: what a float has besides numbers: "ieee" infinities and NaN; "fn" NaN alone, of the code with
        all bits set but the sign; "fnuz" NaN alone, in the place of -0, and exponents one lower;
        "finite" neither; "unsigned" (e8m0: 8 bits of exponent, no sign and no zero) NaN alone.
    """

    name: str
    bits: int
    kind: str
    fraction: int = 0
    special: str = "ieee"

    def __reduce__(self) -> tuple[Callable[[str], DType], tuple[str]]:
        """Copied and unpickled, it is the same object."""
        return dtype_named, (self.name,)

    @cached_property
    def bytes(self) -> int:
        """Bytes of one element."""
        return max(1, self.bits // 8)

    @cached_property
    def is_float(self) -> bool:
        """Whether it is a floating-point type."""
        return self.kind == "f"

    @cached_property
    def is_int(self) -> bool:
        """Whether it is an integer type, signed or unsigned (bool is neither)."""
        return self.kind in "iu"

    @cached_property
    def numpy(self) -> np.dtype:
        """The NumPy dtype; those that NumPy has not need the ml_dtypes package (onnx installs it)."""
        if self.name in _ML_DTYPES:
            import ml_dtypes

            found: np.dtype = np.dtype(getattr(ml_dtypes, _ML_DTYPES[self.name]))
            return found
        return np.dtype(_NUMPY[self.name])

    @property
    def exponent(self) -> int:
        """Bits of a float's exponent."""
        signs = 0 if self.special == "unsigned" else 1
        return self.bits - signs - self.fraction if self.is_float else 0

    @property
    def bias(self) -> int:
        """What a float's exponent is stored with added."""
        return (1 << (self.exponent - 1)) - (0 if self.special == "fnuz" else 1)

    @property
    def step(self) -> float:
        """Relative distance of neighbouring floats: how far an operation that is rounded once more,
        or once less, may be off.  0 for what is not a float."""
        return 2.0**-self.fraction if self.is_float else 0.0

    @property
    def tiny(self) -> float:
        """The smallest normal float: how far results near 0 may be off, which may be denormal or 0."""
        if self.special == "unsigned":
            return 2.0**-self.bias
        return 2.0 ** (1 - self.bias) if self.is_float else 0.0

    @property
    def largest(self) -> float:
        """The largest finite value."""
        if not self.is_float:
            return float(self.range[1])
        codes = (1 << self.exponent) - 1  # the largest exponent, as it is stored
        if self.special in ("ieee", "unsigned"):  # which belongs to NaN
            return (2.0 - self.step) * 2.0 ** (codes - 1 - self.bias)
        last = 2.0 - self.step * (2 if self.special == "fn" else 1)
        return last * 2.0 ** (codes - self.bias)

    @property
    def infinity(self) -> int:
        """The bits of a float's positive infinity, as a number; NaN's are greater.  Of "ieee" floats."""
        return ((1 << self.exponent) - 1) << self.fraction

    @property
    def accumulator(self) -> DType:
        """In which sums and products of many elements are taken: exactly in i32 for 8-bit integers, in
        f32 for half floats (whose products are exact there), else in the type itself."""
        if self in HALVES:
            return f32
        return i32 if self.is_int and self.bits == 8 else self

    @property
    def held(self) -> DType:
        """In which graphs hold tensors of this type: floats of at most 16 bits in f32, integers of fewer
        than 8 in ones of 8."""
        if self.is_float and self.bits <= 16:
            return f32
        if self.is_int and self.bits < 8:
            return i8 if self.kind == "i" else u8
        return self

    def takes(self, value: object) -> bool:
        """Whether an element can be this Python number, floats rounded to nearest; no finite number
        may become infinite or NaN.  A bool is no integer."""
        if isinstance(value, bool) or self.kind == "b":
            return isinstance(value, bool) and self.kind == "b"
        if self.is_int:
            return isinstance(value, int) and self.range[0] <= value <= self.range[1]
        if not self.is_float or not isinstance(value, int | float):
            return False
        number = value if isinstance(value, int) else float(value)  # NumPy's compare otherwise
        if number != number:
            return self.special != "finite"
        if abs(number) == float("inf"):
            return self.special == "ieee"
        if self.special != "ieee":
            least = self.tiny if self.special == "unsigned" else -self.largest
            return least <= number <= self.largest
        top = 1 << (self.exponent - 1)
        beyond = (1 << top) - (1 << (top - self.fraction - 2))  # the least that rounds to infinity
        return abs(number) < beyond

    def holds(self, other: DType) -> bool:
        """Whether every number of type `other`, and what else it has, is in this type."""
        if not (self.is_int or self.is_float) or not (other.is_int or other.is_float):
            return False
        if other.is_float:
            finest = self.tiny * self.step <= other.tiny * other.step
            wide = finest and self.fraction >= other.fraction and self.largest >= other.largest
            return wide and other.special in _HELD[self.special]
        if self.is_float:
            if self.special == "unsigned":
                return False
            most = max(-other.range[0], other.range[1])
            return other.bits - (other.kind == "i") <= self.fraction + 1 and most <= self.largest
        return self.range[0] <= other.range[0] and other.range[1] <= self.range[1]

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type."""
        if self.kind == "u":
            return 0, (1 << self.bits) - 1
        if self.kind == "i":
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        raise ModelError(f"type {self.name} has no integer range")

    def __repr__(self) -> str:
        return self.name


f16 = DType("f16", 16, "f", fraction=10)
bf16 = DType("bf16", 16, "f", fraction=7)
f32 = DType("f32", 32, "f", fraction=23)
f64 = DType("f64", 64, "f", fraction=52)
i8 = DType("i8", 8, "i")
i16 = DType("i16", 16, "i")
i32 = DType("i32", 32, "i")
i64 = DType("i64", 64, "i")
u8 = DType("u8", 8, "u")
u16 = DType("u16", 16, "u")
u32 = DType("u32", 32, "u")
u64 = DType("u64", 64, "u")
boolean = DType("bool", 1, "b")
string = DType("str", 64, "s")

f8e4m3fn = DType("f8e4m3fn", 8, "f", fraction=3, special="fn")
f8e4m3fnuz = DType("f8e4m3fnuz", 8, "f", fraction=3, special="fnuz")
f8e5m2 = DType("f8e5m2", 8, "f", fraction=2)
f8e5m2fnuz = DType("f8e5m2fnuz", 8, "f", fraction=2, special="fnuz")
f8e8m0 = DType("f8e8m0", 8, "f", special="unsigned")
f6e2m3 = DType("f6e2m3", 6, "f", fraction=3, special="finite")
f6e3m2 = DType("f6e3m2", 6, "f", fraction=2, special="finite")
f4e2m1 = DType("f4e2m1", 4, "f", fraction=1, special="finite")
i4 = DType("i4", 4, "i")
u4 = DType("u4", 4, "u")
i2 = DType("i2", 2, "i")
u2 = DType("u2", 2, "u")

HALVES = (bf16, f16)
"""Floats of 16 bits: tensors are stored in them, arithmetic is in f32."""
NARROW_FLOATS = (f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0, f6e2m3, f6e3m2, f4e2m1)
"""Floats of at most 8 bits, and ..."""
NARROW_INTS = (i4, u4, i2, u2)
"""... integers of fewer than 8: types of a model's inputs and outputs, which nothing computes in."""
WIDE_DTYPES = (f16, bf16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean, string)
ALL_DTYPES = (*WIDE_DTYPES, *NARROW_FLOATS, *NARROW_INTS)
_HELD = {
    "ieee": ("ieee", "fn", "fnuz", "finite", "unsigned"),
    "fn": ("fn", "fnuz", "finite", "unsigned"),
    "fnuz": ("fnuz", "unsigned"),  # nothing that has -0
    "finite": ("finite",),
    "unsigned": ("unsigned",),
}
"""What a kind of float has -> the kinds all of which it has."""
_BY_NAME = {d.name: d for d in ALL_DTYPES}
_NUMPY: dict[str, type] = {
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "u8": np.uint8,
    "u16": np.uint16,
    "u32": np.uint32,
    "u64": np.uint64,
    "bool": np.bool_,
    "str": np.object_,
}
_ML_DTYPES = {
    "bf16": "bfloat16",
    "f8e4m3fn": "float8_e4m3fn",
    "f8e4m3fnuz": "float8_e4m3fnuz",
    "f8e5m2": "float8_e5m2",
    "f8e5m2fnuz": "float8_e5m2fnuz",
    "f8e8m0": "float8_e8m0fnu",
    "f6e2m3": "float6_e2m3fn",
    "f6e3m2": "float6_e3m2fn",
    "f4e2m1": "float4_e2m1fn",
    "i4": "int4",
    "u4": "uint4",
    "i2": "int2",
    "u2": "uint2",
}
"""Types that NumPy has not -> their names in ml_dtypes, which are also those of its NumPy dtypes."""
_FROM_ML_DTYPES = {theirs: _BY_NAME[ours] for ours, theirs in _ML_DTYPES.items()}
_FROM_NUMPY = {np.dtype(t): _BY_NAME[n] for n, t in _NUMPY.items()}


def dtype_named(name: str) -> DType:
    """The DType called `name`; ModelError if there is none."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ModelError(f"unknown element type {name!r}; known: {', '.join(_BY_NAME)}") from None


def dtype_of(array: np.ndarray | np.dtype) -> DType:
    """The DType of a NumPy array or dtype; ModelError for one camshaft does not know."""
    dtype = array if isinstance(array, np.dtype) else array.dtype
    if dtype.name in _FROM_ML_DTYPES:
        return _FROM_ML_DTYPES[dtype.name]
    if dtype.kind in "SU":
        return string
    try:
        return _FROM_NUMPY[dtype]
    except KeyError:
        raise ModelError(f"arrays of dtype {dtype} are not supported") from None


Shape = tuple[Extent, ...]
"""Extents, ints or symbolic (`ir.extents.extent`)."""
StaticShape = tuple[int, ...]
"""A shape all of whose extents are known."""


@dataclass(frozen=True)
class TensorType:
    """Element type and logical shape of a value; extents are ints or symbolic (`ir.extents.extent`)."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def static(self) -> StaticShape:
        """The shape where every extent is known; UndecidedExtent names one that is not."""
        return fixed(self.shape, "the shape")

    @property
    def size(self) -> Extent:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_empty(self) -> bool:
        """Whether there are no elements, at any sizes."""
        return 0 in self.shape

    @property
    def nbytes(self) -> Extent:
        """Bytes of the dense tensor."""
        return self.size * self.dtype.bytes

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"


def number_text(value: object) -> str:
    """How messages show a value that should be a number, or a row of numbers: as Python does, but for
    integers of hundreds of digits."""
    if isinstance(value, tuple | list):
        return f"({', '.join(map(number_text, value))})"
    if isinstance(value, int) and abs(value) >= 1 << 128:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def type_of(array: np.ndarray) -> TensorType:
    """The TensorType of a NumPy array."""
    return TensorType(dtype_of(array), tuple(int(d) for d in array.shape))


def row_major_strides(shape: Shape) -> Shape:
    """Element strides of a dense row-major tensor of `shape`."""
    strides: list[Extent] = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * largest(1, shape[axis + 1])
    return tuple(strides)


def may_be_one(extent: Extent) -> bool:
    """Whether data may make this extent 1, so that it broadcasts."""
    if not any(s.from_data for s in symbols_of(extent)):
        return False
    low, high = bounds(extent)
    return low <= 1 <= high


def require_decided(a: Extent, b: Extent) -> None:
    """UndecidedExtent where data say whether one of two extents that differ broadcasts."""
    if a != b and (may_be_one(a) or may_be_one(b)):
        raise UndecidedExtent(f"whether {a} is 1, or {b}", ranges_of(a, b))


def broadcast_shapes(*shapes: Shape) -> Shape:
    """NumPy broadcasting; ModelError names the shapes that do not fit.

    Two open extents, or an open one and a number above 1, are taken to be equal, which is what
    models mean; that becomes a constraint.  UndecidedExtent where one of two that differ is found by a step
    of the model while it runs: it may as well be 1.
    """
    misfit = f"shapes {', '.join(map(str, shapes))} do not broadcast together"
    static = [shape for shape in shapes if is_static(shape)]
    if len(static) == len(shapes):
        try:
            return tuple(int(d) for d in np.broadcast_shapes(*static))
        except ValueError:
            raise ModelError(misfit) from None
    rank = max(len(shape) for shape in shapes)
    result: list[Extent] = [1] * rank
    for shape in shapes:
        for axis, extent in enumerate(shape, rank - len(shape)):
            if result[axis] == 1:
                result[axis] = extent
            elif extent != 1:
                require_decided(result[axis], extent)
                result[axis] = require_equal(result[axis], extent, misfit)
    return tuple(result)
