"""The arrays of a call: which ones an engine takes and gives, and what is wrong with a bad one.

Generated code accepts the common case (exact ndarrays as declared) in nanoseconds; everything
here runs only when it did not, to find the fault, or to accept what merely looks unusual (a
subclass such as a memory map, or a view, which is copied).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.types import TensorType, number_text, type_of
from camshaft.program.program import Binding, Program

Arrays = tuple[Any, ...]
_MOST_SHOWN = 16
"""Values that a message shows."""


class Bindings:
    """The inputs, or the outputs, of an engine in order."""

    def __init__(
        self,
        kind: str,
        bindings: Sequence[Binding],
        fixed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """kind: "input" or "output", for messages.  fixed: what may be given besides, and must
        hold these values."""
        self.kind = kind
        self.fixed = fixed or {}
        self.names = tuple(b.name for b in bindings)
        self.types = tuple(b.type for b in bindings)
        self.specs = tuple((b.type.shape, np.dtype(b.type.dtype.numpy)) for b in bindings)
        self.has_scalars = any(not b.type.shape for b in bindings)
        self.valued = tuple(i for i, b in enumerate(bindings) if b.values)
        self.masks = {i: b.kept for i, b in enumerate(bindings) if b.kept is not None}
        self.saying = (*self.valued, *self.masks)
        self._pick = _picker(self.names)

    def arrange(self, arrays: Mapping[str, Any]) -> Arrays:
        """The arrays in order; BindingError lists what is missing or unknown, or names an input
        that was given a value in the build and holds another one."""
        try:
            if len(arrays) == len(self.names):
                return self._pick(arrays)
        except (KeyError, IndexError, TypeError):
            pass  # reported below, all wrong names together
        if not isinstance(arrays, Mapping):
            raise BindingError(
                f"the {self.kind}s come as {type(arrays).__name__}, must be a dictionary "
                f"{{{self.kind} name: array}}; the engine's {self.kind}s are: {self}"
            )
        if self.fixed and not arrays.keys().isdisjoint(self.fixed):
            return self.arrange(self._without_fixed(arrays))
        wrong = [n for n in arrays if n not in self.names]
        missing = [n for n in self.names if n not in arrays]
        parts = [f"unknown {self.kind} {n!r}" for n in wrong]
        parts += [f"missing {self.kind} {n!r}" for n in missing]
        raise BindingError(f"{', '.join(parts)}; the engine's {self.kind}s are: {self}")

    def _without_fixed(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        for name, want in self.fixed.items():
            if name in arrays:
                _check_fixed(name, arrays[name], want)
        return {name: array for name, array in arrays.items() if name not in self.fixed}

    def with_scalars(self, arrays: Arrays) -> Arrays:
        """The arrays of a call (these come first), numbers replaced by 0-d arrays where a scalar
        tensor is declared and its type holds them."""
        mine = (
            _scalar(value, type_, spec[1])
            for value, type_, spec in zip(arrays, self.types, self.specs, strict=False)
        )
        return (*mine, *arrays[len(self.names) :])

    def laid_out(self, arrays: Arrays) -> Arrays:
        """The arrays of a call (the inputs come first), copies in place of inputs that kernels cannot read as they lie."""
        count = len(self.names)
        mine = (laid_out(a) if isinstance(a, np.ndarray) else a for a in arrays[:count])
        return (*mine, *arrays[count:])

    def check_kinds(self, arrays: Sequence[Any]) -> None:
        """Raise BindingError for the first that is no array at all."""
        for i, array in enumerate(arrays):
            if not isinstance(array, np.ndarray):
                fault = _fault(array, self.types[i], self.specs[i][1], self.kind == "output")
                raise BindingError(f"{self.kind} {self.names[i]!r} {fault}")

    def elements(self, arrays: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
        """The elements of the inputs that say sizes by them (those at `valued`), in order.

        BindingError for one that is no array of its type.
        """
        for i in self.valued:
            array, type_ = arrays[i], self.types[i]
            if isinstance(array, tuple | list):
                raise BindingError(
                    f"input {self.names[i]!r} says sizes by its elements; give it as an array"
                )
            if fault := _fault(array, type_, self.specs[i][1], False):
                misfit = isinstance(array, np.ndarray) and array.dtype == self.specs[i][1]
                error = ShapeError if misfit and array.shape != type_.shape else BindingError
                raise error(f"{self.kind} {self.names[i]!r} {fault}")
        return tuple([tuple(arrays[i].reshape(-1).tolist()) for i in self.valued])

    def counts(
        self, arrays: Sequence[Any], shapes: Sequence[tuple[int, ...]]
    ) -> tuple[tuple[int], ...]:
        """How many rows each mask keeps (those at `masks`), in order; all of one of another rank, or of which only
        the shape is given.

        BindingError for one that is no array of its type.
        """
        found = []
        by_name = dict(zip(self.names, shapes, strict=False))
        for i, kept in self.masks.items():
            array, dtype = arrays[i], self.specs[i][1]
            if isinstance(array, np.ndarray) and array.dtype != dtype:
                fault = _fault(array, self.types[i], dtype, False)
                raise BindingError(f"{self.kind} {self.names[i]!r} {fault}")
            has_rows = isinstance(array, np.ndarray) and array.ndim == self.types[i].rank
            counted = has_rows and array.size
            found.append(
                (kept.count(array, by_name) if counted else kept.most(self.names[i], by_name),)
            )
        return tuple(found)

    def check(self, arrays: Sequence[Any], sizes: Mapping[str, int] | None = None) -> None:
        """Raise BindingError for the first array that does not fit, ShapeError if it is for its
        shape.  sizes: of the open extents in this call."""
        for name, type_, spec, array in zip(
            self.names, self.types, self.specs, arrays, strict=True
        ):
            shape = tuple(evaluate(e, sizes or {}) for e in type_.shape)
            fault = _fault(array, TensorType(type_.dtype, shape), spec[1], self.kind == "output")
            if not fault:
                continue
            if isinstance(array, np.ndarray) and array.dtype == spec[1] and array.shape != shape:
                of = f" (it is {type_!r})" if shape != type_.shape else ""
                raise ShapeError(f"{self.kind} {name!r} {fault}{of}")
            raise BindingError(f"{self.kind} {name!r} {fault}")

    def check_finite(self, arrays: Sequence[np.ndarray]) -> None:
        """Raise BindingError for the first array that holds NaN or infinity."""
        for name, type_, array in zip(self.names, self.types, arrays, strict=True):
            if not type_.dtype.is_float:
                continue
            bad = np.flatnonzero(~np.isfinite(array.astype(np.float64)))
            if bad.size:
                where = tuple(int(i) for i in np.unravel_index(int(bad[0]), array.shape))
                raise BindingError(
                    f"{self.kind} {name!r} holds {array[where]} at index {where} ({bad.size} of "
                    f"{array.size} values are NaN or infinite); clean the data, or leave "
                    "check_finite off"
                )

    def __str__(self) -> str:
        return ", ".join(f"{n}: {t!r}" for n, t in zip(self.names, self.types, strict=True))


def fixed_arrays(program: Program, constants: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs of the model that the build was given the values of, by name.

    constants: those stored.
    """
    return {
        f.name: constants[f.constant].reshape(-1).view(f.type.dtype.numpy).reshape(f.type.static)
        for f in program.fixed
    }


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Arrays]:
    if len(names) == 1:
        name = names[0]
        return lambda arrays: (arrays[name],)
    return itemgetter(*names) if names else lambda arrays: ()


def _scalar(value: Any, type_: TensorType, dtype: np.dtype) -> Any:
    """A number as a 0-d array where the input is a scalar; else, and if it does not fit, as it is.

    NumPy's scalars must have the input's type, as arrays must; Python's must be of its kind.
    """
    if type_.shape:
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    return np.asarray(value, dtype) if type_.dtype.takes(value) else value


def _check_fixed(name: str, given: Any, want: np.ndarray) -> None:
    """BindingError unless `given` is what the input was fixed to."""
    type_ = type_of(want)
    array = _scalar(given, type_, want.dtype)
    said = f"the build fixed it to {_shown(want)} (values=); leave it out, or give that value"
    if fault := _fault(array, type_, want.dtype, False):
        raise BindingError(f"input {name!r} {fault}; {said}")
    equal = np.equal(array, want) | ((array != array) & (want != want))
    if not equal.all():
        at = np.unravel_index(int(np.argmin(equal)), want.shape)
        where = f" at index {tuple(int(i) for i in at)}" if want.ndim else ""
        raise BindingError(f"input {name!r} is {array[at]}{where}; {said}, or rebuild with another")


def _shown(array: np.ndarray) -> str:
    """The values, or how many they are."""
    return str(array.tolist()) if array.size <= _MOST_SHOWN else f"{array.size} values"


def _fault(array: Any, type_: TensorType, dtype: np.dtype, written: bool) -> str:
    """What is wrong with an array and how to mend it, or ""."""
    if not isinstance(array, np.ndarray):
        if not type_.shape and isinstance(array, bool | int | float):
            return f"is {number_text(array)}, which is no {dtype}"
        kind = f"{type(array).__module__}.{type(array).__qualname__}"
        return f"is a {kind}, not a numpy array; convert it with numpy.asarray"
    if array.dtype != dtype:
        return f"has dtype {array.dtype}, expected {dtype}; convert it with .astype({dtype.name!r})"
    if array.shape != type_.shape:
        hint = ""
        if array.size == type_.size:
            hint = f"; it has as many values, so .reshape{type_.shape} may be what you want"
        return f"has shape {array.shape}, expected {type_.shape}{hint}"
    return _fault_of_memory(array, dtype) if written else ""


def _fault_of_memory(array: np.ndarray, dtype: np.dtype) -> str:
    """What keeps a kernel from writing into an array, or ""."""
    if not array.flags.c_contiguous:
        return f"is not C-contiguous (strides {array.strides}); pass a C-contiguous array"
    if not array.flags.aligned:
        return f"is not aligned to {dtype.itemsize} bytes; pass an array that numpy.empty made"
    return "" if array.flags.writeable else "is read-only; pass a writeable array"


def laid_out(array: np.ndarray) -> np.ndarray:
    """The array as kernels read it, C-contiguous and aligned: itself, or a copy (of a transposed view, say)."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C")


def overlap_error(names: Sequence[str], arrays: Sequence[np.ndarray], inputs: int) -> BindingError:
    """The error for an output that shares memory with another array of the same call."""
    for o in range(inputs, len(arrays)):
        for other in range(o):
            if np.may_share_memory(arrays[o], arrays[other]):
                kind = "input" if other < inputs else "output"
                return BindingError(
                    f"output {names[o]!r} shares memory with {kind} {names[other]!r}; give each "
                    "output memory of its own"
                )
    return BindingError("an output shares memory with another array; give each its own memory")
