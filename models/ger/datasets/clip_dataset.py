"""Clips as tensors for training: a network's inputs and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ger.datasets import cache
from ger.datasets.clip import Clip, DatasetError
from ger.datasets.preprocessing import Preprocessing, log_mel

STATISTICS_CLIPS_MAX = 256


@dataclass(frozen=True)
class Heatmaps:
    """The shape of a clip's body heatmaps, [frames, limbs, height, width]."""

    shape: tuple[int, int, int, int]


class ClipDataset(Dataset[dict[str, Tensor]]):
    """Clips, decoded on demand. An item's tensors: `video`, `sound`, `present` [2], `label`, `bucket` (-1: unknown),
    and with `heatmaps` also `heatmaps` and `has_heatmaps`.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        preprocessing: Preprocessing,
        buckets: Sequence[int],
        folder: Path | None,
        heatmaps: Heatmaps | None = None,
        synthetic: int = 0,
    ) -> None:
        """`folder` is the cache of decoded clips, `buckets` the lower ends of the group sizes, people; the last
        `synthetic` clips are synthetic.
        """
        self.clips, self.preprocessing, self.buckets, self.folder = clips, preprocessing, buckets, folder
        self.heatmaps, self.synthetic = heatmaps, synthetic

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        clip = self.clips[index]
        inputs = self.preprocessing.apply(cache.load(clip.path, self.preprocessing.rule, self.folder))
        item = {
            "video": torch.from_numpy(np.ascontiguousarray(inputs.video)),
            "present": torch.tensor(inputs.present, dtype=torch.float32),
            "label": torch.tensor(clip.label),
            "bucket": torch.tensor(self.bucket(clip)),
        }
        if inputs.sound is not None:
            item["sound"] = torch.from_numpy(np.ascontiguousarray(inputs.sound))
        return item | (self.maps(clip) if self.heatmaps else {})

    def bucket(self, clip: Clip) -> int:
        """The index of the group's size, -1 where the labels do not state it."""
        people = clip.columns.get("people", "").strip()
        if not people:
            return -1
        if not people.isdigit():
            raise DatasetError(f"column people of {clip.name} is {people!r}; it must be a whole number of people.")
        return sum(int(people) >= low for low in self.buckets) - 1

    def maps(self, clip: Clip) -> dict[str, Tensor]:
        assert self.heatmaps is not None
        path = self.map_path(clip)
        if path is None:
            return {"heatmaps": torch.zeros(self.heatmaps.shape), "has_heatmaps": torch.tensor(0.0)}
        try:
            wanted = np.load(path)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: cannot be read as the heatmaps of {clip.name} ({error}).") from error
        if wanted.shape != self.heatmaps.shape:
            raise DatasetError(f"{path}: heatmaps of shape {wanted.shape}; the network draws {self.heatmaps.shape}.")
        return {"heatmaps": torch.from_numpy(wanted.astype(np.float32)), "has_heatmaps": torch.tensor(1.0)}

    def map_path(self, clip: Clip) -> Path | None:
        """The file of the clip's heatmaps; None where the labels name none."""
        name = clip.columns.get("heatmaps", "").strip()
        # The clip's name is relative to the clips' folder, and so is that of its heatmaps.
        return clip.path.parents[len(Path(clip.name).parts) - 1] / name if name else None


def mel_statistics(clips: Sequence[Clip], preprocessing: Preprocessing, folder: Path | None) -> Preprocessing:
    """The preprocessing with mean and standard deviation, dB, of the clips' log-mels: of up to 256 clips, evenly
    chosen.

    Raises `DatasetError` where no clip has sound.
    """
    step = max(len(clips) // STATISTICS_CLIPS_MAX, 1)
    decoded = (cache.load(clip.path, preprocessing.rule, folder) for clip in clips[::step])
    spectra = [log_mel(clip.samples) for clip in decoded if clip.samples is not None]
    if not spectra:
        raise DatasetError("no training clip has sound, so a network with sound cannot be trained on them.")
    mean = np.mean([spectrum.mean(dtype=np.float64) for spectrum in spectra])
    variance = np.mean([np.square(spectrum - mean, dtype=np.float64).mean() for spectrum in spectra])
    return replace(preprocessing, mel_mean=round(float(mean), 4), mel_std=round(float(np.sqrt(variance)), 4))
