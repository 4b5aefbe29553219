"""Names that objects of the API lack: assigning one fails, as it does where the bindings are pybind11's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop
from trt_networks import Log


def everything() -> dict[str, Any]:
    shop = Workshop().convolution()
    engine = shop.engine()
    return {
        "builder": shop.builder,
        "network": shop.network,
        "layer": shop.network.get_layer(0),
        "tensor": shop.network.get_input(0),
        "config": shop.config,
        "profile": shop.builder.create_optimization_profile(),
        "loop": shop.network.add_loop(),
        "parser": trt.OnnxParser(shop.builder.create_network(), Log()),
        "runtime": shop.runtime,
        "engine": engine,
        "context": engine.create_execution_context(),
        "inspector": engine.create_engine_inspector(),
    }


def test_a_misspelled_attribute_is_an_error() -> None:
    for name, made in everything().items():
        with pytest.raises(AttributeError, match=f"{type(made).__name__}.*no attribute 'strid'"):
            made.strid = 1
        assert not hasattr(made, "strid"), name
    conv: Any = everything()["network"].get_layer(0)
    with pytest.raises(AttributeError, match="ILayer"):
        conv.stride_nd = (2, 2)
    conv.__class__ = trt.IConvolutionLayer
    conv.stride_nd = (2, 2)
    assert conv.stride_nd == (2, 2)


def test_classes_of_scripts_take_attributes() -> None:
    class Mine(trt.Runtime):
        pass

    runtime = Mine(Log())
    runtime.note = "kept"  # type: ignore[attr-defined]
    assert runtime.note == "kept"  # type: ignore[attr-defined]


def test_a_property_that_the_release_lacks_is_an_error() -> None:
    script = """
import camshaft.tensorrt as trt
config = trt.Builder(trt.Logger()).create_builder_config()
try:
    config.max_workspace_size = 1 << 20
except AttributeError:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 20)
    print("by pool")
"""
    environment = {**os.environ, "CAMSHAFT_TRT_PROFILE": "10"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "by pool"
