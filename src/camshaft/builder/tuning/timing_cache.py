"""Timing records kept between builds: one JSON file, one entry per spec, target and thread count.

An entry holds every candidate that was timed and the winner.  A hit makes a build repeat itself
exactly; the winner is replaced only when another candidate is faster by a clear margin.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camshaft.atomic import write_atomically
from camshaft.errors import TimingCacheError

FORMAT = 2
"""2: keys name the processor.  1 named its brand, which unlike processors share."""
_WHY_NOT_1 = " (an older camshaft kept times by the processor's brand, which unlike ones share)"
MARGIN = 0.03
"""How much faster (as a fraction) a challenger must be to replace a recorded winner."""


@dataclass(frozen=True)
class Record:
    """One timed candidate: microseconds a run, at the cache key's thread count."""

    tactic: str
    params: tuple[tuple[str, int | str | bool], ...]
    time_us: float

    @property
    def id(self) -> str:
        """Tactic and parameters as text, unique within an entry."""
        return f"{self.tactic}({','.join(f'{k}={v}' for k, v in self.params)})"


class TimingCache:
    """Records by key.  Not thread-safe."""

    def __init__(self, entries: Mapping[str, Sequence[Record]] | None = None) -> None:
        self._entries: dict[str, list[Record]] = {k: list(v) for k, v in (entries or {}).items()}
        self.hits = 0
        self.misses = 0
        self._used: set[str] = set()

    @staticmethod
    def key(*parts: str) -> str:
        """The key of a spec on a target (parts: spec, target, CPU, threads, code versions)."""
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def lookup(self, key: str, wanted: Collection[str] = ()) -> list[Record]:
        """Records under `key`, the winner first; empty on a miss, which it is also if a candidate
        whose id is `wanted` was never timed."""
        found = self.records(key)
        if not set(wanted) <= {r.id for r in found}:
            found = []
        if found:
            self.hits += 1
        else:
            self.misses += 1
        return found

    def records(self, key: str) -> list[Record]:
        """Like `lookup`, without counting as a hit or a miss."""
        self._used.add(key)
        return list(self._entries.get(key, []))

    def store(self, key: str, records: Sequence[Record]) -> Record:
        """Merge `records` (preferred order) into the entry and return its winner.

        Where two candidates tie within MARGIN, the earlier in `records` wins; a recorded winner
        stays unless beaten by more than MARGIN.
        """
        self._used.add(key)
        old = self._entries.get(key, [])
        merged = {r.id: r for r in old}
        merged.update((r.id, r) for r in records if r.id not in merged)
        fastest = min(r.time_us for r in merged.values())
        order = [*old[:1], *records, *old[1:]]
        winner = next(merged[r.id] for r in order if merged[r.id].time_us <= fastest * (1 + MARGIN))
        rest = sorted((r for r in merged.values() if r is not winner), key=lambda r: r.time_us)
        self._entries[key] = [winner, *rest]
        return winner

    @classmethod
    def load(cls, path: Path) -> TimingCache:
        """Read a cache file; TimingCacheError, naming the file, if it is not one."""
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise _damaged(path, error) from error
        except OSError as error:
            raise TimingCacheError(
                f"timing cache {str(path)!r} cannot be read: {error.strerror or error}"
            ) from error
        return cls.parsed(text, path)

    @classmethod
    def parsed(cls, text: str, path: Path) -> TimingCache:
        """The cache that a text is; TimingCacheError, naming the file it is of, if it is none."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise TimingCacheError(
                    f"timing cache {str(path)!r} has format {data['format']}, this camshaft reads "
                    f"{FORMAT}: delete it and build again" + _WHY_NOT_1 * (data["format"] == 1)
                )
            return cls({k: [_record(r) for r in v] for k, v in data["entries"].items()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path, error) from error

    def used(self) -> TimingCache:
        """The entries that were asked for or stored."""
        return TimingCache({k: v for k, v in self._entries.items() if k in self._used})

    @property
    def entries(self) -> Mapping[str, Sequence[Record]]:
        """Key -> records, the winner first."""
        return self._entries

    def save(self, path: Path) -> None:
        """Add what `path` lacks, in one step; TimingCacheError if that fails, and an old file is
        then whole.

        What another build has added in the meantime stays, and wins over what was found here
        unless that holds more candidates.
        """
        try:
            with _locked(path.parent):
                if path.is_file():
                    self._take_over(TimingCache.load(path)._entries)
                write_atomically(path, self.text().encode())
        except OSError as error:
            raise unwritable(path, error) from error

    def _take_over(self, theirs: Mapping[str, list[Record]]) -> None:
        for key, records in theirs.items():
            if len(records) >= len(self._entries.get(key, ())):
                self._entries[key] = records

    def text(self, indent: int | None = 1) -> str:
        """As a file holds it; indent: as of `json.dumps`."""
        entries = {
            k: [{"tactic": r.tactic, "params": dict(r.params), "time_us": r.time_us} for r in v]
            for k, v in sorted(self._entries.items())
        }
        return json.dumps({"format": FORMAT, "entries": entries}, indent=indent, sort_keys=True)


def _damaged(path: Path, error: Exception) -> TimingCacheError:
    return TimingCacheError(
        f"timing cache {str(path)!r} is damaged ({error}): delete it and build again"
    )


def unwritable(path: Path, error: OSError) -> TimingCacheError:
    """The error for a cache file that cannot be written."""
    return TimingCacheError(
        f"timing cache {str(path)!r} cannot be written: {error.strerror or error}; choose a "
        "directory that exists, is writable and has room"
    )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other builds from saving a cache in `directory` meanwhile; no file is left behind."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _record(data: Mapping[str, Any]) -> Record:
    time_us = float(data["time_us"])
    if not time_us > 0:
        raise ValueError(f"a time of {time_us} us")
    return Record(str(data["tactic"]), tuple(sorted(data["params"].items())), time_us)


def explained(winner: Record, records: Sequence[Record]) -> str:
    """Why a candidate won, for reports.  records: all that were timed."""
    others = [r for r in records if r.id != winner.id]
    if not others:
        return f"{winner.time_us:.1f} us, only candidate"
    second = min(others, key=lambda r: r.time_us)
    return (
        f"{winner.time_us:.1f} us, best of {len(records)}; "
        f"next {second.id} {second.time_us / winner.time_us - 1:+.0%}"
    )
