"""Runner IR: keeping the workers of a program on different cores.

Left to itself, Linux may wake a worker on its waker's core and leave it there: in virtual machines
it takes an idle (halted) core for a preempted one and avoids it.  Two workers that spin for each
other on one core then take four times as long as one worker alone (measured), for seconds.

So every worker notes the core it is on when it starts a segment and whenever a wait drags on, and
one that meets a lower-numbered worker on its core asks to be moved off all of theirs.  It stays
free to move among the others, the calling thread's affinity is never touched, and nothing is
pinned to a core number in advance, so several programs can share a machine.
"""

from __future__ import annotations

from string import Template

PLACING = Template("""
declare i32 @sched_getcpu()
declare i32 @sched_setaffinity(i32, i64, ptr)

; Note worker %w's core, and leave it if a lower-numbered worker is there.  Returns whether it
; shared the core with any other worker.
define internal i1 @settle(ptr %p, i64 %w) {
entry:
  %cpu = call i32 @sched_getcpu()
  %mark = add i32 %cpu, 1                       ; 0 means unknown
  %slot = call ptr @slot_of(ptr %p, i64 %w)
  %pcore = getelementptr i64, ptr %slot, i64 1
  store atomic i32 %mark, ptr %pcore monotonic, align 4
  %threads = call i64 @word(ptr %p, i64 $THREADS)
  br label %look
look:
  %v = phi i64 [ 0, %entry ], [ %v1, %next ]
  %more = icmp ult i64 %v, %threads
  br i1 %more, label %compare, label %apart
compare:
  %vslot = call ptr @slot_of(ptr %p, i64 %v)
  %pvcore = getelementptr i64, ptr %vslot, i64 1
  %vmark = load atomic i32, ptr %pvcore monotonic, align 4
  %same = icmp eq i32 %vmark, %mark
  %other = icmp ne i64 %v, %w
  %clash = and i1 %same, %other
  br i1 %clash, label %met, label %next
next:
  %v1 = add i64 %v, 1
  br label %look
apart:
  ret i1 false
met:
  %place = call i64 @word(ptr %p, i64 $PLACE)
  %asked = icmp ne i64 %place, 0
  %lower = icmp ult i64 %v, %w
  %mine = and i1 %asked, %lower                 ; mine to move
  br i1 %mine, label %move, label %shared
move:
  call void @leave_core(ptr %p, i64 %w)
  br label %shared
shared:
  ret i1 true
}

; Allow this thread the program's cores less those of workers below %w, if any are left.
define internal void @leave_core(ptr %p, i64 %w) {
entry:
  %mask = alloca [$MASK_WORDS x i64], align 8
  %allowed = getelementptr i64, ptr %p, i64 $MASK
  call void @llvm.memcpy.p0.p0.i64(ptr %mask, ptr %allowed, i64 $MASK_BYTES, i1 false)
  br label %head
head:
  %v = phi i64 [ 0, %entry ], [ %v1, %step ]
  %more = icmp ult i64 %v, %w
  br i1 %more, label %body, label %apply
body:
  %slot = call ptr @slot_of(ptr %p, i64 %v)
  %pcore = getelementptr i64, ptr %slot, i64 1
  %mark = load atomic i32, ptr %pcore monotonic, align 4
  %core = sub i32 %mark, 1                      ; unknown wraps round to out of range
  %known = icmp ult i32 %core, $MASK_BITS
  br i1 %known, label %clear, label %step
clear:
  %byte32 = lshr i32 %core, 3
  %byte = zext i32 %byte32 to i64
  %pbyte = getelementptr i8, ptr %mask, i64 %byte
  %bits = load i8, ptr %pbyte
  %bit32 = and i32 %core, 7
  %bit = trunc i32 %bit32 to i8
  %one = shl i8 1, %bit
  %keep = xor i8 %one, -1
  %left = and i8 %bits, %keep
  store i8 %left, ptr %pbyte
  br label %step
step:
  %v1 = add i64 %v, 1
  br label %head
apply:                                          ; an empty mask is refused, which is as well
  %rc = call i32 @sched_setaffinity(i32 0, i64 $MASK_BYTES, ptr %mask)
  ret void
}
""")

NOT_PLACING = """
; Where workers are is not known: whoever waits must think that it keeps another from running.
define internal i1 @settle(ptr %p, i64 %w) {
  ret i1 true
}
"""
