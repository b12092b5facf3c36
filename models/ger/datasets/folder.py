"""Plain folders: `ROOT/<label>/<clip>.mp4` with the folders positive, neutral and negative."""

from __future__ import annotations

from pathlib import Path

from ger.contract import CLASSES
from ger.datasets.clip import VIDEO_SUFFIXES, Clip, DatasetError, Split


def load(root: Path, name: str = "clips") -> Split:
    """All clips below `root`, by label and name. Their source videos are not known: each clip counts as its own.

    Raises `DatasetError` for other folders than those of the labels, which would silently be left out, and for a root
    without clips.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder: it must hold the folders {', '.join(CLASSES)}.")
    unknown = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name not in CLASSES)
    if unknown:
        raise DatasetError(
            f"{root}: the folders {', '.join(unknown)} are no labels; only {', '.join(CLASSES)} may be here."
        )
    clips = [
        Clip(path, f"{word}/{path.name}", label, f"{word}/{path.name}")
        for label, word in enumerate(CLASSES)
        if (root / word).is_dir()
        for path in sorted((root / word).iterdir())
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]
    if not clips:
        raise DatasetError(f"{root}: no clips ({', '.join(VIDEO_SUFFIXES)}) in the folders {', '.join(CLASSES)}.")
    return Split(name, tuple(clips))
