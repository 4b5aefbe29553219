"""A kernel that several tests build is compiled by the first of them, for every test of the process.

A fifth of the time that the tests compile went into text that an earlier test had compiled.  Equal text
gives equal bytes: the tests that hold this ask for the fixture `compiled_anew`.
"""

from __future__ import annotations

from hashlib import sha256

import pytest

from camshaft.backends.base import Kernel, Source
from camshaft.backends.cpu.compile import CpuCompiler

_COMPILED: dict[tuple[str, ...], bytes] = {}
_compile = CpuCompiler.compile


def compile_once(compiler: CpuCompiler, source: Source) -> Kernel:
    """As `CpuCompiler.compile`, which reads no more of a target than the key has."""
    t = compiler.target
    key = (t.triple, t.cpu, t.features, sha256(source.text.encode()).hexdigest())
    if key not in _COMPILED:
        _COMPILED[key] = _compile(compiler, source).code
    return Kernel(_COMPILED[key], source.phases, source.expansions, source.dims)


@pytest.fixture
def compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the test every kernel is compiled, whether or not another test did it."""
    monkeypatch.setattr(CpuCompiler, "compile", _compile)
