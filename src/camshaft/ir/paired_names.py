"""Names said with patterns: `past.*`, and inputs and outputs that belong together, `past.*` and `present.*`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from camshaft.errors import ConfigError

STAR = "*"
T = TypeVar("T")


def paired(
    said: Mapping[str, str], inputs: Sequence[str], outputs: Sequence[str]
) -> dict[str, str]:
    """Input name -> output name.

    said: the same, where a `*` stands for any text, the same in both.
    ConfigError for names that there are not, and for an input or output that two others claim.
    """
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for pattern, target in said.items():
        what = f"state={{{pattern!r}: {target!r}}}"
        if pattern.count(STAR) != target.count(STAR):
            raise ConfigError(
                f"{what}: what a {STAR} of the input stands for replaces a {STAR} of the output; write as many in both"
            )
        matches = [
            (name, parts) for name in inputs if (parts := matched(pattern, name)) is not None
        ]
        if not matches:
            raise ConfigError(
                f"{what}: the model has no such input; its inputs are {', '.join(inputs)}"
            )
        for name, parts in matches:
            output = _filled(target, parts)
            if output not in outputs:
                raise ConfigError(
                    f"{what}: the model has no output {output!r}; its outputs are {', '.join(outputs)}"
                )
            if found.setdefault(name, output) != output:
                raise ConfigError(
                    f"state= pairs input {name!r} with {found[name]!r} and with {output!r}; give one output"
                )
            if taken.setdefault(output, name) != name:
                raise ConfigError(
                    f"state= pairs output {output!r} with {taken[output]!r} and with {name!r}; give each input an "
                    "output of its own"
                )
    return found


def spread(said: Mapping[str, T], names: Sequence[str]) -> dict[str, T]:
    """Name -> what is said of it, where a `*` in what is said stands for any text.

    What is said of a whole name goes before what is said of a pattern.  Patterns that match nothing stay.
    """
    found: dict[str, T] = {}
    for pattern, value in said.items():
        whole = pattern in names or STAR not in pattern
        matches = [] if whole else [n for n in names if matched(pattern, n) is not None]
        for name in matches or [pattern]:
            if name == pattern or name not in said:
                found[name] = value
    return found


def matched(pattern: str, name: str) -> tuple[str, ...] | None:
    """What the stars stand for in `name`; None if it does not match."""
    expression = "(.*)".join(map(re.escape, pattern.split(STAR)))
    found = re.fullmatch(expression, name, re.DOTALL)
    return None if found is None else found.groups()


def _filled(target: str, parts: Sequence[str]) -> str:
    first, *rest = target.split(STAR)
    return first + "".join(part + text for part, text in zip(parts, rest, strict=True))
