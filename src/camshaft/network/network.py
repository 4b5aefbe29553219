"""`Network`: layers by hand."""

from __future__ import annotations

from typing import Any

from camshaft.api import build
from camshaft.config import BuildConfig
from camshaft.network.layers.control import Control
from camshaft.network.layers.indexing import Indexing
from camshaft.network.layers.movement import Movement
from camshaft.network.layers.normalization import Normalization
from camshaft.network.layers.plugins import Plugins
from camshaft.network.layers.products import Products
from camshaft.network.layers.quantization import Quantization
from camshaft.network.layers.recurrent import Recurrent
from camshaft.network.layers.reduction import Reduction
from camshaft.network.layers.windows import Windows
from camshaft.runtime.engine import Engine


class Network(
    Windows,
    Products,
    Normalization,
    Reduction,
    Movement,
    Indexing,
    Quantization,
    Recurrent,
    Control,
    Plugins,
):
    """A network that is written layer by layer.

        n = camshaft.Network()
        x = n.input("image", ("batch", 3, 224, 224))
        y = n.relu(n.conv(x, weight, bias, strides=2, padding=1, name="conv1"))
        n.output(n.softmax(n.linear(n.mean(y, (2, 3)), w, b)), "scores")
        engine = n.build()

    Layers are methods; what they give are `Tensor`s, whose types and shapes are known at once.  A layer that cannot be is a ModelError at
    its line, and leaves the network as it was.  Arrays and numbers among the arguments become constants, called after the layer
    ("conv1.weight").  `op` adds any operator of ONNX (opset 23).  Layouts are ONNX's: images are NCHW.

    name: of the graph.
    """

    def build(self, config: BuildConfig | None = None, **options: Any) -> Engine:
        """Build an engine: as `camshaft.build`, with its options and errors."""
        return build(self.to_onnx(), config, **options)
