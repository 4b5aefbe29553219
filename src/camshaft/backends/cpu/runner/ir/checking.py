"""Runner IR: phases that look for NaN and infinity in a caller's array."""

from __future__ import annotations

from string import Template

from camshaft.backends.cpu.runner.ir.layout import CHECK_CHUNK

_CHECKING = Template("""
; A phase that sets STATUS when chunks begin..end-1 of an array hold NaN or infinity.
; args: data, address of STATUS, bytes, 1 + binding, bits of infinity.
define void @finite$BITS(ptr %args, i64 %begin, i64 %end, i64 %worker) {
entry:
  %data = load ptr, ptr %args
  %a1 = getelementptr i64, ptr %args, i64 1
  %status = load ptr, ptr %a1
  %a2 = getelementptr i64, ptr %args, i64 2
  %bytes = load i64, ptr %a2
  %a3 = getelementptr i64, ptr %args, i64 3
  %mark = load i64, ptr %a3
  %a4 = getelementptr i64, ptr %args, i64 4
  %inf64 = load i64, ptr %a4
  %inf = $NARROW
  %lo0 = mul i64 %begin, $CHUNK
  %hi0 = mul i64 %end, $CHUNK
  %hi = call i64 @llvm.umin.i64(i64 %hi0, i64 %bytes)
  %span = sub i64 %hi, %lo0
  %even = and i64 %span, -128
  %mid = add i64 %lo0, %even
  br label %vhead
vhead:
  %v = phi i64 [ %lo0, %entry ], [ %v1, %vbody ]
  %top = phi <$LANES x $T> [ zeroinitializer, %entry ], [ %top1, %vbody ]
  %vin = icmp ult i64 %v, %mid
  br i1 %vin, label %vbody, label %reduce
vbody:
  %pv = getelementptr i8, ptr %data, i64 %v
  %x = load <$LANES x $T>, ptr %pv, align $BYTES
  %ax = and <$LANES x $T> %x, splat ($T $ABS)
  %top1 = call <$LANES x $T> @llvm.umax.v$LANES$T(<$LANES x $T> %ax, <$LANES x $T> %top)
  %v1 = add i64 %v, 128
  br label %vhead
reduce:
  %most = call $T @llvm.vector.reduce.umax.v$LANES$T(<$LANES x $T> %top)
  br label %shead
shead:
  %s = phi i64 [ %mid, %reduce ], [ %s1, %sbody ]
  %m = phi $T [ %most, %reduce ], [ %m1, %sbody ]
  %sin = icmp ult i64 %s, %hi
  br i1 %sin, label %sbody, label %judge
sbody:
  %ps = getelementptr i8, ptr %data, i64 %s
  %y = load $T, ptr %ps, align $BYTES
  %ay = and $T %y, $ABS
  %m1 = call $T @llvm.umax.$T($T %ay, $T %m)
  %s1 = add i64 %s, $BYTES
  br label %shead
judge:
  %bad = icmp uge $T %m, %inf
  br i1 %bad, label %tell, label %done
tell:
  store atomic i64 %mark, ptr %status monotonic, align 8
  br label %done
done:
  ret void
}
""")


def checking_ir(bits: int) -> str:
    """The phase `finite16`, `finite32` or `finite64` for floats of that many bits."""
    lanes, t = 1024 // bits, f"i{bits}"
    declarations = f"""
declare <{lanes} x {t}> @llvm.umax.v{lanes}{t}(<{lanes} x {t}>, <{lanes} x {t}>)
declare {t} @llvm.vector.reduce.umax.v{lanes}{t}(<{lanes} x {t}>)
"""
    if bits != 64:
        declarations += f"declare {t} @llvm.umax.{t}({t}, {t})\n"
    return declarations + _CHECKING.substitute(
        BITS=bits,
        T=t,
        NARROW="add i64 %inf64, 0" if bits == 64 else f"trunc i64 %inf64 to {t}",
        LANES=lanes,
        BYTES=bits // 8,
        ABS=(1 << (bits - 1)) - 1,
        CHUNK=CHECK_CHUNK,
    )
