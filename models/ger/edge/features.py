"""The edge network's encoders over whole sets: the vectors from which the fusion and the head width learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ger.edge import augment
from ger.edge.network import EdgeNetwork
from ger.edge.training_sets import Record

BATCH = 16


def normalise_mel(mels: np.ndarray, facts: Mapping[str, Any]) -> Tensor:
    """Log-mels in dB, normalised by the contract's mean and standard deviation."""
    return (torch.from_numpy(np.asarray(mels, np.float32)) - facts["mel_mean"]) / facts["mel_std"]


@torch.no_grad()
def encode_frames(network: EdgeNetwork, frames: np.ndarray, flip: bool = False) -> Tensor:
    """Frames u8 [N, T, H, W, 3] to the picture encoder's vectors [N, T, dim]."""
    count, times = frames.shape[:2]
    x = augment.normalise(frames[:, :, :, ::-1] if flip else frames)
    vectors: Tensor = network.picture(x.reshape(-1, *x.shape[2:]).contiguous(memory_format=torch.channels_last))[0]
    return vectors.reshape(count, times, -1)


@torch.no_grad()
def encode_pictures(network: EdgeNetwork, record: Record) -> Tensor:
    """The picture encoder's vectors of every frame of a set, [N, T, dim]."""
    network.eval()
    starts = range(0, len(record["label"]), BATCH)
    return torch.cat([encode_frames(network, record["video"][start : start + BATCH]) for start in starts])


@torch.no_grad()
def encode_sounds(network: EdgeNetwork, record: Record, facts: Mapping[str, Any]) -> Tensor:
    """The sound encoder's vectors of every sound of a set, [N, 5, dim]."""
    network.eval()
    starts = range(0, len(record["label"]), BATCH)
    mels = (normalise_mel(record["sound"][start : start + BATCH], facts) for start in starts)
    return torch.cat([network.sound(mel[:, :, None]) for mel in mels])


@torch.no_grad()
def encode_clips(
    network: EdgeNetwork, record: Record, facts: Mapping[str, Any], flip: bool = False
) -> tuple[Tensor, Tensor]:
    """Both encoders' vectors of every clip: video [N, 5, dim] and sound [N, 5, dim]."""
    network.eval()
    starts = range(0, len(record["label"]), BATCH)
    video = torch.cat([encode_frames(network, record["video"][start : start + BATCH], flip) for start in starts])
    return video, encode_sounds(network, record, facts)
