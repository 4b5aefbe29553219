"""A ResNet trained with quantization in mind: its ONNX file with Q/DQ nodes to an engine, which classifies images.

qat_resnet.py model.onnx images.npy results.npy
"""

import sys

import numpy as np
import tensorrt as trt
from pinned_buffers import run_images

TRT_LOGGER = trt.Logger(trt.Logger.VERBOSE)


def build_engine(model_path):
    network_flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network_flags = network_flags | (1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_PRECISION))
    with (
        trt.Builder(TRT_LOGGER) as builder,
        builder.create_network(flags=network_flags) as network,
        trt.OnnxParser(network, TRT_LOGGER) as parser,
    ):
        with open(model_path, "rb") as model:
            if not parser.parse(model.read()):
                for error in range(parser.num_errors):
                    print(parser.get_error(error))
                return None
        assert network.has_explicit_precision
        config = builder.create_builder_config()
        config.max_workspace_size = 1 << 30
        config.flags = config.flags | 1 << int(trt.BuilderFlag.INT8)
        return builder.build_engine(network, config)


def main():
    model_path, images_path, results_path = sys.argv[1:]
    with build_engine(model_path) as engine:
        np.save(results_path, run_images(engine, np.load(images_path)))


if __name__ == "__main__":
    main()
