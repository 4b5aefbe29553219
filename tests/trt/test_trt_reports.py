"""Loggers, error recorders, and methods that report their errors instead of raising."""

from __future__ import annotations

import re

import pytest

import camshaft.tensorrt as trt
from camshaft.errors import BindingError, BuildError, ConfigError, ModelError
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.logger import Level


class Kept(trt.ILogger):
    """Keeps what it is told; does not call ILogger.__init__, as scripts forget to."""

    def __init__(self) -> None:
        self.lines: list[tuple[trt.DataType | Level, str]] = []

    def log(self, severity: Level, msg: str) -> None:
        self.lines.append((severity, msg))


class Recorder(trt.IErrorRecorder):
    """Keeps errors."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[tuple[trt.ErrorCodeTRT, str]] = []

    def report_error(self, arg0: trt.ErrorCodeTRT, arg1: str) -> bool:
        self.errors.append((arg0, arg1))
        return False


class Reader(Reporting):
    """Has methods that fail."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    @reported(None)
    def read(self, path: str, error: Exception | None = None) -> int:
        """Reads."""
        if error is not None:
            raise error
        return len(path)

    @reported(False)
    def check(self, error: Exception) -> bool:
        """Checks."""
        raise error


@pytest.mark.parametrize("letter", "FEWIV")
def test_the_logger_prints_a_line(letter: str, capsys: pytest.CaptureFixture[str]) -> None:
    severity = trt.ILogger.Severity("FEWIV".index(letter))
    trt.Logger(trt.Logger.VERBOSE).log(severity, "two words")
    form = rf"\[\d\d/\d\d/\d{{4}}-\d\d:\d\d:\d\d\] \[TRT\] \[{letter}\] two words\n"
    assert re.fullmatch(form, capsys.readouterr().out)


def test_the_logger_leaves_out_what_matters_less(capsys: pytest.CaptureFixture[str]) -> None:
    logger = trt.Logger()
    assert logger.min_severity == trt.Logger.WARNING
    logger.log(trt.Logger.INFO, "small")
    logger.log(trt.Logger.WARNING, "large")
    logger.min_severity = trt.ILogger.ERROR
    logger.log(trt.Logger.WARNING, "larger")
    logger.log(trt.Logger.INTERNAL_ERROR, "largest")
    assert re.findall("[a-z]+$", capsys.readouterr().out, re.MULTILINE) == ["large", "largest"]
    assert trt.Logger(min_severity=trt.Logger.INFO).min_severity == trt.Logger.Severity.INFO


def test_the_logger_refuses_what_is_no_severity() -> None:
    with pytest.raises(TypeError, match="min_severity=2 is no"):
        trt.Logger(2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="min_severity='ERROR' is no"):
        trt.Logger().min_severity = "ERROR"  # type: ignore[assignment]


def test_bases_must_be_overridden() -> None:
    with pytest.raises(RuntimeError, match=r"must override log"):
        trt.ILogger().log(trt.Logger.INFO, "words")
    recorder = trt.IErrorRecorder()
    with pytest.raises(RuntimeError, match="IErrorRecorder must override num_errors"):
        recorder.num_errors()
    with pytest.raises(RuntimeError, match="IErrorRecorder must override report_error"):
        recorder.report_error(trt.ErrorCodeTRT.SUCCESS, "")
    assert trt.IErrorRecorder.MAX_DESC_LENGTH == 127


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelError("words"), trt.ErrorCodeTRT.INVALID_ARGUMENT),
        (BindingError("words"), trt.ErrorCodeTRT.INVALID_ARGUMENT),
        (ConfigError("words"), trt.ErrorCodeTRT.INVALID_CONFIG),
        (BuildError("words"), trt.ErrorCodeTRT.UNSPECIFIED_ERROR),
        (OSError("words"), trt.ErrorCodeTRT.INVALID_ARGUMENT),
        (MemoryError("words"), trt.ErrorCodeTRT.FAILED_ALLOCATION),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_method_reports_its_errors(error: Exception, code: trt.ErrorCodeTRT) -> None:
    logger, recorder = Kept(), Recorder()
    reader = Reader(Reports(logger))
    reader.error_recorder = recorder
    assert reader.read("path", error=error) is None
    assert reader.check(error) is False
    assert logger.lines == [(trt.Logger.ERROR, "words")] * 2
    assert recorder.errors == [(code, "words")] * 2


def test_a_method_that_does_not_fail_answers() -> None:
    logger = Kept()
    assert Reader(Reports(logger)).read(path="four") == 4
    assert logger.lines == []
    assert Reader.read.__doc__ == "Reads."


@pytest.mark.parametrize("error", [TypeError, ValueError, IndexError, KeyError, RuntimeError])
def test_other_errors_are_raised(error: type[Exception]) -> None:
    logger = Kept()
    with pytest.raises(error):
        Reader(Reports(logger)).read("path", error("words"))
    assert logger.lines == []


def test_an_error_without_a_message_is_named() -> None:
    logger = Kept()
    assert Reader(Reports(logger)).read("path", MemoryError()) is None
    assert logger.lines == [(trt.Logger.ERROR, "MemoryError")]


def test_a_recorder_is_inherited_until_there_is_an_own_one() -> None:
    logger, first, second = Kept(), Recorder(), Recorder()
    parent = Reader(Reports(logger))
    child = Reader(Reports(logger, parent._reports))
    assert child.error_recorder is None
    parent.error_recorder = first
    assert child.error_recorder is first
    child._reports.error("x" * 200)
    child.error_recorder = second
    child._reports.error("own", trt.ErrorCodeTRT.INVALID_STATE)
    assert first.errors == [(trt.ErrorCodeTRT.UNSPECIFIED_ERROR, "x" * 127)]
    assert second.errors == [(trt.ErrorCodeTRT.INVALID_STATE, "own")]
    assert logger.lines[0] == (trt.Logger.ERROR, "x" * 200)
    child.error_recorder = None
    assert child.error_recorder is first
    with pytest.raises(TypeError, match="is no IErrorRecorder"):
        child.error_recorder = logger  # type: ignore[assignment]


def test_messages_have_severities_and_some_are_said_once() -> None:
    logger = Kept()
    parent = Reports(logger)
    child = Reports(logger, parent)
    parent.warning("again")
    parent.warning("again")
    parent.warning("once", once=True)
    child.warning("once", once=True)
    child.info("words")
    child.verbose("words")
    assert [(str(severity), message) for severity, message in logger.lines] == [
        ("Severity.WARNING", "again"),
        ("Severity.WARNING", "again"),
        ("Severity.WARNING", "once"),
        ("Severity.INFO", "words"),
        ("Severity.VERBOSE", "words"),
    ]


def test_a_constructor_that_fails_logs_and_raises() -> None:
    logger = Kept()
    error = Reports(logger).refusal("no engine")
    assert isinstance(error, TypeError)
    assert (str(error), logger.lines) == ("no engine", [(trt.Logger.ERROR, "no engine")])


def test_what_is_no_logger_is_refused() -> None:
    with pytest.raises(TypeError, match="logger=None is no ILogger"):
        Reports(None)  # type: ignore[arg-type]
