"""Figures on the held-out clips: `python -m ger.evaluate --checkpoint F --cache DIR` prints what the card quotes.

Held-out clips are split in two by turns: the even ones fit the temperature, the odd ones measure the calibration
error before and after it. Accuracy, F1 and the confusion matrix use all of them (the temperature moves no argmax).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import augment, data
from .network import EdgeNetwork
from .scenes import BUCKETS, bucket

SENSES = {"both": (1.0, 1.0), "video_only": (1.0, 0.0), "sound_only": (0.0, 1.0)}


def normal_mel(mels: np.ndarray, facts: dict[str, object]) -> Tensor:
    """Log-mels after the contract's mean and std."""
    return (torch.from_numpy(np.asarray(mels, np.float32)) - facts["mel_mean"]) / facts["mel_std"]


@torch.no_grad()
def features(network: EdgeNetwork, kept: data.Record, facts: dict[str, object], flip: bool = False) -> tuple[Tensor, Tensor]:
    """What the two encoders say of every clip: video [N, 5, dim] and sound [N, 5, dim]."""
    network.eval()
    video, sound, side = [], [], network.shape.size
    for i in range(0, len(kept["label"]), 16):
        frames = kept["video"][i : i + 16]
        x = augment.normalise(frames[:, :, :, ::-1] if flip else frames).reshape(-1, 3, side, side)
        video.append(network.picture(x.contiguous(memory_format=torch.channels_last))[0].reshape(-1, 5, network.shape.dim))
        sound.append(network.sound(normal_mel(kept["sound"][i : i + 16], facts)[:, :, None]))
    return torch.cat(video), torch.cat(sound)


def confusion(truth: np.ndarray, guess: np.ndarray, classes: int = 3) -> np.ndarray:
    """Rows are the truth, columns the guess."""
    out = np.zeros((classes, classes), np.int64)
    np.add.at(out, (truth, guess), 1)
    return out


def macro_f1(matrix: np.ndarray) -> float:
    hits = np.diag(matrix)
    return float(np.mean(2 * hits / np.maximum(matrix.sum(0) + matrix.sum(1), 1)))


def calibration_error(logits: Tensor, labels: Tensor, temperature: float, bins: int = 15) -> float:
    """Expected calibration error over equal-width confidence bins."""
    confidence, guess = torch.softmax(logits / temperature, 1).max(1)
    right = (guess == labels).float()
    index = torch.clamp((confidence * bins).long(), max=bins - 1)
    gaps = [(index == b).sum() * (right[index == b].mean() - confidence[index == b].mean()).abs() for b in range(bins) if (index == b).any()]
    return float(sum(gaps) / len(labels))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of least cross-entropy, by a fine search."""
    grid = np.exp(np.linspace(np.log(0.25), np.log(4.0), 400))
    losses = [F.cross_entropy(logits / float(t), labels).item() for t in grid]
    return float(grid[int(np.argmin(losses))])


def measure(network: EdgeNetwork, cache: Path, facts: dict[str, object]) -> dict[str, object]:
    """Everything the contract and the card say about held-out clips."""
    kept = data.load("held", cache)
    labels = torch.from_numpy(np.array(kept["label"]))
    truth, people = labels.numpy(), np.array([bucket(int(p)) for p in kept["people"]])
    scores: dict[str, dict[str, object]] = {}
    video, sound = features(network, kept, facts)
    for name, present in SENSES.items():
        with torch.no_grad():
            logits, sizes = network.fusion(video, sound, torch.tensor([present]).repeat(len(labels), 1))
        matrix = confusion(truth, logits.argmax(1).numpy())
        scores[name] = {"accuracy": round(float(np.trace(matrix) / matrix.sum()), 4), "macro_f1": round(macro_f1(matrix), 4),
                        "confusion": matrix.tolist()}
        if name == "both":
            groups = confusion(people, sizes.argmax(1).numpy(), len(BUCKETS))
            temperature = fit_temperature(logits[::2], labels[::2])
            before, after = (calibration_error(logits[1::2], labels[1::2], t) for t in (1.0, temperature))
    text = f"{len(truth)} held-out drawn clips (other seeds, backgrounds and face styles than training)"
    return {
        "calibration": {"temperature": round(temperature, 4), "ece": round(after, 4), "ece_uncalibrated": round(before, 4),
                        "data": f"temperature from every even one, error on every odd one of {text}"},
        "prior": [round(1 / 3, 6)] * 3,
        "evaluation": {"data": text, "clips": len(truth), **scores["both"], "video_only": scores["video_only"],
                       "sound_only": scores["sound_only"],
                       "group_size": {"accuracy": round(float(np.trace(groups) / groups.sum()), 4), "confusion": groups.tolist()}},
    }


def show(facts: dict[str, object]) -> None:
    print(json.dumps({key: facts[key] for key in ("calibration", "evaluation")}, indent=1))


def main() -> None:
    from .export import load_checkpoint

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    data.render_all(options.cache)
    network, facts = load_checkpoint(options.checkpoint)
    show(measure(network, options.cache, facts))


if __name__ == "__main__":
    main()
