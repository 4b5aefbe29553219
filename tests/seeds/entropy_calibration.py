"""INT8 by calibration: batches of image files through an entropy calibrator, whose cache later builds read.

entropy_calibration.py model.onnx folder/of/calibration calibration.cache images.npy results.npy
"""

import glob
import os
import sys

import numpy as np
import pycuda.autoinit  # noqa: F401
import pycuda.driver as cuda
import tensorrt as trt
from pinned_buffers import run_images

TRT_LOGGER = trt.Logger(trt.Logger.INFO)
NUM_IMAGES_PER_BATCH = 5


class ImageBatchStream:
    """Batches of images, one array of float32 a file."""

    def __init__(self, batch_size, calibration_files):
        self.batch_size = batch_size
        self.files = calibration_files
        self.max_batches = len(calibration_files) // batch_size
        self.batch = 0
        first = np.load(calibration_files[0])
        self.calibration_data = np.zeros((batch_size, *first.shape), dtype=np.float32)

    def reset(self):
        self.batch = 0

    def next_batch(self):
        if self.batch >= self.max_batches:
            return np.array([])
        start = self.batch * self.batch_size
        for i in range(self.batch_size):
            self.calibration_data[i] = np.load(self.files[start + i])
        self.batch += 1
        return np.ascontiguousarray(self.calibration_data, dtype=np.float32)


class EntropyCalibrator(trt.IInt8EntropyCalibrator2):
    """Reads the stream through one buffer of the device."""

    def __init__(self, input_layers, stream, cache_file):
        trt.IInt8EntropyCalibrator2.__init__(self)
        self.input_layers = input_layers
        self.stream = stream
        self.cache_file = cache_file
        self.d_input = cuda.mem_alloc(self.stream.calibration_data.nbytes)
        stream.reset()

    def get_batch_size(self):
        return self.stream.batch_size

    def get_batch(self, names):
        assert list(names) == self.input_layers
        batch = self.stream.next_batch()
        if not batch.size:
            return []
        print("batch", self.stream.batch)
        cuda.memcpy_htod(self.d_input, batch)
        return [int(self.d_input)]

    def read_calibration_cache(self):
        if os.path.exists(self.cache_file):
            with open(self.cache_file, "rb") as f:
                return f.read()
        return None

    def write_calibration_cache(self, cache):
        with open(self.cache_file, "wb") as f:
            f.write(cache)


def build_engine(model_path, folder, cache_file):
    calibration_files = sorted(glob.glob(os.path.join(folder, "*.npy")))
    batchstream = ImageBatchStream(NUM_IMAGES_PER_BATCH, calibration_files)
    Int8_calibrator = EntropyCalibrator(["input"], batchstream, cache_file)
    builder = trt.Builder(TRT_LOGGER)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, TRT_LOGGER)
    if not parser.parse_from_file(model_path):
        raise SystemExit(str(parser.get_error(0)))
    config = builder.create_builder_config()
    config.max_workspace_size = 1 << 28
    config.set_flag(trt.BuilderFlag.INT8)
    config.int8_calibrator = Int8_calibrator
    batches = builder.create_optimization_profile()
    shape = batchstream.calibration_data.shape[1:]
    batches.set_shape("input", (1, *shape), (NUM_IMAGES_PER_BATCH, *shape), (8, *shape))
    config.add_optimization_profile(batches)
    config.set_calibration_profile(batches)
    return builder.build_engine(network, config)


def run_batch(engine, images):
    """All images at once, the batch's size set first."""
    context = engine.create_execution_context()
    context.active_optimization_profile = 0
    context.set_binding_shape(0, images.shape)
    assert context.all_binding_shapes_specified
    result = np.empty(tuple(context.get_binding_shape(1)), dtype=np.float32)
    d_input, d_output = cuda.mem_alloc(images.nbytes), cuda.mem_alloc(result.nbytes)
    stream = cuda.Stream()
    cuda.memcpy_htod_async(d_input, np.ascontiguousarray(images), stream)
    context.execute_async_v2(bindings=[int(d_input), int(d_output)], stream_handle=stream.handle)
    cuda.memcpy_dtoh_async(result, d_output, stream)
    stream.synchronize()
    return result


def main():
    model_path, folder, cache_file, images_path, results_path = sys.argv[1:]
    engine = build_engine(model_path, folder, cache_file)
    images = np.load(images_path)
    results = (
        run_batch(engine, images)
        if -1 in engine.get_binding_shape(0)
        else run_images(engine, images)
    )
    np.save(results_path, results)


if __name__ == "__main__":
    main()
