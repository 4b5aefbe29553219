"""Runs when a process starts with this folder on PYTHONPATH: puts the folder where it belongs on the path, and runs the
sitecustomize that is hidden behind this one.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

_HERE = Path(__file__).parent
_NAME = "camshaft.tensorrt.standins.activation"

# By its file, since the package above takes longer to import than many processes run.
_spec = importlib.util.spec_from_file_location(_NAME, _HERE.parent / "activation.py")
assert _spec is not None and _spec.loader is not None
_activation = sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_activation)
_activation.activate(os.environ.get(_activation.FORCE) == "1")

_hidden = PathFinder.find_spec(
    "sitecustomize", [p for p in sys.path if os.path.abspath(p or ".") != str(_HERE)]
)
if _hidden is not None and _hidden.loader is not None:
    sys.modules["sitecustomize"] = _module = importlib.util.module_from_spec(_hidden)
    _hidden.loader.exec_module(_module)
