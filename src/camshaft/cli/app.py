"""The `camshaft` command: which commands there are, what exit codes mean, how errors look.

A command is a module of this package with a function of the same name.  The table below is all
that is read before a command is chosen.
"""

from __future__ import annotations

import importlib
import sys
from itertools import islice
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from camshaft.cli.console import error_console
from camshaft.cli.spelling import as_typed
from camshaft.errors import (
    BindingError,
    BuildError,
    CalibrationError,
    CamshaftError,
    ConfigError,
    EngineFileError,
    ModelError,
)
from camshaft.ir.plugins.modules import import_plugins
from camshaft.version import VERSION

COMMANDS = {
    "build": "Build an engine from an ONNX model and write it to a file.",
    "quantize": "Make a model INT8 within an allowed drop of accuracy, and show what it took.",
    "run": "Run an engine or a model on arrays from files, or on random ones.",
    "bench": "Measure latency and throughput, also against other runtimes.",
    "inspect": "Show every step of an engine: layers, tactic, precision, time, memory.",
    "compare": "Compare outputs and intermediate tensors with another runtime.",
    "reduce": "Cut a model that fails down to the smallest that fails still.",
    "hardware": "Show what this machine computes fast: instructions, peaks, memory bandwidth.",
}
"""Command -> what it does, in one line; camshaft.cli.NAME holds it as a function called NAME."""

EXIT_CODES: tuple[tuple[type[CamshaftError], int], ...] = (
    (ConfigError, 2),
    (ModelError, 3),
    (CalibrationError, 4),
    (BuildError, 5),
    (EngineFileError, 6),
    (BindingError, 7),
)
"""Error -> exit code; 2 is also what a wrong command line gives."""

EPILOG = (
    "Exit codes: 0 done; 1 a comparison exceeded its tolerance, or a model to reduce does not fail; 2 wrong option or "
    "configuration; 3 model; 4 calibration; 5 build or timing cache; 6 engine file; "
    "7 input or output array; 130 interrupted."
)
INTERRUPTED = 130


class LateCommand(TyperCommand):
    """A command in the list, whose module is imported when the command is used."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        return command(str(self.name)).make_context(
            info_name, with_json_target(args), parent=parent, **extra
        )


class LateGroup(TyperGroup):
    """The `camshaft` command.  Turns camshaft's errors into one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> LateCommand | None:
        if cmd_name not in COMMANDS:
            return None
        return LateCommand(cmd_name, help=COMMANDS[cmd_name])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[-1] == "--plugins":
            raise typer.BadParameter(
                "it needs a Python file or module", ctx, param_hint="--plugins"
            )
        return list(super().parse_args(ctx, anywhere_first(args)))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CamshaftError as error:
            if ctx.params.get("debug"):
                error_console().print_exception()
            _tell(as_typed(str(error)))
            raise typer.Exit(exit_code(error)) from None
        except KeyboardInterrupt:
            _tell("interrupted")
            raise typer.Exit(INTERRUPTED) from None


def exit_code(error: CamshaftError) -> int:
    """The exit code that stands for this kind of error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def anywhere_first(args: list[str]) -> list[str]:
    """The command line with `--debug` and `--plugins X`, which are accepted anywhere on it, before the command."""
    first: list[str] = []
    rest: list[str] = []
    given = iter(args)
    for arg in given:
        if arg == "--":
            return [*first, *rest, arg, *given]
        if arg == "--debug" or arg.startswith("--plugins="):
            first.append(arg)
        elif arg == "--plugins":
            first += [arg, *islice(given, 1)]
        else:
            rest.append(arg)
    return first + rest


def with_json_target(args: list[str]) -> list[str]:
    """`--json` without a file means standard output: `--json -`."""
    done: list[str] = []
    for i, arg in enumerate(args):
        done.append(arg)
        following = args[i + 1] if i + 1 < len(args) else "--"
        if arg == "--json" and following != "-" and following.startswith("-"):
            done.append("-")
    return done


def command(name: str) -> Any:
    """The command `name` with all its options, imported now."""
    module = importlib.import_module(f"camshaft.cli.{name}")
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, epilog=EPILOG)(getattr(module, name))
    return typer.main.get_command(single)


def _tell(message: str) -> None:
    line = Text.assemble(("error: ", "bold red"), message)
    error_console().print(line, soft_wrap=True, highlight=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"camshaft {VERSION}")
        raise typer.Exit


app = typer.Typer(
    name="camshaft",
    cls=LateGroup,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def camshaft(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error as well.")
    ] = False,
    plugins: Annotated[
        list[str] | None,
        typer.Option(
            "--plugins",
            help="Python file or module that registers plugins; may be repeated, and stand behind the command.",
            metavar="OPS.py",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Turn trained networks into tuned native engines, run them and look inside."""
    for name in plugins or ():
        import_plugins(name, "--plugins")


def main() -> None:
    """Entry point of the `camshaft` script."""
    app(prog_name="camshaft", args=sys.argv[1:])
