"""The small fused network ("edge"): a CNN over five frames, a CNN and a transformer block over five seconds of
sound, cross-attention (query = sound, key = value = video), and a head over [sound, cross, video].

Its fusion follows the published system of Augusma et al. (2023), and it differs where a small network trained from
random weights needs it: no ViT but a convolutional stem whose fine map is trained to show heads and their expressions,
from which evidence is pooled as votes; strided convolutions with batch normalisation for the sound; learned vectors in
place of a missing modality; a head for the group's size, and one for how large people appear. The fine map and the
votes stay inside: the outputs are those of the heads alone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of a network; `asdict` goes into the checkpoint."""

    size: int = 192
    dim: int = 128
    depth: int = 1
    heads: int = 4
    stem: tuple[int, int, int] = (24, 48, 96)
    sound: tuple[int, int, int, int] = (16, 32, 64, 96)
    buckets: int = 5
    classes: int = 3
    head_width: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width, 1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Attention(nn.Module):
    """Multi-head attention written out, so that the exported graph consists of plain matrix products."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1.0 / math.sqrt(dim // heads)
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(-1, int(x.shape[1]), self.heads, int(x.shape[2]) // self.heads).transpose(1, 2)

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        q, k, v = self.split(self.query(query)), self.split(self.key(memory)), self.split(self.value(memory))
        weights = torch.softmax(q @ k.transpose(-2, -1) * self.scale, dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(-1, int(query.shape[1]), int(query.shape[2])))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, ratio: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads)
        self.forward1, self.forward2 = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.dropout(self.attention(y, y))
        return x + self.dropout(self.forward2(F.gelu(self.forward1(self.norm2(x)))))


class Evidence(nn.Module):
    """What the fine map shows of heads, and its sum over the frame: how many heads, and how many of each expression."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.area = nn.Conv2d(width, 4, 1)  # nothing, positive, neutral, negative
        self.centre = nn.Conv2d(width, 1, 1)
        if self.centre.bias is not None:
            nn.init.constant_(self.centre.bias, -4.0)  # few cells hold a head's centre
        self.out = nn.Sequential(nn.Linear(12, 64), nn.ReLU())

    def forward(self, fine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[M, c, h, w] to (evidence [M, 64], area logits [M, 4, h, w], centre logits [M, h, w])."""
        area, centre = self.area(fine), self.centre(fine)[:, 0]
        what = torch.softmax(area[:, 1:], 1).flatten(2)  # [M, 3, cells]
        there = torch.softmax(area, 1)[:, 1:].flatten(2)
        head = torch.sigmoid(centre).flatten(1)[:, None]  # [M, 1, cells]
        count = head.sum(-1)
        votes = (what * head).sum(-1)
        facts = torch.cat(
            [torch.log1p(count), count * 0.1, votes / (count + 0.3), there.mean(-1) * 5, there.amax(-1), head.amax(-1)],
            1,
        )
        return self.out(facts), area, centre


class Picture(nn.Module):
    """One frame to one vector: stem to stride 8, its evidence of heads, an attentive mean of it, and the scene at
    stride 16.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        a, b, c = shape.stem
        self.stem = nn.Sequential(conv(3, a, 2), conv(a, b, 2), Residual(b), conv(b, c, 2), Residual(c), Residual(c))
        self.evidence = Evidence(c)
        self.look = nn.Conv2d(c, shape.heads, 1)
        self.coarse = nn.Sequential(conv(c, shape.dim, 2), Residual(shape.dim))
        self.join = nn.Linear(64 + shape.heads * c + shape.dim, shape.dim)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[M, 3, H, W] to (vector [M, dim], area logits [M, 4, H/8, W/8], centre logits [M, H/8, W/8])."""
        fine = self.stem(frames)
        votes, area, centre = self.evidence(fine)
        weights = torch.softmax(self.look(fine).flatten(2), -1)
        looked = (weights @ fine.flatten(2).transpose(1, 2)).flatten(1)
        return self.join(torch.cat([votes, looked, self.coarse(fine).mean((2, 3))], 1)), area, centre


class Sound(nn.Module):
    """Five log-mel seconds to five vectors: strided CNN, pooled over time, then one block over the seconds."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        a, b, c, d = shape.sound
        self.cnn = nn.Sequential(
            conv(1, a, 2), conv(a, b, 2), Residual(b), conv(b, c, 2), Residual(c), conv(c, d, 2), Residual(d)
        )
        self.width, self.dim = d, shape.dim
        self.project = nn.Linear(d * 4 * 2, shape.dim)
        self.register_buffer("position", sine_positions(5, shape.dim))
        self.block = Block(shape.dim, 1, 2, 0.2)

    def forward(self, mel: Tensor) -> Tensor:
        """[N, 5, 1, 128, 128] to [N, 5, dim]."""
        maps = self.cnn(mel.reshape(-1, 1, 128, 128))  # [5N, d, 8, 8]: mel by time
        bands = maps.reshape(-1, self.width, 4, 2, 8).mean(3)  # 4 bands
        pooled = torch.cat([bands.mean(-1), bands.amax(-1)], -1).flatten(1)
        return self.block(self.project(pooled).reshape(-1, 5, self.dim) + self.position)


def sine_positions(steps: int, dim: int) -> Tensor:
    angle = torch.arange(steps)[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[None]


class Fusion(nn.Module):
    """Replacement of missing modalities, cross-attention, and the heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.no_video = nn.Parameter(torch.zeros(shape.dim))
        self.no_sound = nn.Parameter(torch.zeros(shape.dim))
        self.video_norm, self.sound_norm = nn.LayerNorm(shape.dim), nn.LayerNorm(shape.dim)
        self.cross = Attention(shape.dim, 1)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Sequential(
            nn.Linear(3 * shape.dim, shape.dim), nn.ReLU(), nn.Dropout(0.2), nn.Linear(shape.dim, shape.classes)
        )
        self.group = nn.Sequential(nn.Linear(shape.dim, 64), nn.ReLU(), nn.Linear(64, shape.buckets))

    def seen(self, video: Tensor, present: Tensor) -> Tensor:
        """The frames' vectors [N, T, dim], normed, or the learned vector where there are no pictures."""
        has_video = present[:, 0, None, None]
        return self.video_norm(video) * has_video + self.no_video * (1 - has_video)

    def forward(self, video: Tensor, sound: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        has_sound = present[:, 1, None, None]
        video = self.seen(video, present)
        sound = self.sound_norm(sound) * has_sound + self.no_sound * (1 - has_sound)
        crossed = self.cross(sound, video)
        joined = torch.cat([sound, crossed, video], -1).mean(1)
        return self.head(self.dropout(joined)), self.group(video.mean(1))


class HeadWidth(nn.Module):
    """How large people appear: the median width of their heads, one number for the group, as a share of the
    picture's width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, video: Tensor) -> Tensor:
        """Frames as `Fusion.seen` gives them, [N, T, dim], to shares [N, 1], 0 to 1."""
        return torch.exp(self.logarithm(video)).clamp(max=1.0)

    def logarithm(self, video: Tensor) -> Tensor:
        return self.out(video.mean(1))


class EdgeNetwork(nn.Module):
    """The exported whole: normalised `video`, normalised log-mel `sound`, `present` to `logits`, `group_size`, and
    `head_width` where it has it.

    The head width is meaningless where the group size is 0.
    """

    def __init__(self, shape: Shape = Shape()) -> None:
        super().__init__()
        self.shape = shape
        self.picture, self.sound, self.fusion = Picture(shape), Sound(shape), Fusion(shape)
        self.head_width = HeadWidth(shape.dim) if shape.head_width else None

    def forward(self, video: Tensor, sound: Tensor, present: Tensor) -> tuple[Tensor, ...]:
        side = self.shape.size
        frames, _, _ = self.picture(video.reshape(-1, 3, side, side))
        frames = frames.reshape(-1, 5, self.shape.dim)
        answer = self.fusion(frames, self.sound(sound), present)
        return answer if self.head_width is None else (*answer, self.head_width(self.fusion.seen(frames, present)))
