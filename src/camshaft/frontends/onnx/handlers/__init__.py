"""Handlers by operator family: (domain, op type) -> function(ctx) that emits canonical ops."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.frontends.onnx.context import Handler
from camshaft.frontends.onnx.handlers import (
    attention,
    contraction,
    elementwise,
    experimental,
    microsoft,
    ml,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    shapes,
    slicing,
)

HANDLERS: Mapping[tuple[str, str], Handler] = {
    **{("", op_type): handler for op_type, handler in elementwise.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in attention.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in contraction.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in experimental.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in normalization.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in pooling.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in quantization.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in recurrent.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in reduction.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in resize.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in shapes.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in slicing.HANDLERS.items()},
    **{("", op_type): handler for op_type, handler in microsoft.IN_ONNX.items()},
    **{(ml.DOMAIN, op_type): handler for op_type, handler in ml.HANDLERS.items()},
    **{(microsoft.DOMAIN, op_type): handler for op_type, handler in microsoft.HANDLERS.items()},
}

HOSTED = frozenset(
    {
        ("", "TopK"),
        *(
            (ml.DOMAIN, op_type)
            for op_type in (
                "CastMap", "CategoryMapper", "DictVectorizer", "LabelEncoder", "SVMClassifier",
                "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap",
            )
        ),
        (microsoft.DOMAIN, "Inverse"),
    }
)  # fmt: skip
"""Operators of which a handler only says the types: they are host steps."""
