"""Words that several workers change while a phase runs: counters, claims, waiting for a count.

What is written before `add_shared` or a claim is seen by those who read its effect (acquire and release, as in
C++'s memory model).
"""

from __future__ import annotations

from camshaft.backends.cpu.lang.tiles import TileLoops
from camshaft.backends.cpu.lang.values import Index, Pointer, Value
from camshaft.ir.types import boolean, i64


class SharedWords(TileLoops):
    """Adds atomic operations on i64 words, each 8-byte aligned."""

    def load_shared(self, word: Pointer) -> Value:
        """The word's value; what its writer wrote before is seen."""
        return self.value(f"load atomic i64, ptr {word.address()} acquire, align 8", i64)

    def add_shared(self, word: Pointer, number: int) -> None:
        """Add a number."""
        self.effect(f"atomicrmw add ptr {word.address()}, i64 {number} acq_rel, align 8")

    def claim(self, word: Pointer, number: Value) -> Value:
        """Raise the word by one if it is `number`; whether it was (bool)."""
        following = self.add(number, 1)
        pair = self.emit(
            f"cmpxchg ptr {word.address()}, i64 {number.ref}, i64 {following.ref} acq_rel acquire, align 8"
        )
        return self.value(f"extractvalue {{ i64, i1 }} {pair}, 1", boolean)

    def wait_until(self, word: Pointer, least: Index) -> None:
        """Spin until the word is at least so large.  Somebody who is at work must make it so."""
        wanted = self.index(least)
        look, again, done = (self.new_block(hint) for hint in ("look", "again", "ready"))
        self.jump(look)
        self.open_block(look)
        self.branch(self.load_shared(word) >= wanted, done, again)
        self.open_block(again)
        if self.target.is_x86:
            pause = self.intrinsic("llvm.x86.sse2.pause", "void", [])
            self.effect(f"call {pause}()")
        self.jump(look)
        self.open_block(done)
