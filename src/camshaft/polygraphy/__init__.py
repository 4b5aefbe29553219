"""camshaft within Polygraphy: a runner, its loaders, and options of `polygraphy run`.

    polygraphy run model.onnx --camshaft --onnxrt

    from camshaft.polygraphy import CamshaftRunner, EngineFromOnnx

    with CamshaftRunner(EngineFromOnnx("model.onnx", precision={"bf16"})) as runner:
        outputs = runner.infer({"x": image})

Polygraphy finds the options by the entry point `polygraphy.run.plugins`.
"""

from camshaft.polygraphy.loaders import EngineFromFile, EngineFromOnnx, SaveEngine
from camshaft.polygraphy.runner import CamshaftRunner

__all__ = ["CamshaftRunner", "EngineFromFile", "EngineFromOnnx", "SaveEngine"]
