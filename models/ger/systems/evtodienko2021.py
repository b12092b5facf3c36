"""Evtodienko 2021: HuBERT on the waveform and a ResNet on the pictures, self-attention and cross-attention between
them.

After the paper; neither code nor weights of it are published.

Our choices, where nothing is published:
* `pool`: the paper's equation averages the eight frames before the CNN ("before"); ClipBERT, which it cites, averages
  the CNN's maps ("after"). Both are here; "before" is the default, as the paper states it;
* d = 256 with 4 heads, with which the network has about the 137 M parameters of the two encoders alone;
* skip connections around all three attentions, no feed-forward layers, no positions for the 49 places (HuBERT has its
  own);
* the tokens of each modality are normalised, averaged, and joined for one linear layer;
* the waveform is not normalised, as HuBERT base was trained; ImageNet's mean and std for the pictures; no dropout in
  the fusion;
* inference withholds an answer where sound is missing, as nothing is published about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchaudio
from torch import Tensor, nn

from ger.contract import Interface
from ger.systems.parts import IMAGENET_MEAN, IMAGENET_STD, Attention

# HuBERT's and wav2vec 2.0's feature extractor: kernel and stride of its seven layers (Baevski et al. 2020, section
# 4.2).
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the published ones where there are any."""

    pool: str = "before"  # frames averaged before the CNN, or its maps after it
    resnet: str = "resnet101d"  # or resnet50d
    frames: int = 8
    size: int = 224  # pixels
    dim: int = 256
    heads: int = 4
    resnet_layers: tuple[int, int, int, int] | None = None  # None: those of `resnet`
    resnet_channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    hubert_channels: int = 512
    hubert_dim: int = 768
    hubert_depth: int = 12
    hubert_heads: int = 12
    normalise: str = "none"  # of the waveform, or zscore-clip
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.pool not in ("before", "after"):
            raise ValueError(f'pool {self.pool!r} must be "before" or "after"')
        if self.resnet not in ("resnet101d", "resnet50d"):
            raise ValueError(f"resnet {self.resnet!r} is not known; known: resnet101d, resnet50d")


SIZES = {
    "full": Config(),
    "tiny": Config(
        size=64,
        dim=16,
        heads=2,
        resnet_layers=(1, 1, 1, 1),
        resnet_channels=(8, 8, 16, 16),
        hubert_channels=8,
        hubert_dim=32,
        hubert_depth=1,
        hubert_heads=2,
    ),
}


def resnet_d(config: Config) -> nn.Module:
    """timm's ResNet-D without pooling and head, random weights: [M, 3, H, W] to [M, C, H/32, W/32]."""
    smaller: dict[str, Any] = {} if config.resnet_layers is None else {"layers": config.resnet_layers, "stem_width": 8}
    return timm.create_model(
        config.resnet, pretrained=False, num_classes=0, global_pool="", channels=config.resnet_channels, **smaller
    )


def hubert(config: Config) -> nn.Module:
    """torchaudio's HuBERT base without its training head, random weights: [N, samples] to [N, 249, dim] for 80 000
    samples.
    """
    return torchaudio.models.wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(config.hubert_channels, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)],
        extractor_conv_bias=False,
        encoder_embed_dim=config.hubert_dim,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=128,
        encoder_pos_conv_groups=16,
        encoder_num_layers=config.hubert_depth,
        encoder_num_heads=config.hubert_heads,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=4 * config.hubert_dim,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.1,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.05,
        aux_num_out=None,
    )


class Network(nn.Module):
    """Normalised `video` [N, 8, 3, H, W] and `sound`, a waveform [N, 80000], to logits [N, 3]."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config, dim = config, config.dim
        resnet: Any = resnet_d(config)
        self.video_encoder, self.sound_encoder = resnet, hubert(config)
        self.video_project = nn.Linear(resnet.num_features, dim)
        self.sound_project = nn.Linear(config.hubert_dim, dim)
        self.joint, self.sound_to_video, self.video_to_sound = (Attention(dim, config.heads) for _ in range(3))
        self.sound_norm, self.video_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.head = nn.Linear(2 * dim, 3)

    @property
    def interface(self) -> Interface:
        c = self.config
        return Interface("evtodienko2021", c.frames, c.size, c.mean, c.std, "waveform", c.normalise)

    def picture(self, frames: Tensor) -> Tensor:
        """[M, 3, H, W] to [M, C], for a training of the encoder alone."""
        return self.video_encoder(frames).mean((2, 3))

    def places(self, video: Tensor) -> Tensor:
        """[N, T, 3, H, W] to tokens [N, places, dim]."""
        if self.config.pool == "before":
            maps = self.video_encoder(video.mean(1))
        else:
            maps = self.video_encoder(video.flatten(0, 1)).unflatten(0, (-1, self.config.frames)).mean(1)
        return self.video_project(maps.flatten(2).transpose(1, 2))

    def forward(self, video: Tensor, sound: Tensor) -> Tensor:
        places, sounds = self.places(video), self.sound_project(self.sound_encoder(sound)[0])
        joined = torch.cat([sounds, places], 1)
        joined = joined + self.joint(joined, joined)
        sounds, places = joined[:, : sounds.shape[1]], joined[:, sounds.shape[1] :]
        crossed_sound = self.sound_norm(sounds + self.sound_to_video(sounds, places))
        crossed_video = self.video_norm(places + self.video_to_sound(places, sounds))
        return self.head(torch.cat([crossed_sound.mean(1), crossed_video.mean(1)], -1))
