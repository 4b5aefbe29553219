"""Pages of the documentation: their code blocks, and running these as a reader would."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from camshaft.cli import app as cli
from camshaft.config import BuildConfig
from decoders import decoder
from recurrent_models import Layer
from value_models import small_model, voice

ROOT = Path(__file__).parent.parent.parent
PAGES = tuple(sorted(ROOT.glob("docs/**/*.md")))
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES)

OTHER_COMMANDS = ("make", "pip", ".venv/bin/pre-commit")
"""What examples call besides camshaft, and no test runs."""

_BLOCK = re.compile(r"(?:<!-- (quote: \S+|prints) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
_PHOTO = (1, 3, 16, 16)


@dataclass(frozen=True)
class Block:
    """A code block.

    quoted: the file of which it is a quotation, if any.  printed: it is what the block before it
    prints.
    """

    language: str
    code: str
    quoted: str = ""
    printed: bool = False


def blocks(document: Path) -> list[Block]:
    """All code blocks of a page, in order."""
    return [
        Block(language, code, mark.removeprefix("quote: ") if ":" in mark else "", mark == "prints")
        for mark, language, code in _BLOCK.findall(document.read_text(encoding="utf-8"))
    ]


def python_blocks(document: Path) -> list[str]:
    """The Python of a page, quotations left out."""
    return [b.code for b in blocks(document) if b.language == "python" and not b.quoted]


def commands(block: Block) -> list[list[str]]:
    """The command lines of a shell block, each as its words."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_page(document: Path) -> None:
    """Run a page's Python and commands in the order of reading, in the current directory.

    What is said to be printed must be.  Builds are made short where the page leaves the level open.
    """
    with quick_builds():
        _run(document)


@contextlib.contextmanager
def quick_builds() -> Iterator[None]:
    """Level 1 for builds from Python that do not say theirs."""
    init = BuildConfig.__init__
    before = init.__defaults__ or ()
    names = [f.name for f in fields(BuildConfig)][-len(before) :]
    init.__defaults__ = tuple(
        1 if name == "optimization_level" else value
        for name, value in zip(names, before, strict=True)
    )
    try:
        yield
    finally:
        init.__defaults__ = before


def _run(document: Path) -> None:
    names: dict[str, Any] = {}
    shown = ""
    for block in blocks(document):
        if block.printed:
            assert shown.strip() == block.code.strip()
        elif block.language == "python" and not block.quoted:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.code, document.name, "exec"), names)
            shown = printed.getvalue()
        elif block.language == "sh":
            shown = "".join(map(_run_command, commands(block)))


def _run_command(words: list[str]) -> str:
    if words[0] != "camshaft":
        assert words[0] in OTHER_COMMANDS, words
        return ""
    arguments = words[1:]
    if "onnxruntime" in arguments and importlib.util.find_spec("onnxruntime") is None:
        return ""
    if arguments[0] == "bench":
        arguments += ["--seconds", "0.1"]
    if any(a.endswith(".onnx") for a in arguments[1:2]) and "--help" not in arguments:
        arguments += ["--level", "2" if "--timing-cache" in arguments else "1"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, f"{shlex.join(words)}: {result.output}"
    return result.output


# -- what the examples read ------------------------------------------------------------------------


def write_example_files(folder: Path) -> None:
    """model.onnx, which classifies images, and its photos; detector.onnx, which takes any images;
    voice.onnx, whose sampling rate decides branches; folder.onnx, one of whose inputs is a shape;
    detector_tail.onnx, which finds what is above a threshold; transformer.onnx, a layer of one;
    decoder.onnx, two layers of one with keys and values of earlier tokens; lstm.onnx, an LSTM; yolo.onnx, a raw head of a detector, and
    labelled images in val."""
    _write_classifier(folder / "model.onnx", _PHOTO, (1, 1000))
    _write_detector(folder / "detector.onnx")
    onnx.save(voice(), folder / "voice.onnx")
    shaped = small_model("y = Reshape(x, to)", "float[n] x, int64[2] to", "float[a,b] y")
    onnx.save(shaped, folder / "folder.onnx")
    tail = small_model(
        "least = Constant<value = float {0.5}>() hit = Greater(scores, least) where = NonZero(hit) "
        "two = Constant<value = float {2}>() one = Constant<value_ints = [-1]>() "
        "rows = Reshape(where, one) found = Gather(boxes, rows) picked = Mul(found, two)",
        "float[n] scores, float[n,4] boxes",
        "float[k,4] picked",
    )
    onnx.save(tail, folder / "detector_tail.onnx")
    onnx.save(_transformer(), folder / "transformer.onnx")
    _write_yolo(folder / "yolo.onnx", folder / "val")
    onnx.save(decoder("operator"), folder / "decoder.onnx")
    lstm = Layer("lstm", steps="t", batch="n", width=64, hidden=96)
    onnx.save(lstm.model(), folder / "lstm.onnx")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for i in range(32):
        np.save(folder / "photos" / f"{i}.npy", rng.standard_normal(_PHOTO, np.float32))


def _transformer() -> onnx.ModelProto:
    """One layer, 4 heads of 16, of tokens [1,S,64] with a mask of those that count."""
    model = small_model(
        "heads = Constant<value_ints = [0, 0, 4, 16]>() flat = Constant<value_ints = [0, 0, 64]>() "
        "a = MatMul(x, wq) b = MatMul(x, wk) c = MatMul(x, wv) "
        "d = Reshape(a, heads) e = Reshape(b, heads) f = Reshape(c, heads) "
        "q = Transpose<perm = [0, 2, 1, 3]>(d) k = Transpose<perm = [0, 2, 3, 1]>(e) "
        "v = Transpose<perm = [0, 2, 1, 3]>(f) s = MatMul(q, k) scale = Constant<value = float {0.25}>() "
        "t = Mul(s, scale) low = Constant<value = float {-1e9}>() zero = Constant<value = float {0}>() "
        "bias = Where(mask, zero, low) u = Add(t, bias) p = Softmax<axis = -1>(u) o = MatMul(p, v) "
        "z = Transpose<perm = [0, 2, 1, 3]>(o) merged = Reshape(z, flat) attended = MatMul(merged, wo) "
        "y = Add(x, attended)",
        "float[1,s,64] x, bool[1,1,1,s] mask",
        "float[1,s,64] y",
    )
    model.graph.initializer.extend(_weights(dict.fromkeys(("wq", "wk", "wv", "wo"), (64, 64))))
    return model


def _weights(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[onnx.TensorProto]:
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        yield numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 4, name)


def _write_yolo(path: Path, images: Path) -> None:
    """Boxes [1,4+2,64] of images [1,3,64,64], in one row of cells each; the labels are what it finds best."""
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["h"], "head", strides=[8, 8]),
        helper.make_node("Sigmoid", ["h"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["s", "side"], ["b"], "boxes"),
        helper.make_node("Reshape", ["b", "shape"], ["output0"], "rows"),
    ]
    side = np.array([64, 64, 64, 64, 1, 1], np.float32).reshape(1, 6, 1, 1)
    weights = [*_weights({"w": (6, 3, 8, 8)}), numpy_helper.from_array(side, "side")]
    weights.append(numpy_helper.from_array(np.array([1, 6, 64]), "shape"))
    save_model(path, nodes, ("images", (1, 3, 64, 64)), ("output0", (1, 6, 64)), weights)
    network = ReferenceEvaluator(str(path))
    rng = np.random.default_rng(0)
    images.mkdir()
    for i in range(16):
        x = rng.standard_normal((1, 3, 64, 64), np.float32)
        rows = network.run(None, {"images": x})[0][0].T
        best = rows[np.argsort(-rows[:, 4:].max(1))[:3]]
        centre, half = best[:, :2], best[:, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], 1)
        np.savez(images / f"{i:02}.npz", images=x, boxes=boxes, labels=best[:, 4:].argmax(1))


def _write_classifier(path: Path, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c"], "conv1", strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"], "relu1"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2"], ["output"], "fc", transB=1),
    ]
    weights = list(_weights({"w1": (8, 3, 3, 3), "w2": (1000, 8)}))
    save_model(path, nodes, ("input", x), ("output", y), weights)


def _write_detector(path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c"], "conv1", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu1"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w2"], ["h"], "head"),
        helper.make_node("Sigmoid", ["h"], ["heat"], "sigmoid"),
    ]
    weights = list(_weights({"w1": (8, 3, 3, 3), "w2": (1, 8, 1, 1)}))
    save_model(path, nodes, ("image", ("N", 3, "H", "W")), ("heat", ("N", 1, "h", "w")), weights)


def save_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    x: tuple[str, tuple[int | str, ...]],
    y: tuple[str, tuple[int | str, ...]],
    weights: list[onnx.TensorProto],
) -> None:
    """Write a model of one float input x and one float output y, each a name and a shape."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (x, y)]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
