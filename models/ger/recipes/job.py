"""A training as it was asked for: recipe, system, clips and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ger.contract import BUCKETS
from ger.datasets import Split
from ger.datasets.clip_dataset import ClipDataset, Heatmaps, mel_statistics
from ger.recipes.recipe import Recipe
from ger.recipes.trainable import TrainableSystem


@dataclass(frozen=True)
class Settings:
    """What a training needs beside its recipe."""

    out: Path
    device: str  # auto, cpu or cuda
    seed: int
    workers: int  # processes that decode
    name: str
    data: str  # the kind of data, for the contract; no path
    digests: Sequence[str | None]  # SHA-256 of the labels files, training and validation
    start: Path | None = None  # weights to start from


@dataclass(frozen=True)
class Job:
    """A training as it was asked for."""

    recipe: Recipe
    system: TrainableSystem
    train: ClipDataset
    val: ClipDataset
    settings: Settings


def build_datasets(
    recipe: Recipe,
    system: TrainableSystem,
    train: Split,
    val: Split,
    synthetic: Split | None,
    cache: Path | None,
    seed: int,
) -> tuple[ClipDataset, ClipDataset]:
    """(training clips with their synthetic share, validation clips). Measures the mean and std of the system's
    spectrogram.
    """
    clips, added = train.clips, 0
    if recipe.synthetic_share and synthetic is not None:
        wanted = round(len(clips) * recipe.synthetic_share / (1 - recipe.synthetic_share))
        order = torch.randperm(len(synthetic.clips), generator=torch.Generator().manual_seed(seed)).tolist()
        clips += tuple(synthetic.clips[row] for row in sorted(order[:wanted]))
        added = min(wanted, len(order))
        print(f"synthetic: {added} of {len(order)} clips; {wanted} make up {recipe.synthetic_share:.0%}")
    if system.preprocessing.kind == "mel":
        system.preprocessing = mel_statistics(train.clips, system.preprocessing, cache)
    maps = Heatmaps(system.heatmap_shape) if recipe.heatmap_weight and system.heatmap_shape else None
    return (
        ClipDataset(clips, system.preprocessing, BUCKETS, cache, maps, added),
        ClipDataset(val.clips, system.preprocessing, BUCKETS, cache),
    )
