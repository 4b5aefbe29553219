"""Enums of engines, contexts and their files."""

from __future__ import annotations

from camshaft.tensorrt.enums.base import Enumeration, Member, Ordered


class ExecutionContextAllocationStrategy(Ordered):
    """When a context's memory is allocated, and by whom."""

    STATIC = Member(0)
    ON_PROFILE_CHANGE = Member(1)
    USER_MANAGED = Member(2)


class DLAWorkspaceAllocationStrategy(Enumeration):
    """How contexts share a DLA's workspace (11.2)."""

    DEFAULT = Member(0)
    SHARED_STATIC = Member(1)


class SerializationFlag(Ordered):
    """What an engine's bytes leave out or add."""

    EXCLUDE_WEIGHTS = Member(0)
    EXCLUDE_LEAN_RUNTIME = Member(1)
    INCLUDE_REFIT = Member(2)


class TempfileControlFlag(Enumeration):
    """Where a runtime may put temporary code."""

    ALLOW_IN_MEMORY_FILES = Member(0)
    ALLOW_TEMPORARY_FILES = Member(1)


class LayerInformationFormat(Enumeration):
    """How an inspector answers."""

    ONELINE = Member(0)
    JSON = Member(1)


class SeekPosition(Ordered):
    """What an offset of a stream counts from."""

    SET = Member(0)
    CUR = Member(1)
    END = Member(2)


class EngineStat(Ordered):
    """Figures of an engine."""

    TOTAL_WEIGHTS_SIZE = Member(0)
    STRIPPED_WEIGHTS_SIZE = Member(1)


class APILanguage(Enumeration):
    """Language that an interface is implemented in."""

    CPP = Member(0)
    PYTHON = Member(1)
