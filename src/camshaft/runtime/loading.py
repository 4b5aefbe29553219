"""From an engine file to an engine that runs here."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from camshaft.errors import BuildError, EngineFileError
from camshaft.runtime.driver import driver_named
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.engine_file import (
    EngineContents,
    OtherVersion,
    read_attached,
    read_engine_file,
)
from camshaft.runtime.file.manifest import Manifest, ScriptManifest
from camshaft.runtime.file.source import Given, source_of
from camshaft.runtime.linked import link_loaded

PORTABLE_MACHINE = "portable machine"
"""Attached to engines that can be built anew where they are loaded."""


def load(source: Given, threads: int | None = None) -> Engine:
    """Load an engine file by its path (which maps it), from its bytes, or from a file that is open for reading; `threads`
    workers serve its calls (default: as many as it was built for).

    A portable file that was built for another machine, or by another version, is built anew, of which a UserWarning tells.
    EngineFileError names the file, the fault and the fix: damage, another version or format, a CPU that lacks features
    the code needs.
    """
    engine, remark = loaded(source, threads)
    if remark:
        warnings.warn(remark, stacklevel=2)
    return engine


def loaded(source: Given, threads: int | None = None) -> tuple[Engine, str]:
    """As `load`, with what it would warn of, "" for nothing."""
    opened = source_of(source)
    try:
        contents = read_engine_file(opened)
    except OtherVersion as error:
        attached = read_attached(opened)
        if _is_portable(attached):
            why = str(error).removeprefix(f"{opened.title}: ").removesuffix(f"; {opened.rebuild}")
            return _rebuilt(attached, opened.title, why, threads)
        raise
    title, rebuild = opened.title, opened.rebuild
    fingerprint = contents.manifest.fingerprint
    if _is_portable(contents.attached):
        found: str = _portable().difference(contents.attached, title)
        if found:
            return _rebuilt(contents.attached, title, found, threads)
    missing = driver_named(fingerprint.driver).missing_features(fingerprint.features)
    if missing:
        raise EngineFileError(
            f"{title} was built for {fingerprint.target}, and this "
            f"CPU lacks {', '.join(missing)}; on this machine, {rebuild}"
        )
    try:
        engine = _made(contents, threads)
    except BuildError as error:
        unsound = f"{title}: its program is unsound: {error}; {rebuild}"
        raise EngineFileError(unsound) from error
    link_loaded(engine.link, title, rebuild)
    engine.attached = contents.attached
    return engine, ""


_MAKERS = {
    Manifest: "camshaft.runtime.loading:plain_engine",
    ScriptManifest: "camshaft.runtime.script.engine:loaded_script_engine",
}
"""What makes an engine of a file's contents, by the kind of manifest that it holds.  Imported when such a file
is loaded: most processes run engines of one kind."""


def plain_engine(contents: EngineContents, threads: int | None) -> Engine:
    """The engine of one program that a file holds.  Errors as in `Engine`."""
    manifest = contents.manifest
    assert isinstance(manifest, Manifest)
    make = partial(Engine, manifest, code=contents.code, threads=threads)
    return with_plan(contents.attached, contents.constants, make)


def with_plan(
    attached: Mapping[str, bytes],
    constants: Mapping[str, np.ndarray],
    make: Callable[[Mapping[str, np.ndarray]], Engine],
) -> Engine:
    """An engine made of constants, those that weights may change in memory that can be written."""
    known = constants
    if "refit" in attached:
        known = importlib.import_module("camshaft.refitting.exchange").filled(attached, constants)
    engine = make(known)
    engine.awaits_weights = len(known) > len(constants)
    return engine


def _made(contents: EngineContents, threads: int | None) -> Engine:
    module, function = _MAKERS[type(contents.manifest)].split(":")
    engine: Engine = getattr(importlib.import_module(module), function)(contents, threads)
    return engine


def _is_portable(attached: dict[str, bytes]) -> bool:
    return PORTABLE_MACHINE in attached


def _portable() -> Any:
    """What builds engines anew, which needs all of the builder."""
    return importlib.import_module("camshaft.portable.rebuild")


def _rebuilt(
    attached: dict[str, bytes], title: str, why: str, threads: int | None
) -> tuple[Engine, str]:
    made: tuple[Engine, str] = _portable().rebuilt(attached, title, why, threads)
    return made
