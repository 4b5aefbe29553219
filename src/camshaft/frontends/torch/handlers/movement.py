"""ATen operators that move elements: shapes, slices, joins."""

from __future__ import annotations

from typing import Any

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F

_END = 2**62


@handles(
    "view",
    "view_copy",
    "reshape",
    "_reshape_copy",
    "_unsafe_view",
    "flatten",
    "unflatten",
    "squeeze",
    "squeeze_copy",
    "unsqueeze",
    "unsqueeze_copy",
    "view_as",
    "reshape_as",
)
def reshape(c: Call) -> Tensor:
    if "dtype" in c.args:
        raise c.refuse("bits are not read as another type")
    return F.reshape(c.builder, c.tensor("self"), c.shape)


@handles("permute", "permute_copy")
def permute(c: Call) -> Tensor:
    x = c.tensor("self")
    rank = x.type.rank
    return F.transpose(c.builder, x, [int(d) % rank for d in c["dims"]]) if rank else x


@handles("transpose", "transpose_copy", "swapaxes", "swapdims")
def transpose(c: Call) -> Tensor:
    x = c.tensor("self")
    names = ("axis0", "axis1") if "axis0" in c.args else ("dim0", "dim1")
    if not x.type.rank:
        return x
    one, two = (int(c[n]) % x.type.rank for n in names)
    order = list(range(x.type.rank))
    order[one], order[two] = order[two], order[one]
    return F.transpose(c.builder, x, order)


@handles("t", "t_copy", "numpy_T", "mT")
def turned(c: Call) -> Tensor:
    x = c.tensor("self")
    order = list(range(x.type.rank))
    order[-2:] = order[-2:][::-1]
    return F.transpose(c.builder, x, order)


@handles("movedim")
def movedim(c: Call) -> Tensor:
    x = c.tensor("self")
    rank = x.type.rank
    source = [int(d) % rank for d in _list(c["source"])]
    target = [int(d) % rank for d in _list(c["destination"])]
    order = [d for d in range(rank) if d not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return F.transpose(c.builder, x, order)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


@handles("expand", "expand_copy", "expand_as", "broadcast_to")
def expand(c: Call) -> Tensor:
    return F.broadcast_to(c.builder, c.tensor("self"), c.shape)


@handles("repeat", "tile")
def repeat(c: Call) -> Tensor:
    x, repeats = c.tensor("self"), list(c.get("repeats", c.get("dims", ())))
    more = max(0, len(repeats) - x.type.rank)
    repeats = [1] * (x.type.rank - len(repeats)) + repeats
    x = F.reshape(c.builder, x, (*(1,) * more, *x.shape))
    return F.tile(c.builder, x, repeats)


@handles("repeat_interleave")
def repeat_interleave(c: Call) -> Tensor:
    if not isinstance(c.get("repeats"), int):
        raise c.refuse("how often hangs on data")
    b, x, count = c.builder, c.tensor("self"), c["repeats"]
    if c.get("dim") is None:
        x, axis = F.flatten(b, x), 0
    else:
        axis = c.axis()
    shape = list(x.shape)
    wide = F.unsqueeze(b, x, axis + 1)
    shape.insert(axis + 1, count)
    return F.reshape(b, F.broadcast_to(b, wide, shape), c.shape)


@handles("slice", "slice_copy")
def sliced(c: Call) -> Tensor:
    x, axis = c.tensor("self"), c.axis()
    start, end = c.get("start", 0), c.get("end", _END)
    if isinstance(end, int) and end > 2**31:
        end = x.shape[axis]
    return F.slice(c.builder, x, [start], [end], [axis], [int(c.get("step", 1))])


@handles("slice_scatter")
def slice_scatter(c: Call) -> Tensor:
    b, x, source, axis = c.builder, c.tensor("self"), c.tensor("src"), c.axis()
    if c.get("step", 1) != 1:
        raise c.refuse("its step is not 1")
    size = x.shape[axis]
    start, end = c.get("start", 0), c.get("end", _END)
    if not (isinstance(size, int) and isinstance(start, int) and isinstance(end, int)):
        raise c.refuse("what is replaced hangs on open sizes")
    low, high, _ = slice(start, min(end, size), 1).indices(size)
    parts = [F.narrow(b, x, axis, 0, low), source, F.narrow(b, x, axis, high, size - high)]
    return F.concat(b, [p for p in parts if p.shape[axis] != 0], axis)


@handles("select", "select_copy")
def select(c: Call) -> Tensor:
    x, axis, index = c.tensor("self"), c.axis(), c["index"]
    if isinstance(index, int) and index < 0:
        index = x.shape[axis] + index
    return F.select(c.builder, x, axis, index)


@handles("select_scatter")
def select_scatter(c: Call) -> Tensor:
    b, x, axis, index = c.builder, c.tensor("self"), c.axis(), c["index"]
    size = x.shape[axis]
    if not isinstance(size, int) or not isinstance(index, int):
        raise c.refuse("what is replaced hangs on open sizes")
    at = index % size
    source = F.unsqueeze(b, c.tensor("src"), axis)
    parts = [F.narrow(b, x, axis, 0, at), source, F.narrow(b, x, axis, at + 1, size - at - 1)]
    return F.concat(b, [p for p in parts if p.shape[axis] != 0], axis)


@handles("narrow", "narrow_copy")
def narrow(c: Call) -> Tensor:
    return F.narrow(c.builder, c.tensor("self"), c.axis(), c["start"], c["length"])


@handles(
    "split",
    "split_copy",
    "split_with_sizes",
    "split_with_sizes_copy",
    "chunk",
    "unsafe_chunk",
    "unsafe_split",
    "unsafe_split_with_sizes",
)
def split(c: Call) -> list[Tensor]:
    axis = c.axis()
    sizes = [r.shape[axis] for r in c.results if r is not None]
    return F.split(c.builder, c.tensor("self"), sizes, axis)


@handles("unbind", "unbind_copy")
def unbind(c: Call) -> list[Tensor]:
    x, axis = c.tensor("self"), c.axis()
    return [F.select(c.builder, x, axis, n) for n in range(len(c.results))]


@handles("cat", "concat", "concatenate")
def cat(c: Call) -> Tensor:
    tensors = [F.cast(c.builder, t, c.dtype) for t in c["tensors"]]
    tensors = [
        t for t in tensors if t.shape != (0,)
    ]  # of which PyTorch says that they do not count
    axis = int(c.get("dim", 0)) % tensors[0].type.rank
    return F.concat(c.builder, tensors, axis)


@handles("stack")
def stack(c: Call) -> Tensor:
    tensors = [F.cast(c.builder, t, c.dtype) for t in c["tensors"]]
    return F.stack(c.builder, tensors, int(c.get("dim", 0)) % (tensors[0].type.rank + 1))


@handles("flip")
def flip(c: Call) -> Tensor:
    x, axes = c.tensor("self"), c.axes("dims") or []
    ends = [-_END] * len(axes)
    starts: list[Extent] = [x.shape[a] - 1 for a in axes]
    return F.slice(c.builder, x, starts, ends, axes, [-1] * len(axes)) if axes else x


@handles("roll")
def roll(c: Call) -> Tensor:
    b, x = c.builder, c.tensor("self")
    shifts, axes = _list(c["shifts"]), _list(c.get("dims", []))
    if not axes:
        flat = _rolled(c, F.flatten(b, x), shifts[0], 0)
        return F.reshape(b, flat, c.shape)
    for shift, axis in zip(shifts, axes, strict=True):
        x = _rolled(c, x, shift, int(axis) % x.type.rank)
    return x


def _rolled(c: Call, x: Tensor, shift: Any, axis: int) -> Tensor:
    size = x.shape[axis]
    if not isinstance(size, int) or not isinstance(shift, int):
        raise c.refuse("its shift hangs on open sizes")
    at = -shift % size if size else 0
    if not at:
        return x
    head, tail = F.split(c.builder, x, [at, size - at], axis)
    return F.concat(c.builder, [tail, head], axis)


_MODES = {"reflection": "reflect", "replication": "edge"}


@handles(
    "constant_pad_nd",
    *(f"{kind}_pad{n}d" for kind in _MODES for n in (1, 2, 3)),
    "pad",
)
def pad(c: Call) -> Tensor:
    x, sides = c.tensor("self"), list(c.get("pad", c.get("padding")))
    widths: list[tuple[Any, Any]] = [(0, 0)] * x.type.rank
    for n in range(len(sides) // 2):
        widths[-1 - n] = (sides[2 * n], sides[2 * n + 1])
    kind = c.name.removeprefix("aten::").partition("_")[0]
    if c.name == "aten::pad":
        mode = {
            "constant": "constant",
            "reflect": "reflect",
            "replicate": "edge",
            "circular": "wrap",
        }[c["mode"]]
    else:
        mode = _MODES.get(kind, "constant")
    return F.pad(c.builder, x, widths, mode, c.get("value", 0.0))


@handles("pixel_shuffle")
def pixel_shuffle(c: Call) -> Tensor:
    return F.depth_to_space(c.builder, c.tensor("self"), int(c["upscale_factor"]), "CRD")


@handles("pixel_unshuffle")
def pixel_unshuffle(c: Call) -> Tensor:
    return F.space_to_depth(c.builder, c.tensor("self"), int(c["downscale_factor"]), "CRD")


@handles("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(c: Call) -> Tensor:
    b, x, groups = c.builder, c.tensor("self"), int(c["groups"])
    n, channels, *image = x.shape
    split_ = F.reshape(b, x, (n, groups, channels // groups, *image))
    turned_ = F.transpose(b, split_, (0, 2, 1, *range(3, len(split_.shape))))
    return F.reshape(b, turned_, x.shape)


@handles("tril", "triu")
def triangle(c: Call) -> Tensor:
    part = F.tril if c.name == "aten::tril" else F.triu
    return part(c.builder, c.tensor("self"), int(c.get("diagonal", 0)))
