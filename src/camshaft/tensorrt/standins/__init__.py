"""What stands in for NVIDIA's packages on a machine without a GPU.

`path/` goes onto Python's path: `tensorrt` and its kin, `cuda`, `pycuda`, and a `sitecustomize` for the processes that a
script starts. Its modules are names only; what they name is here and in camshaft.tensorrt. `install` puts it there, and
answers ctypes where it is asked for libcudart.
"""

from camshaft.tensorrt.standins.activation import FOLDER
from camshaft.tensorrt.standins.installation import install

__all__ = ["FOLDER", "install"]
