"""Frames and samples to the inputs that a network's contract asks for, and to batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ger.contract import mel
from ger.datasets.clip import DatasetError
from ger.datasets.decode import Decoded, Rule
from ger.datasets.threads import one_blas_thread

# HuBERT's feature extractor: (x - mean) / sqrt(variance + 1e-7).
ZSCORE_EPSILON = 1e-7


@dataclass(frozen=True)
class ModelInput:
    """One clip as a network takes it: f32 [T, 3, H, W], f32 [5, 1, 128, 128] or [samples] or None, and which
    modalities are present.
    """

    video: np.ndarray
    sound: np.ndarray | None
    present: tuple[bool, bool]  # (picture, sound)


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of one contract."""

    rule: Rule
    mean: tuple[float, float, float]  # of R, G, B in 0 to 1
    std: tuple[float, float, float]
    kind: str  # of sound: mel, waveform or none
    mel_mean: float = 0.0  # dB
    mel_std: float = 1.0  # dB
    zscore: bool = False

    @classmethod
    def of(cls, terms: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that a contract's `clip_seconds`, `video` and `sound` state. Mean, std and the kind of
        sound have no defaults.
        """
        video, sound = terms["video"], terms["sound"]
        if video.get("sampling") != "midpoint" or video.get("resize") != "squash-bicubic-antialias":
            raise DatasetError(
                f"contract: video.sampling {video.get('sampling')!r} and video.resize {video.get('resize')!r} are not "
                '"midpoint" and "squash-bicubic-antialias", the only ones known; export the network again.'
            )
        kind = sound["kind"]
        rate_hz = 0 if kind == "none" else int(sound["sample_rate"])
        rule = Rule(
            float(terms["clip_seconds"]), int(video["frames"]), int(video["height"]), int(video["width"]), rate_hz
        )
        statistics = (
            {"mel_mean": float(sound["mel"]["mean"]), "mel_std": float(sound["mel"]["std"])} if kind == "mel" else {}
        )
        zscore = kind == "waveform" and sound.get("normalise") == "zscore-clip"
        return cls(rule, tuple(video["mean"]), tuple(video["std"]), kind, zscore=zscore, **statistics)

    def apply(self, clip: Decoded) -> ModelInput:
        """Normalises a clip. A missing modality is zeros."""
        rule = self.rule
        video: np.ndarray = np.zeros((rule.frames, 3, rule.height, rule.width), np.float32)
        if clip.pictures is not None:
            mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
            scaled = clip.pictures.astype(np.float32) / np.float32(255)
            video = ((scaled - mean) / std).transpose(0, 3, 1, 2)
        return ModelInput(video, self.sound(clip.samples), (clip.pictures is not None, clip.samples is not None))

    def sound(self, samples: np.ndarray | None) -> np.ndarray | None:
        """The clip's sound as the network takes it; None for a network without sound."""
        if self.kind == "none":
            return None
        if samples is None:
            shape = (mel.SEGMENTS, 1, mel.BINS, mel.FRAMES) if self.kind == "mel" else (self.rule.samples,)
            return np.zeros(shape, np.float32)
        if self.kind == "mel":
            return ((log_mel(samples) - np.float32(self.mel_mean)) / np.float32(self.mel_std))[:, None].astype(
                np.float32
            )
        if not self.zscore:
            return samples
        centred = samples.astype(np.float64) - samples.mean(dtype=np.float64)
        return (centred / np.sqrt(np.square(centred).mean() + ZSCORE_EPSILON)).astype(np.float32)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """`ger-mel-1` of a clip, dB, f32 [5, 128, 128]."""
    with one_blas_thread():
        return mel.log_mel(samples)


def batch(clips: Sequence[ModelInput]) -> dict[str, np.ndarray]:
    """The inputs `video`, `sound` (where there is any) and `present` of several clips, f32."""
    inputs = {
        "video": np.ascontiguousarray(np.stack([clip.video for clip in clips])),
        "present": np.array([clip.present for clip in clips], np.float32),
    }
    sounds = [clip.sound for clip in clips if clip.sound is not None]
    return inputs | ({"sound": np.stack(sounds)} if sounds else {})
