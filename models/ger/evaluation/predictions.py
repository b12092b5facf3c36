"""The predictions of a network for a split: in every mode, with faults, and as a CSV file."""

from __future__ import annotations

import csv
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ger.contract import CLASSES, resize
from ger.datasets import Clip, Split
from ger.datasets.decode import Decoded, decode_frames, decode_sound
from ger.datasets.preprocessing import ModelInput
from ger.evaluation.faults import FAULTS, Fault
from ger.evaluation.inference import MODES, Network, Prediction
from ger.evaluation.metrics import softmax

CLIPS_AT_ONCE = 8
COLUMNS = ["clip", "truth", "predicted", "p_positive", "p_neutral", "p_negative", "senses"]


@dataclass(frozen=True)
class Media:
    """A clip's chosen frames at the camera's size, and its samples; None for a modality that is missing."""

    pictures: list[np.ndarray] | None
    samples: np.ndarray | None


@dataclass
class Predictions:
    """All predictions: by mode in the split's order, and by (fault, mode) for the clips at `fault_rows`."""

    by_mode: dict[str, list[Prediction]] = field(default_factory=dict)
    fault_rows: list[int] = field(default_factory=list)
    by_fault: dict[tuple[str, str], list[Prediction]] = field(default_factory=dict)


def predict_split(network: Network, split: Split, fault_clips: int, seed: int = 0) -> Predictions:
    """Decodes every clip once and predicts it in every mode; `fault_clips` of them also with every fault."""
    modes = [mode for mode in MODES if network.offers(mode)]
    count = len(split.clips)
    chosen = sorted(np.random.default_rng(seed).permutation(count)[: min(fault_clips, count)].tolist())
    predictions = Predictions({mode: [] for mode in modes}, chosen)
    is_chosen = set(chosen)
    with tqdm(total=count, unit="clip", file=sys.stderr) as bar:
        for start in range(0, count, CLIPS_AT_ONCE):
            clips = split.clips[start : start + CLIPS_AT_ONCE]
            media = [open_clip(network, clip) for clip in clips]
            inputs = [preprocess(network, opened) for opened in media]
            for mode in modes:
                predictions.by_mode[mode] += network.predict(inputs, mode)
            for row, (clip, opened) in enumerate(zip(clips, media, strict=True), start):
                if row in is_chosen:
                    predict_faults(network, clip, opened, predictions)
            bar.update(len(clips))
    return predictions


def open_clip(network: Network, clip: Clip) -> Media:
    rule = network.preprocessing.rule
    return Media(decode_frames(clip.path, rule), decode_sound(clip.path, rule) if rule.sample_rate else None)


def preprocess(network: Network, media: Media) -> ModelInput:
    """The network's input from frames of any size and samples."""
    rule, pictures = network.preprocessing.rule, None
    if media.pictures is not None:
        pictures = np.stack([resize(picture, rule.width, rule.height) for picture in media.pictures])
    return network.preprocessing.apply(Decoded(pictures, media.samples))


def predict_faults(network: Network, clip: Clip, media: Media, predictions: Predictions) -> None:
    """Predicts one clip with every fault, from both modalities and from the faulty one alone."""
    for fault in FAULTS:
        modes = ["both", fault.modality]
        if all(mode in predictions.by_mode for mode in modes):
            faulty = preprocess(network, with_fault(fault, clip, media))
            for mode in modes:
                predictions.by_fault.setdefault((fault.name, mode), []).extend(network.predict([faulty], mode))


def with_fault(fault: Fault, clip: Clip, media: Media) -> Media:
    """The clip's media with the fault; its noise is seeded by the names of clip and fault, so that it is repeatable."""
    rng = np.random.default_rng([zlib.crc32(clip.name.encode()), zlib.crc32(fault.name.encode())])
    if fault.modality == "picture" and media.pictures is not None:
        return Media(fault.apply(media.pictures, rng), media.samples)
    if fault.modality == "sound" and media.samples is not None:
        return Media(media.pictures, fault.apply(media.samples, rng))
    return media


def write_predictions(path: Path, split: Split, predictions: Sequence[Prediction], temperature: float) -> None:
    """The CSV file that `edge-ger evaluate` writes too: probabilities after temperature, six decimals, in the
    labels' order.

    A clip whose answer is withheld has senses `none` and no prediction.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for clip, prediction in zip(split.clips, predictions, strict=True):
            row = [clip.name, CLASSES[clip.label]]
            if prediction.logits is None:
                writer.writerow([*row, "", "", "", "", prediction.modalities])
                continue
            chances = [f"{chance:.6f}" for chance in softmax(prediction.logits, temperature)]
            writer.writerow([*row, CLASSES[int(prediction.logits.argmax())], *chances, prediction.modalities])
