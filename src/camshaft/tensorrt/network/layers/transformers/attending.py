"""What an attention computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.modes import AttentionIOForm, CausalMaskKind
from camshaft.tensorrt.enums.operations import AttentionNormalizationOp
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.layers.transformers.tokens import (
    Tokens,
    counted,
    extent_of,
    packed,
    padded,
)

_PACKED = AttentionIOForm.PACKED_NHD
_NO_KIND, _LOWER_RIGHT = CausalMaskKind.NONE, CausalMaskKind.LOWER_RIGHT
_SOFTMAX = AttentionNormalizationOp.SOFTMAX
_INT8, _FLOAT = DataType.INT8, DataType.FLOAT
_MASK, _SCALE, _QUERY_LENGTHS, _KEY_LENGTHS = 3, 4, 5, 6


def attended(call: Call) -> Tensor:
    """The result of an attention layer.  ModelError says what of its inputs does not fit together."""
    forms = (call["query_form"], call["key_value_form"])
    given = [call.input(i) for i in range(3)]
    for name, tensor, form in zip(
        ("query", "key", "value"), given, (forms[0], forms[1], forms[1]), strict=True
    ):
        rank = 3 if form == _PACKED else 4
        if tensor.rank != rank:
            what = "[tokens, heads, size]" if rank == 3 else "[batch, heads, steps, size]"
            raise ModelError(f"{name} has shape {tensor.shape}; {form} takes {what}")
    if call.given(_MASK) is not None and call["causal_kind"] != _NO_KIND:
        raise ModelError(
            "it has a mask and is causal; set causal_kind to NONE, or say all in the mask"
        )
    query, key = given[:2]
    if _PACKED not in forms:
        return _Attended(call, query, key, given[2], _padded_mask(call, query, key)).run()
    net = call.net
    if call.given(_MASK) is not None:
        raise ModelError(
            "packed tokens have no mask; say rows by query_lengths and key_value_lengths"
        )
    keep = _packed_mask(call, query, key)
    lines = [_line(net, t) for t in given]
    made = _Attended(call, lines[0], lines[1], lines[2], keep).run()  # [1, heads, tokens, size]
    tokens = net.transpose(net.squeeze(made, [0]), [1, 0, 2])
    if query.rank == 3:
        return tokens
    rows = net.reshape(tokens, net.concat([_sizes(net, query, [0, 2, 1]), np.array([-1])], 0))
    return net.transpose(rows, [0, 2, 1, 3])


def _sizes(net: Network, x: Tensor, axes: list[int]) -> Tensor:
    return net.gather(net.shape(x), np.array(axes))


def _line(net: Network, x: Tensor) -> Tensor:
    """All tokens as of one row: [1, heads, tokens, size]."""
    if x.rank == 3:
        return net.unsqueeze(net.transpose(x, [1, 0, 2]), 0)
    heads = net.transpose(x, [1, 0, 2, 3])
    return net.unsqueeze(net.reshape(heads, net.concat([_sizes(net, x, [1]), np.array([-1]), _sizes(net, x, [3])], 0)), 0)  # fmt: skip


# -- which keys a query looks at -------------------------------------------------------------------


def _padded_mask(call: Call, query: Tensor, key: Tensor) -> Tensor | None:
    """What is looked at, bool, that broadcasts to [batch, 1, steps, steps of keys]; None: everything."""
    net, kind, lengths = call.net, call["causal_kind"], call.given(_KEY_LENGTHS)
    if kind == _NO_KIND and lengths is None:
        return None
    at = net.unsqueeze(counted(net, query, 2), 1)
    key_at = net.unsqueeze(counted(net, key, 2), 0)
    if lengths is None:
        count = extent_of(net, key, 2)
    else:
        count = net.reshape(net.cast(lengths, "int64"), [-1, 1, 1, 1])
    keep = None if lengths is None else net.less(key_at, count)
    if kind == _NO_KIND:
        return keep
    if kind == _LOWER_RIGHT:
        at = net.add(at, net.sub(count, extent_of(net, query, 2)))
    earlier = net.less_or_equal(key_at, at)
    return earlier if keep is None else net.logical_and(earlier, keep)


def _packed_mask(call: Call, query: Tensor, key: Tensor) -> Tensor:
    """What is looked at, bool [tokens, tokens of keys]."""
    net = call.net
    queries = _tokens(call, query, "query_form", _QUERY_LENGTHS, "query_lengths")
    keys = _tokens(call, key, "key_value_form", _KEY_LENGTHS, "key_value_lengths")
    keep = net.equal(net.unsqueeze(queries.rows, 1), net.unsqueeze(keys.rows, 0))
    if keys.real is not None:
        keep = net.logical_and(keep, net.unsqueeze(keys.real, 0))
    kind = call["causal_kind"]
    if kind == _NO_KIND:
        return keep
    at, key_at = queries.places, keys.places
    if kind == _LOWER_RIGHT:  # counted from the ends of rows
        at, key_at = net.sub(at, queries.counts), net.sub(key_at, keys.counts)
    earlier = net.less_or_equal(net.unsqueeze(key_at, 0), net.unsqueeze(at, 1))
    return net.logical_and(keep, earlier)


def _tokens(call: Call, x: Tensor, form: str, index: int, name: str) -> Tokens:
    lengths = call.given(index)
    if call[form] != _PACKED:
        return padded(call.net, x, lengths if form == "key_value_form" else None)
    if lengths is None:
        raise ModelError(f"{form} is PACKED_NHD, and {name} is not set")
    return packed(call.net, x, lengths)


# -- the products ----------------------------------------------------------------------------------


@dataclass
class _Attended:
    """query, key, value: [batch, heads, steps, size].  keep: what is looked at; None: everything."""

    call: Call
    query: Tensor
    key: Tensor
    value: Tensor
    keep: Tensor | None

    def run(self) -> Tensor:
        """[batch, heads, steps, size of values]."""
        net, call = self.call.net, self.call
        heads, shared = self.query.shape[1], self.key.shape[1]
        if isinstance(heads, int) and isinstance(shared, int) and heads % shared:
            raise ModelError(f"{heads} heads of queries cannot share {shared} of keys and values")
        if call["norm_op"] == _SOFTMAX and call["normalization_quantize_to_type"] == _FLOAT:
            return net.attention(
                self.query, self.key, self.value, self._added(), scale=1.0, name=call.name
            )
        key, value = (self._repeated(t) for t in (self.key, self.value))
        scores = net.matmul(self.query, net.transpose(key, [0, 1, 3, 2]))
        return net.matmul(self._quantized(self._normalized(scores)), value, name=call.name)

    def _added(self) -> Tensor | None:
        """A mask whose hidden places are far below all others, but finite: rows that see nothing are no NaN."""
        if self.keep is None:
            return self.call.given(_MASK)
        dtype = self.query.dtype
        low = np.array(-1e4 if dtype == np.float16 else -1e30, dtype)
        return self.call.net.where(self.keep, np.zeros((), dtype), low)

    def _normalized(self, scores: Tensor) -> Tensor:
        net, mask = self.call.net, self._added()
        if self.call["norm_op"] == _SOFTMAX:
            if mask is not None and mask.dtype == np.bool_:
                mask = net.where(mask, np.zeros((), scores.dtype), np.array(-np.inf, scores.dtype))
            return net.softmax(scores if mask is None else net.add(scores, mask), axis=-1)
        keep = self.keep if self.keep is not None else mask
        if keep is None:
            return scores
        if keep.dtype != np.bool_:
            return net.add(scores, keep)
        return net.where(keep, scores, np.zeros((), scores.dtype))

    def _quantized(self, weights: Tensor) -> Tensor:
        kind, scale = self.call["normalization_quantize_to_type"], self.call.given(_SCALE)
        if kind == _FLOAT:
            if scale is not None:
                raise ModelError(
                    "it has a normalization_quantize_scale; set normalization_quantize_to_type"
                )
            return weights
        if kind != _INT8:
            raise ModelError(
                f"normalization_quantize_to_type={kind} is not computed here; use INT8"
            )
        if scale is None:
            raise ModelError(
                "normalization_quantize_to_type is set, and normalization_quantize_scale is not"
            )
        net = self.call.net
        step = net.cast(net.reshape(scale, np.zeros(0, np.int64)), "float32")
        whole = net.quantize(weights, step, dtype="int8")
        return net.cast(net.dequantize(whole, step), weights.dtype)

    def _repeated(self, x: Tensor) -> Tensor:
        """Heads of keys or values for each head of the queries."""
        net, heads, shared = self.call.net, self.query.shape[1], x.shape[1]
        if heads == shared:
            return x
        if not (isinstance(heads, int) and isinstance(shared, int)):
            raise ModelError("the number of heads is open; it must be fixed")
        index = np.repeat(np.arange(shared), heads // shared)
        return net.gather(x, index, 1)
