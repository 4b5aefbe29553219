"""Runner IR: the caller works alone for a while where other processes delay its workers.

Work is split evenly, so a step takes as long as its slowest worker.  Where another process computes
on one of the cores, the scheduler lets a worker wait for whole time slices (4 ms) in the middle of
its share, and all others wait for it at the next barrier: two threads are then slower than one (by
a fifth to a half, measured).  Smaller shares help little: a time slice is longer than most steps,
and no other worker can finish the share that the sleeping worker has begun.

A wait in a barrier that lasts STALL_NS is a *stall*; nothing is measured before the first one. Two
stalls within a window (WINDOW_NS and WINDOW_CALLS) start a trial, in which the caller works alone
for the time of a window.  If calls took an eighth less time, the next trial, after another window
with all workers, is twice as long, up to LONGEST_SERIAL_NS.  If not (a step that does not divide
evenly makes workers wait as well), no trial is made for REST_NS, unless calls become slower by a
quarter.  Results are the same bits either way.
"""

from __future__ import annotations

from string import Template

CONTENTION = Template("""
; Note a stall if a wait that began at %start, and let others have the core, was one.
define internal void @note_stall(ptr %p, ptr %waiters, i64 %start) {
entry:
  %psleepers = getelementptr i64, ptr %p, i64 $SLEEPERS
  %meeting = icmp eq ptr %waiters, %psleepers
  %t = call i64 @now()
  %waited = sub i64 %t, %start
  %long = icmp sge i64 %waited, $STALL_NS
  %stall = and i1 %meeting, %long
  br i1 %stall, label %count, label %done
count:
  %pstalls = getelementptr i64, ptr %p, i64 $STALLS
  %n = atomicrmw add ptr %pstalls, i32 1 monotonic
  br label %done
done:
  ret void
}

; A segment for all workers: together at once while nothing is amiss or when steps are timed.
define internal i64 @parallel_or_serial(ptr %p, i64 %first) {
entry:
  %watch = call i64 @word(ptr %p, i64 $WATCH)
  %stamps = call i64 @word(ptr %p, i64 $STAMPS)
  %serial = call i64 @word(ptr %p, i64 $SERIAL_NOW)
  %pstalls = getelementptr i64, ptr %p, i64 $STALLS
  %stalls32 = load atomic i32, ptr %pstalls monotonic, align 4
  %stalls = zext i32 %stalls32 to i64
  %amiss0 = or i64 %serial, %stalls
  %amiss1 = icmp ne i64 %amiss0, 0
  %may0 = icmp ne i64 %watch, 0
  %untimed = icmp eq i64 %stamps, 0
  %may = and i1 %may0, %untimed
  %amiss = and i1 %amiss1, %may
  br i1 %amiss, label %look, label %plain
plain:
  %r0 = call i64 @parallel(ptr %p, i64 %first)
  ret i64 %r0
look:
  %r1 = call i64 @judged(ptr %p, i64 %first)
  ret i64 %r1
}

define internal void @keep(ptr %p, i64 %field, i64 %value) alwaysinline {
  %at = getelementptr i64, ptr %p, i64 %field
  store i64 %value, ptr %at
  ret void
}

; The same, timed, and what to do next time.
define internal i64 @judged(ptr %p, i64 %first) noinline {
entry:
  %serial0 = call i64 @word(ptr %p, i64 $SERIAL_NOW)
  %serial = icmp ne i64 %serial0, 0
  %t0 = call i64 @now()
  br i1 %serial, label %one, label %all
one:
  %r1 = call i64 @walk(ptr %p, i64 0, i64 1, i64 %first)
  br label %count
all:
  %r2 = call i64 @parallel(ptr %p, i64 %first)
  br label %count
count:
  %r = phi i64 [ %r1, %one ], [ %r2, %all ]
  %t = call i64 @now()
  %taken = sub i64 %t, %t0
  %spent0 = call i64 @word(ptr %p, i64 $SPENT_NS)
  %spent = add i64 %spent0, %taken
  %calls0 = call i64 @word(ptr %p, i64 $CALLS)
  %calls = add i64 %calls0, 1
  %window = call i64 @word(ptr %p, i64 $SERIAL_WINDOW_NS)
  %limit = select i1 %serial, i64 %window, i64 $WINDOW_NS
  %long = icmp sge i64 %spent, %limit
  %several = icmp uge i64 %calls, $WINDOW_CALLS
  %over = and i1 %long, %several
  %spent1 = select i1 %over, i64 0, i64 %spent
  %calls1 = select i1 %over, i64 0, i64 %calls
  call void @keep(ptr %p, i64 $SPENT_NS, i64 %spent1)
  call void @keep(ptr %p, i64 $CALLS, i64 %calls1)
  br i1 %over, label %judge, label %done
judge:
  %mean = udiv i64 %spent, %calls
  %pstalls = getelementptr i64, ptr %p, i64 $STALLS
  br i1 %serial, label %was_serial, label %was_parallel
was_parallel:
  %stalls = atomicrmw xchg ptr %pstalls, i32 0 monotonic
  %many = icmp uge i32 %stalls, 2
  %next = call i64 @word(ptr %p, i64 $NEXT_TRIAL)
  %rested = icmp sge i64 %t, %next
  %last = call i64 @word(ptr %p, i64 $LAST_PARALLEL_NS)
  %quarter = lshr i64 %last, 2
  %as_bad = add i64 %last, %quarter
  %worse = icmp ugt i64 %mean, %as_bad
  %due = or i1 %rested, %worse
  %try = and i1 %many, %due
  br i1 %try, label %part, label %done
part:
  call void @keep(ptr %p, i64 $PARALLEL_NS, i64 %mean)
  call void @keep(ptr %p, i64 $SERIAL_NOW, i64 1)
  br label %done
was_serial:                                      ; now look at all together: one more stall will do
  call void @keep(ptr %p, i64 $SERIAL_NOW, i64 0)
  store atomic i32 1, ptr %pstalls monotonic, align 4
  %parallel = call i64 @word(ptr %p, i64 $PARALLEL_NS)
  %margin = lshr i64 %mean, 3
  %least = add i64 %mean, %margin
  %better = icmp ult i64 %least, %parallel
  br i1 %better, label %won, label %lost
won:
  %window1 = mul i64 %window, 2
  %window2 = call i64 @llvm.umin.i64(i64 %window1, i64 $LONGEST_SERIAL_NS)
  call void @keep(ptr %p, i64 $SERIAL_WINDOW_NS, i64 %window2)
  call void @keep(ptr %p, i64 $LAST_PARALLEL_NS, i64 0)
  br label %done
lost:
  %until = add i64 %t, $REST_NS
  call void @keep(ptr %p, i64 $SERIAL_WINDOW_NS, i64 $WINDOW_NS)
  call void @keep(ptr %p, i64 $LAST_PARALLEL_NS, i64 %parallel)
  call void @keep(ptr %p, i64 $NEXT_TRIAL, i64 %until)
  br label %done
done:
  ret i64 %r
}
""")
