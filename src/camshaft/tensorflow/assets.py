"""Engine files as assets of SavedModels.

TensorFlow writes assets in place.  A process that has mapped the old file would then run a mixture of two engines, or end.  So engine files
have names by content, and a SavedModel is written to a draft whose files are renamed into the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import tensorflow as tf

from camshaft.errors import ConfigError
from camshaft.runtime.engine import Engine

_ENGINE = re.compile(r"\.([0-9a-f]{32})\.engine$")
_FIRST_READ = ("saved_model.pb", "saved_model.cpb")
"""What a reader of a SavedModel opens before all else, so that it is put in place last."""


def asset_of(engine: Engine, name: str, place: Path) -> Any:
    """An engine as an asset: a file in `place` that is called by its content."""
    draft = place / name
    engine.save(draft)
    with draft.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    path = draft.rename(place / f"{name}.{digest}.engine")
    return tf.saved_model.Asset(str(path))


def identity(path: str) -> Hashable:
    """What differs where engine files do: the digest in a name, or else file, time and size.  OSError where there is no file."""
    found = _ENGINE.search(path)
    if found:
        return found[1]
    known = os.stat(path)
    return path, known.st_ino, known.st_mtime_ns, known.st_size


def write_whole(folder: Path, write: Callable[[str], None]) -> None:
    """Let `write` make a SavedModel, and put its files into a folder one by one, each by a rename.

    Files that are there and that the new SavedModel lacks stay, such as engines that another process may yet load.
    ConfigError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
            write(draft)
            files = [p for p in Path(draft).rglob("*") if p.is_file()]
            for path in sorted(files, key=lambda p: p.name in _FIRST_READ):
                target = folder / path.relative_to(draft)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            for path in Path(draft).rglob("*"):
                (folder / path.relative_to(draft)).mkdir(exist_ok=True)
    except (OSError, tf.errors.OpError) as error:
        raise ConfigError(f"{str(folder)!r} cannot be written: {error}") from error
