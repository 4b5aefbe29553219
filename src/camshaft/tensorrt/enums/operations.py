"""What layers compute: the choices that a layer's `op` or `type` has."""

from __future__ import annotations

from camshaft.tensorrt.enums.base import Enumeration, Member


class ActivationType(Enumeration):
    """Function of an activation layer."""

    RELU = Member(0)
    SIGMOID = Member(1)
    TANH = Member(2)
    LEAKY_RELU = Member(3)
    ELU = Member(4)
    SELU = Member(5)
    SOFTSIGN = Member(6)
    SOFTPLUS = Member(7)
    CLIP = Member(8)
    HARD_SIGMOID = Member(9)
    SCALED_TANH = Member(10)
    THRESHOLDED_RELU = Member(11)
    GELU_ERF = Member(12)
    GELU_TANH = Member(13)


class PoolingType(Enumeration):
    """What a pooling layer takes of a window."""

    MAX = Member(0)
    AVERAGE = Member(1)
    MAX_AVERAGE_BLEND = Member(2)


class ElementWiseOperation(Enumeration):
    """Operation of two tensors, element by element."""

    SUM = Member(0)
    PROD = Member(1)
    MAX = Member(2)
    MIN = Member(3)
    SUB = Member(4)
    DIV = Member(5)
    POW = Member(6)
    FLOOR_DIV = Member(7)
    AND = Member(8)
    OR = Member(9)
    XOR = Member(10)
    EQUAL = Member(11)
    GREATER = Member(12)
    LESS = Member(13)


class UnaryOperation(Enumeration):
    """Function of each element."""

    EXP = Member(0)
    LOG = Member(1)
    SQRT = Member(2)
    RECIP = Member(3)
    ABS = Member(4)
    NEG = Member(5)
    SIN = Member(6)
    COS = Member(7)
    TAN = Member(8)
    SINH = Member(9)
    COSH = Member(10)
    ASIN = Member(11)
    ACOS = Member(12)
    ATAN = Member(13)
    ASINH = Member(14)
    ACOSH = Member(15)
    ATANH = Member(16)
    CEIL = Member(17)
    FLOOR = Member(18)
    ERF = Member(19)
    NOT = Member(20)
    SIGN = Member(21)
    ROUND = Member(22)
    ISINF = Member(23)
    ISNAN = Member(24)


class ReduceOperation(Enumeration):
    """What a reduction computes along its axes; NONE: of a collective that reduces nothing."""

    SUM = Member(0)
    PROD = Member(1)
    MAX = Member(2)
    MIN = Member(3)
    AVG = Member(4)
    NONE = Member(5)


class TopKOperation(Enumeration):
    """Whether the largest or the smallest elements are wanted."""

    MAX = Member(0)
    MIN = Member(1)


class MatrixOperation(Enumeration):
    """How an operand of a matrix product is read."""

    NONE = Member(0)
    TRANSPOSE = Member(1)
    VECTOR = Member(2)


class FillOperation(Enumeration):
    """What a fill layer's output holds."""

    LINSPACE = Member(0)
    RANDOM_UNIFORM = Member(1)
    RANDOM_NORMAL = Member(2)


class CumulativeOperation(Enumeration):
    """What runs along an axis."""

    SUM = Member(0)


class CollectiveOperation(Enumeration):
    """What devices exchange."""

    ALL_REDUCE = Member(0)
    ALL_GATHER = Member(1)
    BROADCAST = Member(2)
    REDUCE = Member(3)
    REDUCE_SCATTER = Member(4)
    ALL_TO_ALL = Member(5)
    GATHER = Member(6)
    SCATTER = Member(7)


class AttentionNormalizationOp(Enumeration):
    """What an attention's scores go through."""

    NONE = Member(0)
    SOFTMAX = Member(1)


class MoEActType(Enumeration):
    """Activation of the experts."""

    NONE = Member(0)
    SILU = Member(1)


class RNNOperation(Enumeration):
    """Cell of a recurrent layer."""

    RELU = Member(0)
    TANH = Member(1)
    LSTM = Member(2)
    GRU = Member(3)


class RNNDirection(Enumeration):
    """Which way a recurrent layer reads its sequence."""

    UNIDIRECTION = Member(0)
    BIDIRECTION = Member(1)


class RNNInputMode(Enumeration):
    """What the first of the recurrent layers does with its input."""

    LINEAR = Member(0)
    SKIP = Member(1)


class RNNGateType(Enumeration):
    """Gate of a recurrent cell."""

    INPUT = Member(0)
    OUTPUT = Member(1)
    FORGET = Member(2)
    UPDATE = Member(3)
    RESET = Member(4)
    CELL = Member(5)
    HIDDEN = Member(6)
