"""Architectures of transformers, made from configurations of a given scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.architectures.net import Architecture, Made, Scale
from benchmarks.torch_models import torchvision_library

VOCABULARY = 500


@dataclass(frozen=True)
class Entry:
    """config: name of the configuration's class.  fields: its arguments at a scale.  inputs: keywords of a call.  model: name of the
    model's class; "": what AutoModel takes.  part: the attribute that is the net, as "encoder" of T5."""

    config: str
    fields: Callable[[Scale], Mapping[str, Any]]
    inputs: Callable[[Scale], Mapping[str, Any]]
    model: str = ""
    part: str = ""

    def made(self, scale: Scale) -> Made:
        """The net and a call of it."""
        torchvision_library()  # transformers imports it
        import transformers

        config = getattr(transformers, self.config)(**self.fields(scale))
        if getattr(config, "use_cache", False):
            config.use_cache = False
        if self.model:
            module = getattr(transformers, self.model)(config)
        else:
            automatic: Any = transformers.AutoModel
            module = automatic.from_config(config)
        if self.part:
            module = getattr(module, self.part)
        return Made(module, (), self.inputs(scale))


# --- arguments of configurations ------------------------------------------------------------------


def bert_like(s: Scale, **more: Any) -> dict[str, Any]:
    """Most encoders, and what took over their names."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": s.width,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "intermediate_size": 4 * s.width,
        "max_position_embeddings": 2 * s.tokens + 8,
        **more,
    }


def llama_like(s: Scale, **more: Any) -> dict[str, Any]:
    """Decoders with grouped keys."""
    return bert_like(
        s, num_key_value_heads=s.heads // 2, pad_token_id=0, bos_token_id=1, eos_token_id=2, **more
    )


def bart_like(s: Scale, **more: Any) -> dict[str, Any]:
    """Encoders with decoders."""
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", s.layers),
            ("ffn_dim", 4 * s.width),
            ("attention_heads", s.heads),
        )
    }
    return {
        "vocab_size": VOCABULARY,
        "d_model": s.width,
        "max_position_embeddings": 2 * s.tokens + 8,
        **sides,
        **more,
    }


def vit_like(s: Scale, **more: Any) -> dict[str, Any]:
    """Transformers of images."""
    own = bert_like(s, image_size=_pixels(s), patch_size=16)
    return {
        n: v for n, v in own.items() if n not in ("vocab_size", "max_position_embeddings")
    } | more


def t5_like(s: Scale, **more: Any) -> dict[str, Any]:
    """T5 and its kin."""
    return {"vocab_size": VOCABULARY, "d_model": s.width, "d_kv": s.width // s.heads, "d_ff": 4 * s.width, "num_layers": s.layers, "num_heads": s.heads, **more}  # fmt: skip


def wav2vec_like(s: Scale, **more: Any) -> dict[str, Any]:
    """Encoders of sound."""
    convolutions = {
        "conv_dim": [s.width // 2] * 4,
        "conv_stride": [5, 4, 2, 2],
        "conv_kernel": [10, 8, 3, 2],
    }
    own = bert_like(
        s, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, num_feat_extract_layers=4
    )
    return {n: v for n, v in own.items() if n != "max_position_embeddings"} | convolutions | more


def _clip_like(s: Scale) -> dict[str, Any]:
    text = bert_like(s, projection_dim=s.width, max_position_embeddings=s.tokens)
    text |= {"bos_token_id": 1, "eos_token_id": VOCABULARY - 1, "pad_token_id": 0}
    return {"text_config": text, "vision_config": vit_like(s), "projection_dim": s.width}


def _siglip_like(s: Scale) -> dict[str, Any]:
    return {n: v for n, v in _clip_like(s).items() if n != "projection_dim"}


def _pixels(s: Scale) -> int:
    return s.image // 32 * 32


# --- arguments of calls ---------------------------------------------------------------------------


def tokens(s: Scale) -> dict[str, Any]:
    """A text and its mask, whose last tokens are padding."""
    mask = torch.ones(1, s.tokens, dtype=torch.int64)
    mask[:, -3:] = 0
    return {"input_ids": _ids(s), "attention_mask": mask}


def _ids(s: Scale) -> torch.Tensor:
    return torch.randint(3, VOCABULARY - 1, (1, s.tokens))


def ids(s: Scale) -> dict[str, Any]:
    """A text."""
    return {"input_ids": _ids(s)}


def pair(s: Scale) -> dict[str, Any]:
    """A text, and one that is written."""
    return {**tokens(s), "decoder_input_ids": _ids(s)}


def pixels(s: Scale) -> dict[str, Any]:
    """An image."""
    return {"pixel_values": torch.randn(1, 3, _pixels(s), _pixels(s))}


def sound(s: Scale) -> dict[str, Any]:
    """A wave."""
    return {"input_values": torch.randn(1, 200 * s.tokens)}


def spectrogram(s: Scale) -> dict[str, Any]:
    """What Whisper hears."""
    return {"input_features": torch.randn(1, 80, 4 * s.tokens)}


def heard(s: Scale) -> dict[str, Any]:
    """What Whisper hears and writes."""
    return {**spectrogram(s), "decoder_input_ids": _ids(s)}


def described(s: Scale) -> dict[str, Any]:
    """An image and a text."""
    return {**tokens(s), **pixels(s)}


def _whisper(s: Scale) -> dict[str, Any]:
    own = bart_like(
        s, max_source_positions=2 * s.tokens, max_target_positions=2 * s.tokens, num_mel_bins=80
    )
    own |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return {n: v for n, v in own.items() if n != "max_position_embeddings"}


def _swin(s: Scale) -> dict[str, Any]:
    return {
        "image_size": _pixels(s),
        "embed_dim": s.width // 2,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
    }


def _segformer(s: Scale) -> dict[str, Any]:
    return {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [16, 32, 64, 128],
        "decoder_hidden_size": s.width,
    }


ENTRIES: Mapping[str, Entry] = {
    "albert": Entry("AlbertConfig", lambda s: bert_like(s, embedding_size=s.width // 2), tokens),
    "bart": Entry("BartConfig", bart_like, pair),
    "beit": Entry("BeitConfig", vit_like, pixels),
    "bert": Entry("BertConfig", bert_like, tokens),
    "bert heads": Entry("BertConfig", bert_like, tokens, "BertForSequenceClassification"),
    "bloom": Entry("BloomConfig", lambda s: {"vocab_size": VOCABULARY, "hidden_size": s.width, "n_layer": s.layers, "n_head": s.heads}, tokens),
    "clip": Entry("CLIPConfig", _clip_like, described),
    "convbert": Entry("ConvBertConfig", lambda s: bert_like(s, embedding_size=s.width // 2), tokens),
    "deberta": Entry("DebertaConfig", lambda s: bert_like(s, relative_attention=True, pos_att_type=["c2p", "p2c"]), tokens),
    "deberta_v2": Entry("DebertaV2Config", lambda s: bert_like(s, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8), tokens),
    "deit": Entry("DeiTConfig", vit_like, pixels),
    "vit head": Entry("ViTConfig", vit_like, pixels, "ViTForImageClassification"),
    "dinov2": Entry("Dinov2Config", lambda s: {n: v for n, v in vit_like(s).items() if n != "intermediate_size"}, pixels),
    "distilbert": Entry("DistilBertConfig", lambda s: {"vocab_size": VOCABULARY, "dim": s.width, "n_layers": s.layers, "n_heads": s.heads, "hidden_dim": 4 * s.width}, tokens),
    "electra": Entry("ElectraConfig", lambda s: bert_like(s, embedding_size=s.width // 2), tokens),
    "falcon": Entry("FalconConfig", lambda s: {n: v for n, v in bert_like(s).items() if n != "intermediate_size"}, tokens),
    "fnet": Entry("FNetConfig", lambda s: {n: v for n, v in bert_like(s).items() if n != "num_attention_heads"}, ids),
    "gemma": Entry("GemmaConfig", lambda s: llama_like(s, head_dim=s.width // s.heads), tokens),
    "gpt2": Entry("GPT2Config", lambda s: {"vocab_size": VOCABULARY, "n_embd": s.width, "n_layer": s.layers, "n_head": s.heads, "n_positions": 2 * s.tokens}, tokens),
    "gpt2 head": Entry("GPT2Config", lambda s: {"vocab_size": VOCABULARY, "n_embd": s.width, "n_layer": s.layers, "n_head": s.heads, "n_positions": 2 * s.tokens}, ids, "GPT2LMHeadModel"),
    "gpt_neox": Entry("GPTNeoXConfig", bert_like, tokens),
    "hubert": Entry("HubertConfig", wav2vec_like, sound),
    "llama": Entry("LlamaConfig", llama_like, tokens),
    "mamba": Entry("MambaConfig", lambda s: {"vocab_size": VOCABULARY, "hidden_size": s.width, "num_hidden_layers": s.layers}, ids),
    "marian": Entry("MarianConfig", lambda s: bart_like(s, pad_token_id=0, eos_token_id=2, decoder_start_token_id=0, decoder_vocab_size=VOCABULARY), pair),
    "mbart": Entry("MBartConfig", bart_like, pair),
    "mistral": Entry("MistralConfig", lambda s: llama_like(s, sliding_window=8), tokens),
    "mobilebert": Entry("MobileBertConfig", lambda s: bert_like(s, embedding_size=s.width // 2, intra_bottleneck_size=s.width // 2, intermediate_size=s.width), tokens),
    "modernbert": Entry("ModernBertConfig", lambda s: bert_like(s, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2), tokens),
    "mpnet": Entry("MPNetConfig", bert_like, tokens),
    "opt": Entry("OPTConfig", lambda s: {"vocab_size": VOCABULARY, "hidden_size": s.width, "num_hidden_layers": s.layers, "ffn_dim": 4 * s.width, "num_attention_heads": s.heads, "word_embed_proj_dim": s.width, "max_position_embeddings": 2 * s.tokens}, tokens),
    "phi": Entry("PhiConfig", llama_like, tokens),
    "qwen2": Entry("Qwen2Config", llama_like, tokens),
    "qwen3": Entry("Qwen3Config", lambda s: llama_like(s, head_dim=s.width // s.heads), tokens),
    "roberta": Entry("RobertaConfig", bert_like, tokens),
    "roformer": Entry("RoFormerConfig", bert_like, tokens),
    "segformer": Entry("SegformerConfig", _segformer, pixels, "SegformerForSemanticSegmentation"),
    "siglip": Entry("SiglipConfig", _siglip_like, described),
    "squeezebert": Entry("SqueezeBertConfig", lambda s: bert_like(s, embedding_size=s.width), tokens),
    "stablelm": Entry("StableLmConfig", llama_like, tokens),
    "swin": Entry("SwinConfig", _swin, pixels),
    "t5": Entry("T5Config", t5_like, pair),
    "t5 encoder": Entry("T5Config", t5_like, tokens, "T5EncoderModel"),
    "vit": Entry("ViTConfig", vit_like, pixels),
    "wav2vec2": Entry("Wav2Vec2Config", wav2vec_like, sound),
    "whisper": Entry("WhisperConfig", _whisper, heard),
    "whisper encoder": Entry("WhisperConfig", _whisper, spectrogram, "WhisperModel", "encoder"),
    "xlnet": Entry("XLNetConfig", lambda s: {"vocab_size": VOCABULARY, "d_model": s.width, "n_layer": s.layers, "n_head": s.heads, "d_inner": 4 * s.width}, tokens),
}  # fmt: skip


def transformers_architectures() -> list[Architecture]:
    """Those of transformers."""
    return [Architecture(name, "transformers", entry.made) for name, entry in ENTRIES.items()]
