"""The classes and the group-size buckets, in the order of the network's outputs."""

from __future__ import annotations

CLASSES = ["positive", "neutral", "negative"]
POSITIVE, NEUTRAL, NEGATIVE = 0, 1, 2
BUCKETS = [0, 1, 2, 5, 10]  # lower ends, people


def bucket(people: int) -> int:
    """The index of the group-size bucket: 0, 1, 2-4, 5-9, 10 and more."""
    return sum(people >= low for low in BUCKETS) - 1
