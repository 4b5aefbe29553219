"""INT8 without a calibrator: a file has the range of each tensor, `name:largest magnitude` by line.

per_tensor_ranges.py model.onnx ranges.txt images.npy results.npy
"""

import sys

import numpy as np
import tensorrt as trt
from pinned_buffers import run_images

TRT_LOGGER = trt.Logger(trt.Logger.INFO)


def read_per_tensor_dynamic_range_values(path):
    ranges = {}
    with open(path) as lines:
        for line in lines:
            name, value = line.rsplit(":", 1)
            ranges[name] = float(value)
    return ranges


def set_dynamic_range(network, ranges):
    """Ranges of the inputs, and of what each layer gives; those that the file lacks stay open."""
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    for layer in network:
        tensors += [layer.get_output(i) for i in range(layer.num_outputs)]
    missing = []
    for tensor in tensors:
        if tensor.name in ranges:
            tensor.dynamic_range = (-ranges[tensor.name], ranges[tensor.name])
        else:
            missing.append(tensor.name)
    print("without a range:", missing)


def set_layer_precisions(network):
    """Layers that compute with weights run in INT8, and so do their outputs but for the network's."""
    for layer in network:
        if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY):
            layer.precision = trt.int8


def build_engine(model_path, ranges_path):
    builder = trt.Builder(TRT_LOGGER)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, TRT_LOGGER)
    if not parser.parse_from_file(model_path):
        raise SystemExit(str(parser.get_error(0)))
    if not builder.platform_has_fast_int8:
        raise SystemExit("this platform has no INT8")
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    config.int8_calibrator = None
    set_dynamic_range(network, read_per_tensor_dynamic_range_values(ranges_path))
    set_layer_precisions(network)
    plan = builder.build_serialized_network(network, config)
    return trt.Runtime(TRT_LOGGER).deserialize_cuda_engine(plan)


def main():
    model_path, ranges_path, images_path, results_path = sys.argv[1:]
    engine = build_engine(model_path, ranges_path)
    np.save(results_path, run_images(engine, np.load(images_path)))


if __name__ == "__main__":
    main()
