"""States: what a call leaves is what the next call finds, in each context for itself."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import camshaft
from camshaft import BindingError, ConfigError, Engine, ShapeError
from camshaft.program.program import HostCall
from camshaft.runtime import ExecutionContext
from decoders import (
    KEY_HEADS,
    MOST,
    PASTS,
    RECURRENT_STATE,
    SHAPES,
    SIZE,
    STATE,
    WIDTH,
    Arrays,
    decoder,
    grouped,
    halved,
    info,
    model_of,
    no_past,
    recurrent,
    step,
)

pytestmark = pytest.mark.codegen
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 2}
PROMPT_AND_STEPS = (5, 1, 1, 3, 1)


@cache
def plain(form: str) -> Engine:
    return camshaft.build(decoder(form), shapes=SHAPES, **QUICK)


@cache
def stateful(form: str) -> Engine:
    return camshaft.build(decoder(form), shapes=SHAPES, state=STATE, **QUICK)


def by_hand(form: str, calls: list[Arrays], batch: int = 1) -> list[Arrays]:
    """Outputs of calls that are given the keys and values of the call before."""
    past, results = no_past(batch), []
    for arrays in calls:
        results.append(plain(form)({**arrays, **past}))
        past = {n: results[-1][n.replace("past", "present")] for n in PASTS}
    return results


def calls_of(
    lengths: tuple[int, ...], form: str = "concat", batch: int = 1, seed: int = 0
) -> list[Arrays]:
    rng = np.random.default_rng(seed)
    firsts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [step(rng, first, n, form, batch) for first, n in zip(firsts, lengths, strict=True)]


def poison(context: ExecutionContext) -> None:
    """NaN behind what growing states hold, and in the arena."""
    kept = context._kept
    assert kept is not None
    for memory, spec, state in zip(kept._memory, kept.specs, context.states.values(), strict=True):
        if spec.axis is not None:
            memory.view(np.float32)[:] = np.nan
            context.states[spec.name] = state
    context._arena[: context._arena.nbytes // 4 * 4].view(np.float32)[:] = np.nan


@pytest.mark.parametrize("form", ["concat", "operator"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_equal_those_fed_by_hand(form: str, threads: int, batch: int) -> None:
    engine = stateful(form)
    assert not any(
        n.startswith("p") and n != "positions" for n in (*engine.inputs, *engine.outputs)
    )
    calls = calls_of(PROMPT_AND_STEPS, form, batch)
    with engine.create_context(threads) as context:
        for arrays, want in zip(calls, by_hand(form, calls, batch), strict=True):
            got = context.run(arrays)
            assert got.keys() == {"y"}
            np.testing.assert_array_equal(got["y"], want["y"])
            for name in PASTS:
                np.testing.assert_array_equal(
                    context.states[name], want[name.replace("past", "present")]
                )
            poison(context)


def test_rows_are_appended_where_the_state_lies() -> None:
    """No instruction reads a state but attention, and none writes all of it."""
    program = stateful("concat").program
    assert all(s.in_place and s.capacity == MOST for s in program.states)
    reads, writes = set(), []
    for instruction, note in zip(program.instructions, stateful("concat").notes, strict=True):
        assert not isinstance(instruction, HostCall)
        roles = [role for role, _ in program.kernels[instruction.kernel].args]
        for view, role in zip(instruction.views, roles, strict=True):
            if view is not None and view.buffer.space == "state":
                if role == "in":
                    reads.add(note.op)
                else:
                    writes.append(view)
    assert reads == {"attention"}
    assert writes and all("p" in str(view.offset) for view in writes)


@pytest.mark.peers
@pytest.mark.parametrize("batch", ["batch", 1])
def test_attention_of_onnx_runtime_appends_to_states(batch: int | str) -> None:
    """In place where one sequence is all of the batch: others may end at places of their own."""
    ort = pytest.importorskip("onnxruntime")
    model = grouped(batch)
    plain_options = ort.SessionOptions()
    plain_options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), plain_options)
    engine = camshaft.build(model, shapes=SHAPES, state=STATE, **QUICK)
    assert all(s.in_place == (batch == 1) for s in engine.states.values())
    context, rng, past, total = engine.create_context(2), np.random.default_rng(0), no_past(), 0
    for length in PROMPT_AND_STEPS:
        total += length
        arrays = {
            "x": rng.standard_normal((1, length, WIDTH)).astype(np.float32),
            "mask": np.ones((1, total), np.int64),
        }
        names = [o.name for o in session.get_outputs()]
        want = dict(zip(names, session.run(names, {**arrays, **past}), strict=True))
        past = {n: want[n.replace("past", "present")] for n in PASTS}
        np.testing.assert_allclose(context.run(arrays)["y"], want["y"], rtol=1e-4, atol=1e-5)
        for name in PASTS:
            np.testing.assert_allclose(context.states[name], past[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["concat", "operator"])
@pytest.mark.parametrize(
    ("kind", "eps"), [(TensorProto.FLOAT16, 2.0**-10), (TensorProto.BFLOAT16, 2.0**-7)]
)
def test_states_of_halves_are_appended_to_as_halves(form: str, kind: int, eps: float) -> None:
    """Attention reads new rows as the next call finds them: rounded."""
    engine = camshaft.build(halved(decoder(form), kind), shapes=SHAPES, state=STATE, **QUICK)
    assert all(s.in_place for s in engine.states.values())
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    calls = calls_of(PROMPT_AND_STEPS, form)
    halves = [
        {n: a if a.dtype.kind == "i" else a.astype(dtype) for n, a in c.items()} for c in calls
    ]
    context = engine.create_context(2)
    for arrays, want in zip(halves, by_hand(form, calls), strict=True):
        y = context.run(arrays)["y"].astype(np.float32)
        np.testing.assert_allclose(y, want["y"], rtol=8 * eps, atol=16 * eps)
        for name in PASTS:
            present = want[name.replace("past", "present")]
            held = context.states[name]
            assert held.dtype == dtype
            np.testing.assert_allclose(
                held.astype(np.float32), present, rtol=8 * eps, atol=16 * eps
            )


def test_contexts_are_independent_and_reset_begins_again() -> None:
    engine = stateful("concat")
    first, second = calls_of((4, 1, 1)), calls_of((2, 3, 1), seed=1)
    a, b = engine.create_context(), engine.create_context(2)
    made = [(a.run(x)["y"], b.run(y)["y"]) for x, y in zip(first, second, strict=True)]
    for i, want in enumerate(by_hand("concat", first)):
        np.testing.assert_array_equal(made[i][0], want["y"])
    for i, want in enumerate(by_hand("concat", second)):
        np.testing.assert_array_equal(made[i][1], want["y"])
    b.reset()
    assert {n: s.shape for n, s in b.states.items()} == dict.fromkeys(
        PASTS, (1, KEY_HEADS, 0, SIZE)
    )
    for x, want in zip(first, by_hand("concat", first), strict=True):
        np.testing.assert_array_equal(b.run(x)["y"], want["y"])


def test_calls_of_an_engine_are_one_sequence(tmp_path: Path) -> None:
    calls = calls_of(PROMPT_AND_STEPS, "operator")
    want = by_hand("operator", calls)
    stateful("operator").save(tmp_path / "d.engine")
    for engine in (stateful("operator"), camshaft.load(tmp_path / "d.engine")):
        for _ in range(2):
            engine.reset()
            for arrays, expected in zip(calls, want, strict=True):
                np.testing.assert_array_equal(engine(arrays)["y"], expected["y"])
    loaded = camshaft.load(tmp_path / "d.engine")
    assert loaded.states == stateful("operator").states


def test_an_engine_in_use_by_another_thread_refuses_calls() -> None:
    engine = camshaft.build(decoder("operator"), shapes=SHAPES, state=STATE, **QUICK)
    arrays = calls_of((2,), "operator")[0]
    engine(arrays)
    context = engine._idle.pop()  # as a call in progress has
    with pytest.raises(
        ConfigError, match="in use by another thread; create one context for each sequence"
    ):
        engine(arrays)
    with pytest.raises(ConfigError, match="in use by another thread"):
        engine.reset()
    engine._idle.append(context)
    engine.reset()
    engine(arrays)


def test_a_prompt_may_be_kept_and_brought_back() -> None:
    engine = stateful("concat")
    prompt, first, _ = calls_of((6, 1, 1))
    other = calls_of((6, 2), seed=3)[1]
    context = engine.create_context()
    context.run(prompt)
    kept = dict(context.states)
    wanted = [context.run(first)["y"]]
    context.states.truncate(6)
    wanted.append(context.run(other)["y"])
    for again in (context, engine.create_context()):
        for arrays, want in zip((first, other), wanted, strict=True):
            again.states.update(kept)
            np.testing.assert_array_equal(again.run(arrays)["y"], want)
    with pytest.raises(ShapeError, match="is 8 long and cannot be cut to 9"):
        context.states.truncate(9)
    context.states.truncate({"past.0.key": 3})
    with pytest.raises(
        ShapeError, match=r"'past.0.value' is 8, and the length of state 'past.0.key' is 3"
    ):
        context.run(first)


def test_what_a_state_cannot_be_set_to() -> None:
    context = stateful("concat").create_context()
    with pytest.raises(BindingError, match=r"no state 'x'; the engine's states are past\.0\.key, "):
        context.states["x"] = np.zeros(3)
    with pytest.raises(BindingError, match=r"holds float32, not float64; convert it with"):
        context.states["past.0.key"] = np.zeros((1, KEY_HEADS, 4, SIZE))
    for shape in ((1, KEY_HEADS, MOST + 1, SIZE), (1, KEY_HEADS + 1, 4, SIZE), (4, SIZE)):
        with pytest.raises(
            ShapeError, match=f"{MOST} long at most along axis 2, and is given the shape"
        ):
            context.states["past.0.key"] = np.zeros(shape, np.float32)
    with pytest.raises(BindingError, match="cannot be deleted"):
        del context.states["past.0.key"]
    with pytest.raises(KeyError):
        context.states["x"]


def test_a_full_state_is_an_error_that_names_the_range() -> None:
    context = stateful("concat").create_context()
    rng = np.random.default_rng(0)
    context.run(step(rng, 0, MOST - 1))
    context.run(step(rng, MOST - 1, 1))
    words = rf"state 'past.0.key' would be {MOST + 1} long .* built for p = 0..{MOST}; reset the context, or rebuild"
    with pytest.raises(ShapeError, match=words):
        context.run(step(rng, MOST, 1))
    assert context.states["past.0.key"].shape[2] == MOST
    context.reset()
    with pytest.raises(
        ShapeError, match=f"is {MOST + 2}, and the engine was built for s = 1..{MOST}"
    ):
        context.run(step(rng, 0, MOST + 2))
    context.run(step(rng, 0, MOST))


def masked(mask: tuple[int | str, ...]) -> ModelProto:
    """A concatenation, to whose length a mask is added."""
    nodes = [
        helper.make_node("Concat", ["past", "x"], ["present"], axis=1),
        helper.make_node("Add", ["present", "mask"], ["y"]),
    ]
    inputs = [info("past", (1, "p", 4)), info("x", (1, "s", 4)), info("mask", mask)]
    outputs = [info("present", (1, "t", 4)), info("y", (1, "t", 4))]
    return model_of(nodes, inputs, outputs, {})


def test_inputs_that_say_the_length_must_agree_with_the_state() -> None:
    engine = camshaft.build(
        masked((1, "t", 4)),
        shapes={"past": (1, "p=0..4..9", 4)},
        state={"past": "present"},
        **QUICK,
    )
    context = engine.create_context()
    one, two = (np.ones((1, n, 4), np.float32) for n in (1, 2))
    context.run({"x": two, "mask": two})
    with pytest.raises(ShapeError, match=r"mask|length of state|\+"):
        context.run({"x": one, "mask": two})
    made = context.run({"x": one, "mask": np.zeros((1, 3, 4), np.float32)})
    np.testing.assert_array_equal(made["y"], np.ones((1, 3, 4)))


def test_another_batch_in_mid_sequence_needs_a_reset() -> None:
    context = stateful("concat").create_context()
    first, second = calls_of((3, 1))
    context.run(first)
    with pytest.raises(
        ShapeError,
        match=r"holds a sequence of shape \(1, .*this call is of \(2, .*reset the context",
    ):
        context.run(calls_of((3, 1), batch=2)[1])
    np.testing.assert_array_equal(
        context.run(second)["y"], by_hand("concat", [first, second])[1]["y"]
    )
    context.reset()
    wide = calls_of((3, 1), batch=2)
    for arrays, want in zip(wide, by_hand("concat", wide, 2), strict=True):
        np.testing.assert_array_equal(context.run(arrays)["y"], want["y"])


@pytest.mark.parametrize("batch", [1, 2])
def test_empty_states_given_back_leave_the_batch_open(batch: int) -> None:
    calls = calls_of((3, 1), batch=batch)
    context = stateful("concat").create_context()
    nothing = dict(context.states)
    context.states.update(nothing)
    for _ in range(2):
        for arrays, want in zip(calls, by_hand("concat", calls, batch), strict=True):
            np.testing.assert_array_equal(context.run(arrays)["y"], want["y"])
        with pytest.raises(ShapeError, match="holds a sequence of shape"):
            context.run(calls_of((3, 1), batch=3 - batch)[1])
        context.states.update(nothing)
    context.run(calls[0])
    context.states.truncate(0)
    other = calls_of((3, 1), batch=3 - batch)
    for arrays, want in zip(other, by_hand("concat", other, 3 - batch), strict=True):
        np.testing.assert_array_equal(context.run(arrays)["y"], want["y"])


def test_an_empty_state_keeps_the_shape_that_it_was_given() -> None:
    context = stateful("concat").create_context()
    empty = np.zeros((2, KEY_HEADS, 0, SIZE), np.float32)
    context.states["past.0.key"] = empty
    assert context.states["past.0.key"].shape == empty.shape
    one = np.ones((2, KEY_HEADS, 1, SIZE), np.float32)
    context.states.update(dict.fromkeys(PASTS, one))
    with pytest.raises(ShapeError, match="holds a sequence of shape"):
        context.run(calls_of((3, 1))[0])


def test_states_of_fixed_shape_given_back_as_they_began_leave_the_batch_open() -> None:
    engine = camshaft.build(recurrent("batch"), state=RECURRENT_STATE, **QUICK)
    rng = np.random.default_rng(0)
    context = engine.create_context()
    nothing = dict(context.states)
    for batch in (2, 3, 1):
        context.states.update(nothing)
        x = rng.standard_normal((batch, 8)).astype(np.float32)
        np.testing.assert_array_equal(
            context.run({"x": x})["y"], engine.create_context().run({"x": x})["y"]
        )
    context.states["h"] = np.ones((1, 8), np.float32)
    with pytest.raises(ShapeError, match="holds a sequence of shape"):
        context.run({"x": np.ones((2, 8), np.float32)})


def test_shapes_and_memory_are_told_beforehand() -> None:
    engine = stateful("concat")
    prompt, first = calls_of((3, 1))
    assert engine.output_shapes(prompt) == {"y": (1, 3, 64)}
    context = engine.create_context()
    context.run(prompt)
    assert context.output_shapes(first) == {"y": (1, 1, 64)}
    with pytest.raises(ShapeError):
        context.output_shapes(
            {**first, "x": (1, 70, 64), "positions": (1, 70), "mask": (1, 1, 70, 73)}
        )
    assert context.states.nbytes >= len(PASTS) * KEY_HEADS * MOST * SIZE * 4
    assert context.states.lengths == dict.fromkeys(PASTS, 3)
    told = engine.inspect()["states"]["past.0.key"]
    assert told == {
        "output": "present.0.key",
        "type": f"f32[batch,{KEY_HEADS},p,{SIZE}]",
        "axis": 2,
        "capacity": MOST,
        "in_place": True,
        "bytes": KEY_HEADS * MOST * SIZE * 4,
    }


def test_a_profile_runs_at_one_length() -> None:
    arrays = calls_of((20, 1))[1]
    states = {n: np.ones((1, KEY_HEADS, 20, SIZE), np.float32) for n in PASTS}
    found = stateful("concat").profile({**arrays, **states}, runs=MOST)
    assert found.sizes["p"] == 20


def test_a_refused_call_changes_nothing() -> None:
    context = stateful("operator").create_context(check_finite=True)
    first, second = calls_of((3, 1), "operator")
    context.run(first)
    with pytest.raises(BindingError, match="dtype"):
        context.run({**second, "x": second["x"].astype(np.float64)})
    with pytest.raises(BindingError, match="NaN"):
        context.run(second | {"x": second["x"] * np.nan})
    assert context.states.lengths["past.0.key"] == 3
    wanted = by_hand("operator", [first, second])[1]["y"]
    np.testing.assert_array_equal(context.run(second)["y"], wanted)
    context.close()
    with pytest.raises(ConfigError, match="closed"):
        context.reset()
    with pytest.raises(ConfigError, match="closed"):
        context.states["past.0.key"]


# -- states of fixed shape -------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["batch", 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_states_of_fixed_shape_begin_as_zeros(batch: int | str, threads: int) -> None:
    model = recurrent(batch)
    engine = camshaft.build(model, state=RECURRENT_STATE, **QUICK)
    float_engine = camshaft.build(model, **QUICK)
    assert list(engine.inputs) == ["x"] and list(engine.outputs) == ["y"]
    rng = np.random.default_rng(0)
    context = engine.create_context(threads)
    for _ in range(2):
        held = {
            n: np.zeros((2, 3, 8) if n == "window" else (2, 8), np.float32) for n in RECURRENT_STATE
        }
        for _ in range(4):
            x = rng.standard_normal((2, 8)).astype(np.float32)
            want = float_engine({"x": x, **held})
            np.testing.assert_array_equal(context.run({"x": x})["y"], want["y"])
            held = {n: want[o] for n, o in RECURRENT_STATE.items()}
            for name, array in held.items():
                np.testing.assert_array_equal(context.states[name], array)
        context.states["h"] = held["h"] + 1
        np.testing.assert_array_equal(context.states["h"], held["h"] + 1)
        context.reset()
        assert not any(a.any() for a in context.states.values())


def test_states_that_change_places_are_not_overwritten_too_early() -> None:
    """Each becomes the other; a third one keeps what it is."""
    nodes = [
        helper.make_node("Add", ["a", "x"], ["sum"]),
        helper.make_node("Identity", ["b"], ["a_next"]),
        helper.make_node("Transpose", ["a"], ["b_next"], perm=[1, 0]),
        helper.make_node("Identity", ["c"], ["c_next"]),
        helper.make_node("Add", ["sum", "b"], ["more"]),
        helper.make_node("Add", ["more", "c"], ["y"]),
    ]
    names = ("a", "b", "c")
    inputs = [info(n, (4, 4)) for n in ("x", *names)]
    outputs = [info(n, (4, 4)) for n in ("y", *(f"{n}_next" for n in names))]
    model = model_of(nodes, inputs, outputs, {})
    engine = camshaft.build(model, state={n: f"{n}_next" for n in names}, **QUICK)
    context = engine.create_context(2)
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((4, 4)).astype(np.float32) for _ in range(3))
    context.states.update({"a": a, "b": b, "c": c})
    for _ in range(3):
        x = rng.standard_normal((4, 4)).astype(np.float32)
        np.testing.assert_allclose(context.run({"x": x})["y"], a + x + b + c, rtol=1e-6)
        a, b = b, a.T
        for name, want in (("a", a), ("b", b), ("c", c)):
            np.testing.assert_array_equal(context.states[name], want)


def test_growing_states_that_are_reordered_are_copied() -> None:
    """Beams: the rows of the batch change places in each call."""
    nodes = [
        helper.make_node("Gather", ["past", "beams"], ["chosen"], axis=0),
        helper.make_node("Concat", ["chosen", "x"], ["present"], axis=1),
        helper.make_node("ReduceSum", ["present", "axes"], ["y"], keepdims=0),
    ]
    inputs = [
        info("past", (3, "p", 4)),
        info("x", (3, "s", 4)),
        info("beams", (3,), TensorProto.INT64),
    ]
    outputs = [info("present", (3, "t", 4)), info("y", (3, 4))]
    model = model_of(nodes, inputs, outputs, {"axes": np.array([1], np.int64)})
    engine = camshaft.build(
        model, shapes={"past": (3, "p=0..4..9", 4)}, state={"past": "present"}, **QUICK
    )
    assert not engine.states["past"].in_place
    context, rng = engine.create_context(2), np.random.default_rng(0)
    held = np.zeros((3, 0, 4), np.float32)
    for beams in ((0, 1, 2), (2, 0, 1), (1, 1, 0)):
        x = rng.standard_normal((3, 1, 4)).astype(np.float32)
        made = context.run({"x": x, "beams": np.array(beams)})
        held = np.concatenate([held[list(beams)], x], 1)
        np.testing.assert_allclose(made["y"], held.sum(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(context.states["past"], held)
    with pytest.raises(BindingError, match="index 5"):
        context.run({"x": x, "beams": np.array((0, 5, 0))})
    with pytest.raises(BindingError, match=r"an earlier call failed .* reset it first"):
        context.run({"x": x, "beams": np.array((0, 1, 0))})
    context.reset()
    context.run({"x": x, "beams": np.array((0, 1, 0))})


def test_a_failed_call_does_not_count_where_it_only_appends() -> None:
    nodes = [
        helper.make_node("Concat", ["past", "x"], ["present"], axis=0),
        helper.make_node("ReduceSum", ["present"], ["sum"], keepdims=0),
        helper.make_node("Gather", ["table", "at"], ["row"]),
        helper.make_node("Add", ["sum", "row"], ["y"]),
    ]
    inputs = [info("past", ("p", 4)), info("x", ("s", 4)), info("at", (), TensorProto.INT64)]
    outputs = [info("present", ("t", 4)), info("y", ())]
    model = model_of(nodes, inputs, outputs, {"table": np.array([0, 10], np.float32)})
    engine = camshaft.build(
        model, shapes={"past": ("p=0..9", 4)}, state={"past": "present"}, **QUICK
    )
    context = engine.create_context(2)
    rows = [np.ones((n, 4), np.float32) for n in (0, 1, 2)]
    assert context.run({"x": rows[2], "at": 1})["y"] == 18
    with pytest.raises(BindingError, match="index 7"):
        context.run({"x": rows[2], "at": 7})
    assert context.states.lengths == {"past": 2}
    assert context.run({"x": rows[1], "at": 0})["y"] == 12


def test_states_are_used_by_one_thread_at_a_time() -> None:
    context = stateful("concat").create_context()
    arrays = calls_of((3,))[0]
    refused: list[Exception] = []

    def other() -> None:
        try:
            context.reset()
        except ConfigError as error:
            refused.append(error)

    def change() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    context.run(arrays)
    context._change_states(change)
    assert len(refused) == 1 and "in use by another thread" in str(refused[0])


# -- what cannot be a state ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {"pasts.*": "present.*"},
            r"state=\{'pasts.\*': 'present.\*'\}: the model has no such input; its inputs are",
        ),
        (
            {"past.*": "presents.*"},
            r"no output 'presents.0.key'; its outputs are present.0.key, ",
        ),
        ({"past.*": "present.0.key"}, r"replaces a \* of the output"),
        ({"past.0.*": "present.0.key"}, r"replaces a \* of the output"),
        (
            {"past.0.key": "present.0.key", "past.0.value": "present.0.key"},
            "pairs output 'present.0.key' with 'past.0.key' and with 'past.0.value'",
        ),
        (
            {"past.0.*": "present.0.*", "past.0.key": "present.0.value"},
            "pairs input 'past.0.key' with 'present.0.key' and with 'present.0.value'",
        ),
        ({"x": "present.0.key"}, "has as many axes at both ends"),
        ({"positions": "y"}, "one type of numbers"),
        ({"mask": "present.0.key"}, r"grows along one axis, and these differ along \[1, 2, 3\]"),
        ({"past.0.key": 3}, "must pair names"),
    ],
)
def test_pairs_that_are_no_states(state: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        camshaft.build(decoder(), shapes=SHAPES, state=state, **QUICK)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            None,
            r'say how long it may become, such as shapes=\{\'past.0.key\': \(None, None, "p=0..2048", None\)\}',
        ),
        (
            "p=1..9",
            r'empty at first, and p is at least 1: say a range from 0 on, shapes=.*"p=0..2048"',
        ),
        ("p=0..", "say how long"),
        (7, r"grows along axis 2, which must be open: say shapes="),
    ],
)
def test_lengths_that_states_cannot_have(said: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        shapes = {"past.0.key": (None, None, said, None)}
        camshaft.build(decoder(), shapes=shapes, state=STATE, **QUICK)


def test_a_size_that_nothing_else_says() -> None:
    nodes = [helper.make_node("Concat", ["past", "row"], ["present"], axis=1)]
    nodes.append(helper.make_node("Add", ["x", "x"], ["y"]))
    inputs = [info("past", ("b", "p", 4)), info("x", (3,)), info("row", ("c", 1, 4))]
    outputs = [info("present", ("b", "t", 4)), info("y", (3,))]
    model = model_of(nodes, inputs, outputs, {})
    shapes = {"past": (None, "p=0..9", 4)}
    camshaft.build(model, shapes=shapes, state={"past": "present"}, **QUICK)  # b and c are one size
    alone = model_of(
        [helper.make_node("Identity", ["h"], ["h_next"]), nodes[1]],
        [info("h", ("n", 4)), info("x", (3,))],
        [info("h_next", ("n", 4)), info("y", (3,))],
        {},
    )
    with pytest.raises(
        ConfigError, match="leaves no input that says n in a call; fix the size with shapes="
    ):
        camshaft.build(alone, state={"h": "h_next"}, **QUICK)


def test_positional_arrays_are_the_inputs_that_are_left() -> None:
    """In the model's order, without states; with or without what the build fixed."""
    nodes = [
        helper.make_node("Concat", ["past", "x"], ["present"], axis=0),
        helper.make_node("ReduceSum", ["present"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["y"]),
    ]
    inputs = [info("past", ("p", 2)), info("scale", ()), info("x", ("s", 2)), info("offset", ())]
    model = model_of(nodes, inputs, [info("present", ("t", 2)), info("y", ())], {})
    engine = camshaft.build(
        model,
        shapes={"past": ("p=0..9", 2)},
        state={"past": "present"},
        values={"scale": 3.0},
        **QUICK,
    )
    assert engine.program.declared == ("scale", "x", "offset")
    x, scale, offset = np.ones((1, 2), np.float32), np.float32(3), np.float32(1)
    assert engine(x, offset)["y"] == 7
    assert engine(scale, x, offset)["y"] == 13
