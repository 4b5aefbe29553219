"""Layers that normalize."""

from __future__ import annotations

from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor


class Normalization(Elementwise):
    """Norms and softmax."""

    def batch_norm(
        self,
        x: Tensor,
        scale: Like,
        bias: Like,
        mean: Like,
        variance: Like,
        *,
        epsilon: float = 1e-5,
        name: str | None = None,
    ) -> Tensor:
        """(x - mean) / sqrt(variance + epsilon) * scale + bias.  Statistics and factors: [C]."""
        layer = self._layer_name(name, "BatchNormalization")
        named = zip((scale, bias, mean, variance), ("scale", "bias", "mean", "variance"), strict=True)  # fmt: skip
        given = [self.tensor(v, x, f"{layer}.{n}") for v, n in named]
        return self._one("BatchNormalization", x, *given, name=layer, epsilon=epsilon)

    def layer_norm(
        self,
        x: Tensor,
        scale: Like,
        bias: Like = None,
        *,
        axis: int = -1,
        epsilon: float = 1e-5,
        name: str | None = None,
    ) -> Tensor:
        """Normalize over the axes from `axis` on.  scale, bias: of these axes' shape."""
        return self._scaled("LayerNormalization", x, scale, bias, name, axis=axis, epsilon=epsilon)

    def rms_norm(
        self,
        x: Tensor,
        scale: Like,
        *,
        axis: int = -1,
        epsilon: float = 1e-5,
        name: str | None = None,
    ) -> Tensor:
        """x / sqrt(mean(x * x) + epsilon) * scale, over the axes from `axis` on."""
        return self._scaled("RMSNormalization", x, scale, None, name, axis=axis, epsilon=epsilon)

    def instance_norm(
        self, x: Tensor, scale: Like, bias: Like, *, epsilon: float = 1e-5, name: str | None = None
    ) -> Tensor:
        """Normalize each channel of each image.  scale, bias: [C]."""
        return self._scaled("InstanceNormalization", x, scale, bias, name, epsilon=epsilon)

    def group_norm(
        self,
        x: Tensor,
        groups: int,
        scale: Like,
        bias: Like,
        *,
        epsilon: float = 1e-5,
        name: str | None = None,
    ) -> Tensor:
        """Normalize groups of channels of each image.  scale, bias: [C]."""
        return self._scaled(
            "GroupNormalization", x, scale, bias, name, num_groups=groups, epsilon=epsilon
        )

    def _scaled(
        self,
        op: str,
        x: Tensor,
        scale: Like,
        bias: Like,
        name: str | None,
        **attributes: float,
    ) -> Tensor:
        layer = self._layer_name(name, op)
        given = [self.tensor(scale, x, f"{layer}.scale")]
        if bias is not None:
            given.append(self.tensor(bias, x, f"{layer}.bias"))
        return self._one(op, x, *given, name=layer, **attributes)

    def lrn(
        self,
        x: Tensor,
        window: int,
        *,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
        name: str | None = None,
    ) -> Tensor:
        """Local response normalization across `window` channels: x / (bias + alpha / window * sum of squares) ** beta."""
        return self._one("LRN", x, name=name, size=window, alpha=alpha, beta=beta, bias=bias)

    def softmax(self, x: Tensor, *, axis: int = -1, name: str | None = None) -> Tensor:
        """e**x, divided by its sum over the axis."""
        return self._one("Softmax", x, name=name, axis=axis)

    def log_softmax(self, x: Tensor, *, axis: int = -1, name: str | None = None) -> Tensor:
        """The logarithm of `softmax`."""
        return self._one("LogSoftmax", x, name=name, axis=axis)
