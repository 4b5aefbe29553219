"""Runner IR: the ways into a program from Python, and the checks made on arrays there."""

from __future__ import annotations

from string import Template

ENTERING = Template("""
; Whether an output shares bytes with an input or with another output.
define internal i1 @overlap(ptr %p) {
entry:
  %n = call i64 @word(ptr %p, i64 $BINDING_COUNT)
  %o0 = call i64 @word(ptr %p, i64 $FIRST_OUTPUT)
  %bindings = call ptr @pointer(ptr %p, i64 $BINDINGS)
  %extents = call ptr @pointer(ptr %p, i64 $EXTENTS)
  br label %outer
outer:
  %o = phi i64 [ %o0, %entry ], [ %o1, %step ]
  %in = icmp ult i64 %o, %n
  br i1 %in, label %begin, label %no
begin:
  %pa = getelementptr i64, ptr %bindings, i64 %o
  %a = load i64, ptr %pa
  %pae = getelementptr i64, ptr %extents, i64 %o
  %ae = load i64, ptr %pae
  %aend = add i64 %a, %ae
  br label %inner
inner:
  %j = phi i64 [ 0, %begin ], [ %j1, %apart ]
  %before = icmp ult i64 %j, %o
  br i1 %before, label %compare, label %step
compare:
  %pc = getelementptr i64, ptr %bindings, i64 %j
  %c = load i64, ptr %pc
  %pce = getelementptr i64, ptr %extents, i64 %j
  %ce = load i64, ptr %pce
  %cend = add i64 %c, %ce
  %lo = call i64 @llvm.umax.i64(i64 %a, i64 %c)
  %hi = call i64 @llvm.umin.i64(i64 %aend, i64 %cend)
  %hit = icmp ult i64 %lo, %hi
  br i1 %hit, label %yes, label %apart
apart:
  %j1 = add i64 %j, 1
  br label %inner
step:
  %o1 = add i64 %o, 1
  br label %outer
yes:
  ret i1 true
no:
  ret i1 false
}

; Write the arrays' addresses into the argument blocks.
define internal void @patch(ptr %p) {
entry:
  %n = call i64 @word(ptr %p, i64 $PATCH_COUNT)
  %table = call ptr @pointer(ptr %p, i64 $PATCHES)
  %bindings = call ptr @pointer(ptr %p, i64 $BINDINGS)
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %body ]
  %in = icmp ult i64 %i, %n
  br i1 %in, label %body, label %done
body:
  %at = mul i64 %i, 3
  %p0 = getelementptr i64, ptr %table, i64 %at
  %where = load ptr, ptr %p0
  %p1 = getelementptr i64, ptr %p0, i64 1
  %binding = load i64, ptr %p1
  %p2 = getelementptr i64, ptr %p0, i64 2
  %offset = load i64, ptr %p2
  %pa = getelementptr i64, ptr %bindings, i64 %binding
  %a = load i64, ptr %pa
  %address = add i64 %a, %offset
  store i64 %address, ptr %where
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

; Run the segment at %row.  Returns DONE, NOT_FINITE (both end the call) or 1 + the host row.
define i64 @resume(ptr %p, i64 %row) {
entry:
  %r = call i64 @segment(ptr %p, i64 %row)
  %count = call i64 @word(ptr %p, i64 $ROW_COUNT)
  %pstatus = getelementptr i64, ptr %p, i64 $STATUS
  %status = load atomic i64, ptr %pstatus monotonic, align 8
  %bad = icmp ne i64 %status, 0
  %end = icmp eq i64 %r, %count
  %over = or i1 %bad, %end
  br i1 %over, label %finish, label %host
host:
  %r1 = add i64 %r, 1
  ret i64 %r1
finish:
  %code = select i1 %bad, i64 $NOT_FINITE, i64 $DONE
  ret i64 %code
}

; Claim the program for the thread that holds the turn; returns 1 if a call is in progress.  What
; the turn's last holder, torn off by an exception, left claimed is taken over.
define i64 @acquire(ptr %p) {
  %pbusy = getelementptr i64, ptr %p, i64 $BUSY
  %pair = cmpxchg ptr %pbusy, i32 0, i32 $IN_TURN acquire monotonic
  %old = extractvalue { i32, i1 } %pair, 0
  %taken = icmp eq i32 %old, $IN_CALL
  %result = zext i1 %taken to i64
  ret i64 %result
}

; Let go of the program.
define void @leave(ptr %p) {
  %pbusy = getelementptr i64, ptr %p, i64 $BUSY
  store atomic i32 0, ptr %pbusy release, align 4
  ret void
}

; One call on arrays whose addresses are given, of a program that the caller has claimed.
define i64 @enter(ptr %p, ptr %addresses) {
entry:
  %n = call i64 @word(ptr %p, i64 $BINDING_COUNT)
  %bytes = mul i64 %n, 8
  %bindings = call ptr @pointer(ptr %p, i64 $BINDINGS)
  call void @llvm.memcpy.p0.p0.i64(ptr %bindings, ptr %addresses, i64 %bytes, i1 false)
  %shared = call i1 @overlap(ptr %p)
  br i1 %shared, label %refuse, label %run
refuse:
  ret i64 $OVERLAP
run:
  %pstatus = getelementptr i64, ptr %p, i64 $STATUS
  store i64 0, ptr %pstatus
  call void @patch(ptr %p)
  %first = call i64 @word(ptr %p, i64 $FIRST_ROW)
  %code = call i64 @resume(ptr %p, i64 %first)
  ret i64 %code
}

; Whether the arrays that say sizes by their elements hold what they held when sizes were set.
define internal i1 @says_the_same(ptr %p, ptr %addresses) {
entry:
  %n = call i64 @word(ptr %p, i64 $SAID_COUNT)
  %table = call ptr @pointer(ptr %p, i64 $SAID)
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %in = icmp ult i64 %i, %n
  br i1 %in, label %look, label %yes
look:
  %at = mul i64 %i, 3
  %p0 = getelementptr i64, ptr %table, i64 %at
  %binding = load i64, ptr %p0
  %p1 = getelementptr i64, ptr %p0, i64 1
  %held = load ptr, ptr %p1
  %p2 = getelementptr i64, ptr %p0, i64 2
  %bytes = load i64, ptr %p2
  %pdata = getelementptr ptr, ptr %addresses, i64 %binding
  %data = load ptr, ptr %pdata
  br label %compare
compare:
  %j = phi i64 [ 0, %look ], [ %j1, %byte ]
  %more = icmp ult i64 %j, %bytes
  br i1 %more, label %byte, label %next
byte:
  %pa = getelementptr i8, ptr %data, i64 %j
  %a = load i8, ptr %pa
  %pb = getelementptr i8, ptr %held, i64 %j
  %b = load i8, ptr %pb
  %j1 = add i64 %j, 1
  %same = icmp eq i8 %a, %b
  br i1 %same, label %compare, label %no
next:
  %i1 = add i64 %i, 1
  br label %head
yes:
  ret i1 true
no:
  ret i1 false
}

; A call on Python's arrays, inputs first, of a program that the caller has claimed: no other thread
; can set sizes between the checks and the end.  An array that is not exactly as expected gives
; UNEXPECTED: Python then looks closer.
define internal i64 @checked(ptr %p, ptr %objects, i64 %n) {
entry:
  %wanted = call i64 @word(ptr %p, i64 $BINDING_COUNT)
  %arity = icmp eq i64 %n, %wanted
  %fitted = call i64 @word(ptr %p, i64 $FITTED)
  %fits = icmp ne i64 %fitted, 0
  %ready = and i1 %arity, %fits
  br i1 %ready, label %prepare, label %refuse
prepare:
  %addresses = alloca i64, i64 %n, align 8
  %expected = call ptr @pointer(ptr %p, i64 $EXPECTED)
  br label %head
head:
  %i = phi i64 [ 0, %prepare ], [ %i1, %good ]
  %in = icmp ult i64 %i, %n
  br i1 %in, label %look, label %elements
look:
  %pobject = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %pobject
  %at = mul i64 %i, $EXPECTED_WORDS
  %e = getelementptr i64, ptr %expected, i64 %at
  %type = call i64 @word_at(ptr %p, ptr %object, i64 $AT_TYPE)
  %type0 = load i64, ptr %e
  %right_type = icmp eq i64 %type, %type0
  br i1 %right_type, label %array, label %refuse
array:
  %dtype = call i64 @word_at(ptr %p, ptr %object, i64 $AT_DTYPE)
  %e1 = getelementptr i64, ptr %e, i64 1
  %dtype0 = load i64, ptr %e1
  %right_dtype = icmp eq i64 %dtype, %dtype0
  %rank2 = call i64 @word_at(ptr %p, ptr %object, i64 $AT_RANK)
  %rank = and i64 %rank2, 4294967295
  %e2 = getelementptr i64, ptr %e, i64 2
  %rank0 = load i64, ptr %e2
  %right_rank = icmp eq i64 %rank, %rank0
  %flags = call i64 @word_at(ptr %p, ptr %object, i64 $AT_FLAGS)
  %e4 = getelementptr i64, ptr %e, i64 4
  %flags0 = load i64, ptr %e4
  %flags1 = and i64 %flags, %flags0
  %right_flags = icmp eq i64 %flags1, %flags0
  %right1 = and i1 %right_dtype, %right_rank
  %right2 = and i1 %right1, %right_flags
  br i1 %right2, label %extents, label %refuse
extents:
  %shape = call i64 @word_at(ptr %p, ptr %object, i64 $AT_SHAPE)
  %pshape = inttoptr i64 %shape to ptr
  %e3 = getelementptr i64, ptr %e, i64 3
  %pshape0 = load ptr, ptr %e3
  br label %dims
dims:
  %d = phi i64 [ 0, %extents ], [ %d1, %dim ]
  %last = icmp uge i64 %d, %rank
  br i1 %last, label %good, label %dim
dim:
  %pa = getelementptr i64, ptr %pshape, i64 %d
  %a = load i64, ptr %pa
  %pb = getelementptr i64, ptr %pshape0, i64 %d
  %b = load i64, ptr %pb
  %same = icmp eq i64 %a, %b
  %d1 = add i64 %d, 1
  br i1 %same, label %dims, label %refuse
good:
  %data = call i64 @word_at(ptr %p, ptr %object, i64 $AT_DATA)
  %pdata = getelementptr i64, ptr %addresses, i64 %i
  store i64 %data, ptr %pdata
  %i1 = add i64 %i, 1
  br label %head
elements:
  %said = call i1 @says_the_same(ptr %p, ptr %addresses)
  br i1 %said, label %go, label %refuse
go:
  %state = call ptr @PyEval_SaveThread()
  %code = call i64 @enter(ptr %p, ptr %addresses)
  call void @PyEval_RestoreThread(ptr %state)
  ret i64 %code
refuse:
  ret i64 $UNEXPECTED
}

; A Python function (METH_FASTCALL) of all arrays.  %self is a capsule of the program.
define ptr @call(ptr %self, ptr %objects, i64 %n) {
entry:
  %p = call ptr @PyCapsule_GetPointer(ptr %self, ptr null)
  %pbusy = getelementptr i64, ptr %p, i64 $BUSY
  %pair = cmpxchg ptr %pbusy, i32 0, i32 $IN_CALL acquire monotonic
  %free = extractvalue { i32, i1 } %pair, 1
  br i1 %free, label %own, label %taken
own:
  %code = call i64 @checked(ptr %p, ptr %objects, i64 %n)
  store atomic i32 0, ptr %pbusy release, align 4
  br label %end
taken:
  br label %end
end:
  %outcome = phi i64 [ %code, %own ], [ $IS_BUSY, %taken ]
  %result = call ptr @PyLong_FromLongLong(i64 %outcome)
  ret ptr %result
}

; The same where the thread that holds the turn has claimed the program.
define ptr @call_in_turn(ptr %self, ptr %objects, i64 %n) {
  %p = call ptr @PyCapsule_GetPointer(ptr %self, ptr null)
  %code = call i64 @checked(ptr %p, ptr %objects, i64 %n)
  %result = call ptr @PyLong_FromLongLong(i64 %code)
  ret ptr %result
}

; The word of %object at the byte offset that the program's word %field holds.
define internal i64 @word_at(ptr %p, ptr %object, i64 %field) {
  %offset = call i64 @word(ptr %p, i64 %field)
  %at = getelementptr i8, ptr %object, i64 %offset
  %word = load i64, ptr %at, align 4
  ret i64 %word
}
""")
