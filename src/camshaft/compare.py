"""Comparing a built engine with another runtime, tensor by tensor.

`camshaft compare` is written on top of this.  The other side is ONNX Runtime or ONNX's reference
evaluator on the model, with intermediate tensors added to its outputs; camshaft's side is the
engine itself for the outputs, and a second engine of the same built graph with taps for what lies
between (see `BuildSession.tapped`).  Tensors are matched by name, which passes keep; what fusion
made disappear cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from onnx import ModelProto, ValueInfoProto, version_converter
from onnx.reference import ReferenceEvaluator

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx.model import load_model
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import i8, u8
from camshaft.ops import QUANTIZE
from camshaft.peers import peer_errors, peer_module, read_by_all
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession

Arrays = Mapping[str, np.ndarray]
Run = Callable[[ModelProto, Arrays], list[np.ndarray]]
_NEW_OPSET = 21
_CLOSE = 1e-4  # a relative error at which no other order of axes is tried


@dataclass(frozen=True)
class TensorError:
    """How far a tensor is from the reference.

    order: position in the built graph's order; outputs come last.  stored: element type on
    camshaft's side.  max_abs, mean_abs: absolute errors.  relative: max_abs over the largest |value|
    of the reference.  cosine: of the angle between both as vectors.  sqnr_db: signal to noise in
    decibels.
    Errors are infinite where shapes differ or only one side is a number.
    """

    name: str
    is_output: bool
    order: int
    shape: tuple[int, ...]
    stored: str
    max_abs: float
    relative: float
    mean_abs: float
    cosine: float
    sqnr_db: float

    def to_json(self) -> dict[str, Any]:
        """As JSON types; None for what is not finite."""
        return {
            k: None if isinstance(v, float) and not np.isfinite(v) else v
            for k, v in asdict(self).items()
        }


@dataclass(frozen=True)
class Comparison:
    """The errors of all tensors compared, worst first.

    unmatched: tensors of the built graph that the model has no counterpart of, or none of the same
    axes.
    """

    other: str
    tensors: tuple[TensorError, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[TensorError, ...]:
        """Of the model's outputs only."""
        return tuple(t for t in self.tensors if t.is_output)

    def beyond(self, tolerance: float) -> tuple[TensorError, ...]:
        """Outputs whose relative error exceeds the tolerance."""
        return tuple(t for t in self.outputs if not t.relative <= tolerance)


@dataclass(frozen=True)
class Stored:
    """How the built graph holds a tensor of the model: `(value - zero_point) * scale`."""

    name: str
    scale: float = 1.0
    zero_point: int = 0

    def real(self, array: np.ndarray) -> np.ndarray:
        """The numbers that stored values stand for."""
        if self.scale == 1.0 and self.zero_point == 0:
            return array
        return (array.astype(np.float64) - self.zero_point) * self.scale


# -- one tensor ----------------------------------------------------------------------------------


def tensor_error(
    name: str,
    got: np.ndarray,
    want: np.ndarray,
    *,
    is_output: bool = False,
    order: int = 0,
    stored: str = "",
) -> TensorError:
    """The error of `got`; equal infinities and NaN at the same places count as equal."""
    figures = (np.inf, np.inf, np.inf, 0.0, -np.inf)
    if got.shape == want.shape:
        figures = _figures(got, want)
    return TensorError(
        name, is_output, order, tuple(want.shape), stored or got.dtype.name, *map(float, figures)
    )


def _figures(got: np.ndarray, want: np.ndarray) -> tuple[float, float, float, float, float]:
    """max_abs, relative, mean_abs, cosine, sqnr_db of arrays of one shape."""
    if got.dtype.kind in "OSU" or want.dtype.kind in "OSU":
        same = bool(np.array_equal(got.astype(str), want.astype(str)))
        return (0.0, 0.0, 0.0, 1.0, np.inf) if same else (np.inf, np.inf, np.inf, 0.0, -np.inf)
    a = got.astype(np.float64).reshape(-1)
    b = want.astype(np.float64).reshape(-1)
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    if not (alike | finite).all():
        return np.inf, np.inf, np.inf, 0.0, -np.inf
    a, b = a[finite], b[finite]
    if not a.size:
        return 0.0, 0.0, 0.0, 1.0, np.inf
    error = np.abs(a - b)
    worst, largest = float(error.max()), float(np.abs(b).max())
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    power, noise = float(b @ b), float(error @ error)
    return (
        worst,
        worst / largest if largest else (0.0 if worst == 0 else np.inf),
        float(error.mean()),
        float(a @ b) / norms if norms else float(worst == 0),
        10 * float(np.log10(power / noise)) if power and noise else (-np.inf if noise else np.inf),
    )


def in_model_order(got: np.ndarray, want: np.ndarray) -> np.ndarray | None:
    """`got` with its axes where the model has them: the built graph keeps images channels-last,
    and what is made from them in whatever order costs nothing.

    Where shapes leave several orders possible, the one that agrees best is taken; None if there is
    none.
    """
    if got.ndim != want.ndim:
        return got.reshape(want.shape) if _extents(got) == _extents(want) else None
    best, least = None, np.inf
    for order in permutations(range(got.ndim)):
        if tuple(got.shape[a] for a in order) != want.shape:
            continue
        turned = got.transpose(order)
        error = _figures(turned, want)[1]
        if best is None or error < least:
            best, least = turned, error
        if least < _CLOSE:
            break
    return best


def _extents(array: np.ndarray) -> list[int]:
    return [d for d in array.shape if d != 1]


# -- the other side ------------------------------------------------------------------------------


def with_outputs(proto: ModelProto, names: Sequence[str]) -> ModelProto:
    """A copy of the model whose outputs are its tensors `names`."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    declared = {v.name: v for v in proto.graph.output}
    del copy.graph.output[:]
    copy.graph.output.extend(declared.get(n, ValueInfoProto(name=n)) for n in names)
    return copy


def _onnxruntime(proto: ModelProto, feeds: Arrays) -> list[np.ndarray]:
    ort = peer_module("onnxruntime", "comparing", ", or compare with the reference")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # As the model is written: fusions change what tensors between hold, even where they are outputs.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    read_by_all(proto)
    with peer_errors("onnxruntime", "run the model"):
        session = ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return list(session.run(None, dict(feeds)))


def _reference(proto: ModelProto, feeds: Arrays) -> list[np.ndarray]:
    try:
        try:
            evaluator = ReferenceEvaluator(proto)
        except RuntimeError:  # it lacks old versions of some operators
            evaluator = ReferenceEvaluator(version_converter.convert_version(proto, _NEW_OPSET))
        return [np.asarray(a) for a in evaluator.run(None, dict(feeds))]
    except Exception as error:  # operators written in Python, which check little: anything goes
        raise ModelError(
            f"reference cannot run the model: {type(error).__name__}: {str(error).strip()}"
        ) from error


OTHERS: dict[str, Run] = {"onnxruntime": _onnxruntime, "reference": _reference}
"""What to compare with: name -> a function that runs a model."""


def check_other(other: str) -> None:
    """ConfigError if the runtime `other` is not known or not installed."""
    if other not in OTHERS:
        raise ConfigError(f"no runtime {other!r} to compare with; known: {', '.join(OTHERS)}")
    if other == "onnxruntime":
        peer_module("onnxruntime", "comparing", ", or compare with the reference")


def run_other(other: str, proto: ModelProto, feeds: Arrays, names: Sequence[str]) -> Arrays:
    """The tensors `names` of the model as the runtime `other` computes them.

    ConfigError for a runtime that is not known or not installed, ModelError if it fails.
    """
    check_other(other)
    results = OTHERS[other](with_outputs(proto, names), feeds)
    return dict(zip(names, results, strict=True))


# -- the whole model -----------------------------------------------------------------------------


def compare(
    model: Any,
    engine: Engine,
    feeds: Arrays,
    other: str = "onnxruntime",
    session: BuildSession | None = None,
) -> Comparison:
    """Run `feeds` through `engine` and the ONNX `model`, and measure how far they are apart.

    session: the session that built the engine, to compare its intermediate tensors too.
    Errors as in `import_onnx`, `run_other` and `ExecutionContext.run`.
    """
    proto = load_model(model)
    made = engine(dict(feeds))
    between = {} if session is None else stored_tensors(session)
    known = {o for n in proto.graph.node for o in n.output}
    partner = {n: n if n in known else s.name for n, s in between.items()}
    matched = {n: p for n, p in partner.items() if p in known and p not in made}
    wanted = run_other(other, proto, feeds, list(dict.fromkeys((*made, *matched.values()))))
    errors = [
        tensor_error(n, a, np.asarray(wanted[n]), is_output=True, order=len(between))
        for n, a in made.items()
    ]
    seen = session.tapped(list(matched))(dict(feeds)) if session is not None and matched else {}
    unmatched = [n for n, p in partner.items() if p not in known]
    for order, (name, stored) in enumerate(between.items()):
        if name not in matched:
            continue
        want = _real_reference(np.asarray(wanted[matched[name]]), stored)
        got = in_model_order(stored.real(seen[name]), want)
        if got is None:
            unmatched.append(name)
            continue
        kind = seen[name].dtype.name
        errors.append(tensor_error(matched[name], got, want, order=order, stored=kind))
    errors.sort(key=lambda e: (-e.relative, e.order))
    return Comparison(other, tuple(errors), tuple(unmatched))


def stored_tensors(session: BuildSession) -> dict[str, Stored]:
    """Computed tensors of the built graph, in order of execution -> what they hold of the model.

    An 8-bit tensor holds the input of the quantize node that it was, or, where quantization moved
    across an op that only moves elements, that op's result with the parameters of its neighbour.
    """
    assert session.final is not None
    graph, quantized = session.final, _quantized_tensors(session)
    found: dict[str, Stored] = {}
    for node in graph.nodes:
        for t in node.outputs:
            found[t.name] = quantized.get(t.name) or _moved(graph, node, t, found, quantized)
    return found


def _quantized_tensors(session: BuildSession) -> dict[str, Stored]:
    """Output of each per-tensor quantize node -> what it holds, unsigned as lowering makes it."""
    found: dict[str, Stored] = {}
    for node in () if session.quantized is None else session.quantized.nodes:
        if node.op is QUANTIZE and all(t.is_const and t.type.size == 1 for t in node.args[1:]):
            scale, zero = (t.array.reshape(()) for t in node.args[1:])
            shift = 128 if zero.dtype == np.int8 else 0
            source = node.args[0].name
            found[node.output.name] = Stored(source, float(scale), int(zero) + shift)
    return found


def _moved(
    graph: Graph,
    node: Node,
    tensor: Tensor,
    before: Mapping[str, Stored],
    quantized: Mapping[str, Stored],
) -> Stored:
    if tensor.type.dtype not in (u8, i8):
        return Stored(tensor.name)
    neighbours = [before.get(t.name) for t in node.args] if _moves(node) else []
    for user in graph.consumers.get(tensor.name, ()):
        if _moves(user):
            neighbours += [quantized.get(t.name) for t in user.outputs]
    for near in neighbours:
        if near is not None and near.scale != 1.0:
            return replace(near, name=tensor.name.removesuffix(":q"))
    return Stored(tensor.name)


def _moves(node: Node) -> bool:
    return node.op.moves or node.op.commutes is not None


def _real_reference(want: np.ndarray, stored: Stored) -> np.ndarray:
    """The reference's numbers; its own quantized tensors have their zero point in their own type."""
    if stored.scale == 1.0 or want.dtype not in (np.int8, np.uint8):
        return want
    shift = 128 if want.dtype == np.int8 else 0
    return replace(stored, zero_point=stored.zero_point - shift).real(want)
