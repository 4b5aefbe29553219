"""What people say of an extent: a number, a name, a range, or a name with its range.

8                 fixed
batch             a size that varies; equal names are equal sizes
batch=1..16       ... between 1 and 16
batch=1..         ... from 1 on
batch=..16        ... at most 16
batch=1..4..16    ... typically 4, which is what the engine is tuned for
batch=4           ... of which nothing but 4 is used
1..16             the same without a name: that of the model, or one made up
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.errors import ConfigError

Said = int | str | None
"""What is said of one extent; None is nothing, so that the model's own declaration holds."""
Profile = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Least, typical and most shape of an input."""

Value = bool | int | float | str | None | tuple["Value", ...]
"""What is said of the values of an input: numbers (nested tuples of them for arrays), or for each
element an extent as above; None is nothing."""

UNSAID = "?"
"""How texts write that nothing is said."""
MOST_SHOWN = 16
"""Values that texts show; of more they say how many there are."""
FORMS = (
    "a number, a name (batch), a range (1..16, 1.., ..16 or, with the typical size, 1..4..16), or a "
    "name with its range or number (batch=1..16)"
)
LARGEST = 1 << 40
"""Largest size that may be said of an extent."""
_NUMBER = "[0-9]+"
_RANGE = rf"(?=.*[0-9])({_NUMBER})?\s*\.\.\s*(?:({_NUMBER})\s*\.\.\s*)?({_NUMBER})?"
_SAID = re.compile(rf"\s*(?:([^\W\d]\w*)\s*(?:=\s*(?:({_NUMBER})|{_RANGE}))?|{_RANGE})\s*")


@dataclass(frozen=True)
class Range:
    """least, typical, most: what is known of one name; None where nothing is."""

    low: int | None = None
    typical: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        numbers = (1 if self.low is None else self.low, self.typical, self.high)
        return "..".join(str(n) for n in numbers if n is not None) + ".." * (self.high is None)

    def otherwise(self, other: Range) -> Range:
        """What is known here, and where nothing is, what is known there."""
        return Range(
            other.low if self.low is None else self.low,
            other.typical if self.typical is None else self.typical,
            other.high if self.high is None else self.high,
        )


def parse_number(text: str) -> int | None:
    """The size that digits say, None for another text; ConfigError for one beyond LARGEST."""
    if re.fullmatch(_NUMBER, text) is None:
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(LARGEST)) or int(digits) > LARGEST:  # int() refuses very long ones
        raise ConfigError(too_large(text))
    return int(digits)


def parse_said(text: str) -> tuple[str, Range]:
    """Name ("" for none) and range of what a user wrote; ConfigError shows the forms."""
    match = _SAID.fullmatch(text)
    if match is None:
        raise ConfigError(f"extent {text[:80]!r} is none of: {FORMS}")
    name, *said = match.groups()
    only, *numbers = (parse_number(v) if v else None for v in said)
    if only is not None:
        return name, Range(only, only, only)
    low, typical, high = numbers[:3] if name else numbers[3:]
    known = [n for n in (low, typical, high) if n is not None]
    if known != sorted(known):
        raise ConfigError(f"extent {text!r}: least, typical and most must ascend")
    return name or "", Range(low, typical, high)


def too_large(said: object) -> str:
    """The message for a size beyond LARGEST."""
    return f"extent {str(said)[:80]!r}: a size is {LARGEST} (2**40) at most; 1.. says no most"


def shape_text(shape: Sequence[Said]) -> str:
    """1x3x224x224, or `scalar`; with "/" in place of "x" where a name holds an x (max/, where there is
    no other extent)."""
    words = [UNSAID if said is None else str(said) for said in shape]
    between = "/" if any("x" in word.lower() for word in words) else "x"
    return between.join(words) + "/" * (between == "/" and len(words) == 1) or "scalar"


def value_text(value: Value) -> str:
    """16000, 1,8,64, batch,1..8: values as they are typed; of many numbers only how many."""
    flat = flat_values(value)
    if len(flat) > MOST_SHOWN:
        return f"{len(flat)} values"
    return ",".join(UNSAID if v is None else str(v) for v in flat)


def flat_values(value: Value) -> list[bool | int | float | str | None]:
    """The elements in row-major order."""
    if isinstance(value, tuple):
        return [e for part in value for e in flat_values(part)]
    return [value]


def is_fixed(value: Value) -> bool:
    """Whether every element is a number."""
    return all(isinstance(v, int | float) for v in flat_values(value))


def profile_text(profile: Profile) -> str:
    """1..4..16x3x224x224: least, typical and most of each extent, one number where they agree."""
    axes = zip(*profile, strict=True)
    return shape_text([a[0] if len(set(a)) == 1 else "..".join(map(str, a)) for a in axes])
