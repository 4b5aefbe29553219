"""Networks by hand: layers in Python instead of a file."""

from camshaft.network.network import Network
from camshaft.network.tensor import Tensor

__all__ = ["Network", "Tensor"]
