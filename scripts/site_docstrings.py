"""How docstrings become Markdown in the reference pages: a Griffe extension for mkdocs.yml.

A paragraph of fields, as docstrings of this project have them, becomes a list:

    threads: number of threads to tune for.
    path: the file, which
        must exist.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

FIELD = re.compile(r"([a-z]\w*(?:, [a-z]\w*)*): (.*)")


def as_markdown(docstring: str) -> str:
    """The docstring with its fields as a list."""
    lines: list[str] = []
    in_fields, may_begin = False, True
    for line in docstring.splitlines():
        field = FIELD.fullmatch(line) if in_fields or may_begin else None
        if field:
            lines += [] if in_fields else [""]
            lines.append(f"- `{field[1]}`: {field[2]}")
            in_fields = True
        else:
            if in_fields and not line.startswith(" "):
                in_fields = False
                lines.append("")
            lines.append(line)
        may_begin = not line.strip()
    return "\n".join(lines)


class Fields(griffe.Extension):
    """Applies `as_markdown` to every docstring that is collected."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
