"""Pages of the host and memory of the device for an engine's bindings, as scripts of TensorRT 7 have them."""

import numpy as np
import pycuda.autoinit  # noqa: F401
import pycuda.driver as cuda
import tensorrt as trt


class HostDeviceMem:
    """An array of the host and as many bytes of the device."""

    def __init__(self, host, device):
        self.host = host
        self.device = device

    def __str__(self):
        return f"Host:\n{self.host}\nDevice:\n{self.device}"


def allocate_buffers(engine):
    """Buffers for each binding: inputs, outputs, the list of addresses, and a stream."""
    inputs, outputs, bindings = [], [], []
    stream = cuda.Stream()
    for binding in engine:
        size = trt.volume(engine.get_binding_shape(binding)) * engine.max_batch_size
        dtype = trt.nptype(engine.get_binding_dtype(binding))
        host_mem = cuda.pagelocked_empty(size, dtype)
        device_mem = cuda.mem_alloc(host_mem.nbytes)
        bindings.append(int(device_mem))
        if engine.binding_is_input(binding):
            inputs.append(HostDeviceMem(host_mem, device_mem))
        else:
            outputs.append(HostDeviceMem(host_mem, device_mem))
    return inputs, outputs, bindings, stream


def execute(context, bindings, inputs, outputs, stream, batch_size=1):
    """Copy inputs in, run, copy outputs back; their arrays."""
    for inp in inputs:
        cuda.memcpy_htod_async(inp.device, inp.host, stream)
    context.execute_async(batch_size=batch_size, bindings=bindings, stream_handle=stream.handle)
    for out in outputs:
        cuda.memcpy_dtoh_async(out.host, out.device, stream)
    stream.synchronize()
    return [out.host for out in outputs]


def run_images(engine, images):
    """What an engine of one image gives for each of some: [images, ...]."""
    inputs, outputs, bindings, stream = allocate_buffers(engine)
    results = []
    with engine.create_execution_context() as context:
        for image in images:
            np.copyto(inputs[0].host, image.ravel())
            (result,) = execute(context, bindings, inputs, outputs, stream, batch_size=1)
            results.append(result.copy())
    return np.stack(results)
