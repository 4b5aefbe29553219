"""Operators on strings: arrays of objects that are str."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value

Array = np.ndarray


def _texts(x: Array) -> Array:
    """Strings as objects of str; bytes are read as UTF-8."""
    if x.dtype.kind == "U":
        return x.astype(object)
    flat = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in x.reshape(-1)]
    return _array(flat, x.shape)


def _array(texts: Sequence[str], shape: tuple[int, ...]) -> Array:
    y = np.empty(len(texts), object)
    y[:] = texts
    return y.reshape(shape)


def string_normalizer(call: Call) -> Sequence[Value]:
    """StringNormalizer: drops stop words of a line [C] or [1, C], then changes the case.

    Where all are dropped one empty string is left.  Cases are Unicode's, whatever the locale.
    """
    x = _texts(call.array(0))
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] != 1):
        raise ModelError(f"strings of the shape {list(x.shape)} are neither [C] nor [1, C]")
    case = call.choice("case_change_action", "NONE", ("NONE", "LOWER", "UPPER"))
    stops = call.attr_strings("stopwords") or []
    exact = call.attr_flag("is_case_sensitive")
    dropped = set(stops) if exact else {s.lower() for s in stops}
    kept = [s for s in x.reshape(-1) if (s if exact else s.lower()) not in dropped]
    if case != "NONE":
        kept = [s.lower() if case == "LOWER" else s.upper() for s in kept]
    kept = kept or [""]
    return [_array(kept, (len(kept),) if x.ndim == 1 else (1, len(kept)))]


def string_concat(call: Call) -> Sequence[Value]:
    """StringConcat: joined element by element, broadcast."""
    a, b = np.broadcast_arrays(_texts(call.array(0)), _texts(call.array(1)))
    joined = [p + q for p, q in zip(a.reshape(-1), b.reshape(-1), strict=True)]
    return [_array(joined, a.shape)]


def string_split(call: Call) -> Sequence[Value]:
    """StringSplit -> parts [..., most], filled with "", and how many there are [...].

    Without a delimiter, or with an empty one, runs of white space divide.
    """
    x = _texts(call.array(0))
    delimiter = call.attr_str("delimiter") or None
    most = call.attr_int("maxsplit", -1) if "maxsplit" in call.attrs else -1
    parts = [s.split(delimiter, most) if s else [] for s in x.reshape(-1)]
    width = max(map(len, parts), default=0)
    flat = [p for row in parts for p in [*row, *[""] * (width - len(row))]]
    counts = np.array([len(row) for row in parts], np.int64).reshape(x.shape)
    return [_array(flat, (*x.shape, width)), counts]


def regex_full_match(call: Call) -> Sequence[Value]:
    """RegexFullMatch: whether all of a string matches; the pattern is RE2's, read by Python's `re`.

    \\w, \\d, \\s are ASCII's, as in RE2.  What RE2 has and `re` has not (\\pN, \\Q...\\E, \\C) is an error.
    """
    pattern = call.attr_str("pattern")
    try:
        wanted = re.compile(pattern.replace(r"\z", r"\Z"), re.ASCII)
    except re.error as error:
        raise ModelError(f"pattern {pattern!r} cannot be read: {error}") from error
    x = _texts(call.array(0))
    found = [wanted.fullmatch(s) is not None for s in x.reshape(-1)]
    return [np.array(found, bool).reshape(x.shape)]


def tf_idf_vectorizer(call: Call) -> Sequence[Value]:
    """TfIdfVectorizer: how often n-grams of a pool occur in each line, weighed by the mode.

    n-grams of 1 word are counted once; longer ones with each number of words skipped between theirs,
    from 0 to max_skip_count.
    """
    x = call.array(0)
    if x.ndim not in (1, 2):
        raise ModelError(f"lines of the shape {list(x.shape)} are neither [C] nor [N, C]")
    mode = call.choice("mode", "TF", ("TF", "IDF", "TFIDF"))
    pool = _pool(call)
    columns = call.attr_ints("ngram_indexes")
    if columns is None or len(columns) != len(pool):
        raise ModelError(f"ngram_indexes does not have one number for each of {len(pool)} n-grams")
    place = dict(zip(pool, columns, strict=True))
    weights = call.attr_floats("weights")
    weight = dict(zip(pool, weights, strict=True)) if weights else dict.fromkeys(pool, 1.0)
    lines = _texts(x) if x.dtype.kind in "OSU" else x
    y = np.zeros((1 if x.ndim == 1 else len(x), max(columns) + 1), np.float32)
    scale = np.zeros(y.shape[1], np.float32)
    for gram, column in place.items():
        scale[column] = weight[gram]
    shortest, longest = call.attr_int("min_gram_length"), call.attr_int("max_gram_length")
    for row, line in zip(y, lines.reshape(len(y), -1).tolist(), strict=True):
        for n in range(shortest, longest + 1):
            for skip in range(1 if n == 1 else call.attr_int("max_skip_count") + 1):
                for i in range(len(line) - (n - 1) * (skip + 1)):
                    gram = tuple(line[i : i + (n - 1) * (skip + 1) + 1 : skip + 1])
                    if gram in place:
                        row[place[gram]] += 1
    if mode == "IDF":
        y = (y > 0) * scale
    elif mode == "TFIDF":
        y = y * scale
    return [y.reshape(-1) if x.ndim == 1 else y]


def _pool(call: Call) -> list[tuple[str | int, ...]]:
    """The n-grams of pool_strings or pool_int64s; ngram_counts says where those of each length begin."""
    items: list[str] | list[int] = (
        call.attr_strings("pool_strings") or call.attr_ints("pool_int64s") or []
    )
    starts = call.attr_ints("ngram_counts") or []
    grams: list[tuple[str | int, ...]] = []
    for n, (start, end) in enumerate(zip(starts, [*starts[1:], len(items)], strict=True), 1):
        grams += [tuple(items[i : i + n]) for i in range(start, end, n)]
    return grams
