"""Figures with their units, as the page shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor, isfinite, isnan, log10

NONE = "–"


def time_text(us: float | None) -> str:
    """A time: 0.42 µs, 12.3 µs, 3.21 ms, 1.20 s."""
    if us is None or not isfinite(us):
        return NONE
    for limit, unit in ((1e3, "µs"), (1e6, "ms")):
        if abs(us) < limit * 0.9995:
            return f"{us / limit * 1e3:.3g} {unit}"
    return f"{us / 1e6:.3g} s"


def count_text(count: float, unit: str = "") -> str:
    """A large number: 950, 10.8 M, 1.2 G."""
    value = float(count)
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}".rstrip()
        value /= 1000
    return f"{value:.3g} T{unit}"


def number_text(value: float | None, digits: int = 4) -> str:
    """A number, which may be none."""
    if value is None or isnan(value):
        return NONE
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def share_text(share: float | None) -> str:
    """A share in percent."""
    if share is None or not isfinite(share):
        return NONE
    return f"{share:.1%}" if share == 0 or share >= 0.001 else "<0.1%"


def counted(number: int, thing: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def finite(values: Iterable[float | None]) -> list[float]:
    """Those that a scale can show."""
    return [v for v in values if v is not None and isfinite(v)]


def ticks(low: float, high: float, most: int = 5) -> Sequence[float]:
    """Round numbers from `low` to `high`, at most `most` + 1 of them."""
    if not high > low:
        return (low,)
    raw = (high - low) / most
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = -(-low // step)
    count = int((high / step - first) + 1e-9) + 1
    return tuple((first + i) * step for i in range(count))
