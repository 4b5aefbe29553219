"""Python files and modules that register plugins, as command lines name them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from camshaft.errors import CamshaftError, ConfigError

_PREFIX = "camshaft_plugins_"


def import_plugins(name: str, option: str) -> None:
    """Import what registers plugins: a Python file (`ops.py`), or a module by its name (`package.ops`), once.

    option: how it was given.  ConfigError names it where there is none, or what it raises.
    """
    try:
        if name.endswith(".py"):
            _import_file(Path(name).expanduser(), option)
        else:
            importlib.import_module(name)
    except CamshaftError as error:
        raise type(error)(f"{option} {name}: {error}") from error
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(f"{option} {name}: {type(error).__name__}: {error}") from error


def _import_file(path: Path, option: str) -> None:
    if not path.is_file():
        raise ConfigError(f"{option}: there is no file {str(path)!r}")
    name = _PREFIX + path.stem
    known = sys.modules.get(name)
    if known is not None and path.samefile(str(known.__file__)):
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
