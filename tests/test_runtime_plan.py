"""Plans: JSON there and back, strict decoding, and the check that no step leaves its memory."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from camshaft.backends.base import Phase
from camshaft.backends.cpu.runner.ir import layout
from camshaft.errors import BuildError
from camshaft.ir.types import TensorType, f32, string
from camshaft.runtime import driver
from camshaft.runtime.check import check_plan
from camshaft.runtime.codec import plan_from_json, plan_to_json
from camshaft.runtime.plan import NULL, Binding, Buffer, Expanded, KernelCode, Plan, Ref, View
from runtime_programs import chain

PLAN = replace(
    chain(length=4, host_at=1).plan,
    steps=tuple(
        replace(s, params=(("rows", 7), ("fast", True), ("order", "a")), time_us=1.5, waits=False)
        for s in chain(length=4, host_at=1).plan.steps
    ),
)
SIZES = {"one": 256, "payload": 6}


def test_json_round_trip_keeps_everything_and_is_deterministic() -> None:
    text = plan_to_json(PLAN)
    assert plan_from_json(text) == PLAN
    assert plan_to_json(plan_from_json(text)) == text
    assert text.isascii()


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("steps", 0, "args", 0), ["input", "x", 0], "steps[0].args[0]"),
        (("steps", 0, "args", 0, 2), "0", "expected int"),
        (("steps", 0, "args", 0, 2), True, "expected int"),
        (("steps", 0, "args", 0, 0), "disk", "'disk' is none of"),
        (("steps", 0, "kernel"), 0.0, "steps[0].kernel: expected int"),
        (("steps", 0, "color"), 1, "unknown field 'color'"),
        (("arena_bytes",), None, "plan.arena_bytes: expected int"),
        (("inputs", 0, "type"), ["f33", [1]], "unknown element type 'f33'"),
        (("kernels",), {}, "plan.kernels: expected a list"),
        (("steps", 0, "params"), [["rows", 1.5]], "plan.steps[0].params[0]"),
        (("fingerprint", "format"), "1", "plan.fingerprint.format"),
    ],
)
def test_decoding_names_the_wrong_field(path: tuple, value: object, complaint: str) -> None:
    data = json.loads(plan_to_json(PLAN))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError) as caught:
        plan_from_json(json.dumps(data))
    assert complaint in str(caught.value)


def test_decoding_names_a_missing_field() -> None:
    data = json.loads(plan_to_json(PLAN))
    del data["arena_bytes"]
    with pytest.raises(ValueError, match="'arena_bytes' is missing"):
        plan_from_json(json.dumps(data))


def test_deeply_nested_text_is_refused() -> None:
    with pytest.raises(ValueError):
        plan_from_json("[" * 100_000)


def test_a_sound_plan_passes() -> None:
    check_plan(PLAN, SIZES, {"add"})
    check_plan(_expanding(), SIZES, {"add"})


def _expanding(**changes: object) -> Plan:
    """A plan whose first step reads a constant made of "one"."""
    large = replace(Expanded("large", "one", 512, "add", Phase("fadd", 1)), **changes)
    return replace(_with_arg(Ref("constant", "large", 0, 512)), expanded=(large,))


def test_expanded_constants_survive_the_round_trip() -> None:
    assert plan_from_json(plan_to_json(_expanding())) == _expanding()


def _with_arg(ref: Ref) -> Plan:
    step = replace(PLAN.steps[0], args=(ref, *PLAN.steps[0].args[1:]))
    return replace(PLAN, steps=(step, *PLAN.steps[1:]))


def _with_view(view: View) -> Plan:
    host = PLAN.steps[1].host
    assert host is not None
    step = replace(PLAN.steps[1], host=replace(host, inputs=(view,)))
    return replace(PLAN, steps=(PLAN.steps[0], step, *PLAN.steps[2:]))


_VIEW = View(Ref("arena", "", 0, 256), TensorType(f32, (8, 8)), (8, 1))


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (_with_arg(Ref("input", "x", 0, 257)), "argument 0: bytes 0 to 257 of input 'x'"),
        (_with_arg(Ref("input", "x", -4, 8)), "of input 'x'"),
        (_with_arg(Ref("arena", "", 500, 13)), "of arena"),
        (_with_arg(Ref("arena", "", 0, -1)), "of arena"),
        (_with_arg(Ref("constant", "two", 0, 4)), "no constant called 'two'"),
        (_with_arg(Ref("output", "x", 0, 4)), "no output called 'x'"),
        (_with_arg(replace(NULL, nbytes=4)), "null pointer with an extent"),
        (_with_view(replace(_VIEW, strides=(9, 1))), "reaches past its 256 bytes"),
        (_with_view(replace(_VIEW, strides=(-8, 1))), "impossible view"),
        (_with_view(replace(_VIEW, strides=(8,))), "impossible view"),
        (_with_view(replace(_VIEW, ref=NULL)), "null memory as an operand"),
        (_expanding(nbytes=511), "of constant 'large', which has 511"),
        (_expanding(nbytes=1 << 40), "bytes from 256"),
        (_expanding(name="one"), "another constant"),
        (_expanding(stored="two"), "no constant called 'two'"),
        (_expanding(stored="large"), "no constant called 'large'"),
        (_expanding(code="mul"), "called 'mul'"),
        (_expanding(phase=Phase("f add", 1)), "no symbol"),
        (_expanding(phase=Phase("fadd", -1)), "-1 work items"),
        (replace(PLAN, kernels=()), "kernel 0 of 0"),
        (replace(PLAN, kernels=(KernelCode("mul", (Phase("fadd", 1),)),)), "called 'mul'"),
        (replace(PLAN, kernels=(KernelCode("mul", ()),)), "called 'mul'"),
        (replace(PLAN, kernels=(KernelCode("add", (Phase("f add", 1),)),)), "no symbol"),
        (replace(PLAN, kernels=(KernelCode("add", (Phase("fadd", -1),)),)), "-1 work items"),
        (replace(PLAN, arena_bytes=-1), "arena of -1 bytes"),
        (replace(PLAN, arena_bytes=1 << 60), "arena of"),
        (replace(PLAN, arena_bytes=256), "outside the arena"),
        (replace(PLAN, buffers=(Buffer("b", -64, 64),)), "outside the arena"),
        (replace(PLAN, max_threads=0), "max_threads"),
        (replace(PLAN, inputs=PLAN.inputs * 2), "same name"),
        (replace(PLAN, outputs=(Binding("y", TensorType(f32, (-1, -64))),)), "impossible shape"),
        (replace(PLAN, outputs=(Binding("y", TensorType(string, (64,))),)), "strings"),
    ],
)
def test_an_unsound_plan_is_refused(plan: Plan, complaint: str) -> None:
    with pytest.raises(BuildError) as caught:
        check_plan(plan, SIZES, {"add"})
    assert complaint in str(caught.value)


def test_a_host_step_may_not_write_constants_nor_name_foreign_code() -> None:
    host = PLAN.steps[1].host
    assert host is not None
    constant = replace(_VIEW, ref=Ref("constant", "one", 0, 256))
    for bad in (replace(host, outputs=(constant,)), replace(host, executor="os:system")):
        steps = (PLAN.steps[0], replace(PLAN.steps[1], host=bad), *PLAN.steps[2:])
        with pytest.raises(BuildError):
            check_plan(replace(PLAN, steps=steps), SIZES, {"add"})


def test_outcome_codes_of_driver_and_generated_code_agree() -> None:
    for name in ("DONE", "IS_BUSY", "NOT_FINITE", "OVERLAP", "UNEXPECTED"):
        assert getattr(driver, name) == getattr(layout, name)
