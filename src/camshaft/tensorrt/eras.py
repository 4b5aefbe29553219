"""Which release the names look like: `CAMSHAFT_TRT_PROFILE` is `8.6`, `10` or `11`, read when the package is imported.

Without it the package has the names of all releases, and values and `__version__` of 10.16.  Names whose number means something
else in 10.16 have a number of their own: `NetworkDefinitionCreationFlag.EXPLICIT_PRECISION` is 40, since 1 is STRONGLY_TYPED.
With a profile, enums have the values of that release, and names that it lacks are gone: classes, members, properties.
What they mean stays that of 10.16.

`bindings.json` holds the names and values of the real bindings.  `hide` removes what a profile lacks when all modules of the package
are there: tables that modules make when they are imported may hold any name, and functions that run later may not look up one
that some era lacks.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from camshaft.errors import ConfigError

VARIABLE = "CAMSHAFT_TRT_PROFILE"


@dataclass(frozen=True)
class Era:
    """A release whose names and values are shown.  column: its place in `bindings.json`; None: all releases together."""

    version: str
    column: int | None = None

    @property
    def parser_version(self) -> int:
        """As `get_nv_onnx_parser_version` reports it: 101600 for 10.16.0."""
        major, minor, patch = (int(part) for part in self.version.split("."))
        return 10000 * major + 100 * minor + patch


PROFILES = {"8.6": Era("8.6.1", 0), "10": Era("10.16.0", 1), "11": Era("11.1.0", 2)}


def chosen(profile: str) -> Era:
    """The era of a profile; "": all releases, as 10.16.  ConfigError if there is no such profile."""
    if not profile:
        return Era("10.16.0")
    if profile not in PROFILES:
        raise ConfigError(f"{VARIABLE}={profile!r} is none of {', '.join(PROFILES)}; unset it")
    return PROFILES[profile]


CURRENT = chosen(os.environ.get(VARIABLE, ""))


@cache
def bindings() -> dict[str, Any]:
    """The facts of the real bindings; the entry `about` describes the others."""
    path = Path(__file__).with_name("bindings.json")
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def enum_values(name: str) -> dict[str, int] | None:
    """Name -> value of the members of an enum class in the current era, in its order.

    None: the class's own values hold, since there is no profile, or no such class in the profile.
    """
    if CURRENT.column is None:
        return None
    by_release = bindings()["enums"].get(name)
    values: dict[str, int] | None = by_release and by_release[CURRENT.column]
    return values


def hide(namespace: dict[str, Any]) -> None:
    """Remove what the current era lacks from a module's namespace, its `__all__` and the classes in it."""
    column = CURRENT.column
    if column is None:
        return
    facts = bindings()
    for name, by_release in facts["enums"].items():
        if by_release[column] is None:
            namespace.pop(name, None)
        else:
            every = {member for members in by_release for member in members or ()}
            _thin(namespace.get(name), every - set(by_release[column]))
    for name, (_, members) in facts["classes"].items():
        lacking = {member for member, kinds in members.items() if kinds[column] == "-"}
        if lacking == set(members):
            namespace.pop(name, None)
        else:
            _thin(namespace.get(name), lacking)
    for name, by_release in facts["aliases"].items():
        if by_release[column] is None:
            namespace.pop(name, None)
    namespace["__all__"][:] = [name for name in namespace["__all__"] if name in namespace]


def _thin(owner: object, names: set[str]) -> None:
    """Remove attributes from a class; None: it is not written yet."""
    for name in names & set(vars(owner) if owner is not None else ()):
        delattr(owner, name)
