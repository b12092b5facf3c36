"""Augmentation during training, from an explicit generator, so that a seed repeats a training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ger.contract import VIDEO_MEAN, VIDEO_STD


def normalise(frames: np.ndarray) -> Tensor:
    """u8 [..., H, W, 3] to the network's f32 [..., 3, H, W]."""
    x = torch.from_numpy(np.array(frames)).movedim(-1, -3).float().div_(255.0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (VIDEO_MEAN, VIDEO_STD))
    return (x - mean) / std


def transform(x: Tensor, heads: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Mirrors, scales, moves and slightly turns frames f32 [M, 3, H, W]; heads f32 [M, K, 5] are moved with them, and
    those that leave the picture become padding.
    """
    count = len(x)
    flip = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    sx, sy = (np.exp(rng.uniform(-0.25, 0.22, count)) * np.exp(rng.normal(0, 0.05, count)) for _ in range(2))
    sy = sx * np.exp(rng.normal(0, 0.08, count))
    angle, dx, dy = rng.normal(0, 0.08, count), rng.uniform(-0.15, 0.15, count), rng.uniform(-0.15, 0.15, count)
    # output point to input point, both within [-1, 1]: q = A p + d
    a = np.stack(
        [
            np.stack([flip * np.cos(angle) / sx, -np.sin(angle) / sx, dx], -1),
            np.stack([flip * np.sin(angle) / sy, np.cos(angle) / sy, dy], -1),
        ],
        1,
    )
    grid = F.affine_grid(torch.from_numpy(a).float(), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    centre = heads[..., :2] * 2 - 1 - a[:, None, :, 2]
    back = np.linalg.inv(a[:, :, :2])
    out = heads.copy()
    out[..., :2] = (np.einsum("mij,mkj->mki", back, centre) + 1) / 2
    out[..., 2] *= sx[:, None]
    out[..., 3] *= sy[:, None]
    outside = (heads[..., 4] < 0) | (out[..., :2] < 0).any(-1) | (out[..., :2] > 1).any(-1)
    out[outside] = -1
    return moved, out.astype(np.float32)


def colours(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Exposure, tint, less colour, less resolution and noise, drawn for each frame."""
    count = len(x)
    gain = np.exp(rng.normal(0, 0.2, (count, 1, 1, 1)) + rng.normal(0, 0.07, (count, 3, 1, 1)))
    x = x * torch.from_numpy(gain).float() + torch.from_numpy(rng.normal(0, 0.2, (count, 3, 1, 1))).float()
    for i in range(count):
        kind = rng.random()
        if kind < 0.1:
            x[i] = x[i].mean(0, keepdim=True)
        elif kind < 0.25:
            small = F.interpolate(
                x[i : i + 1], scale_factor=float(rng.uniform(0.45, 0.9)), mode="bilinear", align_corners=False
            )
            x[i] = F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)[0]
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    return x + noise * torch.from_numpy(rng.uniform(0, 0.15, (count, 1, 1, 1))).float()


def louder_of_two(mels: Tensor, labels: Tensor, deviation: float, rng: np.random.Generator) -> Tensor:
    """Adds to some normalised log-mels [N, 5, 128, 128] another of the same label, in power: more voices, other
    places.
    """
    decibel = 10 / np.log(10)
    x = mels.clone()
    for i in range(len(x)):
        others = torch.nonzero(labels == labels[i])[:, 0]
        if rng.random() < 0.4 and len(others) > 1:
            other = (
                mels[others[int(rng.integers(len(others)))]][torch.from_numpy(rng.permutation(5))]
                - float(rng.uniform(0, 12)) / deviation
            )
            x[i] = torch.logaddexp(x[i] * deviation / decibel, other * deviation / decibel) * decibel / deviation
    return x


def sounds(mels: Tensor, rng: np.random.Generator) -> Tensor:
    """Level, seconds in another order, a mild equaliser, masked bands and masked moments, for normalised log-mels
    [N, 5, 128, 128].
    """
    x = mels.clone()
    for i in range(len(x)):
        x[i] = x[i, torch.from_numpy(rng.permutation(5))] + float(rng.normal(0, 0.35))
        curve = np.interp(np.arange(128), np.linspace(0, 127, 5), rng.normal(0, 0.15, 5))
        x[i] += torch.from_numpy(curve).float()[:, None]
        for _ in range(int(rng.integers(0, 3))):
            low, width = int(rng.integers(0, 110)), int(rng.integers(4, 18))
            x[i, :, low : low + width] = x[i].mean()
        if rng.random() < 0.5:
            second, low = int(rng.integers(5)), int(rng.integers(0, 90))
            x[i, second, :, low : low + 38] = x[i].mean()
    return x


def presence(count: int, rng: np.random.Generator) -> Tensor:
    """Which modalities are present, f32 [N, 2] (video, sound): both 60 %, one of them 20 % each."""
    kind = rng.random(count)
    return torch.from_numpy(np.stack([kind >= 0.2, kind < 0.8], 1).astype(np.float32))
