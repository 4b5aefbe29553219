"""Layout of a program in memory, shared by the generated runner and the Python that fills it."""

from __future__ import annotations

from enum import IntEnum


class Word(IntEnum):
    """Positions in the program block, in 8-byte words; hot shared words sit 128 bytes apart."""

    ROWS = 0  # address of the row table
    ROW_COUNT = 1
    THREADS = 2
    START = 3  # row at which the current segment starts, for workers
    STAMPS = 4  # address of ROW_COUNT + 1 nanosecond stamps, or 0
    SPIN_NS = 5  # how long a waiter spins before it looks where everybody is; then it spins ...
    YIELD_NS = 22  # ... until now, or yields its core from the start if it shares it, and ...
    BARRIER_NS = 6  # ... sleeps from now on in a barrier, or ...
    PARK_NS = 7  # ... from now on if it is a worker between two calls
    BINDING_COUNT = 8
    FIRST_OUTPUT = 9  # bindings from here on are written
    BINDINGS = 10  # address of the arrays' addresses in the current call
    EXTENTS = 11  # address of the arrays' sizes in bytes
    PATCHES = 12  # address of (where, binding, offset) triples
    PATCH_COUNT = 13
    EXPECTED = 14  # address of what `call` expects of each array, see `Expected`
    FIRST_ROW = 15  # row at which a run starts (later when finiteness is not checked)
    AT_TYPE = 16  # byte offsets of PyArrayObject's fields
    AT_DATA = 17
    AT_RANK = 18
    AT_SHAPE = 19
    AT_DTYPE = 20
    AT_FLAGS = 21
    BUSY = 32  # 1 while a call is in progress
    STATUS = 33  # 0, or 1 + index of a binding that holds NaN or infinity
    GENERATION = 48  # raised to start workers
    STOP = 49
    PARKED = 64  # workers asleep between calls
    SLEEPERS = 80  # threads asleep in a barrier
    PLACE = 96  # 1: keep workers on different cores, of those in
    MASK = 97  # a bit set of MASK_WORDS words
    SLOTS = 128  # at SLOTS + SLOT_WORDS * w: worker w's count, then 1 + the core it was seen on


SLOT_WORDS = 16
MASK_WORDS = 16
ROW_WORDS = 4  # code address (0: host step), argument block, items, flags
EXPECTED_WORDS = 5  # type, dtype object, rank, address of the shape, flags that must be set
BARRIER = 1  # row flag: all earlier rows must have finished
SERIAL = 2  # row flag: from here to the next host step no other worker has anything to do

DONE = 0  # results of `call`, `enter`, `resume`; n > 0 means "host step at row n - 1 is due"
IS_BUSY = -1
NOT_FINITE = -2
OVERLAP = -3
UNEXPECTED = -4

CHECK_CHUNK = 8192  # bytes one work item of a finiteness check covers
