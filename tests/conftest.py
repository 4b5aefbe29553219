"""Settings every test shares: which need machine code, how hypothesis behaves."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.processor import missing_features
from camshaft.backends.cpu.target import PORTABLE, CpuTarget
from compiled_once import compile_once, compiled_anew

__all__ = ["compiled_anew"]

TESTS = Path(__file__).parent
CODEGEN = ("cli", "cpu", "end_to_end", "runtime", "test_compare.py")
"""Folders and files whose tests generate and run machine code: `make quick` leaves them out."""

# Workers and the processes that tests start find modules compiled, whatever the environment says: a start
# takes half the time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(TESTS.parent / "build" / "bytecode")
sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ["PYTHONPYCACHEPREFIX"]

# A shared machine stalls now and then: a deadline would only measure that.  The examples are the
# same on every run, so that a failure names the change and not the day.
settings.register_profile(
    "camshaft",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", parent=settings.get_profile("camshaft"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "camshaft"))


def pytest_configure() -> None:
    CpuCompiler.compile = compile_once


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in CODEGEN:
            item.add_marker(pytest.mark.codegen)
        if _target_of(item) == PORTABLE and not _is_sampled(item, 3):
            item.add_marker(pytest.mark.slow)
        if (
            item.get_closest_marker("sampled")
            and hasattr(item, "callspec")
            and not _is_sampled(item, 2)
        ):
            item.add_marker(pytest.mark.slow)


def _target_of(item: pytest.Item) -> CpuTarget | None:
    """The target that the test is parametrized by."""
    call = getattr(item, "callspec", None)
    target = None if call is None else call.params.get("target")
    return target if isinstance(target, CpuTarget) else None


def _is_sampled(item: pytest.Item, every: int) -> bool:
    """One test of so many, those whose names say so.  The default suite runs these, and the others are slow tests: of
    code for any x86-64 processor, which takes LLVM longest, and of what is marked so."""
    return crc32(item.nodeid.encode()) % every == 0


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules outlive the session: the garbage collector need not visit them again
    and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def sampled_compilation(request: pytest.FixtureRequest) -> None:
    """Code that this machine cannot run is compiled in every fifth test, those whose names say so: whether LLVM
    takes it shows in a part of them, and all are run on a machine that has the features."""
    target = _target_of(request.node)
    if target is None or not missing_features(target):
        return
    if not _is_sampled(request.node, 5) and not request.node.get_closest_marker("slow"):
        pytest.skip(
            f"{target.name} code is compiled in every fifth test only, since this processor cannot run it"
        )
