"""The CPU targets in tests: code is generated and compiled for all of them on every machine, and run
on a machine that has the features it needs."""

from __future__ import annotations

import pytest

from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import Library, link
from camshaft.backends.cpu.processor import missing_features
from camshaft.backends.cpu.target import AVX2, AVX512_VNNI, PORTABLE, TARGETS, CpuTarget
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.frontends.onnx import import_onnx
from camshaft.machine.backend import backend_of
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import is_quantized, lower_quantization

RUNNABLE = tuple(t for t in TARGETS if not missing_features(t))
"""The targets whose code this machine can run."""

PLAIN = (AVX512_VNNI, AVX2, PORTABLE)
"""The targets without instructions for half floats.  The others add such to AVX512_VNNI, which changes the
code of what half floats meet in and nothing else."""

each_target = pytest.mark.parametrize("target", PLAIN, ids=lambda t: t.name)
each_half_target = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
"""All targets: for what has code of its own for half floats."""


def skip_unless_runnable(target: CpuTarget) -> None:
    """Skip the rest of the test if this machine cannot run `target`'s code."""
    lacking = missing_features(target)
    if lacking:
        pytest.skip(
            f"{target.name} code was generated and compiled but not run: this processor lacks "
            f"{', '.join(lacking)}"
        )


def runnable_code(source: Source, target: CpuTarget) -> Library:
    """`source` compiled and linked; the test ends here, skipped, if this machine cannot run it."""
    library = link(CpuCompiler(target).compile(source).code, [p.symbol for p in source.phases])
    skip_unless_runnable(target)
    return library


def skip_unless_buildable(model: bytes, target: CpuTarget) -> None:
    """If this machine cannot run `target`'s code: compile the model's kernels, then skip the test."""
    if target in RUNNABLE:
        return
    graph = optimize(import_onnx(model))
    if is_quantized(graph):
        graph = lower_quantization(graph, integer=False)
    builder = Builder(
        backend_of(target), TimingCache(), level=1, threads=1, workspace_limit=1 << 30
    )
    builder.tune(graph)
    skip_unless_runnable(target)
