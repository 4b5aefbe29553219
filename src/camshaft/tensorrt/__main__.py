"""`python -m camshaft.tensorrt script.py`: runs a script for TensorRT unchanged, on the CPU."""

from __future__ import annotations

import os
import runpy
import sys

from camshaft.tensorrt.standins import FOLDER, install

USAGE = """\
usage: python -m camshaft.tensorrt [--force] script.py [argument ...]
       python -m camshaft.tensorrt [--force] -m module [argument ...]
       python -m camshaft.tensorrt --shims

Runs a script or a module written for TensorRT on the CPU: camshaft answers for tensorrt, cuda and pycuda where they are
not installed, in the processes that it starts too.

  --force  camshaft answers even where they are installed
  --shims  prints the folder that does so on PYTHONPATH
"""


def main(arguments: list[str]) -> None:
    """Runs what the command line names; SystemExit with 2 where it is wrong."""
    force = "--force" in arguments[:1]
    rest = arguments[force:]
    if rest in (["-h"], ["--help"]):
        print(USAGE, end="")
    elif rest == ["--shims"]:
        print(FOLDER)
    elif len(rest) > 1 and rest[0] == "-m":
        _enter(rest[1:], os.getcwd(), force)
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    elif rest and not rest[0].startswith("-"):
        if not os.path.exists(rest[0]):
            sys.exit(_refuse(f"there is no file {rest[0]}\n"))
        _enter(rest, os.path.dirname(os.path.realpath(rest[0])), force)
        runpy.run_path(rest[0], run_name="__main__")
    else:
        wrong = f"unknown option {rest[0]}" if rest else "no script is given"
        sys.exit(_refuse(f"{wrong}\n\n{USAGE}"))


def _enter(arguments: list[str], folder: str, force: bool) -> None:
    """Makes this process what Python would start: with its arguments, and a folder of its own first on the path."""
    if not sys.flags.safe_path:
        sys.path.pop(0)  # The current folder, since we were started with -m.
    install(force, subprocesses=True)
    if not sys.flags.safe_path:
        sys.path.insert(0, folder)
    sys.argv[:] = arguments


def _refuse(message: str) -> int:
    print(f"python -m camshaft.tensorrt: {message}", end="", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main(sys.argv[1:])
