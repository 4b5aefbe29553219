"""Engines kept on disk by what they were made of, so that another process need not build them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from camshaft.config import BuildConfig
from camshaft.errors import CamshaftError
from camshaft.frontends.onnx import Imported
from camshaft.machine.backend import cpu_backend
from camshaft.runtime.engine import Engine, load
from camshaft.session import BuildSession
from camshaft.version import VERSION


@dataclass
class Kept:
    """Builds engines, or finds them.  folder: where they are kept; None: nowhere."""

    config: BuildConfig
    folder: Path | None

    def engine(self, model: Imported) -> Engine:
        """The engine of a graph.  A kept one that does not load is built anew."""
        if self.folder is None:
            return BuildSession(model, self.config).run()
        path = self.folder / f"{self._key(model)}.engine"
        if path.exists():
            try:
                return load(path)
            except CamshaftError:
                path.unlink(missing_ok=True)
        engine = BuildSession(model, self.config).run()
        self.folder.mkdir(parents=True, exist_ok=True)
        engine.save(path)
        return engine

    def _key(self, model: Imported) -> str:
        parts = (model.digest, self.config, cpu_backend(self.config.target).fingerprint, VERSION)
        return hashlib.sha256(repr(parts).encode()).hexdigest()
