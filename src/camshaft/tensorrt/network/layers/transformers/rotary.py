"""Rotary embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import Param, flag, whole
from camshaft.tensorrt.network.tensor import ITensor


class IRotaryEmbeddingLayer(ILayer):
    """Pairs of elements turned by angles of their positions: [batch, heads, steps, size].

    Inputs: 1 and 2 cosines and sines, [batch, steps, half], or with positions, [batch, steps], as input 3, [positions, half]; half of the
    elements that are turned.
    """

    _kind = LayerType.ROTARY_EMBEDDING
    _most = 4
    interleaved = Param(flag, "Whether pairs are neighbours, else an element of each half.")
    rotary_embedding_dim = Param(whole, "How many elements are turned; 0: all.")

    def set_input(self, index: int, tensor: ITensor) -> None:
        """Read another tensor; input 3 are positions, which look cosines and sines up."""
        super().set_input(index, tensor)

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, x, positions = call.net, call.input(0), call.given(3)
        if x.rank != 4:
            raise ModelError(f"input has shape {x.shape}; it takes [batch, heads, steps, size]")
        size = x.shape[-1]
        count = call["rotary_embedding_dim"] or size
        if not isinstance(count, int) or count < 0 or count % 2:
            raise ModelError(f"rotary_embedding_dim={count} must be an even number, 0 or more")
        if isinstance(size, int) and count > size:
            raise ModelError(f"rotary_embedding_dim={count} is more than the input's extent {size}")
        tables = [call.input(1), call.input(2)]
        if positions is not None:
            tables = [net.gather(t, positions) for t in tables]
        for name, table in zip(("cos_cache", "sin_cache"), tables, strict=True):
            if table.rank != 3:
                raise ModelError(f"{name} has shape {table.shape}; it takes [batch, steps, {count // 2}] (positions as input 3: [positions, {count // 2}])")  # fmt: skip
        cos, sin = (net.unsqueeze(t, 1) for t in tables)
        if call["interleaved"]:
            first, second = x[..., 0:count:2], x[..., 1:count:2]
        else:
            first, second = x[..., : count // 2], x[..., count // 2 : count]
        turned = [first * cos - second * sin, first * sin + second * cos]
        if call["interleaved"]:
            made = net.reshape(net.stack(turned, axis=-1), [0, 0, 0, count])
        else:
            made = net.concat(turned, -1)
        return [made if count == size else net.concat([made, x[..., count:]], -1)]


@reported(None)
def add_rotary_embedding(
    self: Graph,
    input: ITensor,
    cos_cache: ITensor,
    sin_cache: ITensor,
    interleaved: bool,
    rotary_embedding_dim: int,
) -> IRotaryEmbeddingLayer:
    """Turn pairs of elements.  rotary_embedding_dim: how many elements, 0 for all."""
    count = whole(rotary_embedding_dim, "rotary_embedding_dim")
    if count < 0 or count % 2:
        raise ModelError(f"rotary_embedding_dim={count} must be an even number, 0 or more")
    return self._add(
        IRotaryEmbeddingLayer,
        [input, cos_cache, sin_cache],
        interleaved=flag(interleaved, "interleaved"),
        rotary_embedding_dim=count,
    )
