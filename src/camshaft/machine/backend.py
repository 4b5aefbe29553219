"""This machine as the build sees it: target, tactics, compiler, and the engine's fingerprint."""

from __future__ import annotations

from functools import partial

import llvmlite

from camshaft.backends.base import Backend
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.processor import host_processor, host_target, missing_features
from camshaft.backends.cpu.reduce.histogram import Histogram
from camshaft.backends.cpu.set_shape import set_shape_source
from camshaft.backends.cpu.tactics import PREFERENCES, TACTICS
from camshaft.backends.cpu.target import TARGETS, CpuTarget, target_named
from camshaft.errors import ConfigError
from camshaft.quant.calibration.observers import LENGTH, ZERO, HistogramKernel
from camshaft.runtime.file.manifest import Fingerprint
from camshaft.version import FORMAT, VERSION


def fingerprint_of(target: CpuTarget, model: str, config: str) -> Fingerprint:
    """What an engine for `target` was made from and for."""
    return Fingerprint(
        driver="cpu",
        target=target.name,
        features=tuple(sorted(target.requires)),
        camshaft=VERSION,
        format=FORMAT,
        llvmlite=llvmlite.__version__,
        model=model,
        config=config,
    )


def cpu_backend(name: str) -> Backend[Fingerprint]:
    """The CPU backend for "host" or a named target; ConfigError if this machine cannot run it."""
    known = ("host", *(t.name for t in TARGETS))
    if name not in known:
        raise ConfigError(f"unknown target {name!r}; use one of: {', '.join(known)}")
    target = host_target() if name == "host" else target_named(name)
    missing = missing_features(target)
    if missing:
        raise ConfigError(
            f"target {name!r} needs CPU features this machine lacks ({', '.join(missing)}), so "
            "its kernels cannot be timed here; use target='host' or build on such a machine"
        )
    return backend_of(target)


def backend_of(target: CpuTarget) -> Backend[Fingerprint]:
    """The CPU backend for a target, whether or not this machine can run its code."""
    return Backend(
        tactics=TACTICS,
        target=target,
        compile=CpuCompiler(target).compile,
        identity=identity_of(target),
        machine=str(host_processor()),
        kind=f"{target.name} {host_processor().microarchitecture}".strip(),
        fingerprint=fingerprint_of(target, "", "trial"),
        set_shape=partial(set_shape_source, target),
        preferences=PREFERENCES,
        last_level_cache=host_processor().l3.nbytes,
    )


def identity_of(target: CpuTarget) -> str:
    """What timings of kernels for `target` on this machine depend on, besides the kernels."""
    return f"{machine_of(target)};camshaft {VERSION};llvmlite {llvmlite.__version__}"


def machine_of(target: CpuTarget) -> str:
    """What of this machine timings for `target` depend on."""
    blocking = f"L1 {target.l1_bytes}/{target.l1_ways} L2 {target.l2_bytes}"
    return f"{target.name} {blocking};{host_processor().identity}"


def processor_words() -> str:
    """This machine's processor, for people."""
    return str(host_processor())


def machine_named(name: str) -> str:
    """As `machine_of`, of "host" or a named target."""
    return machine_of(host_target() if name == "host" else target_named(name))


def histogram_kernel(target: CpuTarget) -> HistogramKernel:
    """The kernel that calibration counts values with, as code generated for `target`."""
    return Histogram(target, LENGTH, ZERO)
