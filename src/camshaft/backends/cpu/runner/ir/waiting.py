"""Runner IR: waiting for a counter, raising one, and the barrier made of both.

Every worker owns one *slot*, a counter in a cache line of its own.  A barrier
is: raise my slot, then wait until everybody else's slot has reached the same count; one cache
line transfer from the last to arrive to each waiter, and no read-modify-write on shared lines.
A waiter spins with a pause instruction, then yields its core, then sleeps in the kernel: with
more runnable threads than cores, spinning alone would cost a scheduler tick per barrier.  A
sleeper first raises a waiter count and rechecks; whoever raises a slot does so with a full
fence and then reads that count (Dekker's pattern), so no wake-up is lost and none is sent in
vain.  Workers between two calls wait on the program's generation count in the same way.
"""

from __future__ import annotations

from string import Template

WAITING = Template("""
; Worker %w's slot: its count, and in the next word where it was last seen (see `placing`).
define internal ptr @slot_of(ptr %p, i64 %w) alwaysinline {
  %slots = getelementptr i64, ptr %p, i64 $SLOTS
  %at = mul i64 %w, $SLOT_WORDS
  %slot = getelementptr i64, ptr %slots, i64 %at
  ret ptr %slot
}

; Whether the counter at %word has reached %target (modulo 2^32).
define internal i1 @reached(ptr %word, i32 %target) alwaysinline {
  %count = load atomic i32, ptr %word acquire, align 4
  %ahead = sub i32 %count, %target
  %reached = icmp sge i32 %ahead, 0
  ret i1 %reached
}

; Worker %w waits until the counter at %word has reached %target.  %plimit: the
; nanoseconds after which it sleeps, counted in %waiters.
define internal void @await(ptr %p, i64 %w, ptr %word, i32 %target, ptr %waiters, ptr %plimit) {
entry:
  %ok0 = call i1 @reached(ptr %word, i32 %target)
  br i1 %ok0, label %done, label %burst
burst:
  %since = phi i64 [ 0, %entry ], [ %start, %timed ], [ %start, %yield ]
  br label %spin1
spin1:
  %i = phi i32 [ 0, %burst ], [ %i1, %spin2 ]
  $PAUSE
  %ok1 = call i1 @reached(ptr %word, i32 %target)
  br i1 %ok1, label %done, label %spin2
spin2:
  %i1 = add i32 %i, 1
  %more = icmp ult i32 %i1, 64
  br i1 %more, label %spin1, label %clock
clock:
  %spin = call i64 @word(ptr %p, i64 $SPIN_NS)
  %limit = load i64, ptr %plimit
  %t = call i64 @now()
  %first = icmp eq i64 %since, 0
  %start = select i1 %first, i64 %t, i64 %since
  %elapsed = sub i64 %t, %start
  %spins = icmp slt i64 %elapsed, %spin
  br i1 %spins, label %timed, label %spun
timed:
  br label %burst
spun:
  %shared = call i1 @settle(ptr %p, i64 %w)
  %early = icmp slt i64 %elapsed, %limit
  br i1 %early, label %awake_still, label %sleep
awake_still:                                    ; spin before yielding the core
  %yield_after = call i64 @word(ptr %p, i64 $YIELD_NS)
  %long = icmp sge i64 %elapsed, %yield_after
  %give = or i1 %shared, %long
  br i1 %give, label %yield, label %timed
yield:
  %y = call i32 @sched_yield()
  call void @note_stall(ptr %p, ptr %waiters, i64 %start)
  br label %burst
sleep:
  %n = atomicrmw add ptr %waiters, i32 1 seq_cst
  %v2 = load atomic i32, ptr %word seq_cst, align 4
  %d2 = sub i32 %v2, %target
  %ok2 = icmp sge i32 %d2, 0
  br i1 %ok2, label %awake, label %block
block:
  $WAIT
  br label %awake
awake:
  %m = atomicrmw sub ptr %waiters, i32 1 seq_cst
  %ok3 = call i1 @reached(ptr %word, i32 %target)
  br i1 %ok3, label %slept, label %sleep
slept:
  call void @note_stall(ptr %p, ptr %waiters, i64 %start)
  br label %done
done:
  ret void
}

; Set the counter at %word and wake whoever sleeps on it.
define internal void @post(ptr %word, i32 %value, ptr %waiters) {
entry:
  %old = atomicrmw xchg ptr %word, i32 %value seq_cst
  %n = load atomic i32, ptr %waiters seq_cst, align 4
  %none = icmp eq i32 %n, 0
  br i1 %none, label %done, label %wake
wake:
  $WAKE
  br label %done
done:
  ret void
}

; Raise worker %w's slot; returns the new count.
define internal i32 @arrive(ptr %p, i64 %w) {
  %slot = call ptr @slot_of(ptr %p, i64 %w)
  %old = load atomic i32, ptr %slot monotonic, align 4
  %new = add i32 %old, 1
  %waiters = getelementptr i64, ptr %p, i64 $SLEEPERS
  call void @post(ptr %slot, i32 %new, ptr %waiters)
  ret i32 %new
}

; Arrive, then wait until all %threads workers have.
define internal void @barrier(ptr %p, i64 %w, i64 %threads) {
entry:
  %count = call i32 @arrive(ptr %p, i64 %w)
  %waiters = getelementptr i64, ptr %p, i64 $SLEEPERS
  %plimit = getelementptr i64, ptr %p, i64 $BARRIER_NS
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %mine = icmp eq i64 %i, %w
  br i1 %mine, label %next, label %other
other:
  %slot = call ptr @slot_of(ptr %p, i64 %i)
  call void @await(ptr %p, i64 %w, ptr %slot, i32 %count, ptr %waiters, ptr %plimit)
  br label %next
next:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %threads
  br i1 %more, label %loop, label %done
done:
  ret void
}
""")
