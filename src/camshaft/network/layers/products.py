"""Layers that multiply matrices."""

from __future__ import annotations

import numpy as np

from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor


class Products(Elementwise):
    """Matrix products and attention."""

    def matmul(self, a: Like, b: Like, *, name: str | None = None) -> Tensor:
        """The product of matrices, batches of them broadcast, as NumPy's matmul."""
        return self._two("MatMul", a, b, name)

    def linear(
        self, x: Tensor, weight: Like, bias: Like = None, *, name: str | None = None
    ) -> Tensor:
        """x @ weight.T + bias, over the last axis.  weight: [out, in].  bias: [out], or None."""
        layer = self._layer_name(name, "Gemm")
        w = self.tensor(weight, x, f"{layer}.weight")
        b = None if bias is None else self.tensor(bias, x, f"{layer}.bias")
        if x.rank == 2:
            return self._one("Gemm", x, w, b, name=layer, transB=1)
        turned = self._one("Transpose", w, perm=[1, 0], name=self._layer_name(f"{layer}.turned", ""))  # fmt: skip
        if b is None:
            return self._one("MatMul", x, turned, name=layer)
        product = self._one("MatMul", x, turned, name=f"{layer}.product")
        return self._one("Add", product, b, name=layer)

    def einsum(self, equation: str, *inputs: Like, name: str | None = None) -> Tensor:
        """Einstein's sum: `equation` as NumPy's einsum writes it."""
        return self._one("Einsum", *inputs, name=name, equation=equation)

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Like = None,
        *,
        causal: bool = False,
        scale: float | None = None,
        name: str | None = None,
    ) -> Tensor:
        """softmax(query @ key.T * scale + mask) @ value.

        query, key, value: [batch, heads, length, size]; fewer heads of key and value are shared by several of the query.  mask: floats that are
        added, or bools that say what is looked at; broadcasts to [batch, heads, length of query, length of key].  scale: None for
        1 / sqrt(size).
        """
        is_given = isinstance(mask, np.ndarray) and mask.dtype == bool
        given = None if mask is None else self.tensor(mask, None if is_given else query)
        return self._one(
            "Attention", query, key, value, given, name=name, is_causal=int(causal), scale=scale
        )
