"""Operators of ai.onnx.ml: arithmetic where they are arithmetic, else host steps whose types are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt

import numpy as np
from onnx import TensorProto, helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import DataDependent, Handler, NodeContext, Results
from camshaft.frontends.onnx.dtypes import inner_dtype
from camshaft.frontends.onnx.hosted import host_step
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ir.types import DType, TensorType, f32, i64, string
from camshaft.ops import functional as F
from camshaft.ops.functional.core import constant

DOMAIN = "ai.onnx.ml"
_HALF = E.const(0.5)


def _floats(ctx: NodeContext, index: int = 0) -> Tensor:
    return F.cast(ctx.builder, ctx.arg(index), f32)


def _rows(ctx: NodeContext) -> Tensor:
    """Input 0 as rows [N, F] of f32; a vector is one row."""
    x = _floats(ctx)
    if x.type.rank not in (1, 2):
        raise ModelError(f"input {x.type} is neither rows nor one row")
    return F.unsqueeze(ctx.builder, x, 0) if x.type.rank == 1 else x


def _numbers(ctx: NodeContext, name: str) -> np.ndarray:
    values = ctx.attr_floats(name)
    if values is None:
        raise ModelError(f"attribute {name!r} is missing")
    return np.array(values, np.float32)


def scaler(ctx: NodeContext) -> Results:
    """Scaler: (x - offset) * scale, one for each feature or for all."""
    b = ctx.builder
    offset, scale = (constant(b, _numbers(ctx, n), n) for n in ("offset", "scale"))
    return F.mul(b, F.sub(b, _floats(ctx), offset), scale, output=ctx.output)


def normalizer(ctx: NodeContext) -> Results:
    """Normalizer: each row over its largest element, its sum of magnitudes, or its length; 0 stays."""
    b, x, norm = ctx.builder, _floats(ctx), ctx.attr_str("norm", "MAX")
    norms: Mapping[str, Callable[..., Tensor]] = {"MAX": F.amax, "L1": F.l1_norm, "L2": F.l2_norm}
    if norm not in norms:
        raise ModelError(f"norm={norm!r} is none of {', '.join(norms)}")
    size = norms[norm](b, x, -1, keepdims=True)
    divided = E.select(E.binary("eq", E.inp(1), E.const(0.0)), E.inp(0), E.div(E.inp(0), E.inp(1)))
    return F.pointwise(b, divided, x, size, output=ctx.output)


def imputer(ctx: NodeContext) -> Results:
    """Imputer: a value, or NaN, replaced by one for each feature or for all."""
    b, x = ctx.builder, ctx.arg(0)
    if x.type.dtype.is_float:
        values = constant(
            b, _numbers(ctx, "imputed_value_floats").astype(x.type.dtype.numpy), "new"
        )
        old = ctx.attr_float("replaced_value_float", float("nan"))
        hit = F.isnan(b, x) if old != old else F.eq(b, x, float(np.float32(old)))
        return F.where(b, hit, values, x, output=ctx.output)
    ints = ctx.attr_ints("imputed_value_int64s")
    if not ints:
        raise ModelError("attribute 'imputed_value_int64s' is missing")
    values = constant(b, np.array(ints, x.type.dtype.numpy), "new")
    hit = F.eq(b, x, ctx.attr_int("replaced_value_int64"))
    return F.where(b, hit, values, x, output=ctx.output)


def binarizer(ctx: NodeContext) -> Results:
    """Binarizer: 1 above the threshold, else 0."""
    above = E.binary("lt", E.const(ctx.attr_float("threshold")), E.inp(0))
    expr = E.select(above, E.const(1.0), E.const(0.0))
    if not ctx.arg(0).type.dtype.is_float:
        raise ModelError(f"input {ctx.arg(0).type} holds no floats")
    return F.pointwise(ctx.builder, expr, ctx.arg(0), output=ctx.output)


def array_feature_extractor(ctx: NodeContext) -> Results:
    """ArrayFeatureExtractor(x, indices): features along the last axis; a vector is one row."""
    b, x = ctx.builder, ctx.arg(0)
    if x.type.rank == 1:
        x = F.unsqueeze(b, x, 0)
    indices = F.reshape(b, ctx.arg(1), (-1,))
    return F.take(b, x, indices, -1, output=ctx.output)


def feature_vectorizer(ctx: NodeContext) -> Results:
    """FeatureVectorizer: rows beside each other, each cut or filled up with 0 to its width."""
    b, widths = ctx.builder, ctx.attr_ints("inputdimensions") or ()
    if len(widths) != len(ctx.inputs):
        raise ModelError(f"inputdimensions {list(widths)} are not one for each input")
    parts = []
    for i, width in enumerate(widths):
        x = _floats(ctx, i)
        x = F.unsqueeze(b, x, 0) if x.type.rank == 1 else x
        parts.append(F.pad(b, x, [(0, 0), (0, width - x.shape[1])]))
    return F.concat(b, parts, 1, output=ctx.output)


# --- linear models --------------------------------------------------------------------------


def _transformed(ctx: NodeContext, x: Tensor, output: str | None) -> Tensor:
    """Scores [N, C] after post_transform; the formulas are those of `ops.hosted.ml.scores`."""
    b, kind = ctx.builder, ctx.attr_str("post_transform", "NONE")
    if kind == "NONE":
        return x
    if kind == "LOGISTIC":
        return F.sigmoid(b, x, output=output)
    if kind == "SOFTMAX":
        return F.softmax(b, x, 1, output=output)
    if kind == "SOFTMAX_ZERO":
        nothing = E.binary("le", E.unary("abs", E.inp(0)), E.const(1e-7))
        lifted = E.select(nothing, E.const(0.0), E.unary("exp", E.sub(E.inp(0), E.inp(1))))
        e = F.pointwise(b, lifted, x, F.amax(b, x, 1, keepdims=True))
        return F.div(b, e, F.sum(b, e, 1, keepdims=True), output=output)
    if kind == "PROBIT":
        return F.pointwise(b, _probit(), x, output=output)
    raise ModelError(f"post_transform={kind!r} is not known")


def _probit() -> E.Expr:
    """sqrt(2) erfinv(2 x - 1), by Winitzki's formula."""
    a = 0.147
    v = E.sub(E.mul(E.const(2.0), E.inp(0)), E.const(1.0))
    one = E.const(1.0)
    log = E.unary("log", E.mul(E.sub(one, v), E.add(one, v)))
    half = E.add(E.const(2 / (np.pi * a)), E.mul(log, _HALF))
    inner = E.unary("sqrt", E.sub(E.mul(half, half), E.mul(log, E.const(1 / a))))
    root = E.unary("sqrt", E.sub(inner, half))
    return E.mul(E.const(sqrt(2)), E.mul(E.unary("sign", v), root))


def _linear(ctx: NodeContext, count: int, output: str | None = None) -> Tensor:
    """Rows times coefficients [count, F], plus intercepts."""
    b, x = ctx.builder, _rows(ctx)
    weights = _numbers(ctx, "coefficients")
    if not count or weights.size % count:
        raise ModelError(f"{weights.size} coefficients are not rows of {count}")
    matrix = constant(b, weights.reshape(count, -1), "coefficients")
    given = ctx.attr_floats("intercepts")
    bias = None if given is None else constant(b, np.array(given, np.float32), "intercepts")
    return F.linear(b, x, matrix, bias, output=output)


def linear_regressor(ctx: NodeContext) -> Results:
    """LinearRegressor: [N, targets]."""
    plain = ctx.attr_str("post_transform", "NONE") == "NONE"
    y = _linear(ctx, ctx.attr_int("targets", 1), ctx.output if plain else None)
    return _transformed(ctx, y, ctx.output)


def linear_classifier(ctx: NodeContext) -> Results:
    """LinearClassifier: labels [N] and scores [N, classes].

    One row of coefficients for two labels scores the second one; the first one's score is its
    complement.  SOFTMAX does not change these, as in ONNX Runtime.
    """
    b = ctx.builder
    labels = _labels(ctx)
    count = len(ctx.attr_floats("intercepts") or labels)
    scores = _linear(ctx, count)
    held = ctx.output_name(1) if ctx.wants(1) else None
    if count == 1 and len(labels) == 2:
        second = F.pointwise(b, E.binary("lt", E.const(0.0), E.inp(0)), scores)
        chosen = F.cast(b, F.reshape(b, second, (scores.shape[0],)), i64)
        return _label_of(ctx, chosen, labels), _two_scores(ctx, scores, held)
    chosen = F.argmax(b, scores, 1)
    return _label_of(ctx, chosen, labels), _transformed(ctx, scores, held)


def _two_scores(ctx: NodeContext, second: Tensor, output: str | None) -> Tensor:
    """Scores [N, 2] by that of the second class, [N, 1]: it and its complement."""
    b, kind = ctx.builder, ctx.attr_str("post_transform", "NONE")
    if kind == "PROBIT":
        raise ModelError(
            "PROBIT of two classes that one row of coefficients tells apart has no meaning"
        )
    y = F.sigmoid(b, second) if kind == "LOGISTIC" else second
    first = F.pointwise(b, E.sub(E.const(1.0), E.inp(0)), y)
    return F.concat(b, [first, y], 1, output=output)


def _labels(ctx: NodeContext) -> tuple[int, ...] | tuple[str, ...]:
    names = ctx.attr_strings("classlabels_strings")
    return names or ctx.attr_ints("classlabels_ints") or ctx.attr_ints("classlabels_int64s") or ()


def _label_of(
    ctx: NodeContext, chosen: Tensor, labels: tuple[int, ...] | tuple[str, ...]
) -> Tensor:
    """The label at each of the places `chosen` [N]."""
    if any(isinstance(label, str) for label in labels):
        node = helper.make_node("LabelEncoder", ["at"], ["label"], name=ctx.name, domain=DOMAIN)
        for name, values in (("keys_int64s", list(range(len(labels)))), ("values_strings", labels)):
            node.attribute.append(helper.make_attribute(name, values))
        result = [helper.make_tensor_value_info("label", TensorProto.STRING, None)]
        graph = helper.make_graph([node], "labels", [], result)
        return ctx.subgraph(graph, {"at": chosen}, {DOMAIN: 2})[0]
    table = constant(ctx.builder, np.array(labels, np.int64), "labels")
    return F.take(ctx.builder, table, chosen, 0, output=ctx.output)


# --- support vectors ------------------------------------------------------------------------


def _kernel(ctx: NodeContext, x: Tensor, vectors: Tensor) -> Tensor:
    """How alike rows x [N, F] and support vectors [S, F] are: [N, S]."""
    b, kind = ctx.builder, ctx.attr_str("kernel_type", "LINEAR")
    gamma, offset, degree = (*(ctx.attr_floats("kernel_params") or ()), 0.0, 0.0, 0.0)[:3]
    products = F.linear(b, x, vectors)
    if kind == "LINEAR":
        return products
    if kind == "RBF":
        squares = [F.sum_of_squares(b, t, 1, keepdims=True) for t in (x, vectors)]
        norms = F.add(b, squares[0], F.transpose(b, squares[1]))
        return F.exp(b, F.mul(b, F.sub(b, norms, F.mul(b, products, 2.0)), -gamma))
    inner = F.add(b, F.mul(b, products, gamma), offset)
    if kind == "POLY":
        return F.pow(b, inner, degree)
    if kind == "SIGMOID":
        return F.tanh(b, inner)
    raise ModelError(f"kernel_type={kind!r} is not known")


def svm_regressor(ctx: NodeContext) -> Results:
    """SVMRegressor: [N, 1]; with one_class 1 or -1, by the sign."""
    b, x, count = ctx.builder, _rows(ctx), ctx.attr_int("n_supports")
    weights, rho = _numbers(ctx, "coefficients"), _numbers(ctx, "rho")[:1]
    if count:
        stored = _numbers(ctx, "support_vectors").reshape(count, -1)
        x = _kernel(ctx, x, constant(b, stored, "support_vectors"))
    row = constant(b, weights.reshape(1, -1), "coefficients")
    y = F.linear(b, x, row, constant(b, rho, "rho"))
    if ctx.attr_int("one_class"):
        positive = E.binary("lt", E.const(0.0), E.inp(0))
        sign = E.select(positive, E.const(1.0), E.const(-1.0))
        return F.pointwise(b, sign, y, output=ctx.output)
    return _transformed(ctx, y, ctx.output)


def svm_classifier(ctx: NodeContext) -> Results:
    """SVMClassifier, on the host: labels, and scores of classes or of pairs of them."""
    labels, rows = _labels(ctx), _rows_of(ctx)
    count = len(labels)
    pairs = ctx.attr_ints("vectors_per_class") and ctx.attr_floats("prob_a") is None
    columns = count * (count - 1) // 2 if pairs and count > 2 else count
    dtype = string if any(isinstance(label, str) for label in labels) else i64
    return _hosted(ctx, [TensorType(dtype, (rows,)), TensorType(f32, (rows, columns))])


# --- host steps -----------------------------------------------------------------------------


def _hosted(ctx: NodeContext, types: Sequence[TensorType]) -> Results:
    """The node as a host step, of a script where it gives strings, which no graph holds."""
    if any(t.dtype is string for t in types):
        raise DataDependent("its output holds strings")
    return host_step(ctx, types)


def tree_regressor(ctx: NodeContext) -> Results:
    """TreeEnsembleRegressor."""
    return _hosted(ctx, [TensorType(f32, (_rows_of(ctx), ctx.attr_int("n_targets", 1)))])


def tree_ensemble(ctx: NodeContext) -> Results:
    """TreeEnsemble: [N, n_targets] in the type of its input."""
    targets = ctx.attr_int("n_targets", max(ctx.attr_ints("leaf_targetids") or (0,)) + 1)
    return _hosted(ctx, [TensorType(ctx.arg(0).type.dtype, (_rows_of(ctx), targets))])


def tree_classifier(ctx: NodeContext) -> Results:
    """TreeEnsembleClassifier."""
    labels, rows = _labels(ctx), _rows_of(ctx)
    dtype = string if any(isinstance(label, str) for label in labels) else i64
    types = [TensorType(dtype, (rows,)), TensorType(f32, (rows, len(labels)))]
    return _hosted(ctx, types)


def _rows_of(ctx: NodeContext) -> Extent:
    x = ctx.arg(0).type
    return 1 if x.rank == 1 else x.shape[0]


def maps(ctx: NodeContext) -> Results:
    """CastMap, DictVectorizer and ZipMap, steps of a script; `scripts.maps` knows their types."""
    raise DataDependent("it takes or gives maps, which no graph holds")


def label_encoder(ctx: NodeContext) -> Results:
    """LabelEncoder and CategoryMapper."""
    return _hosted(ctx, [TensorType(_value_type(ctx), ctx.arg(0).shape)])


def _value_type(ctx: NodeContext) -> DType:
    """The type that a table of labels leads to."""
    from_strings = ctx.arg(0).type.dtype.kind == "s"
    for a in ctx.proto.attribute:
        if a.name == "values_tensor":
            return inner_dtype(a.t.data_type)
    if ctx.attr_strings("values_strings"):
        return string
    if ctx.attr_floats("values_floats") is not None:
        return f32
    if ctx.attr_ints("values_int64s") is not None:
        return i64
    return i64 if from_strings else string


HANDLERS: Mapping[str, Handler] = {
    "ArrayFeatureExtractor": array_feature_extractor,
    "Binarizer": binarizer,
    "CastMap": maps,
    "CategoryMapper": label_encoder,
    "DictVectorizer": maps,
    "FeatureVectorizer": feature_vectorizer,
    "Imputer": imputer,
    "LabelEncoder": label_encoder,
    "LinearClassifier": linear_classifier,
    "LinearRegressor": linear_regressor,
    "Normalizer": normalizer,
    "SVMClassifier": svm_classifier,
    "SVMRegressor": svm_regressor,
    "Scaler": scaler,
    "TreeEnsemble": tree_ensemble,
    "TreeEnsembleClassifier": tree_classifier,
    "TreeEnsembleRegressor": tree_regressor,
    "ZipMap": maps,
}
