"""Which operators are implemented here, and since which opset each implementation holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from camshaft.ops.hosted import (
    arithmetic,
    casts,
    indexing,
    microsoft,
    normalization,
    quantization,
    recurrent,
    selection,
    sequences,
    shapes,
    signal,
    strings,
)
from camshaft.ops.hosted.call import Function
from camshaft.ops.hosted.ml import labels, maps, trees, vectors
from camshaft.ops.hosted.plugin import plugin_function
from camshaft.ops.hosted.spatial import convolution, pooling, resize, sampling


class Implementation(NamedTuple):
    """An operator of ONNX's own domain.  since: the oldest opset whose rules `function` knows."""

    op_type: str
    since: int
    function: Function


IMPLEMENTATIONS: tuple[Implementation, ...] = tuple(
    Implementation(*entry)
    for entry in (
        ("AffineGrid", 20, sampling.affine_grid),
        ("ArgMax", 1, selection.arg_extreme),
        ("ArgMin", 1, selection.arg_extreme),
        ("AveragePool", 7, pooling.average_pool),
        ("BatchNormalization", 7, normalization.batch_normalization),
        ("BitCast", 26, shapes.bit_cast),
        ("BitShift", 11, arithmetic.bit_shift),
        ("BlackmanWindow", 17, signal.window),
        ("Cast", 9, casts.cast),
        ("CastLike", 15, casts.cast_like),
        ("CenterCropPad", 18, indexing.centre_crop_pad),
        ("Col2Im", 18, convolution.col2im),
        ("Compress", 9, indexing.compress),
        ("ConcatFromSequence", 11, sequences.concat_from_sequence),
        ("Conv", 1, convolution.conv),
        ("ConvInteger", 10, quantization.conv_integer),
        ("ConvTranspose", 1, convolution.conv_transpose),
        ("CumProd", 26, arithmetic.cumulate),
        ("CumSum", 11, arithmetic.cumulate),
        ("DFT", 17, signal.dft),
        ("DeformConv", 19, convolution.deform_conv),
        ("DepthToSpace", 1, indexing.depth_to_space),
        ("DequantizeLinear", 10, quantization.dequantize_linear),
        ("DynamicQuantizeLinear", 11, quantization.dynamic_quantize_linear),
        ("Einsum", 12, arithmetic.einsum),
        ("GRU", 7, recurrent.gru),
        ("Gather", 1, indexing.gather),
        ("GatherElements", 11, indexing.gather_elements),
        ("GatherND", 11, indexing.gather_nd),
        ("GlobalAveragePool", 1, pooling.global_average_pool),
        ("GlobalLpPool", 2, pooling.global_lp_pool),
        ("GlobalMaxPool", 1, pooling.global_max_pool),
        ("GridSample", 16, sampling.grid_sample),
        ("GroupNormalization", 18, normalization.group_normalization),
        ("HammingWindow", 17, signal.window),
        ("HannWindow", 17, signal.window),
        ("Hardmax", 1, normalization.hardmax),
        ("InstanceNormalization", 6, normalization.instance_normalization),
        ("LRN", 1, normalization.local_response),
        ("LSTM", 7, recurrent.lstm),
        ("LayerNormalization", 17, normalization.layer_normalization),
        ("LogSoftmax", 1, normalization.log_softmax),
        ("LpNormalization", 1, normalization.lp_normalization),
        ("LpPool", 2, pooling.lp_pool),
        ("MatMulInteger", 10, quantization.matmul_integer),
        ("MaxPool", 1, pooling.max_pool),
        ("MaxRoiPool", 1, sampling.max_roi_pool),
        ("MaxUnpool", 9, pooling.max_unpool),
        ("Mean", 1, arithmetic.mean),
        ("MeanVarianceNormalization", 9, normalization.mean_variance_normalization),
        ("MelWeightMatrix", 17, signal.mel_weight_matrix),
        ("Mod", 10, arithmetic.modulo),
        ("Multinomial", 7, selection.multinomial),
        ("NonMaxSuppression", 10, selection.non_max_suppression),
        ("NonZero", 9, selection.non_zero),
        ("OneHot", 9, indexing.one_hot),
        ("Optional", 15, sequences.optional),
        ("OptionalGetElement", 15, sequences.get_element),
        ("OptionalHasElement", 15, sequences.has_element),
        ("Pad", 2, shapes.pad),
        ("QLinearConv", 10, quantization.qlinear_conv),
        ("QLinearMatMul", 10, quantization.qlinear_matmul),
        ("QuantizeLinear", 10, quantization.quantize_linear),
        ("RNN", 7, recurrent.rnn),
        ("RegexFullMatch", 20, strings.regex_full_match),
        ("Reshape", 1, shapes.reshape),
        ("Resize", 10, resize.resize),
        ("ReverseSequence", 10, indexing.reverse_sequence),
        ("RoiAlign", 10, sampling.roi_align),
        ("STFT", 17, signal.stft),
        ("Scatter", 9, indexing.scatter_elements),
        ("ScatterElements", 11, indexing.scatter_elements),
        ("ScatterND", 11, indexing.scatter_nd),
        ("SequenceAt", 11, sequences.at),
        ("SequenceConstruct", 11, sequences.construct),
        ("SequenceEmpty", 11, sequences.empty),
        ("SequenceErase", 11, sequences.erase),
        ("SequenceInsert", 11, sequences.insert),
        ("SequenceLength", 11, sequences.length),
        ("Slice", 1, shapes.slice_),
        ("Softmax", 1, normalization.softmax),
        ("SpaceToDepth", 1, indexing.space_to_depth),
        ("Split", 2, shapes.split),
        ("SplitToSequence", 11, sequences.split_to_sequence),
        ("Squeeze", 1, shapes.squeeze),
        ("StringConcat", 20, strings.string_concat),
        ("StringNormalizer", 10, strings.string_normalizer),
        ("StringSplit", 20, strings.string_split),
        ("TensorScatter", 24, indexing.tensor_scatter),
        ("TfIdfVectorizer", 9, strings.tf_idf_vectorizer),
        ("TopK", 1, selection.top_k),
        ("Unique", 11, selection.unique),
        ("Unsqueeze", 1, shapes.unsqueeze),
        ("Upsample", 7, resize.resize),
    )
)
"""In alphabetical order."""

FOREIGN: Mapping[tuple[str, str], Function] = {
    ("ai.onnx.ml", "CastMap"): maps.cast_map,
    ("ai.onnx.ml", "CategoryMapper"): labels.category_mapper,
    ("ai.onnx.ml", "DictVectorizer"): maps.dict_vectorizer,
    ("ai.onnx.ml", "LabelEncoder"): labels.label_encoder,
    ("ai.onnx.ml", "SVMClassifier"): vectors.svm_classifier,
    ("ai.onnx.ml", "TreeEnsemble"): trees.tree_ensemble,
    ("ai.onnx.ml", "TreeEnsembleClassifier"): trees.tree_classifier,
    ("ai.onnx.ml", "TreeEnsembleRegressor"): trees.tree_regressor,
    ("ai.onnx.ml", "ZipMap"): maps.zip_map,
    ("camshaft", "ResizeTables"): resize.resize_tables,
    ("com.microsoft", "DynamicQuantizeLSTM"): microsoft.dynamic_quantize_lstm,
    ("com.microsoft", "Inverse"): microsoft.inverse,
}
"""(domain, operator) -> function, of other domains than ONNX's."""

_BY_NAME = {i.op_type: i for i in IMPLEMENTATIONS}


def implementation(domain: str, op_type: str, opset: int) -> Function | None:
    """The function that runs an operator of an opset, None where there is none here."""
    if domain not in ("", "ai.onnx"):
        return FOREIGN.get((domain, op_type)) or plugin_function(domain, op_type)
    found = _BY_NAME.get(op_type)
    if found is None:
        return plugin_function("", op_type)
    return found.function if opset >= found.since else None
