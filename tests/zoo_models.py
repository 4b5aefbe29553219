"""The models of the benchmark zoo as tests find them: where `benchmarks.zoo` has put them, if it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from camshaft.ir.graph import Graph

ZOO = Path(__file__).resolve().parents[1] / "build/zoo"
Shapes = Mapping[str, Sequence[int]]
SHAPES: Mapping[str, Shapes] = {
    "squeezenet1.1": {"input": [1, 3, 227, 227]},
    "open_nsfw": {"input:0": [1, 224, 224, 3]},
}
"""Of models whose inputs have no fixed shape."""


def zoo_files() -> list[Path]:
    """Every ONNX file of the zoo that has been made."""
    return sorted(ZOO.glob("*/*.onnx"))


def base_name(path: Path) -> str:
    """The name of the float model that a file is, or is quantized from."""
    return path.stem.partition(".qdq")[0]


def is_quantized(path: Path) -> bool:
    """Whether a file is a Q/DQ variant."""
    return path.stem != base_name(path)


def shapes_of(path: Path) -> Shapes | None:
    """What `shapes=` has to be for a file."""
    return SHAPES.get(base_name(path))


def noise(graph: Graph) -> dict[str, np.ndarray]:
    """Seeded inputs for a graph."""
    rng = np.random.default_rng(7)
    return {
        t.name: rng.standard_normal(t.shape).astype(t.type.dtype.numpy)
        if t.type.dtype.is_float
        else rng.integers(0, 10, t.shape).astype(t.type.dtype.numpy)
        for t in graph.inputs
    }
