"""TensorFlow and Keras: engines of their models (needs the extra `tensorflow`).

import camshaft.tensorflow

fast = camshaft.tensorflow.compile(model)
scores = fast(image)
fast.save("folder")  # a SavedModel that runs engines, for who imports camshaft.tensorflow

`TrtGraphConverterV2` takes the place of TF-TRT's, with its arguments and methods.
"""

from camshaft.tensorflow.compiled import Compiled, compile
from camshaft.tensorflow.converter import (
    DEFAULT_TRT_CONVERSION_PARAMS,
    TrtConversionParams,
    TrtGraphConverterV2,
    TrtPrecisionMode,
)
from camshaft.tensorflow.engine_op import register

__all__ = [
    "DEFAULT_TRT_CONVERSION_PARAMS",
    "Compiled",
    "TrtConversionParams",
    "TrtGraphConverterV2",
    "TrtPrecisionMode",
    "compile",
]

register()
