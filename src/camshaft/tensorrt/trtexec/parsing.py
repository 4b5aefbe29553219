"""Arguments to options: `--flag` and `--flag=value`, in any order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from camshaft.errors import ConfigError
from camshaft.tensorrt.eras import CURRENT
from camshaft.tensorrt.trtexec.conflicts import conflicts, without_effect
from camshaft.tensorrt.trtexec.flags import ALL_FLAGS, Effect, Flag, by_name
from camshaft.tensorrt.trtexec.shapes import Profile, Shapes, filled

_SIDES = ("--minShapes", "--optShapes", "--maxShapes")


class UsageError(ConfigError):
    """A command line that trtexec does not take."""


class Options:
    """What a command line says.

    command: as it was typed.  profiles: shapes that engines are built for, by the index of their profile.  idle: flags that others leave without an effect -> why.
    """

    def __init__(
        self, values: Mapping[str, Any], profiles: Sequence[Profile], command: str = ""
    ) -> None:
        """values: name of a flag -> its value, of those given."""
        self.command = command
        self.idle = without_effect(values)
        self._values = {name: value for name, value in values.items() if name not in self.idle}
        self.profiles = tuple(profiles)

    def __getitem__(self, name: str) -> Any:
        """The value of a flag, or its default; of a switch whether it was given, of others None.  name: without dashes."""
        flag = ALL_FLAGS[f"--{name}"]
        if flag.name in self._values:
            return self._values[flag.name]
        return False if not flag.shown and flag.default is None else flag.default

    @property
    def is_11(self) -> bool:
        """Whether defaults are those of TensorRT 11."""
        return CURRENT.version.startswith("11.")

    def given(self) -> list[Flag]:
        """The flags that were given, in the order of the tables."""
        return [flag for name, flag in ALL_FLAGS.items() if name in self._values]


def parsed(arguments: Sequence[str]) -> Options:
    """UsageError that lists all that is wrong, a line each."""
    flags = by_name()
    values: dict[str, Any] = {}
    faults: list[str] = []
    told: list[tuple[str, Any]] = []
    for argument in arguments:
        name, equals, said = argument.partition("=")
        flag = flags.get(name)
        if flag is None:
            faults.append(f"Unknown option: {name} {said}".rstrip())
            continue
        if flag.effect is Effect.REFUSED:
            faults.append(f"{name} is refused: {flag.help}")
            continue
        if flag.name in values and not flag.repeats and not flag.collects:
            faults.append(f"{name} is given twice; leave one out")
            continue
        try:
            value = flag.take(said)
        except ValueError as error:
            faults.append(f"{name}{equals}{said}: {error}")
            continue
        values[flag.name] = (*values.get(flag.name, ()), value) if flag.collects else value
        if flag.repeats:
            told.append((flag.name, value))
    if not faults:
        faults += conflicts(values)
    if faults:
        raise UsageError("\n".join(faults))
    try:
        profiles = _profiles(told, values.get("--shapes"))
        if "--help" not in values:
            _check_indices(values, len(profiles))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Options(values, profiles, shlex.join(["trtexec", *arguments]))


def _check_indices(values: Mapping[str, Any], number: int) -> None:
    """ValueError for indices of none of the profiles that a build makes.  number: of those that are given."""
    indices = {"--calibProfile": values.get("--calibProfile")}
    if "--onnx" in values:
        indices["--useProfile"] = values.get("--useProfile")
    for flag, index in indices.items():
        if index is not None and index >= max(number, 1):
            raise ValueError(f"{flag}={index}: the engine has {max(number, 1)} profiles")


def _profiles(told: Sequence[tuple[str, Any]], shapes: Shapes | None) -> list[Profile]:
    """Profiles from flags in their order.  ValueError for those that cannot be.  shapes: of --shapes."""
    profiles: dict[int, dict[str, Shapes]] = {}
    index = 0
    for name, value in told:
        if name == "--profile":
            index = value
            if index in profiles:
                raise ValueError(f"--profile={index} is given twice; leave one out")
            profiles[index] = {}
        elif name in profiles.setdefault(index, {}):
            raise ValueError(f"{name} is given twice; begin another profile by --profile=<index>")
        else:
            profiles[index][name] = value
    for number in range(max(profiles, default=-1) + 1):
        if not profiles.get(number):
            raise ValueError(
                f"profile {number} has no shapes; give --optShapes behind --profile={number}"
            )
    found = [filled([profiles[n].get(side) for side in _SIDES]) for n in sorted(profiles)]
    if shapes is None:
        return found
    first, *rest = found or [{}]
    return [
        {**{name: (s, s, s) for name, s in shapes.items() if name not in first}, **first},
        *rest,
    ]
