"""Controls for the edge network's figures: what brightness alone predicts, other networks, published scenes,
recordings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch.nn import functional as F

from ger.contract import BUCKETS, CLASSES, KEY, bucket, mel, resize
from ger.edge import training_sets
from ger.edge.figures import MODALITIES, score, single_modality_labels, strata
from ger.edge.training_sets import Record
from ger.synthetic import photographs, published_scenes

FRAMES = 5  # of a window, one a second


def colour_statistics(record: Record) -> np.ndarray:
    """Mean and standard deviation of each channel over a clip, and over the middle of its pictures, f32 [N, 12]."""
    rows = []
    for video in record["video"]:
        x = video[:, ::4, ::4].astype(np.float32) / 255
        middle = x[:, 12:36, 12:36]
        rows.append(np.concatenate([f(part, axis=(0, 1, 2)) for part in (x, middle) for f in (np.mean, np.std)]))
    return np.array(rows, np.float32)


def brightness_control(cache: Path) -> dict[str, Any]:
    """Accuracy on the held-out clips' pictures of a linear model of brightness, contrast and tint; chance is about
    1/3.
    """
    train, held = training_sets.load("clips", cache), training_sets.load("held", cache)
    x, z = colour_statistics(train), colour_statistics(held)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    inputs, checks = (
        torch.cat([torch.from_numpy((values - mean) / spread), torch.ones(len(values), 1)], 1) for values in (x, z)
    )
    goal, truth = torch.from_numpy(single_modality_labels(train)[0]), single_modality_labels(held)[0]
    weights = torch.zeros(13, 3, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200)

    def closure() -> float:
        optimiser.zero_grad()
        loss = F.cross_entropy(inputs @ weights, goal) + 1e-3 * weights.square().sum()
        loss.backward()
        return float(loss)

    optimiser.step(closure)
    groups = np.array(held["people"]) > 1
    return score(truth[groups], (checks @ weights).argmax(1).detach().numpy()[groups])


class ExportedNetwork:
    """An exported edge network and its contract."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.terms: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
        self.side: int = self.terms["video"]["height"]  # pixels, both sides

    def video(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Frames u8 RGB [H, W, 3] of any size as the input `video`."""
        side = self.side
        pictures = np.stack([f if f.shape[:2] == (side, side) else resize(f, side, side) for f in frames])
        mean, std = (np.array(self.terms["video"][key], np.float32) for key in ("mean", "std"))
        return ((pictures.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)[None].astype(np.float32)

    def sound(self, log_mel: np.ndarray) -> np.ndarray:
        """A log-mel [5, 128, 128] in dB as the input `sound`."""
        terms = self.terms["sound"]["mel"]
        return ((log_mel.astype(np.float32) - terms["mean"]) / terms["std"])[None, :, None].astype(np.float32)

    def probabilities(
        self, video: np.ndarray, sound: np.ndarray, present: tuple[float, float]
    ) -> tuple[np.ndarray, int]:
        """(probabilities [3] after temperature, index of the group-size bucket)."""
        inputs = {"video": video, "sound": sound, "present": np.array([present], np.float32)}
        logits, size = self.session.run(["logits", "group_size"], inputs)
        exponentials = np.exp(logits[0] / self.terms["calibration"]["temperature"])
        return exponentials / exponentials.sum(), int(size[0].argmax())

    def answer(self, video: np.ndarray, sound: np.ndarray, present: tuple[float, float]) -> tuple[int, int]:
        """(index of the label, index of the group-size bucket)."""
        probabilities, size = self.probabilities(video, sound, present)
        return int(probabilities.argmax()), size

    def answer_picture(self, frames: Sequence[np.ndarray]) -> tuple[int, int]:
        """The same from five frames without sound."""
        no_sound = np.zeros((1, mel.SEGMENTS, 1, mel.BINS, mel.FRAMES), np.float32)
        return self.answer(self.video(frames), no_sound, MODALITIES["video_only"])


def held_out_figures(network: ExportedNetwork, cache: Path) -> dict[str, Any]:
    """Accuracy on the held-out clips: of all, and by the source of the faces."""
    record = training_sets.load("held", cache)
    of_picture, of_sound = single_modality_labels(record)
    truth = {"both": np.array(record["label"]), "video_only": of_picture, "sound_only": of_sound}
    predicted: dict[str, list[int]] = {name: [] for name in MODALITIES}
    sizes = []
    for frames, log_mel in zip(record["video"], record["sound"], strict=True):
        video, sound = network.video(frames), network.sound(log_mel)
        for name, present in MODALITIES.items():
            label, size = network.answer(video, sound, present)
            predicted[name].append(label)
            if name == "both":
                sizes.append(size)
    people = np.array([bucket(int(number)) for number in record["people"]])
    figures: dict[str, Any] = {
        "name": network.terms["name"],
        "group_size": float((people == np.array(sizes)).mean()),
    }
    groups = {"all": np.ones(len(people), bool)}
    groups |= {name: rows for name, rows in strata(record).items() if name.startswith("faces ") and "px" not in name}
    for name, rows in groups.items():
        scores = {mode: score(truth[mode][rows], np.array(predicted[mode])[rows]) for mode in MODALITIES}
        figures[name] = {
            mode: {key: value for key, value in own.items() if key != "confusion"} for mode, own in scores.items()
        }
    return figures


def published_figures(network: ExportedNetwork, cache: Path, count: int = 150) -> dict[str, Any]:
    """The picture alone on published scenes: five frames of 3 to 15 held-out faces of one class."""
    pool, mask = photographs.load(cache, "held"), (photographs.oval_mask() * 255).astype(np.uint8)
    truth, predicted, size_right = [], [], []
    for number in range(count):
        rng = np.random.default_rng([number, 77])
        label, people = number % 3, int(rng.integers(3, 16))
        faces = [np.dstack([pool.pick(rng, label, photographs.RAW), mask])[6:120, 18:110] for _ in range(people)]
        place = Image.fromarray(pool.backgrounds[int(rng.integers(len(pool.backgrounds)))])
        cut_outs = [Image.fromarray(face) for face in faces]
        answer, size = network.answer_picture(list(published_scenes.frames(cut_outs, place, FRAMES, number)))
        truth.append(label)
        predicted.append(answer)
        size_right.append(size == bucket(people))
    return score(np.array(truth), np.array(predicted)) | {"group_size": float(np.mean(size_right))}


def recording_figures(network: ExportedNetwork, path: Path) -> dict[str, Any]:
    """Counts of estimated group sizes, and of the labels of groups, over the 5-second windows of a recording."""
    pictures: list[np.ndarray] = []
    with av.open(str(path)) as media:
        frames_per_second = max(round(float(media.streams.video[0].average_rate or 25)), 1)
        for number, frame in enumerate(media.decode(video=0)):
            if number % frames_per_second == frames_per_second // 2:
                pictures.append(resize(frame.to_ndarray(format="rgb24"), network.side, network.side))
    pictures += pictures[-1:] * max(0, FRAMES - len(pictures))  # a shorter recording repeats its last frame
    sizes, labels = np.zeros(len(BUCKETS), int), np.zeros(3, int)
    for first in range(len(pictures) - FRAMES + 1):
        label, size = network.answer_picture(pictures[first : first + FRAMES])
        sizes[size] += 1
        if BUCKETS[size] > 1:
            labels[label] += 1
    return {
        "windows": int(sizes.sum()),
        "group size from": dict(zip(map(str, BUCKETS), sizes.tolist(), strict=True)),
        "labels said": dict(zip(CLASSES, labels.tolist(), strict=True)),
    }
