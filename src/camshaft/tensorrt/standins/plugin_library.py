"""libnvinfer_plugin for who loads it with ctypes: there is nothing to load, so that loading it does nothing."""

from __future__ import annotations

from typing import Any


class Plugins:
    """What ctypes.CDLL gives for the library."""

    def initLibNvInferPlugins(self, logger: Any, lib_namespace: Any) -> int:
        """1, as where the plugins were registered: those that exist here are there already."""
        return 1
