"""`ITimingCache`: times of kernels that builds share, as bytes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import SupportsIndex

from camshaft.builder.tuning.timing_cache import Record, TimingCache
from camshaft.errors import ConfigError, TimingCacheError
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.host_memory import IHostMemory
from camshaft.tensorrt.network.params import number, whole
from camshaft.tensorrt.objects import Result

_PLACE = Path("<timing cache>")
"""How messages call one that is no file."""
_KEY = re.compile(r"0x([0-9a-fA-F]{1,32})")


class TimingCacheKey(Result):
    """The key of an entry: 128 bits."""

    _text: str

    @classmethod
    def _made(cls, key: str) -> TimingCacheKey:
        """key: 32 hexadecimal digits."""
        made = cls.__new__(cls)
        made._text = key
        return made

    @staticmethod
    def parse(function: str) -> TimingCacheKey:
        """The key that a text is, such as str(key) gives.  ValueError for others."""
        match = _KEY.fullmatch(function)
        if match is None:
            raise ValueError(f"{function!r} is no key: 0x and at most 32 hexadecimal digits")
        return TimingCacheKey._made(match[1].lower().zfill(32))

    def __str__(self) -> str:
        return f"0x{self._text}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimingCacheKey) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class TimingCacheValue:
    """tacticHash: which kernel won.  timingMSec: its time in milliseconds."""

    def __init__(self, tacticHash: SupportsIndex, timingMSec: float) -> None:
        """TypeError for what is no number."""
        self.tacticHash, self.timingMSec = tacticHash, timingMSec

    @property
    def tacticHash(self) -> int:
        """64 bits that name the kernel."""
        return self._tactic

    @tacticHash.setter
    def tacticHash(self, tactic: SupportsIndex) -> None:
        self._tactic = whole(tactic, "tacticHash")

    @property
    def timingMSec(self) -> float:
        """Milliseconds."""
        return self._milliseconds

    @timingMSec.setter
    def timingMSec(self, milliseconds: float) -> None:
        self._milliseconds = number(milliseconds, "timingMSec")


class ITimingCache(Reporting, Result):
    """Times of kernels by what they compute and where; builds read them, and add what they time."""

    _times: TimingCache

    @classmethod
    def _made(cls, parent: Reports, data: bytes) -> ITimingCache:
        """data: as `serialize` gives them; b"" for an empty cache.  TimingCacheError for other bytes."""
        made = cls.__new__(cls)
        made._reports = Reports(parent.logger, parent)
        made._times = _parsed(data) if data else TimingCache()
        return made

    def serialize(self) -> IHostMemory:
        """The cache as bytes."""
        return IHostMemory._made(self._times.text().encode())

    @reported(False)
    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """Add what another cache has and this one lacks.  ignore_mismatch: nothing hangs on it, since entries name their
        processor."""
        if not isinstance(input_cache, ITimingCache):
            raise TypeError(f"input_cache={input_cache!r} is no ITimingCache")
        for key, records in input_cache._times.entries.items():
            self._times.store(key, records)
        return True

    def reset(self) -> bool:
        """Forget all entries."""
        self._times = TimingCache()
        return True

    def queryKeys(self) -> list[TimingCacheKey]:
        """Keys of all entries."""
        return [TimingCacheKey._made(key) for key in self._times.entries]

    @reported(None)
    def query(self, key: TimingCacheKey) -> TimingCacheValue:
        """The kernel that won and its time.  None, and an error, of a key that the cache lacks."""
        best = self._records(key)[0]
        return TimingCacheValue(_hash(best), best.time_us / 1000)

    @reported(False)
    def update(self, key: TimingCacheKey, value: TimingCacheValue) -> bool:
        """Make a kernel that was timed the winner.  False, and an error, of a key or kernel that the cache lacks."""
        records = self._records(key)
        chosen = next((r for r in records if _hash(r) == value.tacticHash), None)
        if chosen is None:
            known = ", ".join(str(_hash(r)) for r in records)
            raise ConfigError(f"entry {key} has no tactic {value.tacticHash}; there is {known}")
        time_us = value.timingMSec * 1000
        if not time_us > 0:
            raise ConfigError(f"timingMSec={value.timingMSec} must be above 0")
        changed = [
            Record(chosen.tactic, chosen.params, time_us),
            *_slower(records, chosen, time_us),
        ]
        entries = {**self._times.entries, key._text: changed}
        self._times = TimingCache(entries)
        return True

    def _records(self, key: TimingCacheKey) -> list[Record]:
        """Records of an entry, the winner first.  ConfigError if there is none."""
        if not isinstance(key, TimingCacheKey):
            raise TypeError(f"key={key!r} is no TimingCacheKey")
        records = self._times.records(key._text)
        if not records:
            raise ConfigError(f"the timing cache has no entry {key}; queryKeys() lists its keys")
        return records

    def _write(self, path: Path) -> None:
        """Write the file that a build reads and adds to."""
        path.write_text(self._times.text(), encoding="utf-8")

    def _read(self, path: Path) -> None:
        """Take over what a build made of the file."""
        self._times = TimingCache.load(path)


def _parsed(data: bytes) -> TimingCache:
    try:
        return TimingCache.parsed(bytes(data).decode("utf-8"), _PLACE)
    except UnicodeDecodeError as error:
        raise TimingCacheError(
            "serialized_timing_cache was not written by camshaft; pass b'' for an empty cache"
        ) from error


def _hash(record: Record) -> int:
    """64 bits that name a kernel."""
    return int.from_bytes(hashlib.sha256(record.id.encode()).digest()[:8], "little")


def _slower(records: list[Record], chosen: Record, time_us: float) -> list[Record]:
    """The others, at least as slow as the one that was chosen, since builds take the fastest."""
    return [Record(r.tactic, r.params, max(r.time_us, time_us)) for r in records if r is not chosen]
