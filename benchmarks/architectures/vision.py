"""Architectures of torchvision and timm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from benchmarks.architectures.net import Architecture, Made, Scale, image
from benchmarks.torch_models import torchvision_library

CLASSIFIERS = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_16",
    "wide_resnet50_2",
)
SEGMENTERS = (
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
)
VIDEO = ("mc3_18", "r3d_18", "s3d")
_FIXED = {"maxvit_t": 224, "s3d": 224, "vit_b_16": 224}
"""Pixels a side of nets that have a size of their own."""

TIMM: Mapping[str, Mapping[str, Any]] = {
    "beit_base_patch16_224": {"embed_dim": 192, "depth": 3, "num_heads": 3},
    "cait_xxs24_224": {},
    "caformer_s18": {},
    "coat_lite_tiny": {},
    "coatnet_pico_rw_224": {},
    "convmixer_768_32": {},
    "convnext_atto": {},
    "convnextv2_atto": {},
    "crossvit_tiny_240": {},
    "cspresnet50": {},
    "davit_tiny": {},
    "deit_tiny_patch16_224": {},
    "dla34": {},
    "dpn48b": {},
    "eca_nfnet_l0": {},
    "edgenext_xx_small": {},
    "efficientformer_l1": {},
    "efficientvit_b0": {},
    "efficientvit_m0": {},
    "eva02_tiny_patch14_224": {},
    "fastvit_t8": {},
    "focalnet_tiny_srf": {},
    "gernet_s": {},
    "ghostnet_100": {},
    "gmlp_s16_224": {},
    "hgnetv2_b0": {},
    "hrnet_w18_small": {},
    "inception_next_atto": {},
    "levit_128s": {},
    "mambaout_femto": {},
    "maxvit_pico_rw_256": {},
    "mixer_s32_224": {},
    "mobilenetv4_conv_small": {},
    "mobileone_s0": {},
    "mobilevit_xxs": {},
    "mobilevitv2_050": {},
    "nest_tiny": {},
    "pit_ti_224": {},
    "poolformer_s12": {},
    "pvt_v2_b0": {},
    "regnety_002": {},
    "repvgg_a0": {},
    "repvit_m0_9": {},
    "res2net50_14w_8s": {},
    "resmlp_12_224": {},
    "resnest14d": {},
    "rexnet_100": {},
    "skresnet18": {},
    "swin_tiny_patch4_window7_224": {},
    "tiny_vit_5m_224": {},
    "tinynet_e": {},
    "tresnet_m": {},
    "twins_svt_small": {},
    "vit_tiny_patch16_224": {},
    "volo_d1_224": {},
    "xcit_nano_12_p16_224": {},
}
"""Name -> changes that make it small."""


def _classifier(name: str, scale: Scale) -> Made:
    options: dict[str, Any] = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    module = getattr(torchvision_library().models, name)(**options)
    return Made(module, (image(_FIXED.get(name, scale.image)),))


def _segmenter(name: str, scale: Scale) -> Made:
    make = getattr(torchvision_library().models.segmentation, name)
    return Made(make(weights=None, weights_backbone=None), (image(scale.image),))


def _video(name: str, scale: Scale) -> Made:
    module = getattr(torchvision_library().models.video, name)(weights=None)
    pixels = _FIXED.get(name, scale.image // 2)
    return Made(module, (torch.randn(1, 3, 16, pixels, pixels),))


def _timm(name: str, changes: Mapping[str, Any], _: Scale) -> Made:
    torchvision_library()  # timm imports it
    import timm
    from timm import data

    configured: Any = data
    module = timm.create_model(name, pretrained=False, **changes)
    pixels = configured.resolve_model_data_config(module)["input_size"][-1]
    return Made(module, (image(pixels),))


def torchvision_architectures() -> list[Architecture]:
    """Those of torchvision."""
    kinds = ((CLASSIFIERS, _classifier), (SEGMENTERS, _segmenter), (VIDEO, _video))
    return [
        Architecture(name, "torchvision", partial(make, name))
        for names, make in kinds
        for name in names
    ]


def timm_architectures() -> list[Architecture]:
    """Those of timm, at their own sizes."""
    return [Architecture(name, "timm", partial(_timm, name, c)) for name, c in TIMM.items()]
