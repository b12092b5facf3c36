"""The golden case `ramp-v1`: inputs by a formula, whose outputs the contract states."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ger.contract import mel


def ramp(shape: tuple[int, ...]) -> np.ndarray:
    """`ramp-v1`: element i is ((i * 2654435761 mod 2^32) >> 8) / 2^24 * 2 - 1, in f64, rounded to f32."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    bits = ((index * np.uint64(2654435761)) & np.uint64(0xFFFF_FFFF)) >> np.uint64(8)
    return (bits.astype(np.float64) / 2.0**24 * 2.0 - 1.0).astype(np.float32).reshape(shape)


def golden_inputs(size: int) -> dict[str, np.ndarray]:
    """The edge network's golden inputs, batch 1: ramps for both modalities, both present. `size` in pixels."""
    shapes = {"video": (1, 5, 3, size, size), "sound": (1, 5, 1, mel.BINS, mel.FRAMES), "present": (1, 2)}
    return golden_of(shapes)


def golden_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The golden inputs of these shapes: a ramp for each modality, both present."""
    return {name: np.ones(shape, np.float32) if name == "present" else ramp(shape) for name, shape in shapes.items()}
