"""Whole modules as engines: torch.export reads them, camshaft builds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from camshaft.config import BuildConfig
from camshaft.errors import BindingError, BuildError, ConfigError, ModelError, RefitError
from camshaft.frontends.torch.importer import Program, import_program
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from camshaft.torch.dims import dims_of
from camshaft.torch.parts import EngineCall, fed, versions
from camshaft.torch.pending import Pending
from camshaft.torch.quantizers import held, quantizers
from camshaft.torch.recurrent import KeptWhole

AUTOGRAD = ("error", "eager")


class Compiled:
    """A module that an engine computes; calls take and give what the module's do.

    module: the PyTorch module, None of an exported program.
    Calls share no state and may come from any number of threads.  Inputs are read in place where they lie as the example's did
    (contiguous, or in torch.channels_last), and results are the engine's own memory, which lies as PyTorch's own results would.
    Where the engine is built in the background, calls are PyTorch's until it is there.  Errors: BindingError for arguments of another structure than the example's, for inputs that
    require gradients (see `compile`), and for weights that were changed since; ShapeError for shapes that the engine does not
    take.
    """

    def __init__(
        self,
        pending: Pending,
        program: Program,
        exported: ExportedProgram,
        module: torch.nn.Module | None,
        autograd: str,
    ) -> None:
        self.module, self._pending, self._autograd = module, pending, autograd
        self._eager = exported.module() if module is None and pending.engine is None else module
        self._call = EngineCall(pending, program, self._as_pytorch)
        self._refittable = bool(program.imported.weights)
        if self._refittable:
            self._note_module()
        spec = exported.call_spec
        self._in_spec, self._out_spec = spec.in_spec, spec.out_spec
        self._note_weights()
        flat = pytree.tree_leaves(exported.example_inputs)
        self._fixed = {
            n: x for n, x in enumerate(flat) if not isinstance(x, torch.Tensor | torch.SymInt)
        }

    @property
    def engine(self) -> Engine:
        """What computes; waits for it.  Raises what the build raised, where it failed."""
        self._pending.wait()
        if self._pending.engine is None:
            raise BuildError(f"no engine could be built: {self._pending.failure}")
        return self._pending.engine

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the build has ended, or for `timeout` seconds; whether the engine is there."""
        return self._pending.wait(timeout)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        flat = self._flat(args, kwargs)
        if torch.is_grad_enabled() and any(
            isinstance(x, torch.Tensor) and x.requires_grad for x in flat
        ):
            if self._autograd == "eager" and self.module is not None:
                return self.module(*args, **kwargs)
            raise BindingError(
                "an input requires gradients, which an engine does not compute: call it under torch.no_grad(), or compile "
                'with autograd="eager"'
            )
        if versions(self._weights) != self._versions or any(
            of.get(name) is not held for of, name, held in self._owners
        ):
            raise BindingError(
                "weights of the module were changed since it was compiled; compile it again, or compile it with refittable=True and "
                "call refit()"
            )
        return pytree.tree_unflatten(self._call(*flat), self._out_spec)

    def refit(self) -> Compiled:
        """Take the module's weights as they are now, in milliseconds (see `Engine.refit`); itself.  No call may be in progress.

        RefitError, which names it, for a weight that was changed and cannot be exchanged, and for a module that was not
        compiled with `refittable=True`.
        """
        if self.module is None:
            raise RefitError("an exported program has no module whose weights could be taken")
        if not self._refittable:
            raise RefitError(
                "the module's weights cannot be exchanged: compile it with refittable=True"
            )
        self._require_same_module(self.module)
        self.engine.refit(named(self.module))
        self._note_weights()
        return self

    def _require_same_module(self, module: torch.nn.Module) -> None:
        """RefitError if a module, a weight or a tensor that is neither was replaced since it was compiled."""
        before, now = self._modules, dict(module.named_modules())
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) is not now.get(name):
                raise RefitError(f"module {name!r} was replaced or added: compile it again")
        gone = sorted(self._names - named(module).keys())
        if gone:
            raise RefitError(f"weight {gone[0]!r} is gone: compile it again")
        for of, name, before_it in self._plain:
            tensor = of.get(name)
            if not isinstance(tensor, torch.Tensor) or not torch.equal(tensor, before_it):
                raise RefitError(
                    f"tensor {name!r} of the module is no parameter or buffer, so that it is part of the engine: compile it again"
                )

    def _note_weights(self) -> None:
        """What the module's weights are, so that changes are noticed."""
        module = self.module
        self._weights = [] if module is None else [*module.parameters(), *module.buffers()]
        self._versions = versions(self._weights)
        self._owners = [] if module is None else _owners(module)

    def _note_module(self) -> None:
        """What stays as it is, and is not compared in calls."""
        modules = {} if self.module is None else dict(self.module.named_modules())
        self._modules = modules
        self._names = set() if self.module is None else named(self.module).keys()
        self._plain = [
            (vars(m), name, tensor.detach().clone())
            for m in modules.values()
            for name, tensor in vars(m).items()
            if isinstance(tensor, torch.Tensor)
        ]

    def _as_pytorch(self, *flat: Any) -> list[Any]:
        """The results of PyTorch, for as long as there is no engine."""
        assert self._eager is not None
        args, kwargs = pytree.tree_unflatten(flat, self._in_spec)
        return list(pytree.tree_leaves(self._eager(*args, **kwargs)))

    def _flat(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        wanted = self._in_spec
        names = list(wanted.children()[1].context or ()) if wanted.children() else []
        if set(names) == set(kwargs):
            kwargs = {n: kwargs[n] for n in names}
        flat, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
        if spec != wanted:
            raise BindingError(
                f"arguments have the structure {spec}; the module was compiled for {wanted}"
            )
        for place, value in enumerate(flat):
            self._check(place, value)
        return list(flat)

    def _check(self, place: int, value: Any) -> None:
        """BindingError for what is no tensor where the example had one, and for values that are built in and differ."""
        if place not in self._fixed:
            if not isinstance(value, torch.Tensor):
                raise BindingError(
                    f"argument {place} is of type {type(value).__name__}; the module was compiled for a tensor there"
                )
            return
        built_in = self._fixed[place]
        if value is built_in:
            return
        if isinstance(value, torch.Tensor) or type(value) is not type(built_in) or value != built_in:  # fmt: skip
            shown = "a tensor" if isinstance(value, torch.Tensor) else repr(value)
            raise BindingError(
                f"argument {place} is {shown}; the module was compiled for {built_in!r}, which is built into the engine: "
                "compile it again for another"
            )


def named(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a module, by all their names."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _owners(module: torch.nn.Module) -> list[tuple[Mapping[str, Any], str, Any]]:
    """Where a module keeps its weights and its modules: (of an object, by name, what is there)."""
    return [
        (of, name, held)
        for m in module.modules()
        for of in (m._parameters, m._buffers, m._modules)
        for name, held in of.items()
    ]


def compile(
    model: torch.nn.Module | ExportedProgram,
    example: Sequence[Any] = (),
    config: BuildConfig | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    calibration: Iterable[Any] | None = None,
    autograd: str = "error",
    background: bool = False,
    **options: Any,
) -> Compiled:
    """Build an engine of a module and return what is called like it.

    model: a module in evaluation mode, or what torch.export made of one.  example, kwargs: arguments for a call.
    dynamic_shapes: as for torch.export: which sizes vary; they have the ranges said there, and are tuned for the example's.
    calibration: calls for INT8, each a tuple of positional arguments, or one tensor.
    autograd: what a call does whose inputs require gradients, "error" or "eager" (the module itself).
    background: build in a thread, while calls are PyTorch's (`Compiled.wait` waits); a build that fails is a warning of the next call.
    config, options: as for `camshaft.build`.

    Raises ModelError for a module that torch.export cannot read or that has operators without a form here, by name, and what
    `camshaft.build` raises.
    """
    if autograd not in AUTOGRAD:
        raise ConfigError(f"autograd is {autograd!r}; it is one of {', '.join(AUTOGRAD)}")
    config = _config(model, config, options)
    read = exported(model, example, kwargs, dynamic_shapes)
    dims = dims_of(model, example, kwargs, dynamic_shapes)
    program = import_program(read, dims, as_they_lie=True, refittable=config.refittable)
    build = _build(program, config, calibration)
    pending = Pending(lambda _: build(), background=background)
    module = model if isinstance(model, torch.nn.Module) else None
    return Compiled(pending, program, read, module, autograd)


def export(
    model: torch.nn.Module | ExportedProgram,
    example: Sequence[Any],
    path: str | os.PathLike[str],
    config: BuildConfig | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    calibration: Iterable[Any] | None = None,
    **options: Any,
) -> Engine:
    """Build an engine of a module and write it to a file, which runs without PyTorch (`camshaft.load`).

    Arguments and errors as of `compile`.  Inputs and outputs have the names that torch.export gives them.
    """
    config = _config(model, config, options)
    read = exported(model, example, kwargs, dynamic_shapes)
    dims = dims_of(model, example, kwargs, dynamic_shapes)
    program = import_program(read, dims, refittable=config.refittable)
    engine = _build(program, config, calibration)()
    engine.save(Path(path))
    return engine


def exported(
    model: torch.nn.Module | ExportedProgram,
    example: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    dynamic_shapes: Any,
) -> ExportedProgram:
    """What torch.export makes of a module in evaluation mode.  ModelError where it cannot, ConfigError for arguments that are none."""
    if isinstance(model, ExportedProgram):
        return model
    if not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"model is of type {type(model).__name__}; give a torch.nn.Module or what torch.export made of one"
        )
    if model.training:
        raise ModelError("the module is in training mode: call model.eval() first")
    if isinstance(example, torch.Tensor):
        raise ConfigError("example is a tensor; give a tuple of arguments: (tensor,)")
    if quantizers(model):
        model = held(model)
    try:
        with torch.no_grad(), KeptWhole():
            return torch.export.export(
                model, tuple(example), dict(kwargs or {}), dynamic_shapes=dynamic_shapes
            )
    except Exception as error:
        raise ModelError(f"torch.export cannot read the module: {error}") from error


def _config(model: Any, config: BuildConfig | None, options: Mapping[str, Any]) -> BuildConfig:
    """ConfigError for options that there are not, or that are not for the model."""
    made = BuildConfig.of(config, dict(options))
    if made.refittable and isinstance(model, torch.nn.Module) and quantizers(model):
        raise ConfigError(
            "refittable= beside quantizers in the module, whose weights an engine holds as levels: leave it out"
        )
    return made


def _build(
    program: Program, config: BuildConfig, calibration: Iterable[Any] | None
) -> Callable[[], Engine]:
    """What builds the engine."""
    batches = None if calibration is None else (_feeds(call, program) for call in calibration)
    session = BuildSession(program.imported, config, batches)

    def build() -> Engine:
        engine = session.run()
        for remark in (*session.remarks, *session.hints):
            warnings.warn(remark, stacklevel=4)
        return engine

    return build


def _feeds(call: Any, program: Program) -> dict[str, np.ndarray]:
    """A call's tensors by the names of inputs."""
    tensors = [x for x in pytree.tree_leaves(call) if isinstance(x, torch.Tensor)]
    names = [n for n in program.inputs if n is not None]
    if len(tensors) != len(names):
        raise ConfigError(
            f"calibration= has a call of {len(tensors)} tensors; the model takes {len(names)}: {', '.join(names)}"
        )
    return {n: fed(program, n, t) for n, t in zip(names, tensors, strict=True)}
