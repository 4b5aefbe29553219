"""Timings of common layers on processors that were at hand, which come with the package.

The file is a timing cache, compressed.  An entry holds the fastest of all candidates and, where that is
approximate, the fastest that is not.  It is asked after the user's own cache, at levels 2 and 3; keys name the
processor, the versions and the number of threads, so that other machines find nothing in it.  What it
names is compiled and held against the reference as ever, and then is not timed.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from camshaft.builder.tuning.timing_cache import Record, TimingCache

FILE = Path(__file__).with_name("base_cache.json.gz")


@cache
def base_cache() -> TimingCache:
    """The package's timings; none where the file was taken out."""
    if not FILE.is_file():
        return TimingCache()
    return TimingCache.parsed(gzip.decompress(FILE.read_bytes()).decode(), FILE)


def write_base_cache(entries: Mapping[str, Sequence[Record]]) -> int:
    """Put these entries in place of the file's; its size in bytes."""
    data = gzip.compress(TimingCache(entries).text(indent=None).encode(), 9, mtime=0)
    FILE.write_bytes(data)
    return len(data)
