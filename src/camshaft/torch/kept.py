"""Engines kept on disk by what they were made of, so that another process need not build them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from camshaft.config import BuildConfig
from camshaft.errors import CamshaftError
from camshaft.frontends.onnx import Imported
from camshaft.machine.backend import cpu_backend
from camshaft.runtime.engine import Engine
from camshaft.runtime.loading import load
from camshaft.session import BuildSession
from camshaft.torch.pending import Feeds
from camshaft.version import VERSION


@dataclass
class Kept:
    """Builds engines, or finds them.  folder: where they are kept; None: nowhere."""

    config: BuildConfig
    folder: Path | None

    def engine(self, model: Imported, recorded: Sequence[Feeds] | None = None) -> Engine:
        """The engine of a graph, calibrated with these inputs where there are any.  A kept one that does not load is built anew."""
        if self.folder is None:
            return BuildSession(model, self.config, recorded).run()
        path = self.folder / f"{self.key(model, recorded or ())}.engine"
        if path.exists():
            try:
                return load(path)
            except CamshaftError:
                path.unlink(missing_ok=True)
        engine = BuildSession(model, self.config, recorded).run()
        self.folder.mkdir(parents=True, exist_ok=True)
        engine.save(path)
        return engine

    def key(self, model: Imported, recorded: Sequence[Feeds]) -> str:
        """What an engine is made of, the same in every process."""
        given = {f.name: getattr(self.config, f.name) for f in fields(self.config)}
        del given["progress"]
        said = {n: sorted(v) if isinstance(v, frozenset) else v for n, v in given.items()}
        parts = (model.digest, said, cpu_backend(self.config.target).fingerprint, VERSION)
        digest = hashlib.sha256(repr(parts).encode())
        for name, array in (item for feeds in recorded for item in sorted(feeds.items())):
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
