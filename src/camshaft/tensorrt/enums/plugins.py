"""Enums of plugins."""

from __future__ import annotations

from camshaft.tensorrt.enums.base import Enumeration, Member, Ordered


class PluginFieldType(Enumeration):
    """Type of the elements of a plugin's field."""

    FLOAT16 = Member(0)
    FLOAT32 = Member(1)
    FLOAT64 = Member(2)
    INT8 = Member(3)
    INT16 = Member(4)
    INT32 = Member(5)
    CHAR = Member(6)
    DIMS = Member(7)
    UNKNOWN = Member(8)
    BF16 = Member(9)
    INT64 = Member(10)
    FP8 = Member(11)
    INT4 = Member(12)
    FP4 = Member(13)


class TensorRTPhase(Ordered):
    """When a plugin is created."""

    BUILD = Member(0)
    RUNTIME = Member(1)


class PluginCapabilityType(Ordered):
    """Parts of a plugin."""

    CORE = Member(0)
    BUILD = Member(1)
    RUNTIME = Member(2)


class PluginCreatorVersion(Enumeration):
    """Generation of a plugin's creator."""

    V1 = Member(0)
    V1_PYTHON = Member(64)


class DimensionOperation(Ordered):
    """Arithmetic of sizes."""

    SUM = Member(0)
    PROD = Member(1)
    MAX = Member(2)
    MIN = Member(3)
    SUB = Member(4)
    EQUAL = Member(5)
    LESS = Member(6)
    FLOOR_DIV = Member(7)
    CEIL_DIV = Member(8)


class QuickPluginCreationRequest(Ordered):
    """Which implementation of a plugin is wanted."""

    UNKNOWN = Member(0)
    PREFER_JIT = Member(1)
    PREFER_AOT = Member(2)
    STRICT_JIT = Member(3)
    STRICT_AOT = Member(4)


class PluginArgDataType(Ordered):
    """Type of an argument of a plugin's kernel."""

    INT8 = Member(0)
    INT16 = Member(1)
    INT32 = Member(2)


class PluginArgType(Ordered):
    """Kind of an argument of a plugin's kernel."""

    INT = Member(0)
