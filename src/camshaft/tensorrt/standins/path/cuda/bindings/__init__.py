"""Stand-in for cuda-python's package, by camshaft: see camshaft.tensorrt.standins."""

from camshaft.tensorrt.standins.installation import answer_imports

__version__ = "12.9.0"

answer_imports()
