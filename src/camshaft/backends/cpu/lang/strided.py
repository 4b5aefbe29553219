"""Lanes that lie apart in memory: one scalar load or store each (slow; for odd layouts)."""

from __future__ import annotations

from camshaft.backends.cpu.lang.control import Control
from camshaft.backends.cpu.lang.memory import Count
from camshaft.backends.cpu.lang.values import Index, Pointer, Value


class StridedAccess(Control):
    """Adds strided loads and stores, whose number may be known at run time only."""

    def load_strided(self, p: Pointer, stride: Index, lanes: int, count: Count = None) -> Value:
        """Elements `stride` apart; lanes that do not exist are 0, with a run-time count anything."""
        if stride == 1 or lanes == 1:
            return self.load(p, lanes, count)
        if isinstance(count, Value):
            return self._load_some(p, stride, lanes, count)
        result = self.const(0, p.dtype, lanes)
        for lane in range(lanes if count is None else min(count, lanes)):
            result = self.insert(result, self.load(p.at(stride * lane)), lane)
        return result

    def _load_some(self, p: Pointer, stride: Index, lanes: int, count: Value) -> Value:
        """The first `count` lanes, after them the last one that exists; 0 if none does."""
        result = [self.const(0, p.dtype, lanes)]
        with self.if_(count > 0, carry=result):
            last = count - 1
            for lane in range(lanes):
                at = self.mul(self.min(last, lane), stride) if lane else 0
                result[0] = self.insert(result[0], self.load(p.at(at)), lane)
        return result[0]

    def store_strided(self, x: Value, p: Pointer, stride: Index, count: Count = None) -> None:
        """Store lanes at elements `stride` apart."""
        if stride == 1 or x.lanes == 1:
            self.store(x, p, count)
        elif isinstance(count, Value):
            with self.loop(0, self.min(count, x.lanes)) as lane:
                self.store(self.extract(x, lane), p.at(self.mul(lane, stride)))
        else:
            for n in range(x.lanes if count is None else min(count, x.lanes)):
                self.store(self.extract(x, n), p.at(stride * n))
