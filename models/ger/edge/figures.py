"""Figures of the edge network on held-out clips: `python -m ger.edge_measure --checkpoint F --cache DIR` prints what the card quotes.

The calibration error is cross-fitted: the even clips get the temperature that fits the odd ones best, and the other way round; the
network gets the temperature that fits all. Accuracy, F1 and the confusion matrix use all clips (the temperature moves no argmax).
Intervals are 95 % percentile intervals over 1000 bootstrap draws of clips.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ger.edge import augment
from ger.edge import training_sets
from ger.edge.network import EdgeNetwork
from ger.synthetic.scenes import BUCKETS, bucket

LOOKED_AT = 450  # so many of the held-out clips were looked at again and again while choices were made
MIN_GROUP = 5  # the daemon's `reading.min_group` by default: a smaller group gets no label
SENSES = {"both": (1.0, 1.0), "video_only": (1.0, 0.0), "sound_only": (0.0, 1.0)}


def normal_mel(mels: np.ndarray, facts: dict[str, object]) -> Tensor:
    """Log-mels after the contract's mean and std."""
    return (torch.from_numpy(np.asarray(mels, np.float32)) - facts["mel_mean"]) / facts["mel_std"]


@torch.no_grad()
def see(network: EdgeNetwork, frames: np.ndarray, flip: bool = False) -> Tensor:
    """u8 [N, T, H, W, 3] to the picture network's vectors [N, T, dim]."""
    count, times = frames.shape[:2]
    x = augment.normalise(frames[:, :, :, ::-1] if flip else frames)
    vectors = network.picture(x.reshape(-1, *x.shape[2:]).contiguous(memory_format=torch.channels_last))[0]
    return vectors.reshape(count, times, -1)


@torch.no_grad()
def look(network: EdgeNetwork, kept: training_sets.Record) -> Tensor:
    """What the picture network says of every frame of a set: [N, T, dim]."""
    network.eval()
    return torch.cat([see(network, kept["video"][i : i + 16]) for i in range(0, len(kept["label"]), 16)])


@torch.no_grad()
def features(network: EdgeNetwork, kept: training_sets.Record, facts: dict[str, object], flip: bool = False) -> tuple[Tensor, Tensor]:
    """What the two encoders say of every clip: video [N, 5, dim] and sound [N, 5, dim]."""
    network.eval()
    video, sound = [], []
    for i in range(0, len(kept["label"]), 16):
        video.append(see(network, kept["video"][i : i + 16], flip))
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


def cross_fitted(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of each clip by the temperature that fits the other half of the clips, by turns."""
    out = logits.clone()
    for own, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        out[own] = logits[own] / fit_temperature(logits[other], labels[other])
    return out


def interval(values: np.ndarray, draws: int = 1000) -> list[float]:
    """95 % bootstrap interval of a mean."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(1)
    return [round(float(v), 4) for v in np.percentile(means, [2.5, 97.5])]


def score(truth: np.ndarray, guess: np.ndarray) -> dict[str, object]:
    """Accuracy with its interval, macro-F1, confusion, number of clips."""
    matrix = confusion(truth, guess)
    return {"clips": len(truth), "accuracy": round(float((truth == guess).mean()), 4), "interval": interval((truth == guess).astype(float)),
            "macro_f1": round(macro_f1(matrix), 4), "confusion": matrix.tolist()}


def strata(kept: training_sets.Record) -> dict[str, np.ndarray]:
    """Masks over the held-out clips, by condition."""
    people, face, fate, source = (np.array(kept[k]) for k in ("people", "face", "fate", "source"))
    light = np.array([v.mean() for v in kept["video"]])
    out = {f"faces {name}": source == i for i, name in enumerate(training_sets.SOURCES[:3])}
    out |= {f"people {low}{'' if low < 2 else '+' if low == 10 else f'-{BUCKETS[i + 1] - 1}'}": np.array([bucket(int(p)) for p in people]) == i
            for i, low in enumerate(BUCKETS)}
    out |= {"faces under 12 px": (face > 0) & (face < 12), "faces 12-24 px": (face >= 12) & (face < 24), "faces 24 px and more": face >= 24}
    out |= {"dark (mean under 40)": light < 40, "medium light": (light >= 40) & (light < 120), "bright": light >= 120}
    out |= {name: fate == i for i, name in enumerate(training_sets.FATES)}
    return out | {"clips rendered last": np.arange(len(people)) >= LOOKED_AT}


@torch.no_grad()
def heard_scores(network: EdgeNetwork, cache: Path, facts: dict[str, object]) -> dict[str, object]:
    """Sound alone, by its named kind."""
    from ger.synthetic.sound_mixes import KINDS

    kept = training_sets.load("heard", cache)
    sound = torch.cat([network.sound(normal_mel(kept["sound"][i : i + 16], facts)[:, :, None]) for i in range(0, len(kept["label"]), 16)])
    count = len(sound)
    logits, _ = network.fusion(torch.zeros(count, 5, network.shape.dim), sound, torch.tensor([[0.0, 1.0]]).repeat(count, 1))
    guess, truth, kind = logits.argmax(1).numpy(), np.array(kept["label"]), np.array(kept["kind"])
    return {name: {"clips": int((kind == i).sum()), "right": round(float((guess == truth)[kind == i].mean()), 3),
                   "answers": np.bincount(guess[kind == i], minlength=3).tolist()} for i, name in enumerate(KINDS) if (kind == i).any()}


def alone_labels(kept: training_sets.Record) -> tuple[np.ndarray, np.ndarray]:
    """What picture and sound, each alone, can know of a clip: their own labels."""
    heard = np.array(kept["heard"])
    return np.array(kept["seen"]), np.where(heard < 0, 1, heard)


def measure(network: EdgeNetwork, cache: Path, facts: dict[str, object]) -> dict[str, object]:
    """Everything the contract and the card say about held-out clips."""
    from ger.edge import head_width

    kept = training_sets.load("held", cache)
    labels = torch.from_numpy(np.array(kept["label"]))
    truth, people = labels.numpy(), np.array([bucket(int(p)) for p in kept["people"]])
    seen, heard = alone_labels(kept)
    own = {"both": truth, "video_only": seen, "sound_only": heard}
    video, sound = features(network, kept, facts)
    scores, guesses = {}, {}
    for name, present in SENSES.items():
        with torch.no_grad():
            logits, sizes = network.fusion(video, sound, torch.tensor([present]).repeat(len(labels), 1))
        guesses[name] = logits.argmax(1).numpy()
        scores[name] = score(own[name], guesses[name])
        if name == "both":
            counted = sizes.argmax(1).numpy()
            temperature, before = fit_temperature(logits, labels), calibration_error(logits, labels, 1.0)
            after = calibration_error(cross_fitted(logits, labels), labels, 1.0)
    groups = confusion(people, counted, len(BUCKETS))
    read = counted >= BUCKETS.index(MIN_GROUP)  # what the daemon gives a label, as it is set by default
    labelled = {name: [int(read[rows].sum()), int(rows.sum())] for name, rows in
                {"nobody": people == 0, "one": people == 1, f"{MIN_GROUP} or more": people >= BUCKETS.index(MIN_GROUP)}.items()}
    withheld = {str(low): round(float((counted[people == low] <= 1).mean()), 4) for low in (0, 1) if (people == low).any()}
    by = {name: {sense: score(own[sense][rows], guesses[sense][rows]) | {"group_size": round(float((people == counted)[rows].mean()), 4)}
                 for sense in SENSES} for name, rows in strata(kept).items() if rows.any()}
    text = f"{len(truth)} held-out synthetic clips: faces, places, speakers and drawing styles that training did not see"
    widths = {"head_width": head_width.measure(network, cache, facts["head_width"])} if network.head_width is not None else {}
    return {
        "calibration": {"temperature": round(temperature, 4), "ece": round(after, 4), "ece_uncalibrated": round(before, 4),
                        "data": f"temperature from all, error cross-fitted in two halves, of {text}"},
        "prior": [round(1 / 3, 6)] * 3,
        "evaluation": {"data": text, **scores["both"], "video_only": scores["video_only"], "sound_only": scores["sound_only"],
                       "group_size": {"accuracy": round(float(np.trace(groups) / groups.sum()), 4),
                                      "interval": interval((people == counted).astype(float)), "confusion": groups.tolist(), "withheld": withheld,
                                      "labelled": labelled}, **widths},
        "details": {"strata": by, "named_sounds": heard_scores(network, cache, facts)},
    }


def show(facts: dict[str, object]) -> None:
    """Prints the figures: the whole, then one line a condition and a sound."""
    print(json.dumps({key: facts[key] for key in ("calibration", "evaluation")}))
    for name, row in facts["details"]["strata"].items():
        print(f"{name:28s} n {row['both']['clips']:4d}  both {row['both']['accuracy']:.3f} {row['both']['interval']}  picture {row['video_only']['accuracy']:.3f}  "
              f"sound {row['sound_only']['accuracy']:.3f}  size {row['both']['group_size']:.3f}")
    for name, row in facts["details"]["named_sounds"].items():
        print(f"{name:28s} n {row['clips']:4d}  right {row['right']:.3f}  answers {row['answers']}")


def main() -> None:
    from ger.systems.export import load_checkpoint

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    for name in ("held", "heard"):
        training_sets.render_set(name, options.cache, 1.0, 2)
    network, facts = load_checkpoint(options.checkpoint)
    show(measure(network, options.cache, facts))


if __name__ == "__main__":
    main()
