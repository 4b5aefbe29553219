"""The command line: `camshaft build`, `run`, `bench`, `inspect`, `compare`, `reduce`.

    app        the `camshaft` command, its list of commands, exit codes
    options    the build options that most commands share
    files      which files a command reads and writes, kept apart
    source     a model or an engine file -> an engine
    arrays     arrays from files: inputs, calibration data
    console    standard output and error;  progress: bars on it;  output: tables and JSON
    build, run, bench, inspect, compare, reduce, hardware: one command each
    bisection  what compare --bisect shows;  failing: the default check of reduce

Only `app` is imported to begin with; a command's module, and with it everything heavy, when the
command is used, so that `camshaft --help` answers at once.
"""

from camshaft.cli.app import main

__all__ = ["main"]
