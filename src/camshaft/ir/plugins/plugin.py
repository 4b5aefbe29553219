"""A plugin: an operator of a user, with its reference in NumPy, its inference and its kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.plugins import registry
from camshaft.ir.plugins.asked import (
    Loose,
    called,
    integer_ranges,
    result_types,
    sample_arrays,
)
from camshaft.ir.plugins.attributes import completed
from camshaft.ir.plugins.declared import (
    Combinations,
    combinations,
    require_attributes,
    require_flag,
    require_function,
    require_name,
    require_text,
    require_tolerance,
    require_version,
    variants,
)
from camshaft.ir.plugins.kernels import (
    AddressKernel,
    Arguments,
    Fits,
    Items,
    Kernel,
    LanguageKernel,
    Params,
    Scratch,
    TextKernel,
    Work,
    address_of,
    always,
    no_arguments,
    one_for_each_element,
)
from camshaft.ir.plugins.signatures import declared_by
from camshaft.ir.types import TensorType


@dataclass(eq=False)
class Plugin:
    """An operator of a user; `camshaft.plugin` makes it.

    name: qualified, "domain::type".  reference: (*inputs, **attributes) -> array or arrays; the meaning.
    infer: (*types, **attributes) -> what the results are, None: as the first input.
    attributes: their defaults by name, `camshaft.ir.op.REQUIRED` for those without.
    version: to be raised when results change: timings of other versions are not taken.
    types: element types of the inputs that it takes, None: any.
    moves: whether results are elements of input 0, moved or selected, and nothing is computed: then quantization
        passes through it, and it runs on 8-bit integers between layers that do.
    tolerance: how far floats of kernels may be off, of the largest of each result; None: as sums may, 1e-3.
    integers: (*types, **attributes) -> input number -> least and greatest integer that is valid there.
    samples: (rng, *types, **attributes) -> an array for each input, of its type, on which kernels are tried; None: random
        ones, of valid integers.
    check: (**attributes) -> None, raises ModelError where this process lacks what the reference needs; asked when an
        engine is loaded that runs it.
    int8: the plugin that computes it on bytes: of the same inputs, those of floats that are quantized as u8, and of the
        same attributes and those of `quantization_attributes`; its result is u8.  None: it is computed on floats.
    module: the name of the module that declares it.
    """

    name: str
    reference: Callable[..., Any]
    infer: Callable[..., Any] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    types: tuple[tuple[str, ...], ...] | None = None
    moves: bool = False
    tolerance: float | None = None
    integers: Callable[..., Mapping[int, tuple[Any, Any]]] | None = None
    int8: Plugin | None = None
    check: Callable[..., None] | None = None
    samples: Callable[..., Any] | None = None
    module: str = ""
    kernels: list[Kernel] = field(default_factory=list)

    @cached_property
    def domain(self) -> str:
        """Of ONNX nodes that are it."""
        return registry.split(self.name)[0]

    @cached_property
    def op_type(self) -> str:
        """Of ONNX nodes that are it."""
        return registry.split(self.name)[1]

    def __call__(self, *arrays: Any, **attrs: Any) -> Any:
        """The reference's results: an array, or a tuple of several."""
        results = self.computed(arrays, self.complete(attrs))
        return results[0] if len(results) == 1 else tuple(results)

    # -- what the pipeline asks ---------------------------------------------------------------

    def complete(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        """As `attributes.completed`."""
        return completed(self.name, self.attributes, attrs)

    def inferred(
        self, types: Sequence[TensorType | None], attrs: Mapping[str, Any]
    ) -> list[TensorType]:
        """The results' types; ModelError if the inputs' are not among those that it takes, or what the user's function
        raises.  UndecidedExtent where a size hangs on data."""
        made = self.loosely_inferred(types, attrs)
        for number, (_, shape) in enumerate(made):
            if None in shape:
                raise UndecidedExtent(
                    f"the shape of result {number} of plugin {self.name!r}", "its inputs' shapes"
                )
        return [TensorType(dtype, shape) for dtype, shape in made]  # type: ignore[arg-type]

    def loosely_inferred(
        self, types: Sequence[TensorType | None], attrs: Mapping[str, Any]
    ) -> list[Loose]:
        """As `inferred`, with None for extents that hang on data."""
        given = tuple(t.dtype.name for t in types if t is not None)
        if self.types is not None and given not in self.types:
            takes = " or ".join(f"({', '.join(c)})" for c in self.types)
            raise ModelError(
                f"plugin {self.name!r} takes inputs of {takes}, not ({', '.join(given) or 'none'})"
            )
        if self.infer is None and not (types and types[0] is not None):
            raise ModelError(
                f"plugin {self.name!r} has no first input that its result is as; give it infer"
            )
        made = (
            types[0]
            if self.infer is None
            else called(self.name, "inference", self.infer, types, attrs)
        )
        return result_types(self.name, made)

    def computed(self, arrays: Sequence[Any], attrs: Mapping[str, Any]) -> list[np.ndarray]:
        """The reference's results.  It gets views that cannot be written: others read the same arrays."""
        views = [_read_only(a) for a in arrays]
        made = called(self.name, "reference", self.reference, views, attrs)
        return [np.asarray(a) for a in (made if isinstance(made, list | tuple) else [made])]

    def valid_integers(
        self, types: Sequence[TensorType | None], attrs: Mapping[str, Any]
    ) -> Mapping[int, tuple[Any, Any]]:
        """Input number -> the least and the greatest integer that is valid there."""
        if self.integers is None:
            return {}
        made = called(self.name, "integers", self.integers, types, attrs)
        return integer_ranges(self.name, made, len(types))

    def sampled(
        self,
        types: Sequence[TensorType | None],
        attrs: Mapping[str, Any],
        rng: np.random.Generator,
    ) -> list[np.ndarray | None]:
        """Arrays to try kernels on, one for each input of these types; none where the plugin does not say."""
        if self.samples is None:
            return []
        made = called(self.name, "samples", self.samples, [rng, *types], attrs)
        return sample_arrays(self.name, made, types)

    def address(self, kernel: str) -> int:
        """The address of a kernel's function in this process; ModelError if it has no such kernel."""
        for k in self.kernels:
            if k.name == kernel and isinstance(k, AddressKernel):
                return k.address
        raise ModelError(
            f"plugin {self.name!r} is registered in this process without its function {kernel!r}: "
            "import the module that registers it before loading"
        )

    # -- kernels -------------------------------------------------------------------------------

    def kernel(
        self,
        *misplaced: Any,
        items: Items = one_for_each_element,
        types: Combinations = None,
        when: Fits = always,
        params: Sequence[Params] = ({},),
        scratch: Scratch | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Decorator of a function (k, work, *pointers) that writes a kernel in the kernel language."""
        if misplaced:
            raise ModelError(
                f"plugin {self.name!r}: kernel takes arguments by name; write @{self.op_type}.kernel()"
            )

        def add(write: Callable[..., None]) -> Callable[..., None]:
            require_function(write, f"plugin {self.name!r}", "a kernel", "(k, work, *pointers)")
            given = name or str(getattr(write, "__name__", "kernel"))
            self._add(
                LanguageKernel(*self._common(given, types, items, when, params, scratch), write)
            )
            return write

        return add

    def llvm(
        self,
        text: str | Callable[[Work], str],
        symbol: str,
        *,
        items: Items = one_for_each_element,
        types: Combinations = None,
        when: Fits = always,
        params: Sequence[Params] = ({},),
        scratch: Scratch | None = None,
        arguments: Arguments = no_arguments,
        name: str | None = None,
    ) -> None:
        """Add a kernel in LLVM IR: the function `symbol` of the text, or of the text that a function of the work gives."""
        require_text(symbol, f"plugin {self.name!r}", "symbol")
        whose = f"kernel {symbol!r} of plugin {self.name!r}"
        if not isinstance(text, str):
            require_function(text, whose, "text", "the work that gives LLVM IR, and no text")
        require_function(arguments, whose, "arguments", "the work")
        common = self._common(name or symbol, types, items, when, params, scratch)
        self._add(TextKernel(*common, text, symbol, arguments))

    def function(
        self,
        function: Any,
        *,
        types: Combinations,
        items: Items = one_for_each_element,
        when: Fits = always,
        scratch: Scratch | None = None,
        arguments: Arguments = no_arguments,
        name: str | None = None,
    ) -> None:
        """Add a compiled function of this process as a kernel: its address as an int, a ctypes or cffi function pointer,
        or numba's `@cfunc`.  It is called without Python's lock, by several threads.  Engines hold its name."""
        address = address_of(function)
        if not address:
            raise ModelError(f"plugin {self.name!r}: the function is a null pointer")
        given = name or str(getattr(function, "__name__", "function"))
        require_function(
            arguments, f"kernel {given!r} of plugin {self.name!r}", "arguments", "the work"
        )
        common = self._common(given, types, items, when, ({},), scratch)
        self._add(AddressKernel(*common, address, arguments, declared_by(function), function))

    def _common(
        self,
        name: str,
        types: Combinations,
        items: Items,
        when: Fits,
        params: Sequence[Params],
        scratch: Scratch | None,
    ) -> tuple[
        str, tuple[tuple[str, ...], ...] | None, Items, Fits, tuple[Params, ...], Scratch | None
    ]:
        """What all kinds of kernels state; ModelError names what it cannot be."""
        if not isinstance(name, str) or not name or "/" in name:
            raise ModelError(f"plugin {self.name!r}: {name!r} is no name of a kernel")
        whose = f"kernel {name!r} of plugin {self.name!r}"
        require_function(items, whose, "items", f"the work; give lambda work: {items!r:.20}")
        require_function(when, whose, "when", "the work")
        if scratch is not None:
            require_function(
                scratch, whose, "scratch", f"the work; give lambda work: {scratch!r:.20}"
            )
        return name, combinations(types, whose), items, when, variants(params, whose), scratch

    def _add(self, kernel: Kernel) -> None:
        """One of the same name takes the place of the other."""
        self.kernels = [k for k in self.kernels if k.name != kernel.name] + [kernel]


def quantization_attributes(
    inputs: Sequence[tuple[float, int]], output: tuple[float, int]
) -> dict[str, Any]:
    """What a plugin on bytes gets beside the attributes of the one on floats.  x = scale * (level - zero).

    inputs: scale and zero point of each quantized input.  output: of the result.
    """
    return {
        "input_scales": tuple(s for s, _ in inputs),
        "input_zeros": tuple(z for _, z in inputs),
        "output_scale": output[0],
        "output_zero": output[1],
    }


def plugin(
    name: str,
    *,
    infer: Callable[..., Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    version: int = 1,
    types: Combinations = None,
    moves: bool = False,
    tolerance: float | None = None,
    integers: Callable[..., Mapping[int, tuple[Any, Any]]] | None = None,
    int8: Plugin | None = None,
    check: Callable[..., None] | None = None,
    samples: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Plugin]:
    """Decorator that makes an operator of its reference in NumPy, and registers it.

    name: "domain::type", as ONNX nodes are called.  The function takes arrays (None where an input is left out) and
    attributes by name and gives an array or several.  The rest as in `Plugin`, which has decorators for kernels.
    """
    require_name(name)
    whose, module = f"plugin {name!r}", str(sys._getframe(1).f_globals.get("__name__"))
    for argument, function in (
        ("infer", infer),
        ("integers", integers),
        ("check", check),
        ("samples", samples),
    ):
        if function is not None:
            require_function(function, whose, argument, "the inputs' types and the attributes")
    require_attributes({} if attributes is None else attributes, whose)
    require_version(version, whose)
    require_flag(moves, whose, "moves")
    require_tolerance(tolerance, whose)
    if int8 is not None and not isinstance(int8, Plugin):
        raise ModelError(f"{whose}: int8 is {int8!r:.60}, not a plugin")

    def make(reference: Callable[..., Any]) -> Plugin:
        require_function(reference, whose, "the reference", "arrays and attributes")
        made = Plugin(
            name,
            reference,
            infer,
            dict(attributes or {}),
            version,
            combinations(types, whose),
            moves,
            tolerance,
            integers,
            int8,
            check,
            samples,
            module,
        )
        registry.register(made)
        return made

    return make


def _read_only(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view
