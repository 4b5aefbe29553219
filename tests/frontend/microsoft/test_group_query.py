"""Attention of language models: rotary positions, states, fewer key heads than query heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from camshaft.errors import ModelError
from camshaft.ir.interpret import interpret
from foreign_models import Fixed, Operand, check_foreign, foreign, runtime_results
from onnx_models import compare, imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(14)
B, S, P, N, M, H = 2, 4, 3, 4, 2, 16


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def table(most: int = 16, half: int = H // 2) -> np.ndarray:
    return f(most, half)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("positions", [(B, S), (1,)])
def test_rotary_embedding(positions: tuple[int, ...], whole: bool, interleaved: int) -> None:
    half = H // 2 if whole else 2
    where = RNG.integers(0, 10, positions)
    tables = [Fixed(table(half=half)), Fixed(table(half=half))]
    attrs: dict[str, Any] = {"interleaved": interleaved}
    if not whole:
        attrs |= {"rotary_embedding_dim": 2 * half, "num_heads": N}
    rows = {1: "b s"} if len(positions) == 2 else {}
    flat = [f(B, S, N * H), where, *tables]
    check_foreign("RotaryEmbedding", flat, dims={0: f"b s {N * H}", **rows}, **attrs)
    heads = [f(B, N, S, H), where, *tables]
    check_foreign("RotaryEmbedding", heads, dims={0: f"b {N} s {H}", **rows}, **attrs)


def operands(
    *, past: int, lengths: np.ndarray, total: int, length: int = S, packed: bool = False
) -> list[Operand]:
    batch = len(lengths)
    state = [f(batch, M, past, H), f(batch, M, past, H)] if past else [None, None]
    new: list[Operand] = [f(batch, length, N * H), f(batch, length, M * H), f(batch, length, M * H)]
    if packed:
        parts = [p for p in new if isinstance(p, np.ndarray)]
        new = [np.concatenate(parts, 2), None, None]
    return [*new, *state, lengths - 1, Fixed(np.array(total, np.int32))]


NAMES = ("y0", "y1", "y2")
HEADS: dict[str, Any] = {"num_heads": N, "kv_num_heads": M, "outputs": NAMES}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotary": {"do_rotary": 1},
    "interleaved": {"do_rotary": 1, "rotary_interleaved": 1},
    "window": {"local_window_size": 3},
    "softcap": {"softcap": 2.0, "scale": 0.5},
    "smooth": {"smooth_softmax": 1},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", ["prompt", "next", "next, one batch", "several"])
def test_group_query_attention(case: str, variant: str, packed: bool) -> None:
    """A first prompt; one more token; one more of a single batch; several more of it."""
    attrs = {**HEADS, **VARIANTS[variant]}
    given = {
        "prompt": {"past": 0, "lengths": ints(S, S), "total": S},
        "next": {"past": P, "lengths": ints(P + 1, P + 1), "total": P + 1, "length": 1},
        "next, one batch": {"past": P, "lengths": ints(P + 1), "total": P + 1, "length": 1},
        "several": {"past": P, "lengths": ints(P + S), "total": P + S},
    }[case]
    tensors = operands(packed=packed, **given)
    if attrs.get("do_rotary"):
        tensors += [Fixed(table()), Fixed(table())]
    check_foreign("GroupQueryAttention", tensors, **attrs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_of_a_batch_with_states_of_different_lengths(variant: str) -> None:
    """What counts of the state that is handed on, and the output, are ONNX Runtime's."""
    attrs = {**HEADS, **VARIANTS[variant]}
    tensors = operands(past=6, lengths=ints(3, 6), total=6, length=1)
    if attrs.get("do_rotary"):
        tensors += [Fixed(table()), Fixed(table())]
    model, feeds = foreign("GroupQueryAttention", tensors, **attrs)
    there = runtime_results(model, feeds)
    here = [interpret(imported(model), feeds)[n] for n in NAMES]
    compare(here[0], there[0], 2e-5)
    for mine, theirs in zip(here[1:], there[1:], strict=True):
        assert mine.shape == theirs.shape
        for b, length in enumerate((3, 6)):
            compare(mine[b, :, :length], theirs[b, :, :length], 1e-6)


def test_a_prompt_whose_rows_are_padded() -> None:
    tensors = operands(past=0, lengths=ints(2, S), total=S)
    model, feeds = foreign("GroupQueryAttention", tensors, **HEADS)
    there = runtime_results(model, feeds)[0]
    here = interpret(imported(model), feeds)["y0"]
    for b, length in enumerate((2, S)):
        compare(here[b, :length], there[b, :length], 2e-5)


@pytest.mark.parametrize("rows", [1, B])
@pytest.mark.parametrize("heads", [1, N])
def test_attention_bias_and_sinks(heads: int, rows: int) -> None:
    tensors = operands(past=P, lengths=ints(P + 1, P + 1), total=P + 1, length=1)
    tensors += [None, None, None, f(rows, heads, 1, P + 1), f(N)]
    check_foreign("GroupQueryAttention", tensors, **HEADS)


def test_open_extents() -> None:
    """A prompt of any length; one more token behind a state of any length, whose total length is the
    extent of a mask."""
    rows = {0: f"b s {N * H}", 1: f"b s {M * H}", 2: f"b s {M * H}", 5: "b"}
    tables: list[Operand] = [Fixed(table()), Fixed(table())]
    prompt = operands(past=0, lengths=ints(S, S), total=S)
    attrs = {**HEADS, "do_rotary": 1}
    check_foreign("GroupQueryAttention", [*prompt, *tables], dims=rows, **attrs)

    tensors = [*operands(past=P, lengths=ints(P + 1, P + 1), total=P + 1, length=1), *tables]
    states = dict.fromkeys((3, 4), f"b {M} p {H}")
    rows = {0: f"b 1 {N * H}", 1: f"b 1 {M * H}", 2: f"b 1 {M * H}", 5: "b"}
    model, feeds = foreign("GroupQueryAttention", tensors, dims={**rows, **states}, **attrs)
    (node,) = model.graph.node
    shape = [
        helper.make_node("Shape", ["mask"], ["shape"], start=1),
        helper.make_node("Cast", ["shape"], ["total"], to=6),
    ]
    node.input[6] = "total"
    model.graph.node.extend([*shape, node])
    del model.graph.node[0]
    model.graph.input.append(helper.make_tensor_value_info("mask", 7, ["b", "t"]))
    feeds["mask"] = np.ones((B, P + 1), np.int64)
    graph = imported(model)
    there = runtime_results(model, feeds)
    got = interpret(graph, feeds)
    for name, want in zip(NAMES, there, strict=True):
        compare(got[name], want, 2e-5)


def test_what_cannot_be_read_is_refused() -> None:
    tensors = operands(past=0, lengths=ints(S, S), total=S)
    for attrs in ({"sliding_window_cache": 1, "local_window_size": 8}, {"qk_output": 1}):
        with pytest.raises(ModelError, match=f"'{next(iter(attrs))}' cannot be read"):
            imported(foreign("GroupQueryAttention", tensors, **HEADS, **attrs)[0])
