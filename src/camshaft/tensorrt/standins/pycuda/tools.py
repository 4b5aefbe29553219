"""`pycuda.tools`: the context that scripts start with."""

from __future__ import annotations

from collections.abc import Callable

from camshaft.tensorrt.standins.pycuda.devices import Context, Device


def get_default_device(default: int = 0) -> Device:
    """The device."""
    return Device(0)


def make_default_context(ctx_maker: Callable[[Device], Context] | None = None) -> Context:
    """A new context, current in this thread. ctx_maker: makes it, in place of `Device.make_context`."""
    device = get_default_device()
    return device.make_context() if ctx_maker is None else ctx_maker(device)


def clear_context_caches() -> None:
    """Does nothing: there are none."""
