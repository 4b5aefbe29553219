"""The library of plugins that come with TensorRT: what of it exists here is there without being loaded."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.kept import one_of
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.network.params import text


def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    """True: there is nothing to load.  TypeError for arguments of other types."""
    one_of(ILogger)(logger, "logger")
    text(namespace, "namespace")
    return True
