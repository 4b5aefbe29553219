"""Stand-in for pycuda, by camshaft: see camshaft.tensorrt.standins."""

from camshaft.tensorrt.standins.installation import answer_imports

VERSION = (2024, 1)
VERSION_STATUS = ""
VERSION_TEXT = "2024.1"

answer_imports()
