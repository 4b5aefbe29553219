"""Modules that are camshaft.tensorrt under another name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_BUILDS = frozenset(
    {
        "Builder",
        "EngineInspector",
        "IBuilderConfig",
        "INetworkDefinition",
        "NetworkDefinitionCreationFlag",
        "OnnxParser",
        "OnnxParserFlag",
        "OnnxParserRefitter",
    }
)
"""What the packages that only run engines lack."""


def alias(
    name: str, *, runs_only: bool = False
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a module `name` that has what camshaft.tensorrt has.

    Names are looked up each time, so that the module has those of the same era of TensorRT.
    runs_only: leaves out what builds engines.
    """
    ours = importlib.import_module("camshaft.tensorrt")
    hidden = _BUILDS if runs_only else frozenset[str]()

    def get(attribute: str) -> Any:
        if attribute in hidden:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        return getattr(ours, attribute)

    def names() -> list[str]:
        return [known for known in dir(ours) if known not in hidden]

    return get, names
