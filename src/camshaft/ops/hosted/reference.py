"""What is known of ONNX's reference, for the operators that are left to it.

An operator that is neither here nor in `table` runs by the reference too if that has it; nobody has
compared it with anything then.
"""

from __future__ import annotations

from collections.abc import Mapping

_AS_ONNX_RUNTIME = "equals ONNX Runtime, unoptimized, on random cases of every opset"
_AS_CASES = "passes ONNX's node cases"

COMPARED = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitwiseAnd", "BitwiseOr",
    "BitwiseXor", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Det", "Div", "Elu", "Equal", "Erf", "Exp",
    "Expand", "Floor", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "IsInf",
    "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mul", "Neg",
    "Or", "PRelu", "Pow", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu",
    "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
    "Sqrt", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Tile", "Trilu", "Where", "Xor",
)  # fmt: skip
"""Operators whose reference tests/ops/hosted compares with ONNX Runtime."""

TRIED = (
    "Attention", "BitwiseNot", "CausalConvWithState", "Concat", "Constant",
    "ConstantOfShape", "Dropout", "EyeLike", "Flatten", "Identity", "ImageDecoder", "LinearAttention",
    "Mish", "NegativeLogLikelihoodLoss", "Not", "RMSNormalization", "Range",
    "RotaryEmbedding", "Shape", "Size", "SoftmaxCrossEntropyLoss", "SwiGLU", "Swish", "Transpose",
)  # fmt: skip
"""Operators of which only ONNX's own cases were tried; the importer has handlers or bodies for most."""

RANDOM = (
    "Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip
"""There is no right answer to compare with."""

CONTROL = ("If", "Loop", "Scan", "SequenceMap")
"""They hold graphs; the importer has them."""

REFERENCE: Mapping[str, str] = {
    **dict.fromkeys(COMPARED, _AS_ONNX_RUNTIME),
    **dict.fromkeys(TRIED, _AS_CASES),
    **dict.fromkeys(RANDOM, "random: nothing to compare with"),
}
"""Operator of ONNX's own domain -> what speaks for the reference."""
