"""A plugin with kernels of all kinds, for tests: x where it is positive, else slope * x."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import camshaft
from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import Library, link
from camshaft.backends.cpu.processor import host_target
from camshaft.ir.plugins.kernels import Work
from camshaft.program.program import Phase

IR = """
define void @NAME(ptr %x, ptr %y, double %slope, i64 %begin, i64 %end) {
entry:
  %s = fptrunc double %slope to float
  %any = icmp slt i64 %begin, %end
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %px = getelementptr float, ptr %x, i64 %i
  %py = getelementptr float, ptr %y, i64 %i
  %v = load float, ptr %px
  %w = fmul float %v, %s
  %c = fcmp ogt float %v, 0.0
  %r = select i1 %c, float %v, float %w
  store float %r, ptr %py
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""


def slope_of(work: Work) -> list[float]:
    return [work.attrs["slope"]]


def write(k: Any, work: Work, x: Any, y: Any) -> None:
    """Vectors of the variant's lanes, then elements."""
    lanes, slope = work.params["lanes"], work.attrs["slope"]

    def leak(value: Any) -> Any:
        return k.select(value > 0, value, value * slope)

    whole = k.begin + (k.end - k.begin) // lanes * lanes
    with k.loop(k.begin, whole, lanes) as i:
        k.store(leak(k.load(x.at(i), lanes)), y.at(i))
    with k.loop(whole, k.end) as i:
        k.store(leak(k.load(x.at(i))), y.at(i))


@cache
def compiled() -> Library:
    """The function as another compiler would have made it."""
    source = Source(IR.replace("NAME", "leaky_function"), (Phase("leaky_function", 1),))
    return link(CpuCompiler(host_target()).compile(source).code, ["leaky_function"])


def leaky_plugin(name: str, *kinds: str) -> camshaft.Plugin:
    """Registers it.  kinds: of its kernels, "language", "llvm" and "function"."""

    @camshaft.plugin(name, attributes={"slope": 0.1}, types=["f32"])
    def leaky(x: np.ndarray, *, slope: float) -> np.ndarray:
        return np.where(x > 0, x, x * np.float32(slope))

    if "language" in kinds:
        leaky.kernel(params=[{"lanes": 1}, {"lanes": 8}], name="vectors")(write)
    if "llvm" in kinds:
        leaky.llvm(IR.replace("NAME", "leaky_ir"), "leaky_ir", arguments=slope_of)
    if "function" in kinds:
        address = compiled()["leaky_function"]
        leaky.function(address, types=["f32"], arguments=slope_of, name="leaky_function")
    return leaky
