"""What is read off the machine: CPUID words, the system's files, and what is made of them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import camshaft
from camshaft.backends.cpu import cpuid, processor
from camshaft.backends.cpu.conv import search
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.processor import (
    Cache,
    Processor,
    host_features,
    host_processor,
    host_target,
    microarchitecture,
    system_caches,
)
from camshaft.backends.cpu.target import AVX2, AVX512_VNNI, TARGETS
from camshaft.machine.backend import cpu_backend, identity_of
from camshaft.machine.description import describe
from kernel_corpus import specs
from onnx_models import one_node

is_x86 = pytest.mark.skipif("sse2" not in host_features(), reason="CPUID is x86's")
MILAN = Processor(
    "AuthenticAMD", 25, 1, 1, "AMD EPYC", "Zen 3", frozenset({"avx2", "fma"}),
    Cache(32 << 10, 8), Cache(512 << 10, 8), Cache(32 << 20, 16),
)  # fmt: skip


def words(text: str) -> list[int]:
    return list(struct.unpack(f"<{len(text) // 4}I", text.encode()))


def test_cpuid_of_an_amd_processor() -> None:
    """A Zen 5 as AMD's manual describes it: 48 KiB of L1 in 12 ways, 1 MiB of L2 in 16."""
    b, d, c = words("AuthenticAMD")
    name = words("AMD EPYC 9005".ljust(48, "\0"))
    answers = {
        (0, 0): (16, b, c, d),
        (1, 0): (0x00B00F21, 0, 0, 0),
        (0x80000000, 0): (0x80000028, 0, 0, 0),
        **{(0x80000002 + n, 0): tuple(name[4 * n : 4 * n + 4]) for n in range(3)},
        (0x8000001D, 0): (0x21, 11 << 22 | 63, 63, 0),
        (0x8000001D, 1): (0x22, 7 << 22 | 63, 63, 0),
        (0x8000001D, 2): (0x43, 15 << 22 | 63, 1023, 0),
    }

    def leaf(number: int, subleaf: int) -> cpuid.Registers:
        return answers.get((number, subleaf), (0, 0, 0, 0))

    assert cpuid.vendor(leaf) == "AuthenticAMD"
    assert cpuid.signature(leaf) == (26, 2, 1)
    assert cpuid.brand(leaf) == "AMD EPYC 9005"
    assert list(cpuid.caches(leaf)) == [(1, 48 << 10, 12), (2, 1 << 20, 16)]


@is_x86
def test_cpuid_of_this_machine_agrees_with_linux() -> None:
    leaf = cpuid.instruction()
    described = system_caches(processor.SYSTEM_CACHES)
    caches = {level: Cache(size, ways) for level, size, ways in cpuid.caches(leaf)}
    assert all(caches.get(level, cache) == cache for level, cache in described.items())
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text(encoding="utf-8").split("\n\n")[0]
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        said = {name.strip(): value.strip() for name, value in lines.items()}
        numbers = tuple(int(said[n]) for n in ("cpu family", "model", "stepping"))
        assert (cpuid.vendor(leaf), cpuid.signature(leaf)) == (said["vendor_id"], numbers)


@pytest.mark.parametrize(
    ("vendor", "family", "model", "name"),
    [
        ("AuthenticAMD", 0x17, 0x31, "Zen 2"),
        ("AuthenticAMD", 0x19, 0x01, "Zen 3"),
        ("AuthenticAMD", 0x19, 0x11, "Zen 4"),
        ("AuthenticAMD", 0x19, 0xA0, "Zen 4"),
        ("AuthenticAMD", 0x1A, 0x02, "Zen 5"),
        ("AuthenticAMD", 0x1A, 0x50, ""),
        ("GenuineIntel", 0x19, 0x01, ""),
    ],
)
def test_microarchitectures(vendor: str, family: int, model: int, name: str) -> None:
    assert microarchitecture(vendor, family, model) == name


def test_caches_as_linux_describes_them(tmp_path: Path) -> None:
    rows = {
        "index0": ("1", "Data", "48K", "12"),
        "index1": ("1", "Instruction", "32K", "8"),
        "index2": ("2", "Unified", "2048K", "16"),
        "index3": ("3", "Unified", "", "0"),  # as some virtual machines leave it
    }
    for folder, values in rows.items():
        (tmp_path / folder).mkdir()
        for name, value in zip(
            ("level", "type", "size", "ways_of_associativity"), values, strict=True
        ):
            (tmp_path / folder / name).write_text(value + "\n")
    (tmp_path / "index4").mkdir()
    assert system_caches(tmp_path) == {1: Cache(48 << 10, 12), 2: Cache(2 << 20, 16)}
    assert system_caches(tmp_path / "nowhere") == {}


def test_processors_are_told_apart() -> None:
    assert str(MILAN) == "AMD EPYC (family 25, model 1: Zen 3), L1d 32 KiB, L2 512 KiB"
    others = [
        replace(MILAN, family=26, model=2, microarchitecture="Zen 5"),
        replace(MILAN, l1=Cache(48 << 10, 12)),
        replace(MILAN, l2=Cache(1 << 20, 8)),
        replace(MILAN, features=MILAN.features | {"avx512f"}),
    ]
    assert len({p.identity for p in (MILAN, *others)}) == 5
    assert replace(MILAN, stepping=2, l3=Cache(1 << 20, 16)).identity == MILAN.identity
    plain = replace(MILAN, vendor="", brand="aarch64", microarchitecture="neoverse-n1")
    assert str(plain) == "aarch64 (neoverse-n1), L1d 32 KiB, L2 512 KiB"


def test_reports_name_the_processor() -> None:
    said = describe()
    assert said["processor"] == str(host_processor())
    assert cpu_backend("host").machine == said["processor"]


def test_the_hosts_target_has_the_hosts_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = replace(host_processor(), l1=Cache(48 << 10, 12), l2=Cache(3 << 20, 12))
    monkeypatch.setattr(processor, "host_processor", lambda: odd)
    target = host_target()
    (preset,) = (t for t in TARGETS if t.name == target.name)
    assert target == replace(preset, l1_bytes=48 << 10, l1_ways=12, l2_bytes=3 << 20)
    assert cpu_backend(preset.name).target == preset
    assert identity_of(target) != identity_of(preset)


@pytest.mark.parametrize(
    ("adds", "name"),
    [
        ((), "avx512vnni"),
        (("avx512bf16",), "avx512bf16"),
        (("avx512bf16", "avx512fp16"), "avx512fp16"),
        (("avx512bf16", "avx512fp16", "amx-tile", "amx-bf16"), "avx512fp16"),
        (("avx512bf16", "avx512fp16", "amx-tile", "amx-bf16", "amx-int8"), "amx"),
    ],
)
@is_x86
def test_the_hosts_target_is_the_best_it_has_all_features_of(
    adds: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = frozenset(AVX512_VNNI.requires + adds)
    monkeypatch.setattr(processor, "host_features", lambda: features)
    assert host_target().name == name


def test_presets_have_what_they_require() -> None:
    for t in TARGETS:
        assert t.has_bf16 == ("avx512bf16" in t.requires)
        assert t.has_fp16 == ("avx512fp16" in t.requires)
        assert t.has_amx == ("amx-tile" in t.requires)
        assert (
            all(f"+{feature}" in t.features.split(",") for feature in t.requires) or not t.features
        )


def test_an_engine_made_for_other_caches_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((1, 32, 9, 9), (48, 32, 3, 3)))
    model, feeds = one_node("Conv", [x], {1: w}, pads=[1, 1, 1, 1])
    here = camshaft.build(model, optimization_level=1)
    odd = replace(host_processor(), l1=Cache(8 << 10, 2), l2=Cache(64 << 10, 4))
    monkeypatch.setattr(processor, "host_processor", lambda: odd)
    camshaft.build(model, optimization_level=1).save(tmp_path / "moved.engine")
    monkeypatch.undo()
    got, want = camshaft.load(tmp_path / "moved.engine")(feeds), here(feeds)
    np.testing.assert_allclose(got["y0"], want["y0"], rtol=1e-4, atol=1e-4)


def test_tiles_avoid_the_sets_of_the_targets_l1() -> None:
    """Pixels 4 KiB apart share one set of a cache whose ways hold 4 KiB: as many fit as it has ways."""
    spec = next(s for s in specs().values() if s.op == "conv")
    apart = ConvProblem.of(spec)
    strides = (*apart.x_strides[:2], 4096 // apart.x_dtype.bytes, 1)
    apart = replace(apart, x_strides=strides)
    twelve = replace(AVX2, l1_bytes=48 << 10, l1_ways=12)
    assert [search._conflicts(apart, n, AVX2) > 1 for n in (7, 8, 11, 12)] == [0, 1, 1, 1]
    assert [search._conflicts(apart, n, twelve) > 1 for n in (7, 8, 11, 12)] == [0, 0, 0, 1]
