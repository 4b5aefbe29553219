"""Settings every test shares: which need machine code, how hypothesis behaves."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

CODEGEN_FILES = (
    "test_api",
    "test_cli",
    "test_compare",
    "test_cpu_",
    "test_end_to_end",
    "test_engine",
    "test_runtime_",
)
"""Test files whose names begin so generate and run machine code: `make quick` leaves them out."""

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
        if item.path.name.startswith(CODEGEN_FILES):
            item.add_marker(pytest.mark.codegen)
