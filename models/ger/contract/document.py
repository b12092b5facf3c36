"""The contract `ger.contract`, the document in the metadata of an exported network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ger.contract import mel
from ger.contract.interface import Interface
from ger.contract.labels import BUCKETS, CLASSES

KEY = "ger.contract"
# Of the edge network. Those of the published systems are in their configuration or in the facts of a checkpoint.
VIDEO_MEAN = (0.5, 0.5, 0.5)
VIDEO_STD = (0.25, 0.25, 0.25)
# label of a clip (row) to label of the next clip of the same video (column), VGAF; rows sum to 1
TRANSITION = [[0.699, 0.235, 0.066], [0.208, 0.654, 0.138], [0.048, 0.136, 0.816]]
TOLERANCE = 1e-3
# What the daemon must tolerate from another machine's arithmetic: f16 has 11 significant bits, and int8 rounds
# activations, whose last bits differ between processors; both are far below what changes a label.
TOLERANCES = {"fp32": TOLERANCE, "fp16": 2e-2, "int8": 5e-2}
DRAWN = "drawn scenes and synthetic sounds by models/ger, no third-party data"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def video(interface: Interface, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "frames": interface.frames,
        "height": interface.size,
        "width": interface.size,
        "sampling": "midpoint",
        "resize": "squash-bicubic-antialias",
        "layout": "NTCHW",
        "mean": list(facts.get("video_mean", interface.mean)),
        "std": list(facts.get("video_std", interface.std)),
    }


def sound(interface: Interface, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `KeyError` where the facts lack the spectrogram's mean and std: they have no defaults."""
    if interface.sound == "none":
        return {"kind": "none"}
    rates = {"kind": interface.sound, "sample_rate": mel.SAMPLE_RATE, "samples": mel.SAMPLES}
    spectrogram = (
        {"mel": {**mel.contract(), "mean": facts["mel_mean"], "std": facts["mel_std"]}}
        if interface.sound == "mel"
        else {}
    )
    return {**rates, **spectrogram, "normalise": interface.normalise, "missing": interface.missing}


def build(
    facts: Mapping[str, Any],
    interface: Interface,
    golden: Mapping[str, list[float]],
    source: str,
    precision: str = "fp32",
) -> dict[str, Any]:
    """The whole contract.

    `facts` come from the checkpoint: name, created, prior, calibration, evaluation, training, the spectrogram's mean
    and std in dB (`mel_mean`, `mel_std`) where there is one, the range of head widths it was trained on (`head_width`)
    where it estimates one, and, if they differ from the system's, `video_mean`, `video_std` and `licence`. `source` is
    the SHA-256 of the checkpoint, or a description.
    """
    sizes = {"group_size": {"buckets": BUCKETS}} if interface.group_size else {}
    widths = {"head_width": {"trained": facts["head_width"]}} if interface.head_width else {}
    default = "edge" if interface.system == "edge" else "other"
    licences = {
        "edge": {"weights": "Apache-2.0 OR MIT", "data": [DRAWN]},
        "other": {"weights": "not stated", "data": ["not stated"]},
    }
    return {
        "version": 1,
        "system": interface.system,
        "name": facts["name"],
        "created": facts["created"],
        "clip_seconds": 5.0,
        "classes": CLASSES,
        "video": video(interface, facts),
        "sound": sound(interface, facts),
        "batch": "any" if interface.any_batch else 1,
        "outputs": {"logits": 3, **sizes, **widths},
        "calibration": facts["calibration"],
        "prior": facts["prior"],
        "transition": TRANSITION,
        "evaluation": facts["evaluation"],
        "privacy": {"person_detection": "none", "faces": "none", "outputs": "group only"},
        "licence": facts.get("licence", licences[default]),
        "training": facts["training"],
        "precision": precision,
        "source_sha256": source,
        "golden": {"input": "ramp-v1", **golden, "tolerance": TOLERANCES[precision]},
    }
