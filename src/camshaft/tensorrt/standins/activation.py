"""Puts the stand-ins on Python's path. Imports nothing but the standard library, since every process that a script
starts runs this first (path/sitecustomize.py).
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "path"
"""What goes onto the path."""
FORCED = Path(__file__).parent / "forced"
"""What goes before it where packages that are installed are replaced."""
FORCE = "CAMSHAFT_TRT_FORCE"
"""Set to 1 in the environment where stand-ins go before packages that are installed."""

_SOURCE = Path(__file__).parents[3]
_LIBCUDART = re.compile(r"(libcudart\.so(\.[\d.]+)?|libcudart\.dylib|cudart64_\w+\.dll)")
_PLUGINS = re.compile(r"(libnvinfer_plugin\.so(\.[\d.]+)?|nvinfer_plugin(_\d+)?\.dll)")


def activate(force: bool) -> None:
    """Puts the folder onto the path, once: last, so that what is installed is found before; with `force`, first.

    Where TensorRT itself is installed, nothing of ours goes onto the path without `force`: it could not use our memory.
    """
    ours = [str(FORCED), str(FOLDER)]
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") not in ours]
    if not force and installed("tensorrt"):
        return
    sys.path[:] = [*ours, *sys.path] if force else [*sys.path, str(FOLDER)]
    known = PathFinder.find_spec("camshaft")
    if known is None:
        sys.path.append(str(_SOURCE))
    elif str(_SOURCE / "camshaft") not in (known.submodule_search_locations or ()):
        sys.path.insert(0, str(_SOURCE))  # another camshaft, to which these stand-ins do not belong
    answer_ctypes(force)


def installed(name: str) -> str | None:
    """Where a package that is not ours would be imported from; None where there is none.

    A folder without __init__.py, as `cuda` is one, counts where it holds what scripts import."""
    elsewhere = [p for p in sys.path if os.path.abspath(p or ".") != str(FOLDER)]
    spec = PathFinder.find_spec(name, elsewhere)
    if spec is None:
        return None
    if spec.origin is not None:
        return spec.origin
    parts = spec.submodule_search_locations or ()
    wanted = ("bindings", "cudart")
    found = (PathFinder.find_spec(f"{name}.{w}", list(parts)) for w in wanted)
    return next((s.origin for s in found if s is not None and s.origin is not None), None)


def answer_ctypes(force: bool) -> None:
    """Has ctypes.CDLL give our libcudart from then on: where there is none, or none that finds a device; with `force`, always.
    And TensorRT's library of plugins, which scripts load for what it registers.

    ctypes' class stays what it is, so that others may subclass it or test for it: only its `__new__` is ours.
    """
    known = getattr(ctypes.CDLL.__new__, "force", None)
    if known is not None and known >= force:
        return

    def new(cls: type[ctypes.CDLL], name: Any = None, *args: Any, **named: Any) -> Any:
        file = Path(name).name if isinstance(name, str | os.PathLike) else ""
        if _PLUGINS.fullmatch(file):
            return importlib.import_module("camshaft.tensorrt.standins.plugin_library").Plugins()
        if not _LIBCUDART.fullmatch(file):
            return object.__new__(cls)
        if not force and _finds_a_device(real := object.__new__(cls), name, *args, **named):
            return real
        module = importlib.import_module("camshaft.tensorrt.standins.libcudart")
        return module.LibCudart(str(name))

    new.force = force  # type: ignore[attr-defined]
    ctypes.CDLL.__new__ = new  # type: ignore[method-assign, assignment]


def _finds_a_device(library: Any, *args: Any, **named: Any) -> bool:
    """Whether a libcudart can be loaded, by the arguments of ctypes.CDLL, and there is a GPU."""
    try:
        type(library).__init__(library, *args, **named)
    except OSError:
        return False
    count = ctypes.c_int(0)
    return library.cudaGetDeviceCount(ctypes.byref(count)) == 0 and count.value > 0
