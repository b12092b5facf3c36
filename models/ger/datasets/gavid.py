"""GAViD (Group Affect from ViDeos, 5091 clips of 5 s): a folder of clips and a CSV whose columns the caller names.

Its public page describes what is annotated (valence positive, negative or neutral, emotion, intensity, action cues, and
a split into training, validation and test) but, as far as we could find, neither the layout of the files nor the names
of the columns; so they are not guessed here. Labels may be written out or as in its tables: P, N (negative), Ne
(neutral). Its videos come from a video platform under a CC BY licence, and the data set is available on request: check
both before use.
"""

from __future__ import annotations

from pathlib import Path

from ger.datasets.clip import Split
from ger.datasets.table import Columns
from ger.datasets.table import load as load_table

CLIPS = 5091
WORDS = {"positive": 0, "neutral": 1, "negative": 2, "p": 0, "ne": 1, "n": 2}


def columns(clip: str, label: str, source: str = "source", split: str = "split", suffix: str = "") -> Columns:
    """The table's columns by their names; `suffix` (".mp4") where its clips are named without extension."""
    return Columns(clip, label, source, split, WORDS, suffix)


def load(clips: Path, labels: Path, named: Columns) -> Split:
    """All clips of the table, whatever their split."""
    return load_table(clips, labels, named, "gavid")


def is_whole(split: Split) -> bool:
    """Whether there are as many clips as were published."""
    return len(split.clips) == CLIPS
