"""What is known of one flag of trtexec."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from camshaft.tensorrt.trtexec.flags.values import Take, switch


class Effect(Enum):
    """DONE: does what it says.  KEPT: has no effect, and says why.  REFUSED: is an error that says why."""

    DONE = "done"
    KEPT = "kept"
    REFUSED = "refused"


@dataclass(frozen=True)
class Flag:
    """A flag.

    name: with its dashes.  releases: those of 8.6, 10 and 11 that have it (10 is 10.16 or an earlier 10).  help: what it does; of one that is kept
    or refused, why.  take: its value from text.  shown: its value in the help; "" for a switch.  repeats: whether it may be given
    several times, once for a profile.  collects: whether it may be given several times, and holds all its values.  others: further names.
    """

    name: str
    releases: str
    help: str
    take: Take = switch
    shown: str = ""
    default: Any = None
    effect: Effect = Effect.DONE
    repeats: bool = False
    collects: bool = False
    others: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """A line of the help."""
        value = f"={self.shown}" if self.shown else ""
        said = {Effect.KEPT: "no effect: ", Effect.REFUSED: "refused: "}.get(self.effect, "")
        default = f" (default = {_told(self.default)})" if self.default is not None else ""
        return f"  {', '.join((self.name, *self.others)) + value:<37}{said}{self.help}{default}"


def _told(default: Any) -> str:
    return ",".join(f"{d:g}" for d in default) if isinstance(default, tuple) else f"{default}"


def kept(
    name: str, releases: str, help: str, take: Take = switch, shown: str = "", **more: Any
) -> Flag:
    """A flag without an effect; its value is checked."""
    return Flag(name, releases, help, take, shown, effect=Effect.KEPT, **more)


def refused(names: str, releases: str, help: str) -> tuple[Flag, ...]:
    """Flags that are errors."""
    return tuple(
        Flag(f"--{name}", releases, help, str, effect=Effect.REFUSED) for name in names.split()
    )
