"""What CUDA's functions refuse, before it becomes an error code or one of pycuda's exceptions."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """CUDA's numbers of errors: the runtime's, which are the driver's but for the direction of a copy."""

    INVALID_VALUE = 1
    OUT_OF_MEMORY = 2
    INVALID_MEMCPY_DIRECTION = 21
    INVALID_DEVICE = 101
    INVALID_CONTEXT = 201
    INVALID_RESOURCE_HANDLE = 400
    ILLEGAL_STATE = 401
    NOT_READY = 600
    HOST_MEMORY_ALREADY_REGISTERED = 712
    HOST_MEMORY_NOT_REGISTERED = 713
    NOT_SUPPORTED = 801
    CAPTURE_UNSUPPORTED = 900


class CudaFault(Exception):
    """A call cannot be done; code: what CUDA says then. The message names the argument and the fix."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
