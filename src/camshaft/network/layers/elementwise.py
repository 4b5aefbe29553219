"""Layers that work element by element."""

from __future__ import annotations

from typing import Any

from camshaft.network.core import Core, element_type
from camshaft.network.tensor import Like, Tensor


class Elementwise(Core):
    """Arithmetic with broadcasting, comparisons, activations, casts."""

    # -- of two ------------------------------------------------------------------------------------

    def _two(self, op: str, a: Like, b: Like, name: str | None, **attributes: Any) -> Tensor:
        layer = self._layer_name(name, op)
        given = [x for x in (a, b) if isinstance(x, Tensor)]
        like = given[0] if given else None
        left, right = (
            self.tensor(x, like, f"{layer}.{side}")
            for x, side in zip((a, b), ("left", "right"), strict=True)
        )
        return self._one(op, left, right, name=layer, **attributes)

    def _one(
        self, op: str, *inputs: Like | None, name: str | None = None, **attributes: Any
    ) -> Tensor:
        """A layer with one result."""
        made = self.op(op, *inputs, name=name, **attributes)
        assert isinstance(made, Tensor)
        return made

    def add(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """a + b."""
        return self._two("Add", a, b, name)

    def sub(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """a - b."""
        return self._two("Sub", a, b, name)

    def mul(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """a * b."""
        return self._two("Mul", a, b, name)

    def div(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """a / b; of integers, towards zero."""
        return self._two("Div", a, b, name)

    def pow(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """a ** b, in a's type."""
        return self._two("Pow", a, b, name)

    def mod(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """The remainder of a / b: of integers with b's sign, of floats with a's (C's fmod)."""
        left = self.tensor(a, b if isinstance(b, Tensor) else None)
        fmod = int(left.dtype.kind not in "iu")
        return self._two("Mod", left, b, name, fmod=fmod)

    def maximum(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """The larger of a and b; NaN where either is."""
        return self._two("Max", a, b, name)

    def minimum(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """The smaller of a and b; NaN where either is."""
        return self._two("Min", a, b, name)

    def equal(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where a == b, as bool."""
        return self._two("Equal", a, b, name)

    def less(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where a < b, as bool."""
        return self._two("Less", a, b, name)

    def less_or_equal(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where a <= b, as bool."""
        return self._two("LessOrEqual", a, b, name)

    def greater(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where a > b, as bool."""
        return self._two("Greater", a, b, name)

    def greater_or_equal(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where a >= b, as bool."""
        return self._two("GreaterOrEqual", a, b, name)

    def logical_and(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where both hold; of bools."""
        return self._two("And", a, b, name)

    def logical_or(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where either holds; of bools."""
        return self._two("Or", a, b, name)

    def logical_xor(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """Where one of both holds; of bools."""
        return self._two("Xor", a, b, name)

    def where(self, condition: Like, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """a where the condition holds, else b."""
        given = [x for x in (a, b) if isinstance(x, Tensor)]
        like = given[0] if given else None
        return self._one("Where", condition, self.tensor(a, like), self.tensor(b, like), name=name)

    # -- of one ------------------------------------------------------------------------------------

    def unary(self, op: str, x: Like, *, name: str | None = None) -> Tensor:
        """ONNX's operator of one tensor without attributes: "Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan",
        "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Erf", "Floor", "Ceil", "Round" (half to even), "Sign", "Not", "IsNaN", ..."""
        return self._one(op, x, name=name)

    def neg(self, x: Like, *, name: str | None = None) -> Tensor:
        """-x."""
        return self._one("Neg", x, name=name)

    def abs(self, x: Like, *, name: str | None = None) -> Tensor:
        """|x|."""
        return self._one("Abs", x, name=name)

    def exp(self, x: Like, *, name: str | None = None) -> Tensor:
        """e to the power of x."""
        return self._one("Exp", x, name=name)

    def log(self, x: Like, *, name: str | None = None) -> Tensor:
        """The natural logarithm."""
        return self._one("Log", x, name=name)

    def sqrt(self, x: Like, *, name: str | None = None) -> Tensor:
        """The square root."""
        return self._one("Sqrt", x, name=name)

    def erf(self, x: Like, *, name: str | None = None) -> Tensor:
        """The error function."""
        return self._one("Erf", x, name=name)

    def relu(self, x: Like, *, name: str | None = None) -> Tensor:
        """max(x, 0)."""
        return self._one("Relu", x, name=name)

    def sigmoid(self, x: Like, *, name: str | None = None) -> Tensor:
        """1 / (1 + e**-x)."""
        return self._one("Sigmoid", x, name=name)

    def tanh(self, x: Like, *, name: str | None = None) -> Tensor:
        """The hyperbolic tangent."""
        return self._one("Tanh", x, name=name)

    def silu(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """x * sigmoid(x), also called swish."""
        return self.mul(x, self.sigmoid(x), name=name)

    def gelu(self, x: Like, *, approximate: str = "none", name: str | None = None) -> Tensor:
        """x times the normal distribution's share below x.  approximate: "none", or "tanh" for its approximation."""
        return self._one("Gelu", x, name=name, approximate=approximate)

    def hard_sigmoid(
        self, x: Like, *, alpha: float = 0.2, beta: float = 0.5, name: str | None = None
    ) -> Tensor:
        """alpha * x + beta, clipped to [0, 1]."""
        return self._one("HardSigmoid", x, name=name, alpha=alpha, beta=beta)

    def hard_swish(self, x: Like, *, name: str | None = None) -> Tensor:
        """x * clip(x / 6 + 0.5, 0, 1)."""
        return self._one("HardSwish", x, name=name)

    def leaky_relu(self, x: Like, *, alpha: float = 0.01, name: str | None = None) -> Tensor:
        """x, below 0 alpha * x."""
        return self._one("LeakyRelu", x, name=name, alpha=alpha)

    def prelu(self, x: Tensor, slope: Like, *, name: str | None = None) -> Tensor:
        """x, below 0 slope * x.  slope: broadcasts to x."""
        layer = self._layer_name(name, "PRelu")
        return self._one("PRelu", x, self.tensor(slope, x, f"{layer}.slope"), name=layer)

    def elu(self, x: Like, *, alpha: float = 1.0, name: str | None = None) -> Tensor:
        """x, below 0 alpha * (e**x - 1)."""
        return self._one("Elu", x, name=name, alpha=alpha)

    def selu(self, x: Like, *, name: str | None = None) -> Tensor:
        """The scaled ELU with its usual constants."""
        return self._one("Selu", x, name=name)

    def softplus(self, x: Like, *, name: str | None = None) -> Tensor:
        """log(1 + e**x)."""
        return self._one("Softplus", x, name=name)

    def softsign(self, x: Like, *, name: str | None = None) -> Tensor:
        """x / (1 + |x|)."""
        return self._one("Softsign", x, name=name)

    def clip(
        self, x: Tensor, low: Like = None, high: Like = None, *, name: str | None = None
    ) -> Tensor:
        """x within [low, high]; None for no limit."""
        layer = self._layer_name(name, "Clip")
        limits = (
            None if v is None else self.tensor(v, x, f"{layer}.{n}")
            for v, n in ((low, "low"), (high, "high"))
        )
        return self._one("Clip", x, *limits, name=layer)

    def cast(self, x: Like, dtype: Any, *, name: str | None = None) -> Tensor:
        """x in another element type: floats to integers towards zero."""
        return self._one("Cast", x, name=name, to=element_type(dtype))
