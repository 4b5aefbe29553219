"""What `make docs` does besides mkdocs: pages that are made from other places of the project.

    contributing.md   CONTRIBUTING.md of the root
    command-line.md   the commands' own lists of options

Links to files that are no pages of the site become plain text.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from camshaft.cli import app as cli

ROOT = Path(__file__).parent.parent
MOVED = {"CONTRIBUTING.md": "docs/contributing.md"}
"""Files that are pages under another name."""

FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    generated = {
        "contributing.md": relinked(contributing, "", "docs"),
        "command-line.md": command_line(),
    }
    for name, text in generated.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fit the links of a page, which lead through the repository, to the site."""
    if page.file.generated_by is not None:
        return markdown
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    return relinked(markdown, folder, folder)


def relinked(text: str, source: str, target: str) -> str:
    """Markdown of a file in folder `source` with links as from folder `target`, both of the root."""

    def fitted(match: re.Match[str]) -> str:
        words, path, anchor = match[1], match[2], match[3] or ""
        file = posixpath.normpath(posixpath.join(source, path))
        file = MOVED.get(file, file)
        if not file.startswith("docs/"):
            return words if words.startswith("`") else f"`{file}`"
        if (ROOT / file).is_dir():
            file += "/README.md"
        return f"[{words}]({posixpath.relpath(file, target)}{anchor})"

    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(fitted, prose) for prose in parts[::2]]
    return "".join(parts)


# -- the command line ------------------------------------------------------------------------------


def command_line() -> str:
    """A page of all commands and their options, as `--help` has them."""
    parts = ["# Command line\n", "`camshaft COMMAND --help` shows the same.\n", cli.EPILOG + "\n"]
    return "\n".join(parts + [_section(name) for name in cli.COMMANDS])


def _section(name: str) -> str:
    command = cli.command(name)
    context = typer.Context(command, info_name=f"camshaft {name}")
    takes = [p.metavar for p in command.params if p.param_type_name == "argument"]
    lines = [
        f"## camshaft {name}\n",
        f"{command.help}\n",
        f"```text\n{' '.join(['camshaft', name, *takes, '[OPTIONS]'])}\n```\n",
        "| option | meaning |",
        "|---|---|",
    ]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if parameter.param_type_name == "option" and record:
            option, meaning = (_cell(text.replace("\\[", "[")) for text in record)
            lines.append(f"| <code>{option}</code> | {meaning} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Text for a cell of a table, where a bar would end it (within backticks a backslash would show)."""
    return html.escape(text, quote=False).replace("|", "&#124;")
