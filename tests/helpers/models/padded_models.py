"""Encoders of padded sequences, with masks as exporters write them, and what is read of their rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, numpy_helper, parser

WORDS, SIZE, HEADS = 40, 32, 2
LONGEST = 12
"""Positions that there are."""

LOWEST = float(np.finfo(np.float32).min)

ADDED = "masked = Add (scaled, bias)"
MASKS = {
    "added": (
        """
  f = Cast<to = 1> (mask) one = Constant<value_float = 1.0> () inv = Sub (one, f)
  low = Mul (inv, lowest) bias = Unsqueeze (low, axes12)
""",
        ADDED,
    ),
    "selected": (
        """
  kept = Cast<to = 9> (mask) four = Unsqueeze (kept, axes12) bias = Where (four, zero, infinite)
""",
        ADDED,
    ),
    "filled": (
        """
  none = Constant<value_int = 0> () hidden = Equal (mask, none) four = Unsqueeze (hidden, axes12)
""",
        "masked = Where (four, lowest, scaled)",
    ),
    "expanded": (
        """
  kept = Cast<to = 9> (mask) four = Unsqueeze (kept, axes12)
  shape = Shape (mask) b1 = Slice (shape, i0, i1) s1 = Slice (shape, i1, i2) wide = Concat<axis = 0> (b1, i1, s1, s1)
  all = Expand (four, wide) bias = Where (all, zero, infinite)
""",
        ADDED,
    ),
    "by indices": (
        """
  kept = Cast<to = 9> (mask) shape = Shape (mask) b0 = Gather (shape, n0) s0 = Gather (shape, n1)
  rows = Range (n0, b0, n1) keys = Range (n0, s0, n1) r4 = Unsqueeze (rows, axes123) k4 = Unsqueeze (keys, axes012)
  q4 = Unsqueeze (keys, axes013) real = LessOrEqual (n0, q4) far = Mul (r4, s0) number = Add (k4, far)
  flat = Reshape (kept, minus) picked = Gather (flat, number) both = And (real, picked) bias = Where (both, zero, lowest)
""",
        ADDED,
    ),
    "little": (
        """
  f = Cast<to = 1> (mask) one = Constant<value_float = 1.0> () inv = Sub (one, f)
  tenk = Constant<value_float = -10000.0> () low = Mul (inv, tenk) bias = Unsqueeze (low, axes12)
""",
        ADDED,
    ),
    "causal too": (
        """
  kept = Cast<to = 9> (mask) four = Unsqueeze (kept, axes12) shape = Shape (mask) s0 = Gather (shape, n1)
  places = Range (n0, s0, n1) k4 = Unsqueeze (places, axes012) q4 = Unsqueeze (places, axes013)
  before = LessOrEqual (k4, q4) both = And (before, four) bias = Where (both, zero, lowest)
""",
        ADDED,
    ),
    "outer": (
        """
  f = Cast<to = 1> (mask) one = Constant<value_float = 1.0> () k4 = Unsqueeze (f, axes12) q4 = Unsqueeze (f, axes13)
  both = Mul (q4, k4) inv = Sub (one, both) bias = Mul (inv, lowest)
""",
        ADDED,
    ),
    "hidden queries see all": (
        """
  kept = Cast<to = 9> (mask) k4 = Unsqueeze (kept, axes12) q4 = Unsqueeze (kept, axes13) none = Not (q4)
  seen = Or (k4, none)
""",
        "masked = Where (seen, scaled, lowest)",
    ),
    "biased too": (
        """
  kept = Cast<to = 9> (mask) four = Unsqueeze (kept, axes12) hides = Where (four, zero, lowest)
  shape = Shape (mask) s1 = Slice (shape, i1, i2) ends = Concat<axis = 0> (s1, s1)
  near = Slice (relative, zeros2, ends, axes23) bias = Add (hides, near)
""",
        ADDED,
    ),
}
"""Name -> (nodes that make what the score takes of the mask, the node that takes it)."""

LENGTHS = {
    "below": "below_ = Less (lfar, l2)",
    "not behind": "behind_ = GreaterOrEqual (lfar, l2) below_ = Not (behind_)",
    "last": "last_ = Sub (l2, n1) below_ = LessOrEqual (lfar, last_)",
    "more": "below_ = Greater (l2, lfar)",
}
"""Name -> nodes that make of lengths what is kept."""

_BY_LENGTHS = """
  lshape = Shape (ids) ls = Gather (lshape, n1) lfar = Range (n0, ls, n1) wide_ = Cast<to = 7> (lengths)
  l2 = Unsqueeze (wide_, axis1) {below} mask = Cast<to = 7> (below_)
"""

ENDS = {
    "mean": """
  m1@ = Cast<to = 1> (mask) m2@ = Unsqueeze (m1@, axis2) shown@ = Mul (last, m2@)
  sum@ = ReduceSum<keepdims = 0> (shown@, axis1) n@ = ReduceSum<keepdims = 0> (m2@, axis1)
  least@ = Constant<value_float = 0.000000001> () some@ = Max (n@, least@) y@ = Div (sum@, some@)
""",
    "largest": """
  m1@ = Cast<to = 9> (mask) m2@ = Unsqueeze (m1@, axis2) shown@ = Where (m2@, last, lowest)
  y@ = ReduceMax<axes = [1], keepdims = 0> (shown@)
""",
    "filled sum": """
  m1@ = Cast<to = 9> (mask) m2@ = Unsqueeze (m1@, axis2) shown@ = Where (m2@, last, zero)
  y@ = ReduceSum<keepdims = 0> (shown@, axis1)
""",
    "product": """
  m1@ = Cast<to = 1> (mask) m2@ = Unsqueeze (m1@, axis1) sum@ = MatMul (m2@, last) n@ = ReduceSum (m2@, axis2)
  least@ = Constant<value_float = 0.000000001> () some@ = Max (n@, least@)
  mean@ = Div (sum@, some@) y@ = Squeeze (mean@, axis1)
""",
    "first": "y@ = Gather<axis = 1> (last, n0)",
    "third": "y@ = Gather<axis = 1> (last, n2)",
    "turned mean": """
  u@ = Transpose<perm = [1, 0, 2]> (last) m1@ = Cast<to = 1> (mask) mt@ = Transpose<perm = [1, 0]> (m1@)
  m2@ = Unsqueeze (mt@, axis2) shown@ = Mul (u@, m2@) sum@ = ReduceSum<keepdims = 0> (shown@, axis0)
  n@ = ReduceSum<keepdims = 0> (m2@, axis0)
  least@ = Constant<value_float = 0.000000001> () some@ = Max (n@, least@) y@ = Div (sum@, some@)
""",
    "turned first": "u@ = Transpose<perm = [1, 0, 2]> (last) y@ = Gather<axis = 0> (u@, n0)",
    "turned rows": "y@ = Transpose<perm = [1, 0, 2]> (last)",
    "rows": "y@ = Identity (last)",
    "half rows": "y@ = Cast<to = 10> (last)",
    "plain mean": "y@ = ReduceMean<axes = [1], keepdims = 0> (last)",
}
"""Name -> nodes that make an output of the last rows."""

STEPS = {
    "linear": "l@ = MatMul (last, wq_0) made@ = Add (l@, bq_0)",
    "relu": "l@ = MatMul (last, wq_0) b@ = Add (l@, bq_0) made@ = Relu (b@)",
    "residual": "l@ = MatMul (last, wq_0) b@ = Add (l@, bq_0) made@ = Add (b@, last)",
    "tanh": "l@ = MatMul (last, wq_0) b@ = Add (l@, bq_0) r@ = Add (b@, last) made@ = Tanh (r@)",
    "both": "t@ = Tanh (last) made@ = Add (t@, last)",
}
"""Name -> nodes between the last rows and an end, without a normalization."""

_MERGED_MASK = """
  wide_mask = Expand (bias, of_heads) mask_size = Shape (bias) ends_size = Slice (mask_size, i2, i4)
  flat_size = Concat<axis = 0> (minus, ends_size) flat_mask = Reshape (wide_mask, flat_size)
"""
_ORDERS = {
    "batch first": (),
    "time first": (
        ("MatMul (x#,", "MatMul (time#,"),
        ("perm = [0, 2, 1, 3]> (a#)", "perm = [2, 0, 1, 3]> (a#)"),
        ("perm = [0, 2, 1, 3]", "perm = [1, 2, 0, 3]"),
        ("perm = [0, 2, 3, 1]", "perm = [1, 2, 3, 0]"),
        (
            "o# = MatMul (af#, wo#)",
            "ot# = MatMul (af#, wo#) o# = Transpose<perm = [1, 0, 2]> (ot#)",
        ),
    ),
    "merged heads": (
        ("MatMul (x#,", "MatMul (time#,"),
        ("# = Reshape (qb#, heads)", "# = Reshape (qb#, merged)"),
        ("# = Reshape (k#, heads)", "# = Reshape (k#, merged)"),
        ("# = Reshape (v#, heads)", "# = Reshape (v#, merged)"),
        ("perm = [0, 2, 1, 3]", "perm = [1, 0, 2]"),
        ("perm = [0, 2, 3, 1]", "perm = [1, 2, 0]"),
        ("Reshape (at#, flat_heads)", "Reshape (at#, unmerged)"),
        (
            "o# = MatMul (af#, wo#)",
            "ot# = MatMul (af#, wo#) o# = Transpose<perm = [1, 0, 2]> (ot#)",
        ),
    ),
}
"""Name of an order of axes in which attention is computed -> what of a layer is written otherwise."""
_TURNED = "  time# = Transpose<perm = [1, 0, 2]> (x#)"
ORDERS = tuple(_ORDERS)
"""Orders of axes in attention: "merged heads" is [batch * heads, length, .], for masks that are ADDED."""

_LAYER = """
  q# = MatMul (x#, wq#) qb# = Add (q#, bq#) k# = MatMul (x#, wk#) v# = MatMul (x#, wv#)
  qh# = Reshape (qb#, heads) kh# = Reshape (k#, heads) vh# = Reshape (v#, heads)
  qt# = Transpose<perm = [0, 2, 1, 3]> (qh#) kt# = Transpose<perm = [0, 2, 3, 1]> (kh#) vt# = Transpose<perm = [0, 2, 1, 3]> (vh#)
  s# = MatMul (qt#, kt#) scaled# = Mul (s#, scale) {masked} p# = Softmax<axis = -1> (masked#) a# = MatMul (p#, vt#)
  at# = Transpose<perm = [0, 2, 1, 3]> (a#) af# = Reshape (at#, flat_heads) o# = MatMul (af#, wo#) r# = Add (o#, x#)
  norm# = LayerNormalization<axis = -1> (r#, gain#, shift#) h# = MatMul (norm#, w1#) hb# = Add (h#, b1#) g# = Tanh (hb#)
  d# = MatMul (g#, w2#) e# = Add (d#, norm#) {out} = LayerNormalization<axis = -1> (e#, gain#, shift#)
"""


def _constants(layers: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def some(*shape: int, scale: float = 0.2) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    made: dict[str, np.ndarray] = {
        "words": some(WORDS, SIZE, scale=1.0),
        "positions": some(1, LONGEST, SIZE, scale=1.0),
        "relative": some(1, HEADS, LONGEST, LONGEST, scale=1.0),
        "heads": np.array([0, 0, HEADS, SIZE // HEADS]),
        "flat_heads": np.array([0, 0, SIZE]),
        "unmerged": np.array([0, -1, SIZE]),
        "merged": np.array([0, -1, SIZE // HEADS]),
        "of_heads": np.array([1, HEADS, 1, 1]),
        "scale": np.array(0.25, np.float32),
        "zero": np.array(0.0, np.float32),
        "lowest": np.array(LOWEST, np.float32),
        "infinite": np.array(-np.inf, np.float32),
        "n0": np.array(0),
        "n1": np.array(1),
        "n2": np.array(2),
        "minus": np.array([-1]),
        "zeros2": np.array([0, 0]),
    }
    for name in ("i0", "i1", "i2", "i4"):
        made[name] = np.array([int(name[1])])
    for name in (
        "axis0",
        "axis1",
        "axis2",
        "axes12",
        "axes13",
        "axes23",
        "axes123",
        "axes012",
        "axes013",
    ):
        made[name] = np.array([int(c) for c in name[4:]])
    for n in range(layers):
        for name in ("wq", "wk", "wv", "wo"):
            made[f"{name}_{n}"] = some(SIZE, SIZE)
        made |= {f"w1_{n}": some(SIZE, 3 * SIZE), f"w2_{n}": some(3 * SIZE, SIZE)}
        made |= {f"bq_{n}": some(SIZE), f"b1_{n}": some(3 * SIZE), f"shift_{n}": some(SIZE)}
        made[f"gain_{n}"] = 1 + some(SIZE)
    return made


def padded_model(
    mask: str = "selected",
    end: str = "mean",
    *,
    batch: int | str = "b",
    length: int | str = "s",
    dtype: str = "int64",
    layers: int = 2,
    lengths: str | None = None,
    order: str = "batch first",
    hidden: bool = False,
) -> ModelProto:
    """Inputs ids and mask [batch, length], output y.  mask: one of MASKS.  lengths: one of LENGTHS, of an input lengths
    [batch] in place of the mask.  end: one of ENDS, perhaps behind one of STEPS
    ("relu mean"); or two with a comma between them, for outputs y and y_b.  order: of axes in attention, one of ORDERS.
    hidden: an input of bools, hidden [batch, length], says what the mask does not keep, in its place."""
    made, taken = MASKS[mask]
    body = made if lengths is None else _BY_LENGTHS.format(below=LENGTHS[lengths]) + made
    said = "lengths" if lengths else "hidden" if hidden else "mask"
    if hidden:
        dtype, body = "bool", "  kept_ = Not (hidden) mask = Cast<to = 7> (kept_)" + body
    layer = _LAYER if order == "batch first" else _TURNED + _LAYER
    for old, new in _ORDERS[order]:
        assert old in layer
        layer = layer.replace(old, new)
    if order == "merged heads":
        assert taken == ADDED
        body, taken = body + _MERGED_MASK, taken.replace("bias", "flat_mask")
    for n in range(layers):
        out = "last" if n == layers - 1 else f"x_{n + 1}"
        masked = taken.replace("scaled", f"scaled_{n}").replace("masked", f"masked_{n}")
        body += layer.replace("{masked}", masked).replace("{out}", out).replace("#", f"_{n}")
    shape = f"{batch},{length}"
    outputs = []
    for mark, name in zip(("", "_b"), end.split(", "), strict=False):
        step, _, last = name.partition(" ")
        made = (
            f"{STEPS[step]} {ENDS[last].replace('last', 'made@')}" if step in STEPS else ENDS[name]
        )
        body += made.replace("@", mark)
        rows = f"{shape},{SIZE}" if name.endswith("rows") else f"{batch},{SIZE}"
        rows = f"{length},{batch},{SIZE}" if name.endswith("turned rows") else rows
        outputs.append(f"float{'16' * ('half' in name)}[{rows}] y{mark}")
    text = f"""<ir_version: 9, opset_import: ["" : 17]>
net (int64[{shape}] ids, {dtype}[{batch if lengths else shape}] {said}) => ({", ".join(outputs)}) {{
  found = Gather (words, ids) size = Shape (ids) long = Slice (size, i1, i2)
  here = Slice (positions, i0, long, i1) x_0 = Add (found, here)
  {body} }}"""
    model = parser.parse_model(text)
    for name, array in _constants(layers).items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def padded_feeds(mask: np.ndarray, dtype: type = np.int64, seed: int = 0) -> dict[str, np.ndarray]:
    """Words for a mask [batch, length]."""
    ids = np.random.default_rng(seed).integers(0, WORDS, mask.shape)
    return {"ids": ids, "mask": mask.astype(dtype)}


def lengths_feeds(
    lengths: np.ndarray, length: int, dtype: type = np.int64, seed: int = 0
) -> dict[str, np.ndarray]:
    """Words for sequences of such lengths [batch] among `length` places."""
    ids = np.random.default_rng(seed).integers(0, WORDS, (len(lengths), length))
    return {"ids": ids, "lengths": lengths.astype(dtype)}


def patterns(batch: int = 3, length: int = 8) -> Mapping[str, np.ndarray]:
    """Masks: full, padded on the right, on the left, with holes, with sequences of nothing, of nothing at all."""
    place, lengths = np.arange(length), np.linspace(1, length, batch).astype(int)[:, None]
    right = place < lengths
    holes = np.random.default_rng(1).random((batch, length)) < 0.5
    holes[:, length // 2] = True
    empty = right.copy()
    empty[batch // 2] = False
    return {
        "full": np.ones((batch, length), bool),
        "right": right,
        "left": right[:, ::-1].copy(),
        "holes": holes,
        "an empty sequence": empty,
        "nothing": np.zeros((batch, length), bool),
    }
