"""What `camshaft.hardware` and `camshaft hardware` say of this machine, and of others."""

from __future__ import annotations

import dataclasses

import pytest

import camshaft
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.measured.peak import product_of, source
from camshaft.backends.cpu.processor import host_processor, host_target, missing_features
from camshaft.backends.cpu.target import AMX, AVX2, AVX512_BF16, AVX512_VNNI, TARGETS, CpuTarget
from camshaft.machine.hardware import instructions
from cli_models import call, call_json
from targets import each_half_target


@pytest.fixture(scope="module")
def machine() -> camshaft.Hardware:
    return camshaft.hardware()


def test_it_is_the_machine_that_kernels_are_made_for(machine: camshaft.Hardware) -> None:
    assert machine.processor == str(host_processor())
    assert machine.targets[0] == host_target().name
    assert set(machine.targets) == {t.name for t in TARGETS if not missing_features(t)}
    assert 0 < machine.l1_bytes <= machine.l2_bytes <= machine.l3_bytes < machine.memory_bytes
    assert machine.cpus >= 1


def test_peaks_are_measured_once(machine: camshaft.Hardware) -> None:
    for a in machine.arithmetic:
        assert a.peak is not None and a.peak > 0.1, a
        assert a.is_fast == bool(a.instructions)
    assert machine.bandwidth_one is not None and machine.bandwidth_one > 0.1
    assert machine.bandwidth_all is not None and machine.bandwidth_all > 0.1
    assert camshaft.hardware() is machine


def test_without_measuring_nothing_else_differs(machine: camshaft.Hardware) -> None:
    plain = camshaft.hardware(measure=False)
    assert all(a.peak is None for a in plain.arithmetic)
    assert plain.bandwidth_one is plain.bandwidth_all is None
    measured = {a.precision: dataclasses.replace(a, peak=None) for a in machine.arithmetic}
    bare = dataclasses.replace(machine, **measured, bandwidth_one=None, bandwidth_all=None)
    assert bare == plain


@pytest.mark.parametrize(
    ("target", "precision", "wanted"),
    [
        (AVX2, "fp32", ("FMA",)),
        (AVX2, "int8", ()),
        (AVX512_VNNI, "int8", ("AVX512-VNNI",)),
        (AVX512_VNNI, "bf16", ()),
        (AVX512_BF16, "bf16", ("AVX512-BF16",)),
        (AVX512_BF16, "fp16", ()),
        (AMX, "fp16", ("AVX512-FP16",)),
        (AMX, "int8", ("AVX512-VNNI", "AMX-INT8")),
        (AMX, "bf16", ("AVX512-BF16", "AMX-BF16")),
    ],
)
def test_instructions(target: CpuTarget, precision: str, wanted: tuple[str, ...]) -> None:
    assert instructions(precision, target) == wanted


@pytest.mark.parametrize(
    ("precision", "instruction"),
    [("fp32", "vfmadd"), ("int8", "vpdpbusd"), ("bf16", "vdpbf16ps"), ("fp16", "vfmadd231ph")],
)
@each_half_target
def test_peaks_count_what_the_target_has(
    target: CpuTarget, precision: str, instruction: str
) -> None:
    """One instruction for each chain, and nothing spilled, where there is one."""
    product = product_of(precision, target)
    assembly = CpuCompiler(target).assembly(source(target, product))
    if product.native and target.has_fma:
        assert assembly.count(instruction.rstrip("0123456789")) >= 3 * target.registers // 4
        assert "(%rsp)" not in assembly
    else:
        assert instruction not in assembly or not target.has_vnni


def test_command(machine: camshaft.Hardware) -> None:
    text = call("hardware", "--no-measure").stdout
    assert machine.processor in text and ", ".join(machine.targets) in text
    assert "GFLOP/s" not in text
    data = call_json("hardware")
    assert data["targets"] == list(machine.targets)
    for precision in ("fp32", "int8", "bf16", "fp16"):
        assert data[precision]["peak"] > 0
        assert data[precision]["is_fast"] == getattr(machine, precision).is_fast
    assert "GFLOP/s" in call("hardware").stdout
