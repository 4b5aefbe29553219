"""The states of a context: arrays that last from call to call, such as keys and values of earlier tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.sizes import evaluate, is_static
from camshaft.ir.types import StaticShape
from camshaft.program.state import StateSpec
from camshaft.runtime.arena import allocate


class StateMemory:
    """Memory of all states of one context, and how much of it is in use."""

    def __init__(self, specs: Sequence[StateSpec]) -> None:
        """BuildError if there is no memory for states whose size is known."""
        self.specs = tuple(specs)
        self.number = {s.name: i for i, s in enumerate(self.specs)}
        self._shapes: list[StaticShape | None] = [None] * len(self.specs)  # with all capacity
        self._memory = [_nothing() for _ in self.specs]
        self._lengths = [0] * len(self.specs)
        self._zeros: set[int] = set()  # that do not grow and were set to zeros: as they begin
        self._growing = [i for i, s in enumerate(self.specs) if s.axis is not None]
        after: dict[Extent, list[int]] = {}
        for i in self._growing:
            after.setdefault(self.specs[i].length_after, []).append(i)
        self._after = list(after.items())
        self._open = [i for i, s in enumerate(self.specs) if not is_static(s.held)]
        symbols = symbols_of(*(e for i in self._open for e in self.specs[i].held))
        self._symbols = tuple(s.name for s in symbols)
        self._fitted: list[int] | None = None  # sizes of these symbols, while memory fits them
        self.is_begun = self.is_spoiled = self._has_moved = False
        for i, s in enumerate(self.specs):
            if is_static(s.held):
                self._allocate(i, s.held)

    # -- for calls ---------------------------------------------------------------------------

    @property
    def lengths(self) -> list[int]:
        """Of the growing states, in order."""
        return [self._lengths[i] for i in self._growing]

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """By name, u8."""
        return dict(zip(self.number, self._memory, strict=True))

    @property
    def addresses(self) -> dict[str, int]:
        """Where each begins, by name."""
        return {name: m.ctypes.data for name, m in self.memory.items()}

    @property
    def nbytes(self) -> int:
        """Of all of them, at full capacity; pages that nothing has been written to take no memory yet."""
        return sum(m.nbytes for m in self._memory)

    @property
    def keeps_on_failure(self) -> bool:
        """Whether a call that fails leaves what it found."""
        return all(s.axis is not None and s.in_place for s in self.specs)

    def fit(self, sizes: Mapping[str, int]) -> bool:
        """Make room at these sizes; returns whether memory has moved since the last call.  ShapeError if a state holds a sequence of
        another shape, BuildError if there is no memory."""
        wanted = [sizes[name] for name in self._symbols]
        if wanted == self._fitted and not self._has_moved:
            return False
        for i in self._open:
            held = tuple(evaluate(e, sizes) for e in self.specs[i].held)
            if held == self._shapes[i]:
                continue
            if self._shapes[i] is not None and self._holds_something(i):
                raise self._other_shape(i, held)
            self._allocate(i, held)
        self._fitted = wanted
        has_moved, self._has_moved = self._has_moved, False
        return has_moved

    def _holds_something(self, i: int) -> bool:
        """Whether a state differs from what it is before the first call, whatever its open extents are."""
        if self.specs[i].axis is not None:
            return self._lengths[i] > 0
        return self.is_begun and i not in self._zeros

    def advance(self, sizes: Mapping[str, int]) -> None:
        """A call at these sizes is done."""
        self.is_begun = True
        self._zeros.clear()
        for after, states in self._after:
            length = evaluate(after, sizes)
            for i in states:
                self._lengths[i] = length

    def reset(self) -> None:
        """Empty all that grow, make the others zeros."""
        for i, s in enumerate(self.specs):
            self._lengths[i] = 0
            if s.axis is None:
                self._memory[i].fill(0)
        for i in self._open:
            self._shapes[i] = None
        self._fitted = None
        self._zeros.clear()
        self.is_begun = self.is_spoiled = False

    # -- as arrays ---------------------------------------------------------------------------

    def array(self, i: int) -> np.ndarray:
        """What a state holds, without a copy.  An open extent of one that is empty has its typical size."""
        spec, held = self.specs[i], self._shapes[i]
        if held is None:
            symbols = {s.name: s.typical for e in spec.held for s in symbols_of(e)}
            shape = tuple(evaluate(e, symbols) for e in spec.held)
            return np.zeros(_cut(shape, spec.axis, 0), spec.dtype.numpy)
        whole = self._memory[i][: prod(held) * spec.dtype.bytes].view(spec.dtype.numpy)
        if spec.axis is None:
            return whole.reshape(held)
        index = (slice(None),) * spec.axis
        return whole.reshape(held)[(*index, slice(self._lengths[i]))]

    def set(self, i: int, array: Any) -> None:
        """Let a state hold these values.  BindingError for what is no array of its type, ShapeError for one of a shape
        that it cannot have."""
        spec = self.specs[i]
        self._check(spec, array)
        axis = spec.axis
        held = array.shape if axis is None else _cut(array.shape, axis, spec.capacity)
        if held != self._shapes[i]:
            self._allocate(i, held)
            self._fitted = None
        if axis is not None:
            self._lengths[i] = array.shape[axis]
        self.array(i)[...] = array
        self.is_begun = True
        self._zeros.discard(i)
        if axis is None and not self._memory[i].any():
            self._zeros.add(i)

    def truncate(self, lengths: Sequence[int]) -> None:
        """Keep so many elements of those that grow, in order.  ShapeError if one is shorter."""
        for i, length in zip(self._growing, lengths, strict=True):
            if not 0 <= length <= self._lengths[i]:
                raise ShapeError(
                    f"state {self.specs[i].name!r} is {self._lengths[i]} long and cannot be cut to {length}"
                )
        for i, length in zip(self._growing, lengths, strict=True):
            self._lengths[i] = length

    def _check(self, spec: StateSpec, array: Any) -> None:
        dtype = np.dtype(spec.dtype.numpy)
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise BindingError(
                f"state {spec.name!r} holds {dtype}, not {kind}; convert it with .astype({dtype.name!r})"
            )
        fits = len(array.shape) == spec.type.rank
        for i, (size, extent) in enumerate(zip(array.shape, spec.type.shape, strict=False)):
            if i == spec.axis:
                fits = fits and size <= spec.capacity
            elif isinstance(extent, int):
                fits = fits and size == extent
        if not fits:
            room = (
                ""
                if spec.axis is None
                else f", {spec.capacity} long at most along axis {spec.axis}"
            )
            raise ShapeError(
                f"state {spec.name!r} is {spec.type!r}{room}, and is given the shape {array.shape}"
            )

    def _other_shape(self, i: int, held: StaticShape) -> ShapeError:
        spec = self.specs[i]
        shown, wanted = (
            tuple(None if n == spec.axis else d for n, d in enumerate(shape))
            for shape in (self._shapes[i] or (), held)
        )
        return ShapeError(
            f"state {spec.name!r} ({spec.type!r}) holds a sequence of shape {shown}, and this call is of {wanted}; "
            "finish the sequence, reset the context first, or create another one"
        )

    def _allocate(self, i: int, held: StaticShape) -> None:
        """Memory for one state of this shape."""
        spec, nbytes = self.specs[i], prod(held) * self.specs[i].dtype.bytes
        if nbytes > self._memory[i].nbytes:
            self._has_moved = True
            self._memory[i] = allocate(
                nbytes,
                f"state {spec.name!r} of shape {held}",
                "rebuild for a smaller range (shapes=), or close other contexts",
            )
        elif spec.axis is None:
            self._memory[i].fill(0)
        self._shapes[i] = held


class StateArrays(MutableMapping[str, np.ndarray]):
    """The states of a context by the names of their inputs, as arrays: reading gives a copy, setting takes one.

    A growing state is as long as it is at the moment; `dict(states)` keeps all of them, `states.update(kept)` brings
    them back.
    """

    def __init__(self, memory: StateMemory, in_turn: Callable[[Callable[[], None]], None]) -> None:
        """in_turn: does something while no call is in progress."""
        self._memory, self._in_turn = memory, in_turn

    def __getitem__(self, name: str) -> np.ndarray:
        found: list[np.ndarray] = []
        i = self._memory.number[name]
        self._in_turn(lambda: found.append(self._memory.array(i).copy()))
        return found[0]

    def __setitem__(self, name: str, array: np.ndarray) -> None:
        if name not in self._memory.number:
            known = ", ".join(self._memory.number) or "none"
            raise BindingError(f"there is no state {name!r}; the engine's states are {known}")
        self._in_turn(partial(self._memory.set, self._memory.number[name], array))

    def __delitem__(self, name: str) -> None:
        raise BindingError(
            f"state {name!r} cannot be deleted; reset the context, or truncate its states"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._memory.number)

    def __len__(self) -> int:
        return len(self._memory.number)

    @property
    def lengths(self) -> dict[str, int]:
        """How long the states that grow are."""
        specs = (s for s in self._memory.specs if s.axis is not None)
        return {s.name: n for s, n in zip(specs, self._memory.lengths, strict=True)}

    def truncate(self, lengths: int | Mapping[str, int]) -> None:
        """Keep the first elements of states that grow, as if tokens behind them had never been.

        lengths: how many of all of them, or by name.  ShapeError if a state is shorter.
        """
        given = lengths if isinstance(lengths, Mapping) else dict.fromkeys(self.lengths, lengths)
        wanted = [given.get(name, length) for name, length in self.lengths.items()]
        self._in_turn(partial(self._memory.truncate, wanted))

    def take(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Let states be those among `arrays`; returns the others: what a call takes."""
        self.update({name: a for name, a in arrays.items() if name in self})
        return {name: a for name, a in arrays.items() if name not in self}

    @property
    def nbytes(self) -> int:
        """Bytes of all states at full capacity.  Memory that nothing was written to is not taken yet."""
        return self._memory.nbytes


def _nothing() -> np.ndarray:
    return allocate(0, "a state", "close other contexts")


def _cut(shape: StaticShape, axis: int | None, length: int) -> StaticShape:
    return tuple(length if i == axis else d for i, d in enumerate(shape))
