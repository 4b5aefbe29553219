"""Has a process, and those that it starts, import the stand-ins, and says so."""

from __future__ import annotations

import os
import sys

from camshaft.tensorrt.standins.activation import FOLDER, FORCE, activate, answer_ctypes, installed
from camshaft.version import VERSION

PACKAGES = ("tensorrt", "tensorrt_lean", "tensorrt_dispatch", "cuda", "pycuda")
"""What there are stand-ins for."""
NOTICE = "CAMSHAFT_TRT_NOTICE"
"""Set to 0 in the environment where nothing is said, or it was said before."""


def install(force: bool = False, *, subprocesses: bool = False) -> None:
    """Has `import tensorrt`, `cuda` and `pycuda` find camshaft where they are not installed, and says which it is.

    force: camshaft answers even where they are. A module that is imported already stays.
    subprocesses: so it is in processes that this one starts, through their environment.
    """
    activate(force)
    if subprocesses:
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        paths = [str(FOLDER), *(p for p in others if p and p != str(FOLDER))]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        os.environ[FORCE] = "1" if force else "0"
    say_who_answers(force)


def say_who_answers(force: bool) -> None:
    """Prints one line on standard error, once for a process and those that it starts."""
    if os.environ.get(NOTICE) == "0":
        return
    os.environ[NOTICE] = "0"
    print(_who_answers(force), file=sys.stderr)


def _who_answers(force: bool) -> str:
    real = {} if force else {name: at for name in PACKAGES if (at := installed(name))}
    if "tensorrt" in real:
        at = real["tensorrt"]
        return f"camshaft: TensorRT is installed ({at}) and answers itself; --force has camshaft answer"
    line = f"camshaft {VERSION} answers for {', '.join(p for p in PACKAGES if p not in real)} on this CPU"
    if real:
        found = ", ".join(f"{name} ({at})" for name, at in real.items())
        line += f"; installed, and not replaced without --force: {found}, whose device memory it cannot read"
    return line


def answer_imports() -> None:
    """What a stand-in does when it is imported, however it came onto the path."""
    force = os.environ.get(FORCE) == "1"
    answer_ctypes(force)
    say_who_answers(force)
