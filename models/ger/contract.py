"""The contract `ger.contract` that an exported network carries, and its golden case `ramp-v1`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from . import mel
from .scenes import BUCKETS

CLASSES = ["positive", "neutral", "negative"]
KEY = "ger.contract"
VIDEO_MEAN = [0.5, 0.5, 0.5]
VIDEO_STD = [0.25, 0.25, 0.25]
# label of a clip (row) to label of the next clip of the same video (column), VGAF; rows sum to 1
TRANSITION = [[0.699, 0.235, 0.066], [0.208, 0.654, 0.138], [0.048, 0.136, 0.816]]
TOLERANCE = 1e-3


def ramp(shape: tuple[int, ...]) -> np.ndarray:
    """`ramp-v1`: element i is ((i * 2654435761 mod 2^32) >> 8) / 2^24 * 2 - 1, in f64, rounded to f32."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    bits = ((index * np.uint64(2654435761)) & np.uint64(0xFFFF_FFFF)) >> np.uint64(8)
    return (bits.astype(np.float64) / 2.0**24 * 2.0 - 1.0).astype(np.float32).reshape(shape)


def golden_inputs(size: int) -> dict[str, np.ndarray]:
    """The golden case's inputs, batch 1: ramps for both senses, both present."""
    return {"video": ramp((1, 5, 3, size, size)), "sound": ramp((1, 5, 1, mel.BINS, mel.FRAMES)),
            "present": np.ones((1, 2), np.float32)}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(facts: dict[str, object], size: int, golden: dict[str, list[float]], source: str) -> dict[str, object]:
    """The whole contract. `facts` come from the checkpoint: name, created, mel mean and std, calibration, figures."""
    return {
        "version": 1, "system": "edge", "name": facts["name"], "created": facts["created"],
        "clip_seconds": 5.0, "classes": CLASSES,
        "video": {"frames": 5, "height": size, "width": size, "sampling": "midpoint",
                  "resize": "squash-bicubic-antialias", "layout": "NTCHW", "mean": VIDEO_MEAN, "std": VIDEO_STD},
        "sound": {"kind": "mel", "sample_rate": mel.SAMPLE_RATE, "samples": mel.SAMPLES,
                  "mel": {**mel.contract(), "mean": facts["mel_mean"], "std": facts["mel_std"]},
                  "normalise": "none", "missing": "mask"},
        "batch": "any",
        "outputs": {"logits": 3, "group_size": {"buckets": BUCKETS}},
        "calibration": facts["calibration"], "prior": facts["prior"], "transition": TRANSITION,
        "evaluation": facts["evaluation"],
        "privacy": {"person_detection": "none", "faces": "none", "outputs": "group only"},
        "licence": facts.get("licence", {"weights": "Apache-2.0 OR MIT", "data": ["drawn scenes and synthetic sounds by models/ger, no third-party data"]}),
        "training": facts["training"], "precision": "fp32", "source_sha256": source,
        "golden": {"input": "ramp-v1", **golden, "tolerance": TOLERANCE},
    }
