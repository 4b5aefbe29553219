"""Options of `polygraphy run`.

Polygraphy asks of its groups of options that docstrings are of the form `Title: what is in the group`, and name the groups that
they depend on.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from polygraphy.tools.args import DataLoaderArgs, ModelArgs, OnnxLoadArgs, TrtConfigArgs
from polygraphy.tools.args import util as args_util
from polygraphy.tools.args.base import BaseArgs, BaseRunnerArgs
from polygraphy.tools.script import inline, make_invocable, safe

_PRECISIONS = ("fp16", "bf16", "int8")
_LEVELS = range(6)
_FROM = "camshaft.polygraphy"


class CamshaftEngineArgs(BaseArgs):
    """
    camshaft Engine: building, loading and saving engines of camshaft.

    Depends on:

        - ModelArgs
        - OnnxLoadArgs
        - TrtConfigArgs: for ranges of shapes
        - DataLoaderArgs: for calibration
    """

    def add_parser_args_impl(self) -> None:
        """Say which options there are."""
        self.group.add_argument(
            "--camshaft-precision",
            help="What is permitted beyond FP32. INT8 is calibrated with the inputs that inference runs on, "
            "unless the model has Q/DQ nodes or --camshaft-calibration-cache names a file that exists",
            nargs="+",
            choices=_PRECISIONS,
            default=None,
        )
        self.group.add_argument(
            "--camshaft-calibration-cache",
            help="File of INT8 ranges: read if it exists, else written",
            default=None,
        )
        self.group.add_argument(
            "--camshaft-optimization-level",
            help="How much a build tries",
            type=int,
            choices=_LEVELS,
            default=None,
        )
        self.group.add_argument(
            "--camshaft-timing-cache",
            help="File in which timings of kernels are kept",
            default=None,
        )
        self.group.add_argument(
            "--camshaft-threads", help="Threads that run the model", type=int, default=None
        )
        self.group.add_argument(
            "--camshaft-save-engine", help="File to save the engine to", default=None
        )

    def parse_impl(self, args: Namespace) -> None:
        """
        Parses command-line arguments and populates the following attributes:

        Attributes:
            precision (List[str]): What is permitted beyond FP32.
            options (Dict[str, Any]): Other options of `camshaft.build`.
            threads (int): Threads that run the model.
            save_path (str): File to save the engine to.
        """
        self.precision = args_util.get(args, "camshaft_precision")
        self.options = {
            "optimization_level": args_util.get(args, "camshaft_optimization_level"),
            "timing_cache": args_util.get(args, "camshaft_timing_cache"),
            "calibration_cache": args_util.get(args, "camshaft_calibration_cache"),
        }
        self.threads = args_util.get(args, "camshaft_threads")
        self.save_path = args_util.get(args, "camshaft_save_engine")

    def add_to_script_impl(self, script: Any) -> str:
        """
        Returns:
            str: The name of the loader of the engine.
        """
        model = self.arg_groups[ModelArgs]
        if model.model_type == "engine":
            call = make_invocable("EngineFromFile", model.path, threads=self.threads)
        else:
            call = self._build(script)
        script.add_import(imports=[str(call).partition("(")[0]], frm=_FROM)
        loader: str = script.add_loader(call, "load_camshaft_engine")
        if self.save_path is None:
            return loader
        script.add_import(imports=["SaveEngine"], frm=_FROM)
        saved: str = script.add_loader(
            make_invocable("SaveEngine", loader, self.save_path), "save_camshaft_engine"
        )
        return saved

    def _build(self, script: Any) -> Any:
        profiles = [
            {name: tuple(map(list, triple)) for name, triple in profile.items()}
            for profile in self.arg_groups[TrtConfigArgs].profile_dicts
        ]
        calibration = None
        if self.precision is not None and "int8" in self.precision:
            calibration = self.arg_groups[DataLoaderArgs].add_to_script(script)
            if calibration is None:
                script.add_import(imports=["DataLoader"], frm="polygraphy.comparator")
                calibration = inline(safe("DataLoader()"))
        return make_invocable(
            "EngineFromOnnx",
            self.arg_groups[OnnxLoadArgs].add_to_script(script),
            profiles=profiles or None,
            calibration=calibration,
            precision=self.precision,
            threads=self.threads,
            **self.options,
        )


class CamshaftRunnerArgs(BaseRunnerArgs):
    """
    camshaft Inference: running inference with camshaft.

    Depends on:

        - CamshaftEngineArgs
    """

    def get_name_opt_impl(self) -> tuple[str, str]:
        """Name of the runner, and the option that asks for it."""
        return "camshaft", "camshaft"

    def add_to_script_impl(self, script: Any) -> None:
        """Add the runner."""
        script.add_import(imports=["CamshaftRunner"], frm=_FROM)
        engine = self.arg_groups[CamshaftEngineArgs].add_to_script(script)
        script.add_runner(make_invocable("CamshaftRunner", engine))


def groups() -> list[BaseArgs]:
    """What the entry point gives: groups of options, each behind those that it depends on."""
    return [CamshaftEngineArgs(), CamshaftRunnerArgs()]
