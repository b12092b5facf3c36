"""VE-MD, variational encoder with several decoders (thesis of 2026): the network without its audio, which is not
published.

Inference is "latent only": the structural decoders are used in training only and are not exported. A ViT, frozen, and a
ResNet-50 give a latent of [512, 7, 7] each for every frame; the emotion decoder reads both. "Variational" is a penalty
in training (maximum mean discrepancy against a normal distribution); inference is deterministic.

Our choices, where nothing is published, or where ours differ:
* the body decoder is three transposed convolutions from the ResNet's latent to 18 maps of 56 x 56, not the authors'
  staged one: it serves training only, and their weights for it are left out by `python -m ger.export`;
* there is no decoder of faces, so that nothing here learns to draw them;
* dropout 0.3 before the last layer (a parameter of theirs without a published value); 0.1 in the transformer, torch's
  default;
* ImageNet's mean and std, as in the authors' code; the facts of their checkpoints must state it (`--facts`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import timm
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

FRAMES, SIDE, LIMBS, MAP_SIDE = 5, 7, 18, 56
# The authors' two heads differ in batch handling, and in how many positions they keep.
POSITIONS = {"projected": 500, "plain": 1000}
TRAINING_ONLY = ("body_decoder.",)
PUBLISHED_TRAINING_ONLY = ("decoder_skeleton.", "decoder_landmark.")


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the published ones.

    `head`: "projected" attends over time; "plain" lacks `batch_first`, so that attention runs across the batch: with a
    batch of one, the only one it may be exported for, each frame then attends to itself alone.
    """

    head: str = "projected"
    vit: VitShape = VitShape()
    latent: int = 512  # channels of each latent, and width of the emotion decoder
    hidden: int = 512  # of the classifier
    feed_forward: int = 2048
    resnet_layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    resnet_channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.head not in POSITIONS:
            raise ValueError(f"head {self.head!r} is not known; known: {', '.join(POSITIONS)}")
        if self.vit.size != 32 * SIDE:
            raise ValueError(f"vit.size {self.vit.size} must be {32 * SIDE}, so that the ResNet gives {SIDE} x {SIDE}")


SIZES = {
    "full": Config(),
    "tiny": Config(
        vit=replace(TINY_VIT, size=224, patch=56),
        latent=8,
        hidden=16,
        feed_forward=32,
        resnet_layers=(1, 1, 1, 1),
        resnet_channels=(4, 4, 8, 8),
    ),
}


class Trunk(nn.Module):
    """ResNet-50 without its end, then 1x1 convolution: [M, 3, 224, 224] to [M, latent, 7, 7]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        whole: Any = timm.create_model(
            "resnet50", pretrained=False, num_classes=0, layers=config.resnet_layers, channels=config.resnet_channels
        )
        stages = (
            whole.conv1,
            whole.bn1,
            whole.act1,
            whole.maxpool,
            whole.layer1,
            whole.layer2,
            whole.layer3,
            whole.layer4,
        )
        self.resnet = nn.Sequential(*stages)
        self.latent = nn.Conv2d(whole.num_features, config.latent, 1)

    def forward(self, frames: Tensor) -> Tensor:
        return self.latent(self.resnet(frames))


class TransformerLayer(nn.Module):
    """A post-norm transformer layer with the weights of `nn.TransformerEncoderLayer`: [N, T, dim] to the same."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, 1, 0.1)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.self_attn(x, x)))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(self.linear1(x).relu()))))


class EmotionDecoder(nn.Module):
    """Latents of the frames, [N, T, 2 * latent * 49], to logits [N, 3]."""

    positions: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.across_batch, dim = config.head == "plain", config.latent
        self.linear_reduction = nn.Linear(2 * dim * SIDE * SIDE, dim)
        self.register_buffer("positions", sine_positions(POSITIONS[config.head], dim))
        self.transformer = TransformerLayer(dim, config.feed_forward)
        self.att_pool = FramePooling(dim)
        self.classifier = nn.Sequential(
            nn.Linear(dim, config.hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(config.hidden, 3)
        )

    def forward(self, latents: Tensor) -> Tensor:
        x = self.linear_reduction(latents) + self.positions[:, :FRAMES]
        x = self.transformer(x.transpose(0, 1)).transpose(0, 1) if self.across_batch else self.transformer(x)
        return self.classifier(self.att_pool(x))


class BodyDecoder(nn.Module):
    """The ResNet's latent [M, latent, 7, 7] to maps of limbs [M, 18, 56, 56], each 0 to 1. For training only."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        widths = (latent, max(latent // 2, LIMBS), max(latent // 4, LIMBS))
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], LIMBS, 4, 2, 1), nn.Sigmoid())

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent)


class Network(nn.Module):
    """Normalised `video` [N, 5, 3, 224, 224] to logits [N, 3]. `training_answers` also gives what the penalties of
    training need.
    """

    heatmap_shape = (FRAMES, LIMBS, MAP_SIDE, MAP_SIDE)

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.vit = clip_vit(config.vit).requires_grad_(False)
        self.vit_latent = nn.Linear(config.vit.dim, config.latent * SIDE * SIDE)
        self.trunk = Trunk(config)
        self.emotion = EmotionDecoder(config)
        self.body_decoder = BodyDecoder(config.latent)

    @property
    def interface(self) -> Interface:
        c = self.config
        return Interface("vemd2026", FRAMES, c.vit.size, c.mean, c.std, "none", any_batch=c.head == "projected")

    def picture(self, frames: Tensor) -> Tensor:
        """[M, 3, H, W] to the ViT's vectors [M, dim]."""
        return self.vit(frames)

    def latents(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [N * T, latent * 49] of the ResNet and of the ViT."""
        frames = video.flatten(0, 1)
        return self.trunk(frames).flatten(1), self.vit_latent(self.vit(frames))

    def forward(self, video: Tensor) -> Tensor:
        return self.emotion(torch.cat(self.latents(video), 1).unflatten(0, (-1, FRAMES)))

    def training_answers(self, video: Tensor) -> dict[str, Tensor]:
        """`logits` [N, 3], `latent` [N * T, 2 * latent * 49], `heatmaps` [N, T, 18, 56, 56]."""
        both = self.latents(video)
        latent = torch.cat(both, 1)
        maps = self.body_decoder(both[0].unflatten(1, (self.config.latent, SIDE, SIDE)))
        logits = self.emotion(latent.unflatten(0, (-1, FRAMES)))
        return {"logits": logits, "latent": latent, "heatmaps": maps.unflatten(0, (-1, FRAMES))}


RENAMED = (
    ("encoders.0.", "trunk."),
    ("vit_model.vit.", "vit."),
    ("vit_heads.vgaf.", "vit_latent."),
    ("decoder_emotions.vgaf.pos_enc.pe", "emotion.positions"),
    ("decoder_emotions.vgaf.transformer.layers.0.", "emotion.transformer."),
    ("decoder_emotions.vgaf.", "emotion."),
)


def own_names(published: dict[str, Tensor]) -> tuple[dict[str, Tensor], str, list[str]]:
    """The authors' weights under our names, which head they have, and the tensors left out by design: those of
    decoders of structure.
    """
    bare = {name.removeprefix("module."): tensor for name, tensor in published.items()}
    left_out = [name for name in bare if name.startswith(PUBLISHED_TRAINING_ONLY)]
    renamed = {}
    for name, tensor in bare.items():
        if name not in left_out:
            old, new = next((pair for pair in RENAMED if name.startswith(pair[0])), ("", ""))
            renamed[new + name[len(old) :]] = tensor
    positions = renamed.get("emotion.positions")
    plain = positions is not None and positions.ndim == 3 and positions.shape[1] == POSITIONS["plain"]
    return renamed, "plain" if plain else "projected", left_out
