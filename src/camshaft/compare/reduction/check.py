"""Whether a model fails: a command that is run on it, and which of its ends count as the failure sought."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from camshaft.compare.files import write_model
from camshaft.compare.reduction.source import Candidate
from camshaft.errors import ConfigError
from camshaft.feeds import archive

MODEL, INPUTS = "{model}", "{inputs}"
"""What stands in a command for the file of the model and of its inputs."""
_LINES = 20
"""Lines at the end of a command's output that say how it ended."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.  code: its exit status, negative for a signal; None where it ran out of time."""

    code: int | None
    output: str

    @property
    def words(self) -> str:
        """The end in words."""
        if self.code is None:
            return "does not end in time"
        if self.code < 0:
            return f"dies of {signal.Signals(-self.code).name}"
        return f"ends with exit code {self.code}"

    @property
    def signature(self) -> tuple[int | None, str]:
        """What two ends of the same failure have in common: the exit code and the error, numbers left out."""
        lines = [line for line in self.output.splitlines()[-_LINES:] if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        if not errors and "Traceback (most recent call last)" in self.output:
            errors = lines[-1:]
        return self.code, re.sub(r"\d+", "#", errors[-1]) if errors else ""


@dataclass(frozen=True)
class Rule:
    """Which ends of a command count as failing.

    fail_codes: these exit codes alone, where there are any; ignored_codes: never these.  patterns: regular
    expressions of which one must be found in the output, whatever the exit code where `fail_codes` are not given.
    """

    fail_codes: Sequence[int] = ()
    ignored_codes: Sequence[int] = ()
    patterns: Sequence[str] = ()

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"--fail-regex {pattern!r} is no regular expression: {error}"
                ) from None

    @property
    def says_something(self) -> bool:
        """Whether it is another than that everything but 0 fails."""
        return bool(self.fail_codes or self.ignored_codes or self.patterns)

    def fails(self, outcome: Outcome) -> bool:
        """Whether the outcome counts."""
        if outcome.code in self.ignored_codes:
            return False
        if self.fail_codes and outcome.code not in self.fail_codes:
            return False
        if self.patterns:
            return any(re.search(p, outcome.output) for p in self.patterns)
        return outcome.code != 0


Words = Callable[[Candidate], Sequence[str]]


@dataclass
class Check:
    """Runs a command on each model, in a process of its own.

    words: model -> the command's words, with MODEL and INPUTS in them.  rule: what counts.  limit: seconds after which
    the command is killed, which counts as failing.  same: whether models must also end as the first one did.
    first: how that ended.
    """

    words: Words
    rule: Rule = field(default_factory=Rule)
    limit: float = 600.0
    same: bool = False
    first: Outcome | None = field(default=None, init=False)

    def fails(self, candidate: Candidate) -> bool:
        """Whether the model fails."""
        outcome = self.outcome(candidate)
        if self.first is None:
            self.first = outcome
        same = not self.same or outcome.signature == self.first.signature
        return same and self.rule.fails(outcome)

    def outcome(self, candidate: Candidate) -> Outcome:
        """How the command ends on a model.  ConfigError where it cannot be started."""
        with tempfile.TemporaryDirectory(prefix="camshaft-reduce-") as folder:
            model, inputs = Path(folder, "model.onnx"), Path(folder, "inputs.npz")
            write_model(candidate.model, model)
            inputs.write_bytes(archive(candidate.feeds))
            words = [
                w.replace(MODEL, str(model)).replace(INPUTS, str(inputs))
                for w in self.words(candidate)
            ]
            code, output = _run(words, self.limit)
            return Outcome(code, output.replace(folder, ""))


def command_words(command: str) -> Sequence[str]:
    """The words of a command as typed.  ConfigError where it has no place for the model."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--check {command!r}: {error}") from None
    if not any(MODEL in w for w in words):
        raise ConfigError(
            f"--check {command!r} names no model to check; write {MODEL} where its file belongs (and {INPUTS} for an "
            ".npz of its inputs)"
        )
    return words


def _run(words: Sequence[str], limit: float) -> tuple[int | None, str]:
    """Exit status, None where the time ran out, and all output of a command."""
    alone = os.name == "posix"
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=alone,
        )
    except OSError as error:
        raise ConfigError(
            f"--check: {words[0]!r} cannot be run: {error.strerror or error}"
        ) from error
    with process:
        try:
            return _ended(process, limit)
        except BaseException:
            _kill(process, alone)
            raise


def _ended(process: subprocess.Popen[str], limit: float) -> tuple[int | None, str]:
    try:
        output, _ = process.communicate(timeout=limit)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        _kill(process, os.name == "posix")
        output, _ = process.communicate()
        return None, output


def _kill(process: subprocess.Popen[str], alone: bool) -> None:
    """End the command, with the processes that it started where it leads a group of its own."""
    if process.poll() is not None:
        return
    if alone:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
