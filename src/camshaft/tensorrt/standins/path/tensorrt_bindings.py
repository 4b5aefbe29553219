"""TensorRT's inner package, which is our stand-in for TensorRT itself."""

import importlib

importlib.import_module("tensorrt")
