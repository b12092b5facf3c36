"""Faults added to a decoded clip, to find where predictions get worse. Each has one strength with a unit.

Pictures are changed at the camera's own size, before it is resized; sound at the network's rate. A muted sound or a
black picture is given as if it were present. (A network that is told that a modality is missing is measured in the
modes of one modality.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

Pictures = list[np.ndarray]


@dataclass(frozen=True)
class Fault:
    """One fault at one strength."""

    curve: str  # title of the curve that it is a point of
    level: str  # as written at the axis
    modality: str  # picture or sound
    apply: Callable[..., Any]  # (pictures or samples, generator) -> the same, changed

    @property
    def name(self) -> str:
        return f"{self.curve}: {self.level}"


def darken(gain: float) -> Callable:
    """Light times `gain`, in linear light by a display gamma of 2.2."""
    table = np.rint(255 * (gain * (np.arange(256) / 255) ** 2.2) ** (1 / 2.2)).astype(np.uint8)
    return lambda pictures, _: [table[picture] for picture in pictures]


def blur(share: float) -> Callable:
    """A Gaussian whose deviation is this share of the picture's height."""

    def apply(pictures: Pictures, _: np.random.Generator) -> Pictures:
        return [np.asarray(Image.fromarray(p).filter(ImageFilter.GaussianBlur(share * p.shape[0]))) for p in pictures]

    return apply


def shrink(factor: int) -> Callable:
    """The picture at 1/factor of its size in the middle of its own mean colour: the group is that much further away."""

    def apply(pictures: Pictures, _: np.random.Generator) -> Pictures:
        out = []
        for picture in pictures:
            height, width = picture.shape[:2]
            small = Image.fromarray(picture).resize(
                (max(width // factor, 1), max(height // factor, 1)), Image.Resampling.BICUBIC
            )
            canvas = Image.new("RGB", (width, height), tuple(int(v) for v in picture.mean((0, 1))))
            canvas.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
            out.append(np.asarray(canvas))
        return out

    return apply


def lose_frames(count: int) -> Callable:
    """The last `count` frames replaced by the last one before them, as after a drop of the network."""

    def apply(pictures: Pictures, _: np.random.Generator) -> Pictures:
        first = pictures[: max(len(pictures) - count, 1)]
        return first + [first[-1]] * (len(pictures) - len(first))

    return apply


def black(pictures: Pictures, _: np.random.Generator) -> Pictures:
    return [np.zeros_like(picture) for picture in pictures]


def noise(snr_db: float) -> Callable:
    """White noise at this ratio of the clip's power to the noise's, dB."""

    def apply(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        power = float(np.square(samples, dtype=np.float64).mean())
        added = rng.standard_normal(samples.size) * np.sqrt(power / 10 ** (snr_db / 10))
        return np.clip(samples + added, -1, 1).astype(np.float32)

    return apply


def lose_sound(share: float) -> Callable:
    """The last share of the clip's sound is zero."""

    def apply(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return np.where(np.arange(samples.size) < (1 - share) * samples.size, samples, np.float32(0))

    return apply


FAULTS = (
    *(Fault("Light", f"{gain:g}×", "picture", darken(gain)) for gain in (0.5, 0.2, 0.1, 0.03)),
    *(Fault("Blur (σ, share of the height)", f"{share:.1%}", "picture", blur(share)) for share in (0.005, 0.015, 0.04)),
    *(Fault("Size of the group in the picture", f"1/{factor}", "picture", shrink(factor)) for factor in (2, 3, 5)),
    *(Fault("Frames lost", f"last {count}", "picture", lose_frames(count)) for count in (2, 4)),
    Fault("Frames lost", "all: black", "picture", black),
    *(Fault("Noise over the sound (SNR)", f"{snr} dB", "sound", noise(snr)) for snr in (20, 10, 0, -10)),
    *(Fault("Sound lost", f"last {share:.0%}", "sound", lose_sound(share)) for share in (0.4, 0.8)),
    Fault("Sound lost", "all: muted", "sound", lose_sound(1.0)),
)
