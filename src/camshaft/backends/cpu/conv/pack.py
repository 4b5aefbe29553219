"""Prepacked constants of a direct convolution: weight panels and zero point compensation."""

from __future__ import annotations

import numpy as np

from camshaft.backends.cpu.conv.plan import ConvPlan


def pack_weights(plan: ConvPlan, w: np.ndarray) -> np.ndarray:
    """Weights [groups*k, r, s, c] in the order in which the kernel reads them.

    Returns [panels, r, steps, kb] of w's type, or [panels, r, steps, kb, g], where a step takes g
    channels: 4 of s8, 2 of bf16; zero where a panel has more channels than its group and where channels
    do not fill a step.
    """
    p = plan.problem
    padded = np.zeros((p.groups, plan.panels_per_group * plan.kb, p.r, p.s, p.c), w.dtype)
    padded[:, : p.k] = w.reshape(p.groups, p.k, p.r, p.s, p.c)
    panels = padded.reshape(plan.panels, plan.kb, p.r, p.s, p.c)
    group = p.form.group
    if group == 1:
        flat = panels.reshape(plan.panels, plan.kb, p.r, p.s * p.c)
        return np.ascontiguousarray(flat.transpose(0, 2, 3, 1))
    if p.is_int8 and plan.is_static:
        packed = np.zeros((plan.panels, plan.kb, p.r, plan.row_steps, 4), np.int8)
        for step, quad in enumerate(plan.static_quads):
            for byte, place in enumerate(quad):
                if place is not None:
                    packed[:, :, :, step, byte] = panels[:, :, :, place[0], place[1]]
    else:
        packed = np.zeros((plan.panels, plan.kb, p.r, p.s, group * plan.tap_steps), w.dtype)
        packed[..., : p.c] = panels
        packed = packed.reshape(plan.panels, plan.kb, p.r, plan.row_steps, group)
    return np.ascontiguousarray(packed.transpose(0, 2, 3, 1, 4))


def pack_compensation(plan: ConvPlan, w: np.ndarray) -> np.ndarray:
    """First values of the sums: -zero_point * (sum of the weights under the image).

    Returns i32 [row classes, column classes, panels * kb]; wraps like the sums themselves.
    """
    p = plan.problem
    taps = w.astype(np.int64).sum(axis=3)
    rows = len(plan.row_classes)
    result = np.zeros((rows, len(plan.column_classes), p.groups, plan.panels_per_group * plan.kb))
    for a, (r0, r1) in enumerate(plan.row_classes):
        for b, (s0, s1) in enumerate(plan.column_classes):
            total = taps[:, r0:r1, s0:s1].sum(axis=(1, 2))
            result[a, b, :, : p.k] = -p.zero_point * total.reshape(p.groups, p.k)
    return result.reshape(rows, len(plan.column_classes), -1).astype(np.int32)


def pack_prefix_sums(plan: ConvPlan, w: np.ndarray) -> np.ndarray:
    """What first values of sums are made of where the windows are known at run time only.

    Returns i32 [r + 1, s + 1, panels * kb]: -zero_point * (sum of the weights of the first filter
    rows and columns).  The value for rows r0..r1-1 and columns s0..s1-1 is
    T[r1, s1] - T[r0, s1] - T[r1, s0] + T[r0, s0]; everything wraps like the sums themselves.
    """
    p = plan.problem
    taps = w.astype(np.int64).sum(axis=3).reshape(p.groups, p.k, p.r, p.s)
    result = np.zeros((p.r + 1, p.s + 1, p.groups, plan.panels_per_group * plan.kb), np.int64)
    total = taps.cumsum(axis=2).cumsum(axis=3).transpose(2, 3, 0, 1)
    result[1:, 1:, :, : p.k] = -p.zero_point * total
    return result.reshape(p.r + 1, p.s + 1, -1).astype(np.int32)
