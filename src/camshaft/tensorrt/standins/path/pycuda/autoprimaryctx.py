"""Stand-in for pycuda's module of this name, by camshaft: pushes the device's own context when it is imported."""

from camshaft.tensorrt.standins.pycuda.devices import Device

device = Device(0)
context = device.retain_primary_context()
context.push()
