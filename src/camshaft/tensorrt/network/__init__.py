"""Networks: tensors, layers, and what a build gets of them."""

from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.layers.conditionals import (
    IConditionLayer,
    IIfConditional,
    IIfConditionalBoundaryLayer,
    IIfConditionalInputLayer,
    IIfConditionalOutputLayer,
)
from camshaft.tensorrt.network.layers.elementwise import (
    IActivationLayer,
    ICastLayer,
    IElementWiseLayer,
    IIdentityLayer,
    IParametricReLULayer,
    IScaleLayer,
    ISelectLayer,
    IUnaryLayer,
)
from camshaft.tensorrt.network.layers.images import (
    IGridSampleLayer,
    ILRNLayer,
    IPaddingLayer,
    IResizeLayer,
)
from camshaft.tensorrt.network.layers.indexing import (
    IGatherLayer,
    INMSLayer,
    INonZeroLayer,
    IOneHotLayer,
    IReverseSequenceLayer,
    IScatterLayer,
)
from camshaft.tensorrt.network.layers.loops import (
    IIteratorLayer,
    ILoop,
    ILoopBoundaryLayer,
    ILoopOutputLayer,
    IRecurrenceLayer,
    ITripLimitLayer,
)
from camshaft.tensorrt.network.layers.movement import (
    IConcatenationLayer,
    IShuffleLayer,
    ISliceLayer,
    ISqueezeLayer,
    IUnsqueezeLayer,
)
from camshaft.tensorrt.network.layers.normalization import INormalizationLayer
from camshaft.tensorrt.network.layers.products import (
    IEinsumLayer,
    IFullyConnectedLayer,
    IMatrixMultiplyLayer,
)
from camshaft.tensorrt.network.layers.quantization import (
    IDequantizeLayer,
    IDynamicQuantizeLayer,
    IQuantizeLayer,
)
from camshaft.tensorrt.network.layers.recurrent import IRNNv2Layer
from camshaft.tensorrt.network.layers.reduction import (
    ICumulativeLayer,
    IRaggedSoftMaxLayer,
    IReduceLayer,
    ISoftMaxLayer,
    ITopKLayer,
)
from camshaft.tensorrt.network.layers.sources import (
    IAssertionLayer,
    IConstantLayer,
    IFillLayer,
    IShapeLayer,
)
from camshaft.tensorrt.network.layers.transformers.attention import (
    IAttention,
    IAttentionBoundaryLayer,
    IAttentionInputLayer,
    IAttentionOutputLayer,
)
from camshaft.tensorrt.network.layers.transformers.caches import IKVCacheUpdateLayer
from camshaft.tensorrt.network.layers.transformers.experts import IMoELayer
from camshaft.tensorrt.network.layers.transformers.rotary import IRotaryEmbeddingLayer
from camshaft.tensorrt.network.layers.windows import (
    IConvolutionLayer,
    IDeconvolutionLayer,
    IPoolingLayer,
)
from camshaft.tensorrt.network.refused import IDistCollectiveLayer
from camshaft.tensorrt.network.tensor import ITensor

__all__ = [
    "IActivationLayer",
    "IAssertionLayer",
    "IAttention",
    "IAttentionBoundaryLayer",
    "IAttentionInputLayer",
    "IAttentionOutputLayer",
    "ICastLayer",
    "IConcatenationLayer",
    "IConditionLayer",
    "IConstantLayer",
    "IConvolutionLayer",
    "ICumulativeLayer",
    "IDeconvolutionLayer",
    "IDequantizeLayer",
    "IDistCollectiveLayer",
    "IDynamicQuantizeLayer",
    "IEinsumLayer",
    "IElementWiseLayer",
    "IFillLayer",
    "IFullyConnectedLayer",
    "IGatherLayer",
    "IGridSampleLayer",
    "IIdentityLayer",
    "IIfConditional",
    "IIfConditionalBoundaryLayer",
    "IIfConditionalInputLayer",
    "IIfConditionalOutputLayer",
    "IIteratorLayer",
    "IKVCacheUpdateLayer",
    "ILRNLayer",
    "ILayer",
    "ILoop",
    "ILoopBoundaryLayer",
    "ILoopOutputLayer",
    "IMatrixMultiplyLayer",
    "IMoELayer",
    "INMSLayer",
    "INetworkDefinition",
    "INonZeroLayer",
    "INormalizationLayer",
    "IOneHotLayer",
    "IPaddingLayer",
    "IParametricReLULayer",
    "IPoolingLayer",
    "IQuantizeLayer",
    "IRNNv2Layer",
    "IRaggedSoftMaxLayer",
    "IRecurrenceLayer",
    "IReduceLayer",
    "IResizeLayer",
    "IReverseSequenceLayer",
    "IRotaryEmbeddingLayer",
    "IScaleLayer",
    "IScatterLayer",
    "ISelectLayer",
    "IShapeLayer",
    "IShuffleLayer",
    "ISliceLayer",
    "ISoftMaxLayer",
    "ISqueezeLayer",
    "ITensor",
    "ITopKLayer",
    "ITripLimitLayer",
    "IUnaryLayer",
    "IUnsqueezeLayer",
]
