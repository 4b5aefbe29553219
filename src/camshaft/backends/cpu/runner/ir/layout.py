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
    WATCH = 113  # 1: the caller may do the work alone where workers are held up, see `watching`
    ALONE = 114  # 1: it does
    SPENT = 115  # nanoseconds and calls since it began to watch, or was last judged
    CALLS = 116
    TOGETHER = 117  # nanoseconds a call took with all workers before it went on alone
    SPELL = 118  # how many nanoseconds of calls it stays alone
    LOST = 119  # TOGETHER of the last trial, if working alone was no better; else 0
    NEXT_TRIAL = 120  # the time from which another may be made all the same
    STALLS = 121  # waits in barriers that were far too long
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

STALL_NS = 1_000_000  # a wait in a barrier that means that a worker was not allowed to run
WINDOW_NS = 20_000_000  # time over which calls are judged, of several time slices
WINDOW_CALLS = 4
LONGEST_SPELL_NS = 64 * WINDOW_NS  # for which the caller works alone before it looks at all again
REST_NS = 4096 * WINDOW_NS  # between trials which find that all together are no slower

CHECK_CHUNK = 8192  # bytes one work item of a finiteness check covers
