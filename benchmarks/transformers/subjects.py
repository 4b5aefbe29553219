"""Real models whose answers should not change with the precision, and what counts as a change."""

from __future__ import annotations

import importlib.util
import json
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image, ImageDraw, ImageFont

from benchmarks import packages, zoo
from benchmarks.shipped.models import model_named
from benchmarks.transformers import texts
from benchmarks.zoo_model import Feeds

Model = Callable[[Feeds], np.ndarray]
"""A built model: feeds -> its first output."""
Answers = Any
"""What a subject makes of a model's outputs."""


@dataclass(frozen=True)
class Subject:
    """A model, what is asked of it, and how answers are compared with those of ONNX Runtime on the same file,
    unoptimized where the file is quantized: its fused integer kernels saturate on some processors.

    shapes: extents that calls may have.  calibration: makes the feeds that INT8 ranges come from; None where
    the file is quantized already.  ask: model -> answers.  difference: (answers, those of the reference) ->
    how far they lie apart, which `measure` names.  targets: precision -> how far they may.
    """

    name: str
    measure: str
    path: Callable[[], Path]
    shapes: Mapping[str, Sequence[Any]]
    ask: Callable[[Model], Answers]
    difference: Callable[[Answers, Answers], float]
    targets: Mapping[str, float]
    calibration: Callable[[], list[Feeds]] | None = None
    story: Callable[[Answers], str] = field(default=lambda answers: "")


# -- all-MiniLM-L6-v2: sentence embeddings ---------------------------------------------------------

MOST_TOKENS = 128


def _embedding(model: Model, text: str) -> np.ndarray:
    """The mean of a text's hidden states, of length 1."""
    mean = model(texts.tokens(text, MOST_TOKENS))[0].astype(np.float64).mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value from 0 up; equal ones share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return np.asarray((last - (counts - 1) / 2)[place])


def spearman(model: Model, pairs: texts.Pairs) -> float:
    """Rank correlation of the model's similarities with people's ratings."""
    found = {t: _embedding(model, t) for t in dict.fromkeys(t for pair in pairs[0] for t in pair)}
    similar = [float(found[a] @ found[b]) for a, b in pairs[0]]
    return float(np.corrcoef(ranks(np.array(similar)), ranks(pairs[1]))[0, 1])


def _similarity(name: str, pairs: Callable[[], texts.Pairs]) -> Subject:
    return Subject(
        f"MiniLM, {name}",
        "Spearman's rank correlation",
        lambda: model_named("minilm_torchscript").path(),
        {
            "input_ids": ("batch=1..1", f"seq=2..48..{MOST_TOKENS}"),
            "attention_mask": ("batch", "seq"),
        },
        lambda model: spearman(model, pairs()),
        lambda got, want: abs(got - want),
        {"fp32": 1e-4, "bf16": 0.001, "int8": 0.003, "int8-dynamic": 0.003},
        lambda: [texts.tokens(t, MOST_TOKENS) for t in texts.background()[:64]],
        lambda got: f"{got:.4f}",
    )


# -- PP-OCR: lines of text -------------------------------------------------------------------------

LINE = (48, 320)


def lines(count: int, seed: int) -> list[tuple[np.ndarray, str]]:
    """Pictures [1, 3, 48, 320] of words of the news, of several sizes, dark on a light noisy ground; the words."""
    rng = np.random.default_rng(seed)
    words = " ".join(texts.background()).split()
    made = []
    for _ in range(count):
        font = ImageFont.load_default(size=int(rng.integers(20, 33)))
        start = int(rng.integers(0, len(words) - 20))
        text = words[start]
        for word in words[start + 1 : start + 20]:
            if font.getlength(f"{text} {word}") > LINE[1] - 16:
                break
            text = f"{text} {word}"
        page = Image.new("L", LINE[::-1], int(rng.integers(200, 256)))
        ink = int(rng.integers(0, 90))
        ImageDraw.Draw(page).text((8, 24), text, fill=ink, font=font, anchor="lm")
        pixels = np.asarray(page, np.float32) + rng.normal(0, 6, LINE)
        scaled = (np.clip(pixels, 0, 255) - 127.5) / 127.5
        made.append((np.repeat(scaled.astype(np.float32)[None, None], 3, axis=1), text))
    return made


def _read(model: Model, characters: Sequence[str], count: int = 48) -> list[str]:
    """The text of each line: CTC's best path, blank at 0."""
    found = []
    for picture, _ in lines(count, 1):
        best = model({"x": picture})[0].argmax(-1)
        kept = [b for i, b in enumerate(best) if b and (i == 0 or b != best[i - 1])]
        found.append("".join(characters[b] for b in kept))
    return found


def _right(found: Sequence[str]) -> int:
    """How many lines read as they were drawn, but for spaces around them."""
    return sum(a.strip() == text for a, (_, text) in zip(found, lines(48, 1), strict=True))


def _characters(path: Path) -> list[str]:
    """A PP-OCR recognizer's alphabet, from its metadata."""
    properties = onnx.load(str(path), load_external_data=False).metadata_props
    listed = next(p.value for p in properties if p.key == "character")
    return ["", *listed.split("\n"), " "]


def _ocr(name: str) -> Subject:
    def path() -> Path:
        return model_named(name).path()

    return Subject(
        f"PP-OCR, {name}",
        "lines that read otherwise, of 48",
        path,
        {"x": (1, 3, *LINE)},
        lambda model: _read(model, _characters(path())),
        lambda got, want: float(sum(a != b for a, b in zip(got, want, strict=True))),
        dict.fromkeys(("fp32", "bf16", "int8", "int8-dynamic"), 0.0),
        lambda: [{"x": x} for x, _ in lines(32, 0)],
        lambda got: f"{_right(got)} lines as they were drawn",
    )


# -- magika: types of files ------------------------------------------------------------------------

ENDS, BLOCK, PADDING = 1024, 4096, 256
"""Bytes of each end of a file that the model sees, bytes that are read for them, and what is put where a
file is shorter (magika.py of the package, config.min.json of the model)."""


def file_ends(content: bytes) -> np.ndarray:
    """int32 [1, 2048]: the first and the last bytes of a file, without spaces around them."""
    whole = len(content) <= BLOCK
    first, last = content[:BLOCK], content[-BLOCK:]
    first = (first.strip() if whole else first.lstrip())[:ENDS]
    last = (last.strip() if whole else last.rstrip())[-ENDS:]
    padded = np.full((1, 2 * ENDS), PADDING, np.int32)
    padded[0, : len(first)] = list(first)
    if last:
        padded[0, -len(last) :] = list(last)
    return padded


def files() -> list[Path]:
    """Files of the packages, at most six of a suffix, of 8 bytes or more."""
    held = (packages.GENSIM, packages.PIPECAT, packages.MAGIKA, packages.RAPIDOCR, packages.MINILM)
    by_suffix: dict[str, list[Path]] = {}
    for package in held:
        for path in sorted(package.folder().rglob("*")):
            if path.is_file() and path.stat().st_size >= 8:
                by_suffix.setdefault(path.suffix, []).append(path)
    return [p for paths in by_suffix.values() for p in paths[:: -(-len(paths) // 6)]]


def _ends_of(path: Path) -> Feeds:
    return {"bytes": file_ends(path.read_bytes())}


@cache
def _settings() -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration, and what is known of each label."""
    folder = packages.MAGIKA.folder()
    config = next(folder.rglob("config.min.json"))
    known = next(folder.rglob("content_types_kb.min.json"))
    return json.loads(config.read_text()), json.loads(known.read_text())


def label(scores: np.ndarray) -> str:
    """What magika calls a file of these scores, float32 [labels], in its default mode: where the first choice scores
    under its threshold, "txt" or "unknown" (magika.py of the package)."""
    config, known = _settings()
    first = config["target_labels_space"][int(scores.argmax())]
    named: str = config["overwrite_map"].get(first, first)
    if scores.max() >= config["thresholds"].get(first, config["medium_confidence_threshold"]):
        return named
    return "txt" if known[named]["is_text"] else "unknown"


MAGIKA = Subject(
    "magika",
    "files that are labelled otherwise, per cent",
    lambda: model_named("magika").path(),
    {"bytes": (1, 2 * ENDS)},
    lambda model: [label(model(_ends_of(p))[0]) for p in files()[1::2]],
    lambda got, want: 100 * float(np.mean(np.array(got) != np.array(want))),
    dict.fromkeys(("fp32", "bf16", "int8", "int8-dynamic"), 0.0),
    lambda: [_ends_of(p) for p in files()[::2]],
    lambda got: f"{len(got)} files, {len(set(got))} labels",
)


# -- smart-turn: has the speaker finished? ---------------------------------------------------------

RATE = 16_000


def _sounds() -> list[Feeds]:
    """Features of the sounds that the package ships, once alone and once in a row and in noise."""
    folder = packages.PIPECAT.folder()
    place = next(folder.rglob("_whisper_features.py"))
    spec = importlib.util.spec_from_file_location("whisper_features", place)
    assert spec is not None and spec.loader is not None
    features = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(features)
    rng = np.random.default_rng(0)
    waves = sounds()
    rows = [np.concatenate([waves[i] for i in rng.permutation(len(waves))]) for _ in range(8)]
    heard = [*waves, *(r[: RATE * 8] + rng.normal(0, 0.02, len(r[: RATE * 8])) for r in rows)]
    make = features.compute_whisper_log_mel_features
    return [{"input_features": np.asarray(make(s.astype(np.float32)))[None]} for s in heard]


def sounds() -> list[np.ndarray]:
    """The sounds that the package ships: samples from -1 to 1 at 16 kHz."""
    return [_wave(p) for p in sorted(packages.PIPECAT.folder().rglob("*.wav"))]


def _wave(path: Path) -> np.ndarray:
    """Samples from -1 to 1 at 16 kHz of a 16-bit file, by linear interpolation."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")[:: file.getnchannels()]
        seconds = len(samples) / file.getframerate()
    at = np.linspace(0, len(samples) - 1, int(seconds * RATE))
    return np.asarray(np.interp(at, np.arange(len(samples)), samples) / 32768)


SMART_TURN = Subject(
    "smart-turn",
    "largest difference of the probability",
    lambda: model_named("smart_turn").path(),
    {"input_features": (1, 80, 800)},
    lambda model: np.array([float(model(feeds).ravel()[0]) for feeds in _sounds()]),
    lambda got, want: float(np.abs(got - want).max()),
    dict.fromkeys(("fp32", "bf16", "int8"), 0.01),
    story=lambda got: f"{got.min():.3f} to {got.max():.3f}",
)


# -- encoders with random weights ------------------------------------------------------------------


def _range_error(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    worst = 0.0
    for g, w in zip(got, want, strict=True):
        extent = float(w.max()) - float(w.min())
        worst = max(worst, float(np.abs(g.astype(np.float64) - w).max()) / extent)
    return 100 * worst


def _encoder(name: str) -> Subject:
    model = zoo.model_named(name)
    return Subject(
        f"{name}, random weights",
        "largest error, per cent of the output's range",
        lambda: zoo.path_of(name),
        {n: a.shape for n, a in model.feeds(1)[0].items()},
        lambda run: [run(feeds) for feeds in model.feeds(4)],
        _range_error,
        {"fp32": 0.01, "bf16": 5.0, "int8": 5.0, "int8-dynamic": 5.0},
        lambda: model.feeds(8),
    )


def subjects() -> list[Subject]:
    """All of them."""
    return [
        _similarity("news (Lee)", texts.rated_documents),
        _similarity("SimLex-999", lambda: texts.rated_words(texts.WORDS[0])),
        _similarity("WordSim-353", lambda: texts.rated_words(texts.WORDS[1])),
        _ocr("ppocr4_rec"),
        _ocr("ppocr6_rec"),
        MAGIKA,
        SMART_TURN,
        _encoder("encoder"),
        _encoder("encoder_noise"),
    ]
