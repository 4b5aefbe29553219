"""Files that a command reads and those it writes: no result goes over an input or another result.

A parameter of a command that names files says by `READ` or `WRITTEN` among its annotations which it
does; `takes_build_options` has `check_apart` look at all of them before the command begins.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from camshaft.atomic import same_file
from camshaft.errors import ConfigError
from camshaft.frontends.onnx.model import external_files


class Use(Enum):
    """What a command does with the files that a parameter names."""

    READ = "read"
    WRITTEN = "written"


READ, WRITTEN = Use.READ, Use.WRITTEN


def check_apart(parameters: Iterable[inspect.Parameter], arguments: Mapping[str, Any]) -> None:
    """ConfigError if a file to be written is one that is read, or that another option writes."""
    read: list[tuple[str, Path]] = []
    written: list[tuple[str, Path]] = []
    for p in parameters:
        for use in get_args(p.annotation)[1:]:
            if isinstance(use, Use):
                files = _files(arguments.get(p.name), use)
                (read if use is READ else written).extend((_typed(p), f) for f in files)
    if any(file.is_file() for _, file in written):
        read += [(f"weights of {o}", f) for o, path in read for f in _weights(path)]
    for i, (option, file) in enumerate(written):
        require_apart(option, file, [*read, *written[:i]])


def _weights(path: Path) -> list[Path]:
    """Other files that a model consists of."""
    return external_files(path) if path.suffix == ".onnx" else []


def require_apart(option: str, file: Path, others: Iterable[tuple[str, Path]]) -> None:
    """ConfigError if `file`, which `option` writes, is one of the others, each behind its option."""
    for other, path in others:
        if same_file(file, path):
            raise ConfigError(
                f"{option} {str(file)!r} would be written over {other} {str(path)!r}, the same file; "
                f"choose another file for {option}"
            )


def _typed(parameter: inspect.Parameter) -> str:
    """What a user types for a parameter: its first long option, or the name of the argument."""
    for info in get_args(parameter.annotation)[1:]:
        first, more = getattr(info, "default", None), getattr(info, "param_decls", None) or ()
        names = [n for n in (first, *more) if isinstance(n, str) and n.startswith("--")]
        if names:  # typer holds the first one as the default
            return names[0].partition("/")[0]
        if getattr(info, "metavar", None):
            return str(info.metavar)
    return parameter.name


def _files(value: Any, use: Use) -> list[Path]:
    """The files that an argument names; of a folder that is read, those in it."""
    if isinstance(value, list):  # FILE or NAME=FILE each
        named = [f for text in value for f in (text, text.partition("=")[2]) if f]
        return [p for p in map(Path, named) if os.path.isfile(p)]
    if value is None or value == "-":
        return []
    path = Path(value)
    return list(path.iterdir()) if use is READ and path.is_dir() else [path]
