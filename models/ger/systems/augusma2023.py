"""Augusma et al. 2023 (ICMI, winner of EmotiW): cross-attention fusion of a ViT's frames and a spectrogram CNN's
seconds.

After the paper and its authors' public description; weights are named as in their checkpoints. Three heads: `mean` and
`flatten` of the paper, and `pooling`, the frame attention by which the thesis of 2026 replaces the mean.

Our choices, where nothing is published:
* the spectrogram is `ger-mel-1` (128 mel bins, 128 frames a second);
* dropout is applied to the attention's weights, as in PyTorch's own layer;
* pictures are normalised by ImageNet's mean and std, as in the authors' later code; the facts of their checkpoints must
  state it (`--facts`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ger.contract import Interface
from ger.systems.parts import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TINY_VIT,
    Attention,
    FramePooling,
    VitShape,
    clip_vit,
    sine_positions,
)

STEPS = 5  # frames, and segments of sound
HEADS = ("mean", "flatten", "pooling")


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the published ones. `channels` are the sound CNN's: the first layer's, then each
    block's.
    """

    head: str = "mean"
    vit: VitShape = VitShape()
    channels: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    feed_forward: int = 2048
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"head {self.head!r} is not known; known: {', '.join(HEADS)}")
        if 2 * self.channels[-1] != self.vit.dim:
            raise ValueError(f"channels {self.channels}: twice the last must be vit.dim, {self.vit.dim}")


SIZES = {"full": Config(), "tiny": Config(vit=TINY_VIT, channels=(2, 4, 4, 8, 16), feed_forward=64)}


class Frames(nn.Module):
    """[M, 3, H, W] to [M, dim]."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.vit = clip_vit(shape)

    def forward(self, frames: Tensor) -> Tensor:
        return self.vit(frames)


def conv_block(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    """Three 3x3 convolutions without padding, each with ReLU, then 2x2 maxima."""
    widths = (inputs, middle, outputs, outputs)
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Conv2d(a, b, 3), nn.ReLU())]
    return nn.Sequential(*layers, nn.MaxPool2d(2, 2))


class SpectrogramCnn(nn.Module):
    """[M, 1, bins, frames], both sides at least 106, to [M, 2 * last channel]."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        first, *rest = channels
        self.cnn1 = conv_block(1, first, rest[0])
        self.cnn2, self.cnn3, self.cnn4 = (conv_block(a, b, b) for a, b in itertools.pairwise(rest))

    def forward(self, spectrogram: Tensor) -> Tensor:
        return halves(self.cnn4(self.cnn3(self.cnn2(self.cnn1(spectrogram))))).flatten(1)


def halves(maps: Tensor) -> Tensor:
    """Means of the left and the right half, [M, C, H, W] to [M, C, 2]: `AdaptiveAvgPool2d((1, 2))`, which ONNX does
    not have.
    """
    columns = maps.mean(2)
    width = int(maps.shape[3])
    return torch.stack([columns[:, :, : (width + 1) // 2].mean(2), columns[:, :, width // 2 :].mean(2)], 2)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    """One pre-norm transformer block over the seconds, positions added first, no norm last: [N, 5, dim] to the same."""

    positions: Tensor

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("positions", sine_positions(STEPS, dim), persistent=False)
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, 1, 0.2)
        self.ff = FeedForward(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.positions
        normed = self.norm1(x)
        x = x + self.attn(normed, normed)
        return x + self.ff(self.norm2(x))


class Sound(nn.Module):
    """[N, 5, 1, bins, frames] to [N, 5, dim]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.backbone = SpectrogramCnn(config.channels)
        self.encoder = Block(config.vit.dim, config.feed_forward)

    def forward(self, sound: Tensor) -> Tensor:
        return self.encoder(self.backbone(sound.flatten(0, 1)).unflatten(0, (-1, STEPS)))


class Network(nn.Module):
    """Normalised `video` [N, 5, 3, H, W] and `sound` [N, 5, 1, 128, 128] to logits [N, 3]."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config, dim = config, config.vit.dim
        self.video_backbone, self.audio_feat = Frames(config.vit), Sound(config)
        self.cross = Attention(dim, 1, 0.1)
        if config.head == "pooling":
            self.pooling = FramePooling(3 * dim)
        self.head = nn.Linear((STEPS if config.head == "flatten" else 1) * 3 * dim, 3)

    @property
    def interface(self) -> Interface:
        return Interface("augusma2023", STEPS, self.config.vit.size, self.config.mean, self.config.std, "mel")

    def picture(self, frames: Tensor) -> Tensor:
        """[M, 3, H, W] to [M, dim], for a training of the encoder alone."""
        return self.video_backbone(frames)

    def forward(self, video: Tensor, sound: Tensor) -> Tensor:
        frames = self.video_backbone(video.flatten(0, 1)).unflatten(0, (-1, STEPS))
        sounds = self.audio_feat(sound)
        joined = torch.cat([sounds, self.cross(sounds, frames), frames], -1)
        if self.config.head == "flatten":
            return self.head(joined.flatten(1))
        return self.head(self.pooling(joined) if self.config.head == "pooling" else joined.mean(1))


def own_names(published: dict[str, Tensor]) -> tuple[dict[str, Tensor], str, list[str]]:
    """The authors' weights under our names (which are theirs), which head they have, and the tensors left out by
    design: none.
    """
    bare = {name.removeprefix("module."): tensor for name, tensor in published.items()}
    head, cross = bare.get("head.weight"), bare.get("cross.in_proj_bias")
    if any(name.startswith("pooling.") for name in bare):
        return bare, "pooling", []
    wide = head is not None and cross is not None and head.numel() == 3 * STEPS * cross.numel()
    return bare, "flatten" if wide else "mean", []
