"""Stand-in for cuda-python where another is installed.

Only a package with an __init__.py hides another that has one. Without --force it would hide NVIDIA's newer packages, which
share the name `cuda` without one: so it is not in the folder that is on the path then. Those that camshaft has no stand-in
for are found here too.
"""

import os
import sys

from camshaft.tensorrt.standins.activation import FOLDER

_ours = str(FOLDER / "cuda")
_others = (os.path.join(entry, "cuda") for entry in sys.path)
__path__ = [_ours, *(o for o in _others if o not in (_ours, *__path__) and os.path.isdir(o))]
