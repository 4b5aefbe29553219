"""Packages that camshaft uses where they are installed: its extras bring them."""

from __future__ import annotations

import importlib
from typing import Any

from camshaft.errors import ConfigError


def require_package(name: str, purpose: str, otherwise: str = "", *, extra: str = "") -> Any:
    """The package `name`; ConfigError, with what it is needed for, where it cannot be imported.

    extra: camshaft's that installs it, where it has another name."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{purpose} needs the package {name}, which cannot be imported ({error}); "
            f"install it with: pip install 'camshaft[{extra or name}]'{otherwise}"
        ) from None
