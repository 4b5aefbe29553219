"""Values of flags, from the text behind `=`.  ValueError says what the text should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from camshaft.tensorrt.enums.base import Enumeration
from camshaft.tensorrt.enums.data import DataType, TensorFormat

Take = Callable[[str], Any]
E = TypeVar("E", bound=Enumeration)


def every(kind: type[E], name: str) -> E:
    """A member of an enum class by its name, in all eras."""
    member: E = kind._all[name]
    return member


TYPES = {
    "fp32": every(DataType, "FLOAT"),
    "fp16": every(DataType, "HALF"),
    "bf16": every(DataType, "BF16"),
    "int8": every(DataType, "INT8"),
    "fp8": every(DataType, "FP8"),
    "int32": every(DataType, "INT32"),
    "int64": every(DataType, "INT64"),
    "bool": every(DataType, "BOOL"),
    "uint8": every(DataType, "UINT8"),
    "int4": every(DataType, "INT4"),
}
FORMATS = {
    "chw": every(TensorFormat, "LINEAR"),
    "chw2": every(TensorFormat, "CHW2"),
    "chw4": every(TensorFormat, "CHW4"),
    "hwc8": every(TensorFormat, "HWC8"),
    "chw16": every(TensorFormat, "CHW16"),
    "chw32": every(TensorFormat, "CHW32"),
    "dhwc8": every(TensorFormat, "DHWC8"),
    "cdhw32": every(TensorFormat, "CDHW32"),
    "hwc": every(TensorFormat, "HWC"),
    "dhwc": every(TensorFormat, "DHWC"),
    "dla_linear": every(TensorFormat, "DLA_LINEAR"),
    "dla_hwc4": every(TensorFormat, "DLA_HWC4"),
    "hwc16": every(TensorFormat, "HWC16"),
}
MIB = 1 << 20
_UNITS = {"B": 1, "K": 1 << 10, "M": MIB, "G": 1 << 30}
_POOLS = ("workspace", "dlaSRAM", "dlaLocalDRAM", "dlaGlobalDRAM", "tacticSharedMem")


def switch(said: str) -> bool:
    """A flag without a value."""
    if said:
        raise ValueError("takes no value")
    return True


def text(said: str) -> str:
    """Any text but none."""
    if not said:
        raise ValueError("needs a value")
    return said


def python_file(said: str) -> str:
    """A Python file."""
    if not said.endswith(".py"):
        raise ValueError(
            "plugin libraries hold kernels for GPUs; give a Python file that registers the plugins"
        )
    return said


def count(low: int, high: int | None = None) -> Take:
    """Whole numbers from `low` on, to `high`."""
    bounds = f"from {low} to {high}" if high is not None else f"{low} or more"

    def take(said: str) -> int:
        try:
            number = int(said)
        except ValueError:
            raise ValueError(f"must be a whole number, {bounds}") from None
        if number < low or (high is not None and number > high):
            raise ValueError(f"must be {bounds}")
        return number

    return take


def amount(said: str) -> float:
    """A number that is not negative."""
    number = _number(said)
    if not 0 <= number < float("inf"):
        raise ValueError("must be 0 or more")
    return number


def duration(said: str) -> float:
    """Seconds; -1: without an end."""
    return -1.0 if said in ("-1", "-1.0") else amount(said)


def choice(*words: str) -> Take:
    """One of some words."""

    def take(said: str) -> str:
        if said not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return said

    return take


def choices(*words: str) -> Take:
    """Some of some words, with commas between."""
    one = choice(*words)
    return lambda said: tuple(one(part) for part in said.split(","))


def percentages(said: str) -> tuple[float, ...]:
    """Numbers from 0 to 100."""
    numbers = tuple(_number(part) for part in said.split(","))
    if not all(0 <= n <= 100 for n in numbers):
        raise ValueError("must be numbers from 0 to 100, with commas between")
    return numbers


def size(said: str, default_unit: str = "B") -> int:
    """Bytes: a number and perhaps B, K, M or G, which are powers of 1024."""
    unit = said[-1:].upper()
    digits = said[:-1] if unit in _UNITS else said
    return int(amount(digits) * _UNITS[unit if unit in _UNITS else default_unit])


def budget(said: str) -> str:
    """Bytes, a percentage of all weights, -1 (as the runtime sees fit) or -2 (all weights stay)."""
    if said in ("-1", "-2"):
        return said
    if said.endswith("%"):
        if not 0 <= _number(said[:-1]) <= 100:
            raise ValueError("must be from 0% to 100%")
    else:
        size(said)
    return said


def this_platform(said: str) -> str:
    """The platform of the build, which is the only one."""
    if said.replace("_", "").lower() != "sameasbuild":
        raise ValueError("engines run where they are built; the only platform is SameAsBuild")
    return said


def mebibytes(said: str) -> int:
    """Bytes, from mebibytes."""
    return int(amount(said) * MIB)


def pools(said: str) -> dict[str, int]:
    """Pool -> bytes, from `workspace:1G,tacticSharedMem:64K`; numbers without a unit are mebibytes, of tacticSharedMem kibibytes."""
    found = {}
    for part in said.split(","):
        name, _, limit = part.partition(":")
        if name not in _POOLS:
            raise ValueError(f"{name!r} is none of the pools {', '.join(_POOLS)}")
        found[name] = size(limit, "K" if name == "tacticSharedMem" else "M")
    return found


def data_type(said: str) -> DataType:
    """fp32, fp16, ..."""
    if said not in TYPES:
        raise ValueError(f"{said!r} is none of the types {', '.join(TYPES)}")
    return TYPES[said]


def data_types(said: str) -> tuple[DataType, ...]:
    """Types with + between."""
    return tuple(data_type(part) for part in said.split("+"))


def io_formats(said: str) -> tuple[tuple[DataType, int], ...]:
    """(type, a bit for each TensorFormat), from `fp32:chw,fp16:chw+hwc8`."""
    found = []
    for part in said.split(","):
        kind, colon, names = part.partition(":")
        if not colon:
            raise ValueError(f"{part!r} must be a type and a format, such as fp32:chw")
        bits = 0
        for name in names.split("+"):
            if name not in FORMATS:
                raise ValueError(f"{name!r} is none of the formats {', '.join(FORMATS)}")
            bits |= 1 << int(FORMATS[name])
        found.append((data_type(kind), bits))
    return tuple(found)


def names(said: str) -> tuple[str, ...]:
    """Names with commas between, each perhaps in single quotes."""
    return tuple(_unquoted(part) for part in pieces(text(said)))


def named(value: Take) -> Take:
    """Name -> value, from `name:value,'a:b':value`: the name ends at the last colon, or is in single quotes."""

    def take(said: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in pieces(text(said)):
            name, colon, rest = _split(part)
            if not colon:
                raise ValueError(f"{part!r} must be a name, a colon and a value")
            if name in found:
                raise ValueError(f"{name!r} stands twice")
            found[name] = value(rest)
        return found

    return take


def shape(said: str) -> tuple[int, ...]:
    """Extents, from `1x3x224x224`; none, from `scalar` or no text."""
    if said in ("", "scalar"):
        return ()
    take = count(0)
    return tuple(take(part) for part in said.split("x"))


def pieces(said: str) -> list[str]:
    """The text cut at its commas, but for those in single quotes."""
    found, quoted = [""], False
    for character in said:
        quoted ^= character == "'"
        if character == "," and not quoted:
            found.append("")
        else:
            found[-1] += character
    if quoted:
        raise ValueError("has a single quote that is not closed")
    return found


def _split(part: str) -> Sequence[str]:
    if "'" not in part:
        return part.rpartition(":")
    # A quoted name ends at its quote, so that a value behind it may hold colons.
    quote = part.rindex("'") + 1
    return _unquoted(part[:quote]), part[quote : quote + 1], part[quote + 1 :]


def _unquoted(said: str) -> str:
    return said.replace("'", "")


def _number(said: str) -> float:
    try:
        return float(said)
    except ValueError:
        raise ValueError("must be a number") from None
