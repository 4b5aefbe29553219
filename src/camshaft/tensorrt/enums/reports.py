"""Enums of messages and errors."""

from __future__ import annotations

from camshaft.tensorrt.enums.base import Enumeration, Member, Ordered


class Severity(Ordered):
    """How bad a message is, the worst first: `ILogger.Severity`."""

    INTERNAL_ERROR = Member(0)
    ERROR = Member(1)
    WARNING = Member(2)
    INFO = Member(3)
    VERBOSE = Member(4)


class ErrorCodeTRT(Ordered):
    """What went wrong, as an error recorder is told."""

    SUCCESS = Member(0)
    UNSPECIFIED_ERROR = Member(1)
    INTERNAL_ERROR = Member(2)
    INVALID_ARGUMENT = Member(3)
    INVALID_CONFIG = Member(4)
    FAILED_ALLOCATION = Member(5)
    FAILED_INITIALIZATION = Member(6)
    FAILED_EXECUTION = Member(7)
    FAILED_COMPUTATION = Member(8)
    INVALID_STATE = Member(9)
    UNSUPPORTED_STATE = Member(10)


class ErrorCode(Enumeration):
    """What the parser could not read."""

    SUCCESS = Member(0)
    INTERNAL_ERROR = Member(1)
    MEM_ALLOC_FAILED = Member(2)
    MODEL_DESERIALIZE_FAILED = Member(3)
    INVALID_VALUE = Member(4)
    INVALID_GRAPH = Member(5)
    INVALID_NODE = Member(6)
    UNSUPPORTED_GRAPH = Member(7)
    UNSUPPORTED_NODE = Member(8)
    UNSUPPORTED_NODE_ATTR = Member(9)
    UNSUPPORTED_NODE_INPUT = Member(10)
    UNSUPPORTED_NODE_DATATYPE = Member(11)
    UNSUPPORTED_NODE_DYNAMIC = Member(12)
    UNSUPPORTED_NODE_SHAPE = Member(13)
    REFIT_FAILED = Member(14)
