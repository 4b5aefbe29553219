"""Operators of ONNX Runtime's domain that ONNX has not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ops.hosted.call import Call, Value, computed


def inverse(call: Call) -> Sequence[Value]:
    """Inverse(X) -> Y: of square matrices, in any number of batch axes; singular ones are an error."""
    x = call.array(0)
    return [np.linalg.inv(computed(x)).astype(x.dtype)]
