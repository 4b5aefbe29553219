"""How far one tensor is from its reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import numpy as np

_CLOSE = 1e-4  # a relative error at which no other order of axes is tried


@dataclass(frozen=True)
class TensorError:
    """How far a tensor is from the reference.

    order: position in the built graph's order; outputs come last.  stored: element type on
    camshaft's side.  max_abs, mean_abs: absolute errors.  relative: max_abs over the largest |value|
    of the reference.  cosine: of the angle between both as vectors.  sqnr_db: signal to noise in
    decibels.  blank: whether the reference has no value but 0, NaN and infinities, so that it says little.
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
    blank: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON types; None for what is not finite."""
        return {
            k: None if isinstance(v, float) and not np.isfinite(v) else v
            for k, v in asdict(self).items()
        }


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
    stored = stored or got.dtype.name
    worst, relative, mean, cosine, sqnr = map(float, figures)
    return TensorError(
        name,
        is_output,
        order,
        tuple(want.shape),
        stored,
        worst,
        relative,
        mean,
        cosine,
        sqnr,
        _is_blank(want),
    )


def _is_blank(want: np.ndarray) -> bool:
    if want.dtype.kind in "OSUb" or not want.size:
        return False
    values = want.astype(np.float64)
    return not bool((np.isfinite(values) & (values != 0)).any())


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

    Where shapes leave several orders possible, the one whose values go up and down with the model's most is taken, which
    a wrong tensor does too as long as it has something to do with it; None if there is none.
    """
    if got.ndim != want.ndim:
        return got.reshape(want.shape) if _extents(got) == _extents(want) else None
    best, most = None, (-np.inf, -np.inf)
    for order in permutations(range(got.ndim)):
        if tuple(got.shape[a] for a in order) != want.shape:
            continue
        turned = got.transpose(order)
        error = _figures(turned, want)[1]
        if error < _CLOSE:
            return turned
        alike = (_correlation(turned, want), -error)
        if best is None or alike > most:
            best, most = turned, alike
    return best


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of the values that both have as numbers; -1 where there is no saying."""
    if a.dtype.kind in "OSU" or b.dtype.kind in "OSU":
        return -1.0
    x, y = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    both = np.isfinite(x) & np.isfinite(y)
    if not both.any():
        return -1.0
    x, y = x[both] - x[both].mean(), y[both] - y[both].mean()
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norms if norms else -1.0


def _extents(array: np.ndarray) -> list[int]:
    return [d for d in array.shape if d != 1]
