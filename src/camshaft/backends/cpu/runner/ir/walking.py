"""Runner IR: walking the rows of a segment, as the calling thread and as a worker."""

from __future__ import annotations

from string import Template

WALKING = Template("""
; Run worker %w's share of the rows from %first up to a host step or the end; returns that row.
define internal i64 @walk(ptr %p, i64 %w, i64 %threads, i64 %first) {
entry:
  %rows = load ptr, ptr %p
  %count = call i64 @word(ptr %p, i64 $ROW_COUNT)
  %stamps = call ptr @pointer(ptr %p, i64 $STAMPS)
  %timed0 = icmp ne ptr %stamps, null
  %leader = icmp eq i64 %w, 0
  %timed = and i1 %timed0, %leader
  %alone = icmp eq i64 %threads, 1
  %rest = sub i64 %threads, 1
  br label %head
head:
  %r = phi i64 [ %first, %entry ], [ %r1, %next ]
  %inside = icmp ult i64 %r, %count
  br i1 %inside, label %row, label %done
row:
  %at = mul i64 %r, $ROW_WORDS
  %prow = getelementptr i64, ptr %rows, i64 %at
  %code = load ptr, ptr %prow
  %host = icmp eq ptr %code, null
  br i1 %host, label %done, label %fetch
fetch:
  %pargs = getelementptr i64, ptr %prow, i64 1
  %args = load ptr, ptr %pargs
  %pitems = getelementptr i64, ptr %prow, i64 2
  %items = load i64, ptr %pitems
  %pflags = getelementptr i64, ptr %prow, i64 3
  %flags = load i64, ptr %pflags
  %waits0 = trunc i64 %flags to i1
  %parallel = xor i1 %alone, true
  %waits = and i1 %waits0, %parallel
  br i1 %waits, label %sync, label %synced
sync:
  call void @barrier(ptr %p, i64 %w, i64 %threads)
  br label %synced
synced:
  br i1 %timed, label %stamp, label %share
stamp:
  %t = call i64 @now()
  %pstamp = getelementptr i64, ptr %stamps, i64 %r
  store i64 %t, ptr %pstamp
  br label %share
share:
  br i1 %alone, label %run, label %split
split:                                          ; [ceil(items w / T), ceil(items (w + 1) / T))
  %lo0 = mul i64 %items, %w
  %lo1 = add i64 %lo0, %rest
  %lo = udiv i64 %lo1, %threads
  %hi0 = add i64 %lo0, %items
  %hi1 = add i64 %hi0, %rest
  %hi = udiv i64 %hi1, %threads
  br label %run
run:
  %begin = phi i64 [ 0, %share ], [ %lo, %split ]
  %end = phi i64 [ %items, %share ], [ %hi, %split ]
  %some = icmp ult i64 %begin, %end
  br i1 %some, label %work, label %next
work:
  call void %code(ptr %args, i64 %begin, i64 %end, i64 %w)
  br label %next
next:
  %r1 = add i64 %r, 1
  br label %head
done:
  ret i64 %r
}

; The caller's side of a segment: wake the workers, take part, wait for all.
define internal i64 @parallel(ptr %p, i64 %first) {
  %threads = call i64 @word(ptr %p, i64 $THREADS)
  %pstart = getelementptr i64, ptr %p, i64 $START
  store i64 %first, ptr %pstart
  %shared = call i1 @settle(ptr %p, i64 0)
  call void @signal(ptr %p)
  %r = call i64 @walk(ptr %p, i64 0, i64 %threads, i64 %first)
  call void @barrier(ptr %p, i64 0, i64 %threads)
  ret i64 %r
}

; One segment, by whoever is to do it.
define internal i64 @segment(ptr %p, i64 %first) {
entry:
  %count = call i64 @word(ptr %p, i64 $ROW_COUNT)
  %inside = icmp ult i64 %first, %count
  br i1 %inside, label %start, label %done
start:
  %rows = load ptr, ptr %p
  %at = mul i64 %first, $ROW_WORDS
  %atflags = add i64 %at, 3
  %pflags = getelementptr i64, ptr %rows, i64 %atflags
  %flags = load i64, ptr %pflags
  %serial0 = and i64 %flags, $SERIAL
  %serial = icmp ne i64 %serial0, 0
  br i1 %serial, label %single, label %many
single:
  %r1 = call i64 @walk(ptr %p, i64 0, i64 1, i64 %first)
  br label %done
many:
  %r2 = call i64 @parallel_or_serial(ptr %p, i64 %first)
  br label %done
done:
  %r = phi i64 [ %count, %entry ], [ %r1, %single ], [ %r2, %many ]
  %stamps = call ptr @pointer(ptr %p, i64 $STAMPS)
  %timed = icmp ne ptr %stamps, null
  br i1 %timed, label %stamp, label %out
stamp:
  %t = call i64 @now()
  %pstamp = getelementptr i64, ptr %stamps, i64 %r
  store i64 %t, ptr %pstamp
  br label %out
out:
  ret i64 %r
}

; Raise the generation: workers start a segment, or look at STOP.
define void @signal(ptr %p) {
  %pgen = getelementptr i64, ptr %p, i64 $GENERATION
  %gen = load atomic i32, ptr %pgen monotonic, align 4
  %gen1 = add i32 %gen, 1
  %parked = getelementptr i64, ptr %p, i64 $PARKED
  call void @post(ptr %pgen, i32 %gen1, ptr %parked)
  ret void
}

; A worker thread's life: wait for a generation after %seen0, run the segment, arrive; repeat.
define void @worker(ptr %p, i64 %w, i32 %seen0) {
entry:
  %pgen = getelementptr i64, ptr %p, i64 $GENERATION
  %parked = getelementptr i64, ptr %p, i64 $PARKED
  %pstop = getelementptr i64, ptr %p, i64 $STOP
  %threads = call i64 @word(ptr %p, i64 $THREADS)
  %pstart = getelementptr i64, ptr %p, i64 $START
  %plimit = getelementptr i64, ptr %p, i64 $PARK_NS
  br label %loop
loop:
  %seen = phi i32 [ %seen0, %entry ], [ %next, %go ]
  %next = add i32 %seen, 1
  call void @await(ptr %p, i64 %w, ptr %pgen, i32 %next, ptr %parked, ptr %plimit)
  %stop = load atomic i32, ptr %pstop monotonic, align 4
  %stopped = icmp ne i32 %stop, 0
  br i1 %stopped, label %done, label %go
go:
  %shared = call i1 @settle(ptr %p, i64 %w)
  %start = load i64, ptr %pstart
  %r = call i64 @walk(ptr %p, i64 %w, i64 %threads, i64 %start)
  %n = call i32 @arrive(ptr %p, i64 %w)
  br label %loop
done:
  ret void
}
""")
