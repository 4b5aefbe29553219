"""Texts with human ratings of similarity, and their tokens.

They are test data of the package gensim: 50 short news texts of which people rated every pair from 0 to 1,
300 more of the same kind without ratings (M. D. Lee, B. Pincombe, M. Welsh, "An empirical evaluation of models
of text document similarity", 2005), and two sets of rated pairs of words, SimLex-999 and WordSim-353.
No package was found that ships STS-B or SICK.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.packages import GENSIM, MINILM
from benchmarks.zoo_model import Feeds

DATA = "gensim/test/test_data/"
WORDS = ("simlex999.txt", "wordsim353.tsv")
"""Files of rated pairs of words."""
BEGIN, END = 101, 102
"""BERT's [CLS] and [SEP]."""

Pairs = tuple[list[tuple[str, str]], np.ndarray]
"""Pairs of texts, and the rating of each: higher is more similar."""


def rated_documents() -> Pairs:
    """1,225 pairs of news texts of 50 to 130 words."""
    texts = _lines("lee.cor")
    rated = np.array([[float(v) for v in line.split()] for line in _lines("similarities0-1.txt")])
    rows, columns = np.triu_indices(len(texts), 1)
    return [(texts[i], texts[j]) for i, j in zip(rows, columns, strict=True)], rated[rows, columns]


def rated_words(name: str) -> Pairs:
    """Pairs of words, rated from 0 to 10, of a file in WORDS."""
    rows = [line.split("\t") for line in _lines(name) if not line.startswith("#")]
    return [(first, second) for first, second, _ in rows], np.array([float(r[2]) for r in rows])


def background() -> list[str]:
    """300 unrated news texts: for calibration."""
    return _lines("lee_background.cor")


def _lines(name: str) -> list[str]:
    text = GENSIM.file(DATA + name).read_text(encoding="latin-1")
    return [line.strip() for line in text.splitlines() if line.strip()]


@functools.cache
def _tokenizer() -> Any:
    tokenizer = importlib.import_module("tokenizers").Tokenizer
    made = tokenizer.from_file(str(MINILM.file("model/tokenizer.json")))
    made.no_padding()
    made.no_truncation()
    return made


def tokens(text: str, most: int) -> Feeds:
    """input_ids and attention_mask, int64 [1, n], of the first `most` tokens of a text."""
    ids = _tokenizer().encode(text, add_special_tokens=False).ids[: most - 2]
    return _feeds([BEGIN, *ids, END])


def windows(count: int, length: int) -> list[Feeds]:
    """`count` pieces of news, each of exactly `length` tokens."""
    stream = [i for text in background() for i in tokens(text, 1 << 20)["input_ids"][0, 1:-1]]
    step = length - 2
    if count * step > len(stream):
        raise ValueError(f"{count} pieces of {length} tokens are more text than there is")
    return [
        _feeds([BEGIN, *stream[i * step : (i + 1) * step], END])  #
        for i in range(count)
    ]


def _feeds(ids: Sequence[int]) -> Feeds:
    array = np.array([ids], np.int64)
    return {"input_ids": array, "attention_mask": np.ones_like(array)}
