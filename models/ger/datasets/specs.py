"""Data sets as named on a command line, such as `vgaf:ROOT`; see `FORMS`.

Each gives a training and a validation split that share no source video. VGAF brings its own; a `folder` may hold
`train` and `val`; a table may have a column `split` (train or val); all others are divided by source video, from a
seed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ger.datasets import folder, gavid, table, vgaf
from ger.datasets.clip import DatasetError, Split, check_apart

FORMS = "`vgaf:ROOT`, `folder:ROOT`, `table:CLIPS:LABELS.csv`, `gavid:CLIPS:LABELS.csv:CLIP:LABEL`"
TRAIN_WORDS, VAL_WORDS = {"train", "training"}, {"val", "valid", "validation", "dev"}


def open_splits(spec: str, val_share: float = 0.2, seed: int = 0) -> tuple[Split, Split, str]:
    """(training split, validation split, a description of them to print). Raises `DatasetError`."""
    kind, _, rest = spec.partition(":")
    parts = rest.split(":")
    if kind == "vgaf" and len(parts) == 1:
        whole = vgaf.load(Path(rest))
        return whole.train, whole.val, whole.describe()
    if kind == "folder" and len(parts) == 1:
        train, val = _of_folder(Path(rest), val_share, seed)
    elif kind == "table" and len(parts) == 2:
        train, val = divide(table.load(Path(parts[0]), Path(parts[1])), val_share, seed)
    elif kind == "gavid" and len(parts) == 4:
        named = gavid.columns(parts[2], parts[3])
        train, val = divide(gavid.load(Path(parts[0]), Path(parts[1]), named), val_share, seed)
    else:
        raise DatasetError(f"data {spec!r} is none of {FORMS}.")
    check_apart(train, val)
    return train, val, f"{train.describe()}\n{val.describe()}"


def _of_folder(root: Path, val_share: float, seed: int) -> tuple[Split, Split]:
    if (root / "train").is_dir() and (root / "val").is_dir():
        splits = [folder.load(root / name, name) for name in ("train", "val")]
        train, val = (
            replace(split, clips=tuple(replace(clip, source=f"{split.name}/{clip.source}") for clip in split.clips))
            for split in splits
        )
        return train, val
    return divide(folder.load(root), val_share, seed)


def divide(whole: Split, val_share: float, seed: int) -> tuple[Split, Split]:
    """By the column `split` where there is one (test clips are left out of both), else whole sources at random.

    `val_share` is the share of the sources, not of the clips, that are used for validation: between 0 and 1.
    """
    if whole.clips and "split" in whole.clips[0].columns:
        words = [clip.columns["split"].strip().lower() for clip in whole.clips]
        chosen = [
            tuple(clip for clip, word in zip(whole.clips, words, strict=True) if word in wanted)
            for wanted in (TRAIN_WORDS, VAL_WORDS)
        ]
    else:
        sources = sorted({clip.source for clip in whole.clips})
        count = min(max(round(val_share * len(sources)), 1), len(sources) - 1)
        val_sources = {sources[i] for i in np.random.default_rng(seed).permutation(len(sources))[:count]}
        chosen = [
            tuple(clip for clip in whole.clips if (clip.source in val_sources) == is_val) for is_val in (False, True)
        ]
    train, val = (replace(whole, name=name, clips=clips) for name, clips in zip(("train", "val"), chosen, strict=True))
    if not train.clips or not val.clips:
        raise DatasetError(
            f"{whole.name}: {len(train.clips)} clips to train on and {len(val.clips)} to validate on; "
            "both are needed. Write train and val into the column split, or add more source videos."
        )
    return train, val


def open_synthetic(spec: str) -> Split:
    """Synthetic clips for training: `folder:DIR` or `table:CLIPS:LABELS.csv`, all of them."""
    kind, _, rest = spec.partition(":")
    if kind == "folder":
        return folder.load(Path(rest), "synthetic")
    clips, separator, labels = rest.partition(":")
    if kind == "table" and separator:
        return table.load(Path(clips), Path(labels), name="synthetic")
    raise DatasetError(f"synthetic data {spec!r} is neither folder:DIR nor table:CLIPS:LABELS.csv.")
