"""Augmentation on the fly, from an explicit generator so that a seed repeats a training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .contract import VIDEO_MEAN, VIDEO_STD


def normalise(frames: np.ndarray) -> Tensor:
    """u8 [..., H, W, 3] to the network's f32 [..., 3, H, W]."""
    x = torch.from_numpy(np.array(frames)).movedim(-1, -3).float().div_(255.0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (VIDEO_MEAN, VIDEO_STD))
    return (x - mean) / std


def shift(frame: np.ndarray, grid: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Moves a frame by whole grid cells, edges repeated."""
    dy, dx = rng.integers(-2, 3, 2)
    cell = frame.shape[0] // grid.shape[0]
    pad = ((2, 2), (2, 2))
    wide = np.pad(grid, pad, mode="edge")[2 + dy :, 2 + dx :][: grid.shape[0], : grid.shape[1]]
    big = np.pad(frame, ((2 * cell,) * 2, (2 * cell,) * 2, (0, 0)), mode="edge")
    moved = big[(2 + dy) * cell :, (2 + dx) * cell :][: frame.shape[0], : frame.shape[1]]
    return moved, wide


def pictures(frames: np.ndarray, grids: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Flip, shift, exposure, tint and noise for a batch of single frames."""
    out, maps = np.empty_like(frames), np.empty_like(grids)
    for i in range(len(frames)):
        frame, grid = shift(frames[i], grids[i], rng)
        flip = -1 if rng.random() < 0.5 else 1
        out[i], maps[i] = frame[:, ::flip], grid[:, ::flip]
    x = normalise(out)
    gain = np.exp(rng.normal(0, 0.15, (len(x), 1, 1, 1)) + rng.normal(0, 0.06, (len(x), 3, 1, 1)))
    x = x * torch.from_numpy(gain).float() + torch.from_numpy(rng.normal(0, 0.2, (len(x), 3, 1, 1))).float()
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    return x + noise * torch.from_numpy(rng.uniform(0, 0.15, (len(x), 1, 1, 1))).float(), torch.from_numpy(maps).long()


def sounds(mels: Tensor, rng: np.random.Generator) -> Tensor:
    """Level, seconds in another order, masked bands and masked moments, for normalised log-mels [N, 5, 128, 128]."""
    x = mels.clone()
    for i in range(len(x)):
        x[i] = x[i, torch.from_numpy(rng.permutation(5))] + float(rng.normal(0, 0.25))
        if rng.random() < 0.5:
            low, width = int(rng.integers(0, 110)), int(rng.integers(4, 18))
            x[i, :, low : low + width] = x[i].mean()
        if rng.random() < 0.5:
            second, low = int(rng.integers(5)), int(rng.integers(0, 90))
            x[i, second, :, low : low + 38] = x[i].mean()
    return x


def presence(count: int, rng: np.random.Generator) -> Tensor:
    """Which senses are there, f32 [N, 2] (video, sound): both 60 %, one of them 20 % each."""
    kind = rng.random(count)
    return torch.from_numpy(np.stack([kind >= 0.2, kind < 0.8], 1).astype(np.float32))
