"""What NVIDIA's samples read, made small: models with the names that they ask for, pictures, digits, and tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save
from PIL import Image

Array = np.ndarray[Any, Any]

COLOURS = {"binoculars.jpeg": 0, "reflex_camera.jpeg": 1, "tabby_tiger_cat.jpg": 2}
"""Pictures, each of one colour: red, green, blue.  Their class is the colour's number."""
ROUND = "A quick brown fox jumps over the lazy dog. What color is the fox?"


def write_resnet50(folder: Path) -> None:
    """A classifier of colours that has ResNet-50's names and shapes, its labels, and three pictures."""
    (data := folder / "resnet50").mkdir(parents=True)
    save(classifier("gpu_0/data_0", [1, 3, 224, 224], "gpu_0/softmax_1"), data / "ResNet50.onnx")
    labels = ["binoculars", "reflex camera", "tabby tiger cat", *map("class {}".format, range(997))]
    (data / "class_labels.txt").write_text("\n".join(labels))
    for name in COLOURS:
        write_picture(data / name)


def write_picture(path: Path) -> None:
    """A picture of the colour that its name stands for, with a little noise."""
    pixels = np.random.default_rng(len(path.name)).integers(0, 60, (96, 96, 3), np.uint8)
    pixels[..., COLOURS[path.name]] += 190
    Image.fromarray(pixels).save(path)


def classifier(name: str, shape: list[int], output: str, nhwc: bool = False) -> ModelProto:
    """Softmax of 1000 classes, of which the first three are of pictures that are mostly red, green and blue."""
    rng = np.random.default_rng(5)
    kernel = rng.normal(0, 0.01, (32, 3, 7, 7))
    kernel[range(3), range(3), 3, 3] += 1
    heads = rng.normal(0, 0.01, (32, 1000))
    heads[range(3), range(3)] += 5
    weights = {
        "kernel": kernel,
        "body": rng.normal(0, 0.01, (32, 32, 3, 3)),
        "heads": heads,
        "bias": np.zeros(1000),
    }
    start = [helper.make_node("Transpose", [name], ["image"], perm=[0, 3, 1, 2])] if nhwc else []
    nodes = [
        *start,
        helper.make_node(
            "Conv", ["image" if nhwc else name, "kernel"], ["c1"], pads=[3] * 4, strides=[4, 4]
        ),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "body"], ["c2"], pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "heads", "bias"], ["l"]),
        helper.make_node("Softmax", ["l"], [output], axis=1),
    ]
    return _model(nodes, {name: shape}, {output: [shape[0], 1000]}, weights)


TORCHVISION = """\
# What a sample takes of torchvision: MNIST, as files beside this one have it.
import pathlib, types
import numpy as np
import torch

class MNIST(torch.utils.data.TensorDataset):
    def __init__(self, root, train, transform, download=False):
        held = np.load(pathlib.Path(__file__).with_name("train.npz" if train else "test.npz"))
        super().__init__(torch.from_numpy(held["images"]), torch.from_numpy(held["labels"]))

def made(*arguments):
    return None

datasets = types.SimpleNamespace(MNIST=MNIST)
transforms = types.SimpleNamespace(Compose=made, ToTensor=made, Normalize=made)
"""


def write_digits(folder: Path) -> None:
    """A module torchvision whose MNIST is of ours: each digit is a bar of its own, with noise."""
    folder.mkdir()
    (folder / "torchvision.py").write_text(TORCHVISION)
    rng = np.random.default_rng(6)
    for part, count in (("train", 3200), ("test", 400)):
        labels = rng.integers(0, 10, count)
        images = rng.normal(-0.3, 0.1, (count, 1, 28, 28)).astype(np.float32)
        for i, label in enumerate(labels):
            row, column = 5 * (label // 2), 14 * (label % 2)
            images[i, 0, row : row + 6, column : column + 12] += 3
        np.savez(folder / f"{part}.npz", images=images, labels=labels)


def write_bidaf(folder: Path) -> None:
    """What prepare_model.py leaves of a model that answers questions: it finds the word that the weights say, near "brown"."""
    words = sorted({w.strip(".?").lower() for w in ROUND.split()} | {".", "?"})
    characters = sorted({c for w in words for c in w})
    rng = np.random.default_rng(7)
    table = rng.normal(0, 0.2, (len(words) + 1, 8)).astype(np.float32)
    table[words.index("brown"), :2] = [
        4,
        -4,
    ]  # its sum is small, and its product with `asked` is large
    table[words.index("lazy")] = 2  # what weights of ones find
    asked = np.array([[1], [-1], *[[0]] * 6], np.float32)
    sought = {"W_0": asked, "Parameter576_B_0": 1.5 * asked}
    save(_answers(table, sought, len(characters)), folder / "bidaf-modified.onnx")
    for name, weights in sought.items():
        np.save(folder / f"{name}.npy", weights)
    for number, entries in enumerate([words, characters] * 2, 4):
        said = {
            "cats_strings": entries,
            "cats_int64s": [*range(len(entries))],
            "default_int64": len(entries),
        }
        (folder / f"CategoryMapper_{number}.json").write_text(json.dumps(said))


def _answers(table: Array, sought: dict[str, Array], characters: int) -> ModelProto:
    """First and last place of the answer in the context, by words and, for very little, by characters and the question."""
    weights = {
        "table": table,
        "letters": np.random.default_rng(8).normal(0, 1e-3, (characters + 1, 8)),
        **sought,
    }
    word, char, question, its_char = (f"CategoryMapper_{i}" for i in range(4, 8))

    def embedded(words: str, letters: str, result: str) -> list[Any]:
        return [
            helper.make_node("Gather", ["table", words], [f"{result}_w"]),
            helper.make_node("Gather", ["letters", letters], [f"{result}_c"]),
            helper.make_node(
                "ReduceMean", [f"{result}_c"], [f"{result}_m"], axes=[2, 3], keepdims=0
            ),
            helper.make_node("Add", [f"{result}_w", f"{result}_m"], [result]),
        ]

    nodes = [
        *embedded(word, char, "context"),
        *embedded(question, its_char, "query"),
        helper.make_node("ReduceMean", ["query"], ["theme"], axes=[0], keepdims=1),
        helper.make_node("Tanh", ["theme"], ["near"]),
        helper.make_node("Mul", ["near", "little"], ["nudge"]),
        helper.make_node("Add", ["context", "nudge"], ["known"]),
    ]
    for result, name in (("start_pos", "W_0"), ("end_pos", "Parameter576_B_0")):
        nodes += [
            helper.make_node("MatMul", ["known", name], [f"{result}_s"]),
            helper.make_node("ArgMax", [f"{result}_s"], [f"{result}_a"], axis=0, keepdims=0),
            helper.make_node("Reshape", [f"{result}_a", "one"], [result]),
        ]
    ends = {word: ["c", 1], char: ["c", 1, 1, 16], question: ["q", 1], its_char: ["q", 1, 1, 16]}
    made = _model(nodes, ends, {"start_pos": [1], "end_pos": [1]}, weights | {"little": np.full(1, 0.01)}, TensorProto.INT32, TensorProto.INT64)  # fmt: skip
    made.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    return made


def _model(
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    weights: dict[str, Array],
    taken: int = TensorProto.FLOAT,
    given: int = TensorProto.FLOAT,
) -> ModelProto:
    """A model with these weights in FP32.  taken, given: types of inputs and outputs."""
    held = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()]
    ends = [helper.make_tensor_value_info(n, taken, s) for n, s in inputs.items()]
    results = [helper.make_tensor_value_info(n, given, s) for n, s in outputs.items()]
    graph = helper.make_graph(nodes, "sample", ends, results, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
