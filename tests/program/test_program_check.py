"""The check that no instruction leaves its memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camshaft.errors import BuildError, ShapeError
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, TensorType, f32, i64, string
from camshaft.program.check import check_program
from camshaft.program.program import (
    Arena,
    Binding,
    Block,
    Expanded,
    FixedInput,
    HostCall,
    KernelCode,
    Launch,
    Phase,
    Program,
    Role,
    Slot,
)
from camshaft.program.view import Buffer, View
from camshaft.runtime.sizes import sizes_of
from runtime_programs import chain, flat, sum_of

PROGRAM = chain(length=4, host_at=1).program
SIZES = {"one": 256, "payload": 6}
X, ODD, ONE = flat("x", 64, "input"), flat("odd", 64), flat("one", 64, "constant")


def _first() -> Launch:
    first = PROGRAM.instructions[0]
    assert isinstance(first, Launch)
    return first


def _second() -> HostCall:
    second = PROGRAM.instructions[1]
    assert isinstance(second, HostCall)
    return second


def _with(*instructions: Launch | HostCall, **changes: object) -> Program:
    rest = PROGRAM.instructions[len(instructions) :]
    return replace(PROGRAM, body=Block((*instructions, *rest)), **changes)


def _reads(view: View | None, *more: Buffer) -> Program:
    """The first launch reads `view`; the program has more buffers."""
    launch = replace(_first(), views=(view, *_first().views[1:]))
    return _with(launch, buffers=(*PROGRAM.buffers, *more))


def _launching(**changes: object) -> Program:
    return _with(replace(_first(), **changes))  # type: ignore[arg-type]


def _taking(role: Role, nbytes: int) -> Program:
    """The first argument of the kernel is another than what all launches give it."""
    (kernel,) = PROGRAM.kernels
    return replace(PROGRAM, kernels=(replace(kernel, args=((role, nbytes), *kernel.args[1:])),))


def _host_reads(view: View) -> Program:
    return _with(_first(), replace(_second(), inputs=(view,)))


def _expanding(**changes: object) -> Program:
    """A program whose first launch reads a constant made of "one"."""
    large = replace(Expanded("large", "one", 512, "add", Phase("fadd", 1)), **changes)
    view = flat("large", 128, "constant")
    return replace(_reads(view, view.buffer), expanded=(large,))


def _arena(*slots: Slot, nbytes: int = 512) -> Program:
    return replace(PROGRAM, arena=Arena(slots, nbytes, 512))


EVEN_SLOT, ODD_SLOT = PROGRAM.arena.slots


def _saying(values: tuple[Extent, ...], dtype: DType = f32) -> Program:
    said = Binding("k", TensorType(dtype, (1,)), values)
    arena = Arena((EVEN_SLOT, replace(ODD_SLOT, above=(0,))), 512, 512)
    inputs = (*PROGRAM.inputs, said)
    return replace(PROGRAM, inputs=inputs, symbols=(Symbol("n"),), arena=arena)


def _fixing(name: str, shape: tuple[int, ...], constant: str = "one") -> Program:
    return replace(PROGRAM, fixed=(FixedInput(name, TensorType(f32, shape), constant),))


@pytest.mark.parametrize(
    "program", [PROGRAM, _expanding(), _fixing("z", (64,)), _saying((3,), i64)]
)
def test_a_sound_program_passes(program: Program) -> None:
    check_program(program, SIZES, {"add"})


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        (_reads(None), "argument 0: nothing, and its kernel takes 256 bytes (in)"),
        (_reads(replace(ODD, shape=(63,))), "252 bytes of arena 'odd', and its kernel touches 256"),
        (_launching(views=_first().views[::-1]), "argument 2: input 'x' at 0 is no 'out' operand"),
        (_launching(views=_first().views[1:]), "2 arguments, and its kernel takes 3"),
        (_launching(views=(*_first().views, X)), "4 arguments, and its kernel takes 3"),
        (_launching(dims=(1,)), "1 dims, and its kernel takes 0"),
        (_taking("out", 256), "argument 0: input 'x' at 0 is no 'out' operand"),
        (_taking("packed", 256), "argument 0: input 'x' at 0 is no 'packed' operand"),
        (_taking("workspace", 0), "argument 0: input 'x' at 0 is no 'workspace' operand"),
        (_reads(replace(X, offset=1)), "argument 0: elements 1 to 65 of input 'x', which has 64"),
        (_reads(replace(X, offset=-1)), "of input 'x'"),
        (_reads(replace(ODD, shape=(65,))), "of arena 'odd'"),
        (_reads(replace(ODD, shape=(-1,))), "impossible view"),
        (_reads(flat("two", 1, "constant")), "constant 'two' is no buffer of the program"),
        (_reads(X, flat("two", 1, "constant").buffer), "there is no constant called 'two'"),
        (_reads(X, flat("x", 64, "output").buffer), "there is no output called 'x'"),
        (_reads(X, replace(ONE.buffer, elements=63)), "two buffers are called constant 'one'"),
        (_reads(X, flat("new", 64).buffer), "not one slot for each buffer"),
        (_reads(X, Buffer("s", f32, 4, "state")), "there is no state called 's'"),
        (_host_reads(View(X.buffer, 0, (8, 8), (9, 1))), "elements 0 to 71"),
        (_host_reads(View(X.buffer, 0, (8, 8), (-8, 1))), "impossible view"),
        (_host_reads(View(X.buffer, 0, (8, 8), (8,))), "impossible view"),
        (_expanding(nbytes=516), "which has 516 bytes"),
        (_expanding(nbytes=1 << 40), "bytes from 256"),
        (_expanding(name="one"), "another constant"),
        (_expanding(stored="two"), "no constant called 'two'"),
        (_expanding(stored="large"), "no constant called 'large'"),
        (_expanding(code="mul"), "called 'mul'"),
        (_expanding(phase=Phase("f add", 1)), "no symbol"),
        (_expanding(phase=Phase("fadd", -1)), "-1 work items"),
        (replace(PROGRAM, kernels=()), "kernel 0 of 0"),
        (replace(PROGRAM, kernels=(sum_of("mul", (Phase("fadd", 1),), 256),)), "called 'mul'"),
        (replace(PROGRAM, kernels=(sum_of("mul", (), 256),)), "called 'mul'"),
        (replace(PROGRAM, kernels=(sum_of("add", (Phase("f add", 1),), 256),)), "no symbol"),
        (replace(PROGRAM, kernels=(sum_of("add", (Phase("fadd", -1),), 256),)), "-1 work items"),
        (_arena(EVEN_SLOT, ODD_SLOT, nbytes=-1), "arena of -1 bytes"),
        (_arena(EVEN_SLOT, ODD_SLOT, nbytes=1 << 60), "arena of"),
        (_arena(EVEN_SLOT, ODD_SLOT, nbytes=256), "lies at 256 in an arena of 256"),
        (_arena(EVEN_SLOT), "not one slot for each buffer"),
        (_arena(EVEN_SLOT, ODD_SLOT, ODD_SLOT), "not one slot for each buffer"),
        (_arena(EVEN_SLOT, replace(ODD_SLOT, offset=-64)), "lies at -64"),
        (_arena(EVEN_SLOT, replace(ODD_SLOT, offset=32)), "lies at 32"),
        (_arena(EVEN_SLOT, replace(ODD_SLOT, above=(1,))), "lies above a later one"),
        (replace(PROGRAM, max_threads=0), "max_threads"),
        (replace(PROGRAM, inputs=PROGRAM.inputs * 2), "same name"),
        (replace(PROGRAM, outputs=(Binding("y", TensorType(f32, (-1, -64))),)), "impossible shape"),
        (replace(PROGRAM, outputs=(Binding("y", TensorType(f32, (1, 63))),)), "has 252 bytes"),
        (replace(PROGRAM, outputs=(Binding("y", TensorType(string, (64,))),)), "strings"),
        (_saying((1,)), "cannot say sizes"),
        (_saying((extent_of(Symbol("n")) * 2,), i64), "cannot say sizes"),
        (_saying((1, 2), i64), "cannot say sizes"),
        (_fixing("x", (64,)), "another input of this name"),
        (_fixing("z", (2,)), "its 8 bytes are not what is stored"),
        (_fixing("z", (64,), "two"), "its 256 bytes are not what is stored"),
        (_with(_first(), replace(_second(), outputs=(ONE,))), "writes to constant 'one'"),
        (_with(_first(), replace(_second(), outputs=(X,))), "writes to input 'x'"),
        (_with(_first(), replace(_second(), executor="os:system")), "no executor of camshaft's"),
        (_with(_first(), replace(_second(), payload="none")), "no payload called 'none'"),
    ],
)
def test_an_unsound_program_is_refused(program: Program, complaint: str) -> None:
    with pytest.raises(BuildError) as caught:
        check_program(program, SIZES, {"add"})
    assert complaint in str(caught.value)


def test_messages_call_instructions_by_name() -> None:
    with pytest.raises(BuildError, match=r"instruction 0 \(conv1\), argument 0: elements"):
        check_program(_reads(replace(X, offset=1)), SIZES, {"add"}, ["conv1", "b", "c", "d"])
    with pytest.raises(BuildError, match="1 notes for 4 instructions"):
        check_program(PROGRAM, SIZES, {"add"}, ["conv1"])


# -- symbolic sizes --------------------------------------------------------------------------------

N = Symbol("n", 1, 4, 64)
ROWS = extent_of(N)


def _symbolic(view: View) -> Program:
    """A launch that reads `view`, in an arena with two buffers of n rows of 16."""
    buffers = (Buffer("low", f32, ROWS * 16), Buffer("high", f32, ROWS * 16))
    return Program(
        inputs=(),
        outputs=(),
        buffers=buffers,
        kernels=(KernelCode("add", (Phase("fadd", 1),), (("in", ROWS * 8),), 1),),
        body=Block((Launch(0, (view,), (ROWS,)),)),
        arena=Arena((Slot(buffers[0], 0), Slot(buffers[1], 256, (0,))), 512, 512),
        symbols=(N,),
    )


def _view(**changes: object) -> View:
    buffer = Buffer("high", f32, ROWS * 16)
    return replace(View(buffer, 0, (ROWS, 16), (16, 1)), **changes)  # type: ignore[arg-type]


def test_symbolic_programs_are_checked_at_several_sizes() -> None:
    check_program(_symbolic(_view()), {}, {"add"})
    check_program(_symbolic(_view(offset=ROWS * 8, shape=(ROWS, 8), strides=(8, 1))), {}, {"add"})
    for bad, where in (
        (_view(offset=1), "elements 1 to 17"),  # at the least size already
        (_view(shape=(ROWS + ROWS // 4, 16)), "elements 0 to 80"),  # at the typical size
        (_view(shape=(ROWS + ROWS // 64, 16)), "elements 0 to 1040"),  # only at the largest
        (_view(shape=(2 - ROWS, 16)), "impossible view"),
    ):
        with pytest.raises(BuildError, match=where):
            check_program(_symbolic(bad), {}, {"add"})


def test_a_symbol_that_is_not_the_programs_is_refused() -> None:
    with pytest.raises(BuildError, match="no size is given for 'm'"):
        stranger = extent_of(Symbol("m"))
        check_program(_symbolic(_view(offset=stranger)), {}, {"add"})


def test_extents_that_may_be_negative_are_found_and_refused() -> None:
    n, m = (extent_of(Symbol(name, 1, 4)) for name in "nm")
    sizes = tuple(Binding(name, TensorType(f32, (e,))) for name, e in (("a", n), ("b", m)))
    rest, none = Buffer("rest", f32, n - m), Buffer("none", f32, 8 - n)
    views = (View.dense(rest, (n - m,)), View.dense(none, (8 - n,)))
    made = _with(
        replace(_first(), views=views), inputs=sizes, symbols=(Symbol("n", 1, 4), Symbol("m", 1, 4)),
        buffers=(rest, none), constraints=(Constraint(8 - n, ">=", 0, "a test"),), outputs=(),
    )  # fmt: skip
    made = replace(made, body=Block(made.instructions[:1]))
    assert made.unproven == {n - m: "rest"}
    assert sizes_of(made, ((3,), (3,))) == {"n": 3, "m": 3}
    with pytest.raises(ShapeError, match=r"'rest' would have the extent .* = -1 at .*n=3"):
        sizes_of(made, ((3,), (4,)))
