"""Methods of networks that add what cannot be computed here: an error says so, and None comes back."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.network.graph import Graph


def _refuse(graph: Graph, method: str, instead: str) -> None:
    graph._refuse(f"{method} adds what cannot be computed on CPUs here; {instead}")


def add_rnn_v2(
    self: Graph, input: Any, layer_count: int, hidden_size: int, max_seq_length: int, op: Any
) -> None:
    """Refused: use a loop, or an ONNX file with LSTM, GRU or RNN."""
    _refuse(self, "add_rnn_v2", "use add_loop, or an ONNX file with LSTM, GRU or RNN")


def add_dynamic_quantize(
    self: Graph, input: Any, axis: int, block_size: int, output_type: Any, scale_type: Any
) -> None:
    """Refused: blocks of FP4 and FP8."""
    _refuse(self, "add_dynamic_quantize", "use add_quantize with INT8")


def add_dynamic_quantize_v2(
    self: Graph, input: Any, block_shape: Any, output_type: Any, scale_type: Any
) -> None:
    """Refused: blocks of FP4 and FP8."""
    _refuse(self, "add_dynamic_quantize_v2", "use add_quantize with INT8")


def add_attention(
    self: Graph, query: Any, key: Any, value: Any, norm_op: Any, causal: bool
) -> None:
    """Refused: use matrix products and softmax."""
    _refuse(self, "add_attention", "use add_matrix_multiply and add_softmax")


def add_attention_v2(
    self: Graph, query: Any, key: Any, value: Any, norm_op: Any, causal_kind: Any
) -> None:
    """Refused: use matrix products and softmax."""
    _refuse(self, "add_attention_v2", "use add_matrix_multiply and add_softmax")


def add_rotary_embedding(
    self: Graph,
    input: Any,
    cos_cache: Any,
    sin_cache: Any,
    interleaved: bool,
    rotary_embedding_dim: int,
) -> None:
    """Refused: use slices and products."""
    _refuse(self, "add_rotary_embedding", "use add_slice and add_elementwise")


def add_kv_cache_update(
    self: Graph, cache: Any, update: Any, write_indices: Any, cache_mode: Any
) -> None:
    """Refused: caches that are changed in place."""
    _refuse(self, "add_kv_cache_update", "use add_scatter")


def add_moe(
    self: Graph,
    hidden_states: Any,
    selected_experts_for_tokens: Any,
    scores_for_selected_experts: Any,
) -> None:
    """Refused: experts."""
    _refuse(self, "add_moe", "use add_gather and add_matrix_multiply")


def add_dist_collective(
    self: Graph, input: Any, dist_collective_op: Any, reduce_op: Any, root: int, groups: Any
) -> None:
    """Refused: several devices."""
    _refuse(self, "add_dist_collective", "there is one device")


def serialize(self: Graph) -> None:
    """Refused: networks are kept as ONNX files."""
    _refuse(self, "serialize", "keep the network as an ONNX file")
