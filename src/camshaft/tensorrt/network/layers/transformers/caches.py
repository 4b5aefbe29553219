"""Caches of keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import AttentionIOForm, KVCacheMode
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.layers.transformers.tokens import counted
from camshaft.tensorrt.network.params import Param, member
from camshaft.tensorrt.network.tensor import ITensor

_mode, _form = member(KVCacheMode), member(AttentionIOForm)
_PADDED, _PACKED = AttentionIOForm.PADDED_BHND, AttentionIOForm.PACKED_NHD
_LENGTHS = 3


class IKVCacheUpdateLayer(ILayer):
    """A cache [batch, heads, most, size] with new steps from a place on that is each row's own; steps beyond its end are left out.

    Inputs: 0 cache, 1 new steps [batch, heads, steps, size], or packed, [tokens, heads, size]; 2 places [batch]; 3 where each row's tokens
    begin and end, [batch + 1], of packed ones.
    """

    _kind = LayerType.KV_CACHE_UPDATE
    _most = 4
    cache_mode = Param(_mode, "Where steps go: LINEAR, one behind the other.")
    update_form = Param(_form, "Whether new steps are by row, or packed.")

    def set_input(self, index: int, tensor: ITensor) -> None:
        """Read another tensor."""
        super().set_input(index, tensor)

    @property
    def update_lengths(self) -> ITensor | None:
        """Where each row's tokens begin and end among packed ones, INT32 [batch + 1], from 0."""
        return self.get_input(_LENGTHS)

    @update_lengths.setter
    def update_lengths(self, lengths: ITensor | None) -> None:
        self._record.graph._rewire_optional(self._record, _LENGTHS, lengths)

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        net, cache, update = call.net, call.input(0), call.input(1)
        places = net.reshape(net.cast(call.input(2), "int64"), [-1, 1])
        packed = call["update_form"] == _PACKED
        if cache.rank != 4 or update.rank != (3 if packed else 4):
            raise ModelError(f"cache and update have shapes {cache.shape} and {update.shape}; they take [batch, heads, steps, size], packed updates [tokens, heads, size]")  # fmt: skip
        step = net.sub(net.unsqueeze(counted(net, cache, 2), 0), places)  # [batch, most]
        if packed:
            bounds = net.cast(call.input(_LENGTHS), "int64")
            begin, end = net.unsqueeze(bounds[:-1], 1), net.unsqueeze(bounds[1:], 1)
            count, tokens = net.sub(end, begin), net.gather(net.shape(update), np.array([0]))
            row = net.add(begin, step)
        else:
            count = net.gather(net.shape(update), np.array([2]))
            tokens, row = count, step
        is_new = net.logical_and(net.greater_or_equal(step, np.int64(0)), net.less(step, count))
        last = net.sub(tokens, np.int64(1))
        index = net.minimum(net.maximum(row, np.int64(0)), last)
        if packed:  # [batch, most, heads, size] of tokens
            taken = net.gather(update, index)
        else:
            rows = net.transpose(update, [0, 2, 1, 3])
            taken = net.gather_nd(rows, net.unsqueeze(index, 2), batch_dims=1)
        new = net.transpose(taken, [0, 2, 1, 3])
        return [net.where(net.unsqueeze(is_new, [1, 3]), new, cache, name=call.name)]


@reported(None)
def add_kv_cache_update(
    self: Graph, cache: ITensor, update: ITensor, write_indices: ITensor, cache_mode: KVCacheMode
) -> IKVCacheUpdateLayer:
    """A cache with new steps.  write_indices: [batch], the place of each row's first."""
    given = [cache, update, write_indices]
    kind = _mode(cache_mode, "cache_mode")
    return self._add(IKVCacheUpdateLayer, given, cache_mode=kind, update_form=_PADDED)
