"""Python files and modules that register plugins, as command lines name them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from camshaft.errors import CamshaftError, ConfigError

_IMPORTED: dict[str, None] = {}


def imported() -> tuple[str, ...]:
    """What was imported, in order, as another process may be given it: files by their whole paths."""
    return tuple(_IMPORTED)


def import_plugins(name: str, option: str) -> None:
    """Import what registers plugins, once: a Python file (`ops.py`), whose folder is looked through for what it imports, as
    a script's is; or a module by its name (`package.ops`), here or where Python finds it.

    What it prints goes to standard error.  option: how it was given.  ConfigError names it where there is none, or what it
    raises.
    """
    is_file = name.lower().endswith(".py")
    path = Path(name).expanduser().resolve()
    if not name or (is_file and not path.is_file()) or (not is_file and path.is_dir()):
        what = f"there is no file {name!r}" if is_file else f"{name!r} is no Python file or module"
        raise ConfigError(f"{option}: {what}")
    try:
        with redirect_stdout(sys.stderr):
            _look_in(path.parent if is_file else Path.cwd())
            if is_file:
                _import_file(path)
            else:
                importlib.import_module(name)
    except CamshaftError as error:
        raise type(error)(f"{option} {name}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise ConfigError(f"{option} {name}: {type(error).__name__}: {error}") from error
    _IMPORTED[os.fspath(path) if is_file else name] = None


def _look_in(folder: Path) -> None:
    """Let imports find modules of this folder, behind all others."""
    if os.fspath(folder) not in sys.path:
        sys.path.append(os.fspath(folder))


def _import_file(path: Path) -> None:
    # Files of one name in two folders are two modules.
    name = f"{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
