"""Trains the edge network from nothing: `python -m ger.train --out edge-ger.pt [--cache DIR]`.

Like the published system, in steps: the picture network alone on single frames, the sound network alone, then the
fusion over both, frozen, on clips that neither has seen. A throw-away head on the picture stem learns where faces
are and what they show (the scenes know it); it is not part of the network. Seeded; prints its figures as it goes.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import augment, data, evaluate
from .network import EdgeNetwork, Shape
from .scenes import bucket

NAME = "edge-ger-synthetic-1"
STAGES = ["pictures", "sounds", "fusion"]


def schedule(parameters: list[nn.Parameter], rate: float, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)


def batches(count: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    order = rng.permutation(count)
    return [np.sort(order[i : i + size]) for i in range(0, count - size + 1, size)]


def step(loss: Tensor, parameters: list[nn.Parameter], optimiser: torch.optim.Optimizer, plan: torch.optim.lr_scheduler.LRScheduler) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    plan.step()


def report(stage: str, epoch: int, loss: float, hits: float, since: float) -> None:
    print(f"{stage} epoch {epoch}: loss {loss:.3f}, training accuracy {hits:.3f}, {time.time() - since:.0f} s", flush=True)


def train_pictures(network: EdgeNetwork, cache: Path, epochs: int, size: int, rng: np.random.Generator) -> None:
    """Single frames: scene label, group size, and the face map on the stem."""
    kept = data.load("pictures", cache)
    labels = torch.from_numpy(np.array(kept["label"]))
    groups = torch.tensor([bucket(int(p)) for p in kept["people"]])
    shape = network.shape
    faces, scene, group = nn.Conv2d(shape.stem[2], 4, 1), nn.Linear(shape.dim, 3), nn.Linear(shape.dim, shape.buckets)
    parameters = [p for m in (network.picture, faces, scene, group) for p in m.parameters()]
    optimiser, plan = schedule(parameters, 1.5e-3, epochs * (len(labels) // size))
    weight = torch.tensor([0.3, 1.0, 1.0, 1.0])
    for epoch in range(epochs):
        network.picture.train()
        since, losses, hits = time.time(), [], []
        for rows in batches(len(labels), size, rng):
            x, maps = augment.pictures(kept["video"][rows, 0], kept["grid"][rows, 0], rng)
            vector, fine = network.picture(x.contiguous(memory_format=torch.channels_last))
            guess = scene(vector)
            dense = F.cross_entropy(faces(fine), maps, weight=weight)
            loss = dense + F.cross_entropy(guess, labels[rows], label_smoothing=0.05) + 0.3 * F.cross_entropy(group(vector), groups[rows])
            step(loss, parameters, optimiser, plan)
            losses.append(loss.item())
            hits.append((guess.argmax(1) == labels[rows]).float().mean().item())
        report("pictures", epoch, float(np.mean(losses)), float(np.mean(hits)), since)


def train_sounds(network: EdgeNetwork, cache: Path, facts: dict[str, object], epochs: int, size: int, rng: np.random.Generator) -> None:
    """Sound alone: the label from the mean of the five seconds."""
    kept = data.load("sounds", cache)
    labels = torch.from_numpy(np.array(kept["label"]))
    head = nn.Linear(network.shape.dim, 3)
    parameters = [*network.sound.parameters(), *head.parameters()]
    optimiser, plan = schedule(parameters, 1e-3, epochs * (len(labels) // size))
    for epoch in range(epochs):
        network.sound.train()
        since, losses, hits = time.time(), [], []
        for rows in batches(len(labels), size, rng):
            x = augment.sounds(evaluate.normal_mel(kept["sound"][rows], facts), rng)
            guess = head(network.sound(x[:, :, None]).mean(1))
            loss = F.cross_entropy(guess, labels[rows], label_smoothing=0.05)
            step(loss, parameters, optimiser, plan)
            losses.append(loss.item())
            hits.append((guess.argmax(1) == labels[rows]).float().mean().item())
        report("sounds", epoch, float(np.mean(losses)), float(np.mean(hits)), since)


def train_fusion(network: EdgeNetwork, cache: Path, facts: dict[str, object], epochs: int, size: int, rng: np.random.Generator) -> None:
    """Heads and cross-attention over frozen encoders, with senses dropped."""
    kept = data.load("clips", cache)
    views = [evaluate.features(network, kept, facts, flip) for flip in (False, True)]
    labels = torch.from_numpy(np.array(kept["label"]))
    groups = torch.tensor([bucket(int(p)) for p in kept["people"]])
    parameters = list(network.fusion.parameters())
    optimiser, plan = schedule(parameters, 1e-3, epochs * (len(labels) // size))
    network.fusion.train()
    for epoch in range(epochs):
        since, losses, hits = time.time(), [], []
        for rows in batches(len(labels), size, rng):
            video, sound = views[int(rng.integers(2))]
            present = augment.presence(len(rows), rng)
            logits, sizes = network.fusion(video[rows], sound[rows], present)
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=0.02) + 0.3 * F.cross_entropy(sizes, groups[rows])
            step(loss, parameters, optimiser, plan)
            losses.append(loss.item())
            hits.append((logits.argmax(1) == labels[rows]).float().mean().item())
        if epoch % 10 == 9:
            report("fusion", epoch, float(np.mean(losses)), float(np.mean(hits)), since)


def mel_statistics(cache: Path) -> dict[str, object]:
    """Mean and standard deviation of the training log-mels."""
    values = np.asarray(data.load("sounds", cache)["sound"][::4], np.float32)
    return {"mel_mean": round(float(values.mean(dtype=np.float64)), 4), "mel_std": round(float(values.std(dtype=np.float64)), 4)}


def save(network: EdgeNetwork, facts: dict[str, object], path: Path) -> None:
    torch.save({"shape": network.shape.to_dict(), "model_state_dict": network.state_dict(), "facts": facts}, path)


def run_stage(stage: str, number: int, network: EdgeNetwork, facts: dict[str, object], options: argparse.Namespace) -> None:
    """One stage with its own seed, or its kept result: a part is a file in the cache, so that a stopped run resumes."""
    if stage != "pictures":
        data.render_set("sounds", options.cache, options.scale, options.threads)
        facts.update(mel_statistics(options.cache))
    part = options.cache / f"part-{stage}-{options.seed}.pt"
    module = {"pictures": network.picture, "sounds": network.sound, "fusion": network.fusion}[stage]
    if part.exists():
        module.load_state_dict(torch.load(part, weights_only=True))
        return
    data.render_set("clips" if stage == "fusion" else stage, options.cache, options.scale, options.threads)
    torch.manual_seed(options.seed * 10 + number)
    rng = np.random.default_rng([options.seed, number])
    size = min(32, max(int(100 * options.scale), 4))
    if stage == "pictures":
        train_pictures(network, options.cache, options.picture_epochs, size, rng)
    elif stage == "sounds":
        train_sounds(network, options.cache, facts, options.sound_epochs, size, rng)
    else:
        train_fusion(network, options.cache, facts, options.fusion_epochs, size, rng)
    torch.save(module.state_dict(), part)


def describe(options: argparse.Namespace) -> dict[str, object]:
    """What the contract says about the training."""
    return {"command": "python -m ger.train", "seed": options.seed,
            "sets": {name: max(int(count * options.scale), 8) for name, (count, _) in data.SETS.items()},
            "epochs": {"pictures": options.picture_epochs, "sounds": options.sound_epochs, "fusion": options.fusion_epochs},
            "torch": torch.__version__.split("+")[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ger-cache")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full data set")
    parser.add_argument("--picture-epochs", type=int, default=8)
    parser.add_argument("--sound-epochs", type=int, default=6)
    parser.add_argument("--fusion-epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and processes that render")
    parser.add_argument("--only", choices=STAGES, help="run one stage, keep its part in the cache, and stop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    network, facts = EdgeNetwork(Shape()).to(memory_format=torch.channels_last), {}
    for number, stage in enumerate(STAGES):
        if options.only in (None, stage):
            run_stage(stage, number, network, facts, options)
    if options.only:
        return
    data.render_set("held", options.cache, options.scale, options.threads)
    facts.update(evaluate.measure(network, options.cache, facts))
    facts.update(name=NAME, created=datetime.date.today().isoformat(), training=describe(options))
    save(network, facts, options.out)
    evaluate.show(facts)


if __name__ == "__main__":
    main()
