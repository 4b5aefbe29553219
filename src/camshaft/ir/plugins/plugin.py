"""A plugin: an operator of a user, with its reference in NumPy, its inference and its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from camshaft.errors import CamshaftError, ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins import registry
from camshaft.ir.plugins.kernels import (
    AddressKernel,
    Arguments,
    Fits,
    Items,
    Kernel,
    LanguageKernel,
    Params,
    TextKernel,
    Work,
    address_of,
    always,
    no_arguments,
    one_for_each_element,
)
from camshaft.ir.types import DType, TensorType, dtype_named, dtype_of

Combinations = Sequence[str | Sequence[str]] | None
"""Element types by name, of one input or a sequence of all inputs' ("f32", "i8", ...), for each combination."""

Loose = tuple[DType, tuple[Extent | None, ...]]
"""Element type and shape; an extent that hangs on data is None."""


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
    check: (**attributes) -> None, raises ModelError where this process lacks what the reference needs; asked when an
        engine is loaded that runs it.
    int8: the plugin that computes it on bytes: of the same inputs, those of floats that are quantized as u8, and of the
        same attributes and those of `quantization_attributes`; its result is u8.  None: it is computed on floats.
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
        """`attrs` with defaults; ModelError names one that is unknown or missing, or of another kind than its default."""
        unknown = sorted(set(attrs) - set(self.attributes))
        if unknown:
            known = ", ".join(self.attributes) or "none"
            raise ModelError(f"plugin {self.name!r} has no attribute {unknown} (it has {known})")
        filled = {**self.attributes, **attrs}
        missing = [k for k, v in filled.items() if v is REQUIRED]
        if missing:
            raise ModelError(f"plugin {self.name!r} needs attribute {missing}")
        return {k: _as_default(v, self.attributes[k], k) for k, v in filled.items()}

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
                f"plugin {self.name!r} takes inputs of {takes}, not ({', '.join(given)})"
            )
        made: Any = types[0]
        if self.infer is not None:
            made = self._called(self.infer, "inference", types, attrs)
        several = isinstance(made, list) or (isinstance(made, tuple) and not _is_pair(made))
        return [self._type(t) for t in (made if several else [made])]

    def computed(self, arrays: Sequence[Any], attrs: Mapping[str, Any]) -> list[np.ndarray]:
        """The reference's results.  It gets views that cannot be written: others read the same arrays."""
        views = [_read_only(a) for a in arrays]
        made = self._called(self.reference, "reference", views, attrs)
        return [np.asarray(a) for a in (made if isinstance(made, list | tuple) else [made])]

    def valid_integers(
        self, types: Sequence[TensorType | None], attrs: Mapping[str, Any]
    ) -> Mapping[int, tuple[Any, Any]]:
        """Input number -> the least and the greatest integer that is valid there."""
        if self.integers is None:
            return {}
        made: Mapping[int, tuple[Any, Any]] = self._called(self.integers, "integers", types, attrs)
        return made

    def address(self, kernel: str) -> int:
        """The address of a kernel's function in this process; ModelError if it has no such kernel."""
        for k in self.kernels:
            if k.name == kernel and isinstance(k, AddressKernel):
                return k.address
        raise ModelError(
            f"plugin {self.name!r} is registered in this process without its function {kernel!r}: "
            "import the module that registers it before loading"
        )

    def _called(
        self,
        function: Callable[..., Any],
        what: str,
        given: Sequence[Any],
        attrs: Mapping[str, Any],
    ) -> Any:
        try:
            return function(*given, **attrs)
        except (CamshaftError, UndecidedExtent):
            raise
        except Exception as error:  # a user's function may raise anything
            raise ModelError(
                f"the {what} of plugin {self.name!r} failed: {type(error).__name__}: {error}"
            ) from error

    def _type(self, made: Any) -> Loose:
        if isinstance(made, TensorType):
            return made.dtype, made.shape
        if _is_pair(made):
            return _dtype(made[0]), tuple(made[1])
        raise ModelError(
            f"the inference of plugin {self.name!r} gives {made!r:.80}, not a type, a pair (dtype, shape) or a list of these"
        )

    # -- kernels -------------------------------------------------------------------------------

    def kernel(
        self,
        *,
        items: Items = one_for_each_element,
        types: Combinations = None,
        when: Fits = always,
        params: Sequence[Params] = ({},),
        name: str | None = None,
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Decorator of a function (k, work, *pointers) that writes a kernel in the kernel language."""

        def add(write: Callable[..., None]) -> Callable[..., None]:
            common = self._common(name or write.__name__, types, items, when, params)
            self._add(LanguageKernel(*common, write))
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
        arguments: Arguments = no_arguments,
        name: str | None = None,
    ) -> None:
        """Add a kernel in LLVM IR: the function `symbol` of the text, or of the text that a function of the work gives."""
        common = self._common(name or symbol, types, items, when, params)
        self._add(TextKernel(*common, text, symbol, arguments))

    def function(
        self,
        function: Any,
        *,
        types: Combinations,
        items: Items = one_for_each_element,
        when: Fits = always,
        arguments: Arguments = no_arguments,
        name: str | None = None,
    ) -> None:
        """Add a compiled function of this process as a kernel: its address as an int, a ctypes or cffi function pointer,
        or numba's `@cfunc`.  It is called without Python's lock, by several threads.  Engines hold its name."""
        address = address_of(function)
        if not address:
            raise ModelError(f"plugin {self.name!r}: the function is a null pointer")
        given = name or getattr(function, "__name__", None) or "function"
        common = self._common(str(given), types, items, when, ({},))
        self._add(AddressKernel(*common, address, arguments, function))

    def _common(
        self, name: str, types: Combinations, items: Items, when: Fits, params: Sequence[Params]
    ) -> tuple[str, tuple[tuple[str, ...], ...] | None, Items, Fits, tuple[Params, ...]]:
        if not name or "/" in name:
            raise ModelError(f"plugin {self.name!r}: {name!r} is no name of a kernel")
        if not params:
            raise ModelError(
                f"plugin {self.name!r}: kernel {name!r} has no variants; leave params out"
            )
        return name, combinations(types), items, when, tuple(params)

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


def combinations(given: Combinations) -> tuple[tuple[str, ...], ...] | None:
    """Combinations of element types in full; ModelError for a name that is no type's."""
    if given is None:
        return None
    full = tuple((c,) if isinstance(c, str) else tuple(c) for c in given)
    for name in (n for c in full for n in c):
        dtype_named(name)
    return full


def _is_pair(made: Any) -> bool:
    return (
        isinstance(made, tuple)
        and len(made) == 2
        and isinstance(made[1], list | tuple)
        and not isinstance(made[0], TensorType)
    )


def _dtype(given: Any) -> DType:
    """An element type by ours, our name for it, or NumPy's."""
    if isinstance(given, DType):
        return given
    try:
        return dtype_named(given) if isinstance(given, str) else dtype_of(np.empty(0, given))
    except ModelError:
        return dtype_of(np.empty(0, given))


def _as_default(value: Any, default: Any, name: str) -> Any:
    """The value as the kind of the default: ONNX has no bools, and ints for floats are common."""
    if isinstance(default, bool) and isinstance(value, int):
        return bool(value)
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    if isinstance(value, list):
        value = tuple(value)
    if default is not REQUIRED and default is not None:
        kind = tuple if isinstance(default, list | tuple) else type(default)
        if not isinstance(value, kind):
            raise ModelError(
                f"attribute {name!r} is {value!r:.60}, and a {kind.__name__} is needed"
            )
    return tuple(value) if isinstance(value, list) else value


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
) -> Callable[[Callable[..., Any]], Plugin]:
    """Decorator that makes an operator of its reference in NumPy, and registers it.

    name: "domain::type", as ONNX nodes are called.  The function takes arrays (None where an input is left out) and
    attributes by name and gives an array or several.  The rest as in `Plugin`, which has decorators for kernels.
    """
    if not registry.split(name)[1]:
        raise ModelError(f"{name!r} is no name of a plugin: give 'domain::type'")

    def make(reference: Callable[..., Any]) -> Plugin:
        made = Plugin(
            name,
            reference,
            infer,
            dict(attributes or {}),
            version,
            combinations(types),
            moves,
            tolerance,
            integers,
            int8,
            check,
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
