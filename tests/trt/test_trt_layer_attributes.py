"""What tools read off layers: they list what a layer has and ILayer lacks."""

from __future__ import annotations

from typing import Any

import camshaft.tensorrt as trt
from trt_networks import network


def test_what_is_ours_is_no_parameter_of_a_layer() -> None:
    named = [getattr(trt, name) for name in trt.__all__]
    classes = [c for c in named if isinstance(c, type) and issubclass(c, trt.ILayer)]
    net = network()
    x: Any = net.add_input("x", trt.float32, (2, 3))
    softmax: Any = net.add_softmax(x)
    assert len(classes) > 40
    for shown in (*classes, softmax):
        assert not [a for a in dir(shown) if a.startswith("_") and not hasattr(trt.ILayer, a)]
    assert [a for a in dir(softmax) if not hasattr(trt.ILayer, a)] == ["axes"]
