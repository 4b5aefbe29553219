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
    # Stages of a wait, each counted from the start of the wait:
    SPIN_NS = 5  # up to here the waiter spins; then it yields its core if another worker is on it
    YIELD_NS = 6  # from here on it yields its core in any case
    BARRIER_NS = 7  # from here on it sleeps, in a barrier
    PARK_NS = 8  # from here on it sleeps, between two calls
    BINDING_COUNT = 9
    FIRST_OUTPUT = 10  # bindings from here on are written
    BINDINGS = 11  # address of the arrays' addresses in the current call
    EXTENTS = 12  # address of the arrays' sizes in bytes
    PATCHES = 13  # address of (where, binding, offset) triples
    PATCH_COUNT = 14
    EXPECTED = 15  # address of what `call` expects of each array, EXPECTED_WORDS words each
    FIRST_ROW = 16  # row at which a run starts (later when finiteness is not checked)
    AT_TYPE = 17  # byte offsets of PyArrayObject's fields
    AT_DATA = 18
    AT_RANK = 19
    AT_SHAPE = 20
    AT_DTYPE = 21
    AT_FLAGS = 22
    FITTED = 23  # 1 while the tables fit the sizes that `EXPECTED` names
    SAID = 24  # address of (binding, address of its elements when sizes were set, bytes) triples
    SAID_COUNT = 25
    BUSY = 32  # 0, IN_CALL or IN_TURN
    STATUS = 33  # 0, or 1 + index of a binding that holds NaN or infinity
    GENERATION = 48  # raised to start workers
    STOP = 49
    PARKED = 64  # workers asleep between calls
    SLEEPERS = 80  # threads asleep in a barrier
    PLACE = 96  # 1: keep workers on different cores, of those in MASK
    MASK = 97  # a bit set of MASK_WORDS words
    WATCH = 113  # 1: the caller may work alone where workers are delayed (`contention`)
    SERIAL_NOW = 114  # 1: it does
    SPENT_NS = 115  # time of the calls since measuring began, or since the last decision
    CALLS = 116  # their number
    PARALLEL_NS = 117  # what a call took with all workers before the caller went on alone
    SERIAL_WINDOW_NS = 118  # how long the caller stays alone, in time of calls
    LAST_PARALLEL_NS = 119  # PARALLEL_NS of the last trial, if working alone was no better; else 0
    NEXT_TRIAL = 120  # the time from which another trial may be made all the same
    STALLS = 121  # waits in barriers of STALL_NS or longer
    SLOTS = 128  # at SLOTS + SLOT_WORDS * w: worker w's count, then 1 + the core it was seen on


SLOT_WORDS = 16
MASK_WORDS = 16
ROW_WORDS = 4  # code address (0: host step), argument block, items, flags
EXPECTED_WORDS = 5  # type, dtype object, rank, address of the shape, flags that must be set
IN_CALL = 1  # `call` has claimed the program, or it was not started
IN_TURN = 2  # whoever holds the lock `LinkedProgram._turn` has claimed it
BARRIER = 1  # row flag: all earlier rows must have finished
SERIAL = 2  # row flag: from here to the next host step no other worker has anything to do

STALL_NS = 1_000_000  # a wait in a barrier that means that a worker was not allowed to run
WINDOW_NS = 20_000_000  # time over which calls are measured, of several time slices
WINDOW_CALLS = 4
LONGEST_SERIAL_NS = 64 * WINDOW_NS  # the longest time alone between two windows with all workers
REST_NS = 4096 * WINDOW_NS  # between trials that find the caller alone no faster

CHECK_CHUNK = 8192  # bytes one work item of a finiteness check covers
