"""Probabilities of classes from those of pairs of them (Wu, Lin, Weng 2004, their second way, as libsvm has it)."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
_ROUNDS = 100
_FEW = 4
"""Rows up to which Python's own floats are faster than NumPy's loops."""


def coupled(r: Array) -> Array:
    """Probabilities [N, classes] from r [N, classes, classes]: r[:, i, j] is that of i among i and j."""
    q = -r.transpose(0, 2, 1) * r
    each = np.arange(r.shape[1])
    q[:, each, each] = (r**2).sum(1)
    if len(r) <= _FEW:
        return np.array([_of_row(rows) for rows in q.tolist()]).reshape(r.shape[:2])
    return _of_rows(q)


def _of_rows(q: Array) -> Array:
    """Minimizes p q p of all rows together; a row is left as soon as it has converged."""
    rows, count, _ = q.shape
    found = np.full((rows, count), 1 / count)
    going, p = np.arange(rows), found.copy()
    for _ in range(max(_ROUNDS, count)):
        qp = (q @ p[:, :, None])[:, :, 0]
        total = (p * qp).sum(1)
        left = ~(np.abs(qp - total[:, None]).max(1) < 0.005 / count)
        if not left.all():
            found[going] = p
            going, p, q, qp, total = going[left], p[left], q[left], qp[left], total[left]
        if not len(going):
            break
        for t in range(count):
            step = (total - qp[:, t]) / q[:, t, t]
            p[:, t] += step
            grown = 1 + step
            total = (total + step * (step * q[:, t, t] + 2 * qp[:, t])) / grown**2
            qp = (qp + step[:, None] * q[:, t]) / grown[:, None]
            p /= grown[:, None]
    found[going] = p
    return found


def _of_row(q: list[list[float]]) -> list[float]:
    """`_of_rows` of one row."""
    count = len(q)
    p = [1 / count] * count
    for _ in range(max(_ROUNDS, count)):
        qp = [sum(a * b for a, b in zip(row, p, strict=True)) for row in q]
        total = sum(a * b for a, b in zip(p, qp, strict=True))
        if max(abs(v - total) for v in qp) < 0.005 / count:
            break
        for t, row in enumerate(q):
            step = (total - qp[t]) / row[t]
            grown = 1 + step
            total = (total + step * (step * row[t] + 2 * qp[t])) / (grown * grown)
            qp = [(v + step * w) / grown for v, w in zip(qp, row, strict=True)]
            p[t] += step
            p = [v / grown for v in p]
    return p
