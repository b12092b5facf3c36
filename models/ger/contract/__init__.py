"""What an exported network and the daemon agree on: labels, inputs, outputs, the spectrogram, and the document that states them."""

from ger.contract.document import (
    BUCKETS,
    CLASSES,
    KEY,
    TOLERANCE,
    TOLERANCES,
    VIDEO_MEAN,
    VIDEO_STD,
    build,
    golden_inputs,
    golden_of,
    ramp,
    sha256,
)

__all__ = [
    "BUCKETS",
    "CLASSES",
    "KEY",
    "TOLERANCE",
    "TOLERANCES",
    "VIDEO_MEAN",
    "VIDEO_STD",
    "build",
    "golden_inputs",
    "golden_of",
    "ramp",
    "sha256",
]
