"""Other projects' suites, from clones whose folders environment variables name: never part of this one."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


def checkout(variable: str, folder: Path, revision: str, *parts: str) -> Path:
    """Exports parts of a revision of the repository, bare or not, that a variable names, into the folder.

    The test is left out where the variable is not set.
    """
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no clone of the repository")
    command = ["git", "-C", named, "archive", revision, *parts]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}"
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def under(*folders: Path) -> str:
    """PYTHONPATH for a process that has these folders and camshaft before what this process has."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join(map(str, [*folders, SOURCE, *([given] if given else [])]))
