"""What an exported network and the daemon agree on: labels, inputs, outputs, the spectrogram, and the document that
states them.
"""

from ger.contract.document import KEY, TOLERANCE, TOLERANCES, VIDEO_MEAN, VIDEO_STD, build, sha256
from ger.contract.golden import golden_inputs, golden_of, ramp
from ger.contract.interface import Interface
from ger.contract.labels import BUCKETS, CLASSES, NEGATIVE, NEUTRAL, POSITIVE, bucket
from ger.contract.resize import resize

__all__ = [
    "BUCKETS",
    "CLASSES",
    "KEY",
    "NEGATIVE",
    "NEUTRAL",
    "POSITIVE",
    "TOLERANCE",
    "TOLERANCES",
    "VIDEO_MEAN",
    "VIDEO_STD",
    "Interface",
    "bucket",
    "build",
    "golden_inputs",
    "golden_of",
    "ramp",
    "resize",
    "sha256",
]
