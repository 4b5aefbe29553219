"""One network in FP32, FP16 and INT8, as the sample for INT8 compares them: MNIST's files give batches, then the score.

sample_int8.py model.onnx folder/of/mnist results.npz
"""

import os
import struct
import sys
import threading

import numpy as np
import pycuda.autoinit  # noqa: F401
import pycuda.driver as cuda
import tensorrt as trt
from pinned_buffers import run_images

TRT_LOGGER = trt.Logger(trt.Logger.WARNING)


class MNISTBatchStream:
    """Batches of MNIST's image file: magic number, count, rows, columns, then bytes."""

    def __init__(self, batch_size, max_batches, data_file, label_file, folder):
        with open(os.path.join(folder, data_file), "rb") as f:
            magic, count, rows, columns = struct.unpack(">4i", f.read(16))
            assert magic == 0x803
            raw = np.frombuffer(f.read(), np.uint8)
        self.data = raw.reshape(count, 1, rows, columns).astype(np.float32) / 255
        with open(os.path.join(folder, label_file), "rb") as f:
            magic, count = struct.unpack(">2i", f.read(8))
            assert magic == 0x801
            self.labels = np.frombuffer(f.read(), np.uint8)
        self.batch_size, self.max_batches, self.count = batch_size, max_batches, 0

    def next(self):
        if self.count >= self.max_batches:
            return None
        start = self.count * self.batch_size
        self.count += 1
        return np.ascontiguousarray(self.data[start : start + self.batch_size])


class Int8EntropyCalibrator2(trt.IInt8EntropyCalibrator2):
    """getBatch in Python: skips the first batches, and keeps no cache."""

    def __init__(self, stream, first_batch, network_name, input_name):
        super().__init__()
        self.stream, self.input_name = stream, input_name
        self.cache_name = f"CalibrationTable{network_name}"
        for _ in range(first_batch):
            stream.next()
        self.device_input = cuda.mem_alloc(stream.data[: stream.batch_size].nbytes)

    def get_batch_size(self):
        return self.stream.batch_size

    def get_batch(self, names):
        batch = self.stream.next()
        if batch is None:
            return None
        assert names[0] == self.input_name
        cuda.memcpy_htod(self.device_input, batch)
        return [self.device_input]

    def read_calibration_cache(self):
        return None

    def write_calibration_cache(self, cache):
        print(self.cache_name, len(bytes(cache)), "bytes")


def build_engine(model_path, data_type, stream):
    builder = trt.Builder(TRT_LOGGER)
    builder.max_batch_size = 1
    if data_type == trt.int8 and not builder.platform_has_fast_int8:
        return None
    if data_type == trt.float16 and not builder.platform_has_fast_fp16:
        return None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, TRT_LOGGER)
    if not parser.parse_from_file(model_path):
        raise SystemExit(str(parser.get_error(0)))
    config = builder.create_builder_config()
    config.avg_timing_iterations = 1
    config.min_timing_iterations = 1
    config.max_workspace_size = 1 << 30
    if data_type == trt.float16:
        config.set_flag(trt.BuilderFlag.FP16)
    if data_type == trt.int8:
        config.set_flag(trt.BuilderFlag.INT8)
        name = network.get_input(0).name
        config.int8_calibrator = Int8EntropyCalibrator2(stream, 0, "mnist", name)
    return builder.build_engine(network, config)


def main():
    model_path, folder, results_path = sys.argv[1:]
    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", folder)
    images = MNISTBatchStream(1, 1, *files)
    results, engines = {}, {}
    for data_type in (trt.float32, trt.float16, trt.int8):
        stream = MNISTBatchStream(1, 40, *files)
        engines[data_type.name] = build_engine(model_path, data_type, stream)

    def infer(name):
        cuda.Device(0).make_context()
        try:
            results[name] = run_images(engines[name], images.data)
        finally:
            cuda.Context.pop()

    workers = [threading.Thread(target=infer, args=(name,)) for name in engines]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for name, scores in results.items():
        right = np.mean(scores.argmax(-1) == images.labels)
        print(f"{name}: top 1 is right for {right:.0%}")
    np.savez(results_path, **results)


if __name__ == "__main__":
    main()
