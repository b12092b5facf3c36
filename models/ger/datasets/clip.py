"""One labelled clip, a split of them, and the checks that every loader shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ger.contract import CLASSES

VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm")
# The first names of a long list of missing files show the cause; the count stands for the rest.
NAMED_MAX = 20


class DatasetError(ValueError):
    """A data set does not match its layout. The message names the file and what to do."""


@dataclass(frozen=True)
class Clip:
    """One labelled file."""

    path: Path
    name: str  # as in the labels file: file name with extension, relative to the clips' folder
    label: int  # index into CLASSES: 0 positive, 1 neutral, 2 negative
    source: str  # the video it was cut from; clips of one source are not independent of each other
    columns: Mapping[str, str] = field(default_factory=dict)  # further columns of the labels file


@dataclass(frozen=True)
class Split:
    """The clips of one split, in the order of its labels file."""

    name: str
    clips: tuple[Clip, ...]
    labels_sha256: str | None = None  # of the labels file; None where folders are the labels
    sources_known: bool = False  # whether `Clip.source` is known; else it is the clip's own name

    def describe(self) -> str:
        """One line: how many clips, of which classes, from how many sources, by which labels file."""
        counts = ", ".join(f"{count} {name}" for name, count in zip(CLASSES, class_counts(self.clips), strict=True))
        sources = f", {len({clip.source for clip in self.clips})} source videos" if self.sources_known else ""
        digest = f", labels sha256 {self.labels_sha256}" if self.labels_sha256 else ""
        return f"{self.name}: {len(self.clips)} clips ({counts}){sources}{digest}"


def class_counts(clips: Iterable[Clip]) -> tuple[int, int, int]:
    """How many clips are positive, neutral and negative."""
    counts = Counter(clip.label for clip in clips)
    return counts[0], counts[1], counts[2]


def check_present(clips: Sequence[Clip], labels: Path) -> None:
    """Raises `DatasetError` with the names of the files that do not exist."""
    missing = [clip.name for clip in clips if not clip.path.is_file()]
    if missing:
        shown = ", ".join(missing[:NAMED_MAX]) + (
            f" and {len(missing) - NAMED_MAX} more" if len(missing) > NAMED_MAX else ""
        )
        raise DatasetError(
            f"{labels}: {len(missing)} of {len(clips)} videos are missing: {shown}. "
            "Put them where the labels name them, or remove their lines from a copy of the labels file."
        )


def check_unique(clips: Sequence[Clip], labels: Path) -> None:
    """Raises `DatasetError` where a clip is listed twice."""
    twice = [name for name, count in Counter(clip.name for clip in clips).items() if count > 1]
    if twice:
        raise DatasetError(
            f"{labels}: listed more than once: {', '.join(twice[:NAMED_MAX])}. Keep one line for each clip."
        )


def check_apart(train: Split, val: Split) -> None:
    """Raises `DatasetError` where two splits share a source video: a network would be validated on what it was
    trained on.
    """
    shared = sorted({clip.source for clip in train.clips} & {clip.source for clip in val.clips})
    if shared:
        raise DatasetError(
            f"splits {train.name} and {val.name} share {len(shared)} source videos: {', '.join(shared[:NAMED_MAX])}. "
            "Keep all clips of a source video in one split."
        )
