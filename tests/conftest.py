"""Settings every test shares: which need machine code, how hypothesis behaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
CODEGEN = ("cli", "cpu", "end_to_end", "runtime", "test_compare.py")
"""Folders and files whose tests generate and run machine code: `make quick` leaves them out."""

# A shared machine stalls now and then: a deadline would only measure that.  The examples are the
# same on every run, so that a failure names the change and not the day.
settings.register_profile(
    "camshaft",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", parent=settings.get_profile("camshaft"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "camshaft"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in CODEGEN:
            item.add_marker(pytest.mark.codegen)
