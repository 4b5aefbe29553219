"""The flags of trtexec of TensorRT 8.6 to 11, as tables.

values   text -> value
flag     what is known of one flag
build, run   the tables
"""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.tensorrt.eras import CURRENT
from camshaft.tensorrt.trtexec.flags.build import BUILD, MODEL, SYSTEM
from camshaft.tensorrt.trtexec.flags.flag import Effect, Flag
from camshaft.tensorrt.trtexec.flags.run import INFERENCE, REPORTING

_SECTIONS = {
    "Model Options": MODEL,
    "Build Options": BUILD,
    "System Options": SYSTEM,
    "Inference Options": INFERENCE,
    "Reporting Options": REPORTING,
}


ALL_FLAGS = {flag.name: flag for flags in _SECTIONS.values() for flag in flags}
"""By their first names, those of all releases."""


def sections() -> Mapping[str, tuple[Flag, ...]]:
    """Title -> flags that the current era has."""
    if CURRENT.column is None:
        return _SECTIONS
    release = ("8.6", "10", "11")[CURRENT.column]
    return {
        title: tuple(f for f in flags if release in f.releases.split())
        for title, flags in _SECTIONS.items()
    }


def by_name() -> Mapping[str, Flag]:
    """All names of the flags that the current era has."""
    flags = [flag for flags in sections().values() for flag in flags]
    return {name: flag for flag in flags for name in (flag.name, *flag.others)}


def help_text() -> str:
    """What --help prints."""
    lines = []
    for title, flags in sections().items():
        lines += [f"=== {title} ===", *(flag.line for flag in flags), ""]
    return "\n".join(lines)


__all__ = ["ALL_FLAGS", "Effect", "Flag", "by_name", "help_text", "sections"]
