"""Which symbol an open extent of an input becomes, and which size it is tuned for.

What is said of an input (`shapes=`, `profiles=`) goes first.  Where nothing is said:

- Equal names (`dim_param`) are equal extents, whatever input they stand at, and a number that is said
  at one place holds at all others of which nothing is said.  A name that computes with others ("past + seq") is
  what it says.  Placeholders
  ("?", "-1", "None", "unk__7", no name at all) name nothing: each such axis gets a symbol of its
  own.
- The typical size is what engines are tuned for.  The first axis of two or more is the batch: 1.
  Two open axes of a picture (rank 4; rank 3 where an axis is called "height") are 224 each; one beside a known one is as large as that, or
  320 beside a short one (a line of text).  Every other axis is 128, such as those along which a model appends
  (`pasts`).  Where recurrent layers say which axis is the batch (`batches`), it is 1, and the first axis is steps, 128.  Where these make an input of
  more than 2**24 elements, they are halved until they do not.
- What the model's own arithmetic implies comes on top: sizes that must be equal become one
  symbol, windows say how small an axis may be, and a typical size that the model cannot take
  moves to the next one that it can.
- Where the arithmetic bounds an axis on both sides (a height that strides must reduce to 1) and the
  size above lies outside, the least multiple of 16, 8, 4 or 2 within is typical: strides divide it,
  and what is larger costs more and gives as much.  A short height found so makes the picture a line
  of text.
- The least size is 1, and 0 of the axes along which a model appends to what earlier calls computed
  (`pasts`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx.sizes.declared import Place, computed, label_of, named, places_of
from camshaft.frontends.onnx.sizes.usual_sizes import (
    BATCH,
    FOUND,
    PIXELS,
    suited,
    usual_length,
    usual_size,
)
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import Constraints, Lesson, broken, lessons
from camshaft.ir.extents.extent import Extent, extent_of, sole_symbol, symbols_of
from camshaft.ir.extents.fitting import moved
from camshaft.ir.extents.said import Range, Said, parse_said
from camshaft.ir.extents.sizes import evaluate, substitute, typical_sizes
from camshaft.ir.extents.symbol import Symbol


@dataclass
class OpenExtents:
    """The open extents of one model while it is imported, perhaps several times.

    shapes: input name -> what is said of its extents.  profiles: (least, typical, most) shapes of
    inputs; the first one says what is typical.  typical: input name -> a shape as it will be used,
    which fixes nothing; where nothing else says what is typical, it does.  elements: the same of
    elements that say sizes.  pasts: (input, axis) that may be empty where nothing is said.  batches: (input, axis) that
    are certainly batches.  declared: input name
    -> what the model says of its extents.
    needs: size that a step finds -> what bounds it, in words.
    """

    shapes: Mapping[str, Sequence[Said]] = field(default_factory=dict)
    profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]] = ()
    typical: Mapping[str, Sequence[int]] = field(default_factory=dict)
    elements: Mapping[str, Sequence[int]] = field(default_factory=dict)
    pasts: Collection[Place] = ()
    batches: Collection[Place] = ()
    declared: Mapping[str, Sequence[int | str | None]] = field(default_factory=dict)
    _given: dict[str, Range] = field(default_factory=dict)
    _late: bool = False
    _said: dict[str, Range] = field(default_factory=dict)
    _same: dict[str, Extent] = field(default_factory=dict)
    _symbols: dict[str, Symbol] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _of_elements: set[str] = field(default_factory=set)
    _numbers: dict[str, list[int]] = field(default_factory=dict)
    _of_data: set[str] = field(default_factory=set)
    _pasts: set[str] = field(default_factory=set)
    needs: dict[str, str] = field(default_factory=dict)

    @property
    def symbols(self) -> dict[str, Symbol]:
        """Those in use, by name, in order of first appearance."""
        return dict(self._symbols)

    # -- asked while importing -----------------------------------------------------------------

    def shape(self, name: str, declared: Sequence[int | str | None] | None) -> tuple[Extent, ...]:
        """The shape of input `name`; declared: what the model says (None: not even a rank).

        ConfigError if what is said does not fit, ModelError if the rank is not known at all.
        """
        declared = self._ranked(name, declared)
        return tuple(self._at(name, axis, declared) for axis in range(len(declared)))

    def _ranked(
        self, name: str, declared: Sequence[int | str | None] | None
    ) -> Sequence[int | str | None]:
        """What the model declares of input `name`; nothing of each axis where only `shapes` or `profiles` know
        how many there are.  Errors as in `shape`."""
        said = self.shapes.get(name)
        profiled = self._profiled(name)
        if said is None and profiled is not None and declared is None:
            declared = [None] * len(profiled)
        if declared is None:
            if said is None:
                raise ModelError(
                    f"input {name!r} declares no shape, not even how many axes it has; give one: "
                    f"shapes={{{name!r}: [...]}}"
                )
            declared = [None] * len(said)
        for given, what in ((said, "shapes"), (profiled, "profiles")):
            if given is not None and len(given) != len(declared):
                raise ConfigError(
                    f"{what}[{name!r}] has rank {len(given)}, the model's input has rank "
                    f"{len(declared)}"
                )
        return declared

    def element(
        self, name: str, at: int | None, said: Said, default: int, least: int | None = None
    ) -> Extent:
        """Element `at` of input `name` (None: of a scalar), which says a size.  default: its typical
        value, least: its least one (None: 1), where nothing else says one."""
        if isinstance(said, int):
            return said
        label, given = ("", Range(least)) if said is None else parse_said(said)
        where = f"input {name!r}" if at is None else f"input {name!r}, element {at}"
        own = name if at is None else f"{name}_{at}"
        symbol = self._identifier(label) if label else self._identifier(f"value {own}", own)
        self._of_elements.add(symbol)
        return self._symbol(symbol, given, default, where)

    def found(self, label: str, like: str, axis: int, near: Extent | None, where: str) -> Extent:
        """The size that a step of the model finds while it runs: of axis `axis` of the value called
        `like`.  near: an extent that is typically as large."""
        symbol = self._identifier(f"data {label}", f"{like}_{axis}")
        self._of_data.add(symbol)
        size = FOUND if near is None else evaluate(near, typical_sizes(symbols_of(near)))
        return self._symbol(symbol, Range(0), size, where)

    def _profiled(self, name: str) -> list[Range] | None:
        """The envelope of all profiles for an input, None if none names it."""
        given = [p[name] for p in self.profiles if name in p]
        if not given:
            return None
        ranks = {len(shape) for triple in given for shape in triple}
        if len(ranks) != 1 or any(len(triple) != 3 for triple in given):
            raise ConfigError(
                f"profiles[...][{name!r}] must be three shapes of one rank: least, typical, most"
            )
        columns = [list(zip(*triple, strict=True)) for triple in given]
        return [
            Range(min(c[a][0] for c in columns), columns[0][a][1], max(c[a][2] for c in columns))
            for a in range(ranks.pop())
        ]

    def _at(
        self, name: str, axis: int, declared: Sequence[int | str | None] | None = None
    ) -> Extent:
        """The extent of one axis of input `name`.  declared: None takes it from `self.declared`."""
        if declared is None:
            declared = self._ranked(name, self.declared[name])
        shape, ranges = self.shapes.get(name), self._profiled(name)
        said = None if shape is None else shape[axis]
        profiled = Range() if ranges is None else ranges[axis]
        own = declared[axis]
        used = self.typical.get(name, ())
        if len(used) == len(declared):
            default = used[axis]
        else:
            default = self._usual(name, axis, declared)
        known = own if isinstance(own, int) and own >= 0 else None
        called = named(own)
        if isinstance(said, int):
            if said < 0:
                raise ConfigError(f"shapes[{name!r}] has a negative extent, {said}")
            _require_within(name, axis, profiled, Range(said, said, said), said)
            if called is not None:
                self._number(called, said)
            return said
        if said is None and known is not None:
            if profiled.low is not None and (profiled.low, profiled.high) != (known, known):
                raise ConfigError(
                    f"profiles[...][{name!r}] says {profiled} of axis {axis}, which the model fixes at "
                    f"{known}; give shapes={{{name!r}: ...}} with a name there to open it"
                )
            return known
        if said is None and profiled == Range():
            if called is not None and called in self._numbers:
                return self._numbered(called, f"shapes[{name!r}] at axis {axis}")
            if (extent := self._computed(called)) is not None:
                return extent
        label, given = ("", Range()) if said is None else parse_said(said)
        _require_within(name, axis, profiled, given, said)
        if profiled.low is not None and profiled.low == profiled.high:
            return profiled.low
        symbol = self._identifier(label or label_of(name, axis, own))
        if (name, axis) in self.pasts:
            self._pasts.add(symbol)
        return self._symbol(
            symbol,
            given.otherwise(profiled),
            default,
            f"input {name!r}, axis {axis}",
        )

    def _usual(self, name: str, axis: int, declared: Sequence[int | str | None]) -> int:
        """The typical size of an axis of which nothing is said."""
        found = [self._found(name, a, d) for a, d in enumerate(declared)]
        batches = [a for a in range(len(declared)) if (name, a) in self.batches]
        if axis in batches:
            return BATCH
        is_length = (axis > 0 and (name, axis) in self.pasts) or (axis == 0 and batches)
        return usual_length(found) if is_length else usual_size(found, axis)

    def _computed(self, called: str | None) -> Extent | None:
        """The extent of an axis whose name says how it follows from others; None for other names."""
        places = places_of(self.declared)
        extent = computed(called, places)
        if extent is None:
            return None
        sizes = {symbol: self._at(*places[symbol.name]) for symbol in symbols_of(extent)}
        found = substitute(extent, sizes)
        return found if bounds(found)[0] >= 0 else None

    def _number(self, called: str, number: int) -> None:
        """Write down a number that is said of an axis which the model calls `called`."""
        numbers = self._numbers.setdefault(called, [])
        if number not in numbers:
            numbers.append(number)
            self._late |= called in self._names

    def _numbered(self, called: str, where: str) -> int:
        """The number that is said of other axes which the model calls `called`."""
        numbers = self._numbers[called]
        if len(numbers) > 1:
            raise ConfigError(
                f"{where}: the model calls this axis {called!r}, and other axes of that name are "
                f"{' and '.join(map(str, numbers))}; say which it is"
            )
        return numbers[0]

    def _found(self, name: str, axis: int, own: int | str | None) -> int | str | None:
        """What is declared, or the typical size where the model's arithmetic leaves no other."""
        known = self._said.get(self._names.get(label_of(name, axis, own), ""), Range())
        size = suited(PIXELS, known)
        return own if isinstance(own, int) or size == PIXELS else size

    def _identifier(self, label: str, like: str = "") -> str:
        """A name for the symbol, one for each label; like: what it is to resemble."""
        if label not in self._names:
            base = re.sub(r"\W", "_", like or label) or "n"
            base = f"_{base}" if base[0].isdigit() else base
            name, number = base, 1
            while name in self._names.values():
                number += 1
                name = f"{base}_{number}"
            self._names[label] = name
        return self._names[label]

    def _symbol(
        self, name: str, given: Range, default: int, where: str, called: str = ""
    ) -> Extent:
        """The extent called `name`, of which `given` is said at this place; called: another name that it has there."""
        same = self._same.get(name)
        if isinstance(same, int):
            if same < (given.low or 0) or (given.high is not None and same > given.high):
                raise ConfigError(
                    f"{where}: {given} is asked for, and the model needs {same} there"
                )
            return same
        if same is not None:
            return self._symbol(str(same), given, default, where, called or name)
        given = self._agreed(name, given, where, called)
        known = self._said.get(name, Range())
        least = 0 if name in self._pasts else 1
        low = _most(least if given.low is None else given.low, known.low)
        high = _least(given.high, known.high)
        if high is not None and high < low:
            if given == Range():
                raise ModelError(f"{where}: the model needs {low} at least and {high} at most")
            raise ConfigError(f"{where}: {given} is asked for, and the model needs {low} at least")
        if name not in self._symbols:
            said = (known.typical, given.typical)
            size = next((s for s in said if s is not None), suited(default, known))
            size = max(low, size if high is None else min(size, high))
            self._symbols[name] = Symbol(name, low, size, high, name in self._of_data)
        return extent_of(self._symbols[name])

    def _agreed(self, name: str, given: Range, where: str, called: str) -> Range:
        """What is said of `name` anywhere; later places than the first count in the next round."""
        before = self._given.setdefault(name, given)
        merged = before.otherwise(given)
        if merged != given.otherwise(before):
            why = "equal names are equal extents"
            if called:
                why = f"the model needs {called} to be {name}, so give them one name and one range"
            raise ConfigError(
                f"{where}: extent {name!r} is given two ranges, {before} and {given}; {why}"
            )
        if merged != before:
            self._given[name] = merged
            self._late = True
        return merged

    # -- learned from an import ------------------------------------------------------------------

    def learn(self, constraints: Constraints) -> bool:
        """Take over what an import found out; True if the model must be imported again."""
        changed, self._late = self._late, False
        for lesson in lessons(constraints):
            name, same = lesson.symbol.name, lesson.same_as
            if same is not None:
                other = sole_symbol(same)
                if other is not None and other.from_data and not lesson.symbol.from_data:
                    name, same = other.name, extent_of(lesson.symbol)
                if name not in self._same:
                    self._same[name] = same
                    changed = True
            else:
                changed |= self._bounded(name, lesson)
                if lesson.symbol.from_data:
                    self.needs.setdefault(name, lesson.why)
        changed = changed or self._moved(constraints)
        if changed:
            self._symbols.clear()
        return changed

    def _bounded(self, name: str, lesson: Lesson) -> bool:
        """Take over new bounds; whether they were new."""
        old = self._said.get(name, Range())
        low = lesson.low if lesson.low is not None and lesson.low > (old.low or 0) else old.low
        high = old.high
        if lesson.high is not None and (high is None or lesson.high < high):
            high = lesson.high
        self._said[name] = replace(old, low=low, high=high)
        return self._said[name] != old

    def _moved(self, constraints: Constraints) -> bool:
        """Move typical sizes that break a constraint to the next ones that do not: those first of which nothing
        is said, batches last of these; while sizes that elements of inputs say may become as small as they can be.
        """
        sizes = typical_sizes(self._symbols.values())
        rules = list(constraints)
        fault = broken(rules, sizes)
        if fault is None:
            return False
        least = {s.name: s.low for s in fault.symbols if s.name in self._of_elements}
        movable = [s for s in fault.symbols if s.name in self._symbols]
        movable.sort(key=self._moved_late)
        free = [name for name, s in self._symbols.items() if not self._is_said(s)]
        fit = moved(fault, rules, sizes, movable, least=least, free=free)
        if fit is not None:
            self._move({n: size for n, size in fit.items() if size != sizes[n]})
            return True
        raise ModelError(
            f"{fault.why} needs {fault}, and no typical size near "
            f"{', '.join(f'{n}={s}' for n, s in sizes.items())} fits; give sizes that the model "
            "takes with shapes= or profiles="
        )

    def _moved_late(self, symbol: Symbol) -> tuple[bool, bool]:
        """Whether the user says what is typical; whether it is as small as batches are."""
        return self._is_said(symbol), symbol.typical == BATCH

    def _is_said(self, symbol: Symbol) -> bool:
        """Whether the user says what is typical."""
        return self._given.get(symbol.name, Range()).typical is not None

    def _move(self, sizes: Mapping[str, int]) -> None:
        for name, size in sizes.items():
            self._said[name] = replace(self._said.get(name, Range()), typical=size)


def _require_within(name: str, axis: int, profiled: Range, given: Range, said: Said) -> None:
    """ConfigError where the sizes of the profiles leave the range that `shapes` says."""
    if profiled.low is None or profiled.high is None:
        return
    too_low = given.low is not None and profiled.low < given.low
    if too_low or (given.high is not None and profiled.high > given.high):
        raise ConfigError(
            f"profiles[...][{name!r}] says {profiled} of axis {axis}, and shapes[{name!r}] says {said} "
            "there; give profiles within that, or leave one of the two out"
        )


def _most(a: int, b: int | None) -> int:
    return a if b is None else max(a, b)


def _least(a: int | None, b: int | None) -> int | None:
    return min((n for n in (a, b) if n is not None), default=None)
