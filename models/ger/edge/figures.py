"""Figures of the edge network on held-out clips: what its contract and its card state.

The calibration error is cross-fitted: each half of the clips (even, odd) is scaled with the temperature fitted on the
other half; the network gets the temperature fitted on all clips. Accuracy, F1 and the confusion matrix use all clips
(the temperature changes no argmax). Intervals are 95 % percentile intervals over 1000 bootstrap draws of clips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ger.contract import BUCKETS, NEUTRAL, bucket
from ger.edge import head_width, training_sets
from ger.edge.features import encode_clips, encode_sounds
from ger.edge.network import EdgeNetwork
from ger.edge.training_sets import Record
from ger.synthetic.sound_mixes import KINDS

EXAMINED = 450  # the first held-out clips: examined repeatedly while choices were made
MIN_GROUP = 5  # the daemon's default of `reading.min_group`: a smaller group gets no label
# name to (video present, sound present)
MODALITIES = {"both": (1.0, 1.0), "video_only": (1.0, 0.0), "sound_only": (0.0, 1.0)}


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int = 3) -> np.ndarray:
    """Counts [classes, classes]: rows are the truth, columns the prediction."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def macro_f1(matrix: np.ndarray) -> float:
    hits = np.diag(matrix)
    return float(np.mean(2 * hits / np.maximum(matrix.sum(0) + matrix.sum(1), 1)))


def calibration_error(logits: Tensor, labels: Tensor, temperature: float, bins: int = 15) -> float:
    """Expected calibration error over equal-width confidence bins, 0 to 1."""
    confidence, predicted = torch.softmax(logits / temperature, 1).max(1)
    right = (predicted == labels).float()
    index = torch.clamp((confidence * bins).long(), max=bins - 1)
    members = [index == number for number in range(bins)]
    gaps = [own.sum() * (right[own].mean() - confidence[own].mean()).abs() for own in members if own.any()]
    return float(sum(gaps) / len(labels))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of least cross-entropy, by a grid search from 0.25 to 4."""
    grid = np.exp(np.linspace(np.log(0.25), np.log(4.0), 400))
    losses = [F.cross_entropy(logits / float(temperature), labels).item() for temperature in grid]
    return float(grid[int(np.argmin(losses))])


def cross_fitted(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of each half of the clips divided by the temperature fitted on the other half."""
    scaled = logits.clone()
    even, odd = slice(0, None, 2), slice(1, None, 2)
    for own, other in ((even, odd), (odd, even)):
        scaled[own] = logits[own] / fit_temperature(logits[other], labels[other])
    return scaled


def interval(values: np.ndarray, draws: int = 1000) -> list[float]:
    """95 % bootstrap interval of a mean."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(1)
    return [round(float(v), 4) for v in np.percentile(means, [2.5, 97.5])]


def score(truth: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Accuracy with its interval, macro-F1, confusion matrix, number of clips."""
    matrix = confusion(truth, predicted)
    right = truth == predicted
    return {
        "clips": len(truth),
        "accuracy": round(float(right.mean()), 4),
        "interval": interval(right.astype(float)),
        "macro_f1": round(macro_f1(matrix), 4),
        "confusion": matrix.tolist(),
    }


def strata(record: Record) -> dict[str, np.ndarray]:
    """Masks over the held-out clips, by condition."""
    people, head_px, relation, source = (np.array(record[key]) for key in ("people", "head_px", "relation", "source"))
    light = np.array([video.mean() for video in record["video"]])
    buckets = np.array([bucket(int(number)) for number in people])
    masks = {f"faces {name}": source == index for index, name in enumerate(training_sets.SOURCES[:3])}
    for index, low in enumerate(BUCKETS):
        to = "" if low < 2 else "+" if low == BUCKETS[-1] else f"-{BUCKETS[index + 1] - 1}"
        masks[f"people {low}{to}"] = buckets == index
    masks |= {
        "faces under 12 px": (head_px > 0) & (head_px < 12),
        "faces 12-24 px": (head_px >= 12) & (head_px < 24),
        "faces 24 px and more": head_px >= 24,
        "dark (mean under 40)": light < 40,
        "medium light": (light >= 40) & (light < 120),
        "bright": light >= 120,
    }
    masks |= {name: relation == index for index, name in enumerate(training_sets.RELATIONS)}
    return masks | {"clips rendered last": np.arange(len(people)) >= EXAMINED}


def single_modality_labels(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """The labels that the picture alone and the sound alone can determine; a background without voices is neutral."""
    sound = np.array(record["sound_label"])
    return np.array(record["picture_label"]), np.where(sound < 0, NEUTRAL, sound)


def group_size_figures(people: np.ndarray, estimated: np.ndarray) -> dict[str, Any]:
    """How well bucket indices of group sizes are estimated, and what that means for labels.

    `withheld`: of nobody and of one person, the share that is estimated as at most one. `labelled`: (labelled at the
    default `reading.min_group`, clips) of nobody, one person, and groups.
    """
    matrix = confusion(people, estimated, len(BUCKETS))
    least = BUCKETS.index(MIN_GROUP)
    labelled = estimated >= least
    rows = {"nobody": people == 0, "one": people == 1, f"{MIN_GROUP} or more": people >= least}
    return {
        "accuracy": round(float(np.trace(matrix) / matrix.sum()), 4),
        "interval": interval((people == estimated).astype(float)),
        "confusion": matrix.tolist(),
        "withheld": {
            str(low): round(float((estimated[people == low] <= 1).mean()), 4) for low in (0, 1) if (people == low).any()
        },
        "labelled": {name: [int(labelled[own].sum()), int(own.sum())] for name, own in rows.items()},
    }


@torch.no_grad()
def named_sound_figures(network: EdgeNetwork, cache: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The sound alone, by the kind of held-out sound."""
    record = training_sets.load("held-sounds", cache)
    sound = encode_sounds(network, record, facts)
    count = len(sound)
    present = torch.tensor([MODALITIES["sound_only"]]).repeat(count, 1)
    logits, _ = network.fusion(torch.zeros(count, 5, network.shape.dim), sound, present)
    predicted, truth, kind = logits.argmax(1).numpy(), np.array(record["label"]), np.array(record["kind"])
    return {
        name: {
            "clips": int((kind == index).sum()),
            "right": round(float((predicted == truth)[kind == index].mean()), 3),
            "answers": np.bincount(predicted[kind == index], minlength=3).tolist(),
        }
        for index, name in enumerate(KINDS)
        if (kind == index).any()
    }


@torch.no_grad()
def measure(network: EdgeNetwork, cache: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the contract and the card state about held-out clips."""
    record = training_sets.load("held", cache)
    labels = torch.from_numpy(np.array(record["label"]))
    people = np.array([bucket(int(number)) for number in record["people"]])
    of_picture, of_sound = single_modality_labels(record)
    truth = {"both": labels.numpy(), "video_only": of_picture, "sound_only": of_sound}
    video, sound = encode_clips(network, record, facts)
    answers = {
        name: network.fusion(video, sound, torch.tensor([present]).repeat(len(labels), 1))
        for name, present in MODALITIES.items()
    }
    predicted = {name: logits.argmax(1).numpy() for name, (logits, _) in answers.items()}
    scores = {name: score(truth[name], predicted[name]) for name in MODALITIES}
    logits, sizes = answers["both"]
    estimated = sizes.argmax(1).numpy()
    temperature = fit_temperature(logits, labels)
    by_stratum = {
        name: {
            mode: score(truth[mode][rows], predicted[mode][rows])
            | {"group_size": round(float((people == estimated)[rows].mean()), 4)}
            for mode in MODALITIES
        }
        for name, rows in strata(record).items()
        if rows.any()
    }
    data = (
        f"{len(labels)} held-out synthetic clips: faces, places, speakers and drawing styles that training did not see"
    )
    widths = {}
    if network.head_width is not None:
        widths = {"head_width": head_width.measure(network, cache, facts["head_width"])}
    return {
        "calibration": {
            "temperature": round(temperature, 4),
            "ece": round(calibration_error(cross_fitted(logits, labels), labels, 1.0), 4),
            "ece_uncalibrated": round(calibration_error(logits, labels, 1.0), 4),
            "data": f"temperature from all, error cross-fitted in two halves, of {data}",
        },
        "prior": [round(1 / 3, 6)] * 3,
        "evaluation": {
            "data": data,
            **scores["both"],
            "video_only": scores["video_only"],
            "sound_only": scores["sound_only"],
            "group_size": group_size_figures(people, estimated),
            **widths,
        },
        "details": {"strata": by_stratum, "named_sounds": named_sound_figures(network, cache, facts)},
    }


def show(facts: Mapping[str, Any]) -> None:
    """Prints the figures: all clips first, then one line for each condition and kind of sound."""
    print(json.dumps({key: facts[key] for key in ("calibration", "evaluation")}))
    for name, row in facts["details"]["strata"].items():
        both, video, sound = (row[mode] for mode in MODALITIES)
        print(
            f"{name:28s} n {both['clips']:4d}  both {both['accuracy']:.3f} {both['interval']}  "
            f"picture {video['accuracy']:.3f}  sound {sound['accuracy']:.3f}  size {both['group_size']:.3f}"
        )
    for name, row in facts["details"]["named_sounds"].items():
        print(f"{name:28s} n {row['clips']:4d}  right {row['right']:.3f}  answers {row['answers']}")
