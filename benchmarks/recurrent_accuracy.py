"""What each precision costs on real recurrent models: engines beside ONNX Runtime.

    python -m benchmarks.recurrent_accuracy
    python -m benchmarks.recurrent_accuracy resemblyzer --precision int8 --level 3

What ddddocr reads, when silero hears speech, and whom Resemblyzer hears.  Levels are as in
`benchmarks.transformer_accuracy`.  Results go to build/bench/recurrent_accuracy.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import packages
from benchmarks.packages import ROOT
from benchmarks.shipped.models import model_named
from benchmarks.transformer_accuracy import report
from benchmarks.transformers.subjects import RATE, Model, Subject, sounds
from benchmarks.zoo_model import Feeds

OUT = ROOT / "build" / "bench" / "recurrent_accuracy.json"
ALL = ("fp32", "bf16", "int8", "int8-dynamic")

# -- ddddocr: letters ------------------------------------------------------------------------------

HEIGHT = 64
LETTERS = list("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789")


def riddles(count: int, seed: int) -> list[Feeds]:
    """Pictures [1, 1, 64, w] of 4 to 7 letters of several sizes, turned a little, on a noisy ground, from -1 to 1."""
    rng, made = np.random.default_rng(seed), list[Feeds]()
    for _ in range(count):
        letters = rng.choice(LETTERS, int(rng.integers(4, 8)))
        page = Image.new("L", (30 * len(letters) + 16, HEIGHT), int(rng.integers(190, 256)))
        for n, letter in enumerate(letters):
            font = ImageFont.load_default(size=int(rng.integers(28, 40)))
            tile = Image.new("L", (40, HEIGHT), 0)
            ImageDraw.Draw(tile).text((6, 32), str(letter), fill=255, font=font, anchor="lm")
            turned = tile.rotate(float(rng.uniform(-15, 15)), resample=Image.Resampling.BILINEAR)
            page.paste(int(rng.integers(0, 100)), (30 * n + 4, 0), turned)
        pixels = np.asarray(page, np.float32) + rng.normal(0, 8, page.size[::-1])
        made.append({"input1": ((np.clip(pixels, 0, 255) - 127.5) / 127.5).astype(np.float32)[None, None]})  # fmt: skip
    return made


def _read(model: Model) -> list[tuple[int, ...]]:
    """The letters of each picture by number: CTC's best path, blank at 0."""
    found = []
    for feeds in riddles(64, 1):
        best = model(feeds).argmax(-1).ravel().tolist()
        found.append(tuple(b for i, b in enumerate(best) if b and (i == 0 or b != best[i - 1])))
    return found


DDDDOCR = Subject(
    "ddddocr",
    "pictures that read otherwise, of 64",
    lambda: model_named("ddddocr").path(),
    {"input1": (1, 1, HEIGHT, "width=64..166..320")},
    _read,
    lambda got, want: float(sum(a != b for a, b in zip(got, want, strict=True))),
    dict.fromkeys(ALL, 0.0),
    lambda: riddles(32, 0),
    lambda got: f"{sum(map(len, got))} letters, {len({b for g in got for b in g})} different",
)

# -- silero: is somebody speaking? -----------------------------------------------------------------

CHUNK, CONTEXT = 512, 64
NOISE = (0.0, 0.003, 0.02)


def _voices() -> list[np.ndarray]:
    """A sentence that a package ships, of 2.5 s at 16 kHz, slower and faster, which is as lower and higher voices."""
    spoken = np.fromfile(packages.POCKETSPHINX.file("data/goforward.raw"), "<i2") / 32768
    paces = (0.75, 0.85, 1.0, 1.1, 1.25, 1.4)
    return [np.interp(np.arange(0, len(spoken) - 1, p), np.arange(len(spoken)), spoken) for p in paces]  # fmt: skip


def _heard(seed: int) -> list[np.ndarray]:
    """The voices and other sounds (tones of telephones, chimes), alone and in noise, with pauses around them."""
    rng, made, pause = np.random.default_rng(seed), list[np.ndarray](), np.zeros(RATE // 2)
    for wave in (*_voices(), *sounds()):
        samples = np.concatenate([pause, wave[: RATE * 8], pause])
        made += [samples + level * rng.standard_normal(len(samples)) for level in NOISE]
    return made


def _chunks(seed: int) -> list[Feeds]:
    """As silero reads sounds: chunks with the end of the one before."""
    zeros, made = np.zeros((1, 1, 128), np.float32), list[Feeds]()
    for samples in _heard(seed):
        count = len(samples) // CHUNK
        padded = np.concatenate([np.zeros(CONTEXT), samples])
        rows = [padded[n * CHUNK : n * CHUNK + CONTEXT + CHUNK] for n in range(count)]
        made.append({"input": np.stack(rows).astype(np.float32), "h": zeros, "c": zeros})
    return made


def _speech(model: Model) -> np.ndarray:
    return np.concatenate([model(feeds).ravel() > 0.5 for feeds in _chunks(1)])


SILERO = Subject(
    "silero",
    "chunks that are judged otherwise, per cent",
    lambda: model_named("silero_16k_sequence").path(),
    {"input": ("t=1..100..600", CONTEXT + CHUNK)},
    _speech,
    lambda got, want: 100 * float(np.mean(got != want)),
    dict.fromkeys(ALL, 0.0),
    lambda: _chunks(0),
    lambda got: f"speech in {int(got.sum())} of {len(got)} chunks",
)

# -- Resemblyzer: who is speaking? -----------------------------------------------------------------

FRAMES, WINDOW, HOP, CHANNELS = 160, 400, 160, 40


def mel_spectra(samples: np.ndarray) -> np.ndarray:
    """Powers [t, 40] of triangular bands, evenly spaced in mels (2595 log10(1 + f / 700)), of windows of 25 ms every 10 ms."""
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    starts = range(0, len(padded) - WINDOW + 1, HOP)
    frames = np.stack([padded[s : s + WINDOW] for s in starts]) * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames)) ** 2
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, CHANNELS + 2) / 2595) - 1)
    at = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rise = (at[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - at[:, None]) / (edges[2:] - edges[1:-1])
    bands = np.maximum(0, np.minimum(rise, fall)) * 2 / (edges[2:] - edges[:-2])
    return np.asarray(power @ bands, np.float32)


def _utterances(seed: int) -> list[list[Feeds]]:
    """Of each voice, alone and in noise, at a mean level of -30 dB: windows of 1.6 s, half of each in the next."""
    rng, made = np.random.default_rng(seed), list[list[Feeds]]()
    for voice in _voices():
        for level in NOISE:
            samples = voice + level * rng.standard_normal(len(voice))
            samples = samples * 10 ** (-30 / 20) / np.sqrt(np.mean(samples**2))
            spectra = mel_spectra(np.resize(samples, max(len(samples), HOP * FRAMES)))
            starts = range(0, len(spectra) - FRAMES + 1, FRAMES // 2)
            made.append([{"mels": spectra[None, s : s + FRAMES]} for s in starts])
    return made


def _voice(model: Model) -> np.ndarray:
    """The embedding of each utterance, the mean of its windows', of length 1."""
    means = [np.mean([model(w)[0] for w in windows], axis=0) for windows in _utterances(1)]
    return np.stack([m.astype(np.float64) / np.linalg.norm(m) for m in means])


RESEMBLYZER = Subject(
    "resemblyzer",
    "1 - the least cosine of utterances' embeddings",
    lambda: model_named("resemblyzer").path(),
    {"mels": (1, FRAMES, CHANNELS)},
    _voice,
    lambda got, want: float(1 - np.min(np.sum(got * want, axis=1))),
    {"fp32": 1e-5, "bf16": 0.001, "int8": 0.001, "int8-dynamic": 0.001},
    lambda: [window for windows in _utterances(0) for window in windows],
    lambda got: f"{len(got)} utterances",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see `transformer_accuracy.report`."""
    subjects = (DDDDOCR, SILERO, RESEMBLYZER)
    return report("python -m benchmarks.recurrent_accuracy", subjects, OUT, arguments)


if __name__ == "__main__":
    sys.exit(main())
