"""What is said of names by patterns."""

from __future__ import annotations

from camshaft.ir.paired_names import spread

NAMES = ["past.0.key", "past.0.value", "past.1.key", "x*", "ids"]


def test_a_star_stands_for_any_text_and_whole_names_go_first() -> None:
    said = {"past.*": 1, "past.1.key": 2, "ids": 3, "x*": 4, "none.*": 5, "other": 6}
    assert spread(said, NAMES) == {
        "past.0.key": 1, "past.0.value": 1, "past.1.key": 2, "ids": 3, "x*": 4, "none.*": 5, "other": 6,
    }  # fmt: skip
    assert spread({"past.1.key": 2, "*.key": 1}, NAMES) == {"past.1.key": 2, "past.0.key": 1}
