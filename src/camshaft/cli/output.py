"""Tables for people, JSON for machines.

With `--json` standard output holds the JSON and nothing else; notes go to standard error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from camshaft.atomic import check_writable, write_atomically
from camshaft.cli.console import PipeConsole, error_console, standard_output
from camshaft.cli.files import WRITTEN
from camshaft.cli.spelling import as_typed
from camshaft.errors import ConfigError

JsonTarget = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="[FILE]",
        help="Print JSON on standard output instead of tables, or write it to FILE beside them.",
    ),
    WRITTEN,
]
"""The `--json` option: None, "-" or a file."""

_WIDE = 160  # columns when standard output is no terminal


class Output:
    """Where a command's results go.  json: the value of the `--json` option.

    ConfigError, before any work, for a file that cannot be written.
    """

    def __init__(self, json: str | None) -> None:
        if json is not None and json != "-":
            require_writable(Path(json))
        self._json = json
        self._quiet = json == "-"
        self._console = PipeConsole()
        if not self._console.is_terminal:
            self._console = PipeConsole(width=max(self._console.width, _WIDE))

    def line(self, text: str | Text = "") -> None:
        """A line for people."""
        if not self._quiet:
            with standard_output():
                self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def table(self, table: Table) -> None:
        """A table for people."""
        if not self._quiet:
            with standard_output():
                self._console.print(table)

    def fact(self, name: str, text: str) -> None:
        """A line of what the library says, which names options as Python does."""
        self.line(f"{name:10} {as_typed(text)}")

    def note(self, text: str, style: str = "yellow") -> None:
        """Something to know, on standard error; options that it names are spelled as they are typed."""
        error_console().print(Text(as_typed(text), style), soft_wrap=True, highlight=False)

    def data(self, value: dict[str, Any]) -> None:
        """The results for machines, where `--json` wants them.  ConfigError if that fails."""
        if self._json is None:
            return
        text = json.dumps(value, indent=2, allow_nan=False) + "\n"
        if self._quiet:
            with standard_output():
                typer.echo(text, nl=False)
        else:
            write_text(Path(self._json), text)


def require_writable(path: Path | None) -> None:
    """ConfigError if a file that results shall go to can clearly not be written."""
    try:
        if path is not None:
            check_writable(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path | None, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot write {str(path)!r}: {error.strerror or error}; choose a directory that exists, "
        "is writable and has room"
    )


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; ConfigError if it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; ConfigError if it cannot be written."""
    try:
        write_atomically(path, data)
    except OSError as error:
        raise _unwritable(path, error) from error


def simple_table(*columns: str, title: str | None = None, texts: int = 1) -> Table:
    """A table; the first `texts` columns hold words and the others figures."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(
            column,
            justify="left" if i < texts else "right",
            overflow="fold" if i < texts else "ellipsis",
            no_wrap=i >= texts,
        )
    return table
