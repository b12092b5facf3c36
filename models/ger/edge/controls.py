"""Controls for the edge network's figures: `python -m ger.edge_controls --cache DIR [--onnx FILE] [--published] [--video FILE ...]`.

* How much of the label the brightness and colour of the held-out clips alone give away (a linear model on means and deviations).
* How another exported network does on the same held-out clips (`--onnx`; its frames are made from the cache's by one more resize).
* How it does on the synthetic scenes of system 1's paper, made of held-out raw faces and held-out places (`--published`; picture alone).
* How often real recordings that hold nobody or one person are withheld by the group size (`--video`; nothing is trained on them).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ger.edge import training_sets
from ger.synthetic import photographs
from ger.synthetic import published_scenes
from ger.contract import CLASSES, KEY
from ger.edge.figures import SENSES, alone_labels, score, strata
from ger.synthetic.scenes import BUCKETS, bucket, squash


def colour_facts(kept: training_sets.Record) -> np.ndarray:
    """Mean and deviation of each channel over a clip, and of the middle of the picture, f32 [N, 12]."""
    rows = []
    for video in kept["video"]:
        x = video[:, ::4, ::4].astype(np.float32) / 255
        middle = x[:, 12:36, 12:36]
        rows.append(np.concatenate([f(part, axis=(0, 1, 2)) for part in (x, middle) for f in (np.mean, np.std)]))
    return np.array(rows, np.float32)


def brightness_control(cache: Path) -> dict[str, object]:
    """Accuracy on the held-out clips' pictures of a linear model that sees brightness, contrast and tint only; chance is about 1/3."""
    train, held = training_sets.load("clips", cache), training_sets.load("held", cache)
    x, z = colour_facts(train), colour_facts(held)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x, z = ((torch.from_numpy((v - mean) / spread)) for v in (x, z))
    goal, truth = torch.from_numpy(alone_labels(train)[0]), alone_labels(held)[0]
    weights = torch.zeros(13, 3, requires_grad=True)
    join = lambda v: torch.cat([v, torch.ones(len(v), 1)], 1)  # noqa: E731
    optimiser = torch.optim.LBFGS([weights], max_iter=200)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(join(x) @ weights, goal) + 1e-3 * weights.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    people = np.array(held["people"]) > 1
    return score(truth[people], (join(z) @ weights).argmax(1).detach().numpy()[people])


def onnx_figures(model: Path, cache: Path) -> dict[str, object]:
    """Accuracy of an exported edge network on the held-out clips: whole, and by the source of the faces."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    terms = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    kept, side = training_sets.load("held", cache), terms["video"]["height"]
    mean, std = np.float32(terms["video"]["mean"]), np.float32(terms["video"]["std"])
    bands = terms["sound"]["mel"]
    seen, heard = alone_labels(kept)
    own = {"both": np.array(kept["label"]), "video_only": seen, "sound_only": heard}
    guesses: dict[str, list[int]] = {name: [] for name in SENSES}
    sizes = []
    for video, sound in zip(kept["video"], kept["sound"]):
        frames = np.stack([f if f.shape[0] == side else squash(f, side) for f in video])
        inputs = {"video": ((frames.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)[None].astype(np.float32),
                  "sound": ((sound.astype(np.float32) - bands["mean"]) / bands["std"])[None, :, None].astype(np.float32)}
        for name, present in SENSES.items():
            logits, size = session.run(["logits", "group_size"], {**inputs, "present": np.float32([present])})
            guesses[name].append(int(logits[0].argmax()))
            if name == "both":
                sizes.append(int(size[0].argmax()))
    people = np.array([bucket(int(p)) for p in kept["people"]])
    out: dict[str, object] = {"name": terms["name"], "group_size": float((people == np.array(sizes)).mean())}
    groups = {"all": np.ones(len(people), bool)} | {n: m for n, m in strata(kept).items() if n.startswith("faces ") and "px" not in n}
    for name, rows in groups.items():
        out[name] = {sense: {k: v for k, v in score(own[sense][rows], np.array(guesses[sense])[rows]).items() if k != "confusion"} for sense in SENSES}
    return out


def published_figures(model: Path, cache: Path, count: int = 150) -> dict[str, object]:
    """Picture alone on published scenes: 5 frames of 3 to 15 held-out faces of one class."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    terms = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    mean, std = np.float32(terms["video"]["mean"]), np.float32(terms["video"]["std"])
    kept, mask = photographs.load(cache, "held"), (photographs.oval_mask() * 255).astype(np.uint8)
    truth, guess, near = [], [], []
    for number in range(count):
        rng = np.random.default_rng([number, 77])
        label, people = number % 3, int(rng.integers(3, 16))
        faces = [np.dstack([kept.pick(rng, label, photographs.RAW), mask])[6:120, 18:110] for _ in range(people)]
        place = Image.fromarray(kept.backgrounds[int(rng.integers(len(kept.backgrounds)))])
        frames = [squash(f, terms["video"]["height"]) for f in published_scenes.frames([Image.fromarray(f) for f in faces], place, 5, number)]
        video = ((np.stack(frames).astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)[None].astype(np.float32)
        logits, size = session.run(["logits", "group_size"], {"video": video, "sound": np.zeros((1, 5, 1, 128, 128), np.float32), "present": np.float32([[1, 0]])})
        truth.append(label)
        guess.append(int(logits[0].argmax()))
        near.append(int(size[0].argmax()) == bucket(people))
    return score(np.array(truth), np.array(guess)) | {"group_size": float(np.mean(near))}


def video_figures(model: Path, path: Path) -> dict[str, object]:
    """Answers over 5-second windows of a recording, picture alone: counts of group sizes and of labels that would be said."""
    import av
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    terms = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    mean, std = np.float32(terms["video"]["mean"]), np.float32(terms["video"]["std"])
    pictures: list[np.ndarray] = []
    with av.open(str(path)) as media:
        rate = float(media.streams.video[0].average_rate or 25)
        step = max(int(round(rate)), 1)
        for number, frame in enumerate(media.decode(video=0)):
            if number % step == step // 2:
                pictures.append(squash(frame.to_ndarray(format="rgb24"), terms["video"]["height"]))
    pictures = pictures + pictures[-1:] * max(0, 5 - len(pictures))  # a recording shorter than 5 s stands still at its end
    counts, said = np.zeros(len(BUCKETS), int), np.zeros(3, int)
    for first in range(0, len(pictures) - 4):
        video = ((np.stack(pictures[first : first + 5]).astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)[None].astype(np.float32)
        logits, size = session.run(["logits", "group_size"], {"video": video, "sound": np.zeros((1, 5, 1, 128, 128), np.float32), "present": np.float32([[1, 0]])})
        counts[size[0].argmax()] += 1
        if size[0].argmax() > 1:
            said[logits[0].argmax()] += 1
    return {"windows": int(counts.sum()), "group size from": dict(zip(map(str, BUCKETS), counts.tolist())), "labels said": dict(zip(CLASSES, said.tolist()))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--onnx", type=Path)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--video", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    if options.video:
        for path in options.video:
            print(path.name, json.dumps(video_figures(options.onnx, path)), flush=True)
        return
    if options.published:
        print("published scenes:", json.dumps(published_figures(options.onnx, options.cache)))
        return
    print("brightness alone:", json.dumps(brightness_control(options.cache)))
    if options.onnx:
        print(json.dumps(onnx_figures(options.onnx, options.cache), indent=1))


if __name__ == "__main__":
    main()
