"""Trains the edge network from nothing: `python -m ger.edge_train --out edge-ger.pt --cache DIR`.

In steps: the picture network alone, on single frames, then on frames and mosaics of faces by turns; the sound network alone, then the fusion over both, frozen, on clips that neither
has seen; at last how large people appear. The picture network's fine map learns where heads are and what they show (the scenes know it). Seeded; every epoch is kept, so
that a stopped run resumes; prints its figures as it goes. The cache must hold the media made ready (see `ger.data`).
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ger.edge import augment
from ger.edge import training_sets
from ger.edge import figures
from ger.edge import head_width
from ger.synthetic.mosaics import Mosaics
from ger.edge.network import EdgeNetwork, Shape
from ger.synthetic.scenes import FRAMES, bucket, face_maps

NAME = "edge-ger-4"
STAGES = ["heads", "pictures", "polish", "sounds", "polish-sounds", "named-sounds", "fusion", "widths"]
HEADS_PLAN = 7  # epochs of the first stage's one-cycle rate; the stage ends before, while the rate is high
FEW_FIRST = torch.tensor([3.0, 3.0, 1.0, 1.0, 1.0])  # taking nobody or one person for a group is the worse mistake
LICENCE = {"weights": "Apache-2.0 OR MIT", "data": [
    "EmoGator vocal bursts, Buhl 2023, arXiv:2301.00508, Apache-2.0", "SFHQ-T2I synthetic faces, Beniaguev 2024, MIT",
    "Poly Haven panoramas, CC0", "drawn scenes and synthesised sounds by models/ger, Apache-2.0 OR MIT"]}


class Run:
    """One stage's optimiser and one-cycle rate over a number of steps, kept on disk after each epoch.

    With `averaged`, the stage ends with the running mean of its weights over the last few hundred steps, which does better on
    faces that it has not seen (Izmailov et al. 2018, arXiv:1803.05407; exponential as in Tarvainen and Valpola 2017, arXiv:1703.01780).
    """

    def __init__(self, part: Path, modules: nn.ModuleList, rate: float, epochs: int, steps: int, averaged: bool = False) -> None:
        self.part, self.modules, self.epochs, self.first = part, modules, epochs, 0
        self.parameters = list(modules.parameters())
        self.optimiser = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=0.05)
        self.plan = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, rate, total_steps=max(epochs * steps, 2), pct_start=0.15)
        self.since, self.losses, self.hits = time.time(), [], []
        self.mean = AveragedModel(modules, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True) if averaged else None
        if part.exists():
            kept = torch.load(part, weights_only=True)
            modules.load_state_dict(kept["modules"])
            if self.mean is not None:
                self.mean.load_state_dict(kept["mean"])
            self.optimiser.load_state_dict(kept["optimiser"])
            self.plan.load_state_dict(kept["plan"])
            self.first = kept["epoch"] + 1

    def step(self, loss: Tensor, hits: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.plan.step()
        if self.mean is not None:
            self.mean.update_parameters(self.modules)
        self.losses.append(loss.item())
        self.hits.append(hits.float().mean().item())
        if len(self.losses) % 50 == 0:
            print(f"  {self.part.stem}: step {len(self.losses)}, loss {np.mean(self.losses[-50:]):.3f}, training accuracy {np.mean(self.hits[-50:]):.3f}, "
                  f"{time.time() - self.since:.0f} s", flush=True)

    def keep(self, epoch: int) -> None:
        """Writes the state and says the epoch's figures."""
        partial = self.part.with_suffix(".partial")
        state = {"modules": self.modules.state_dict(), "optimiser": self.optimiser.state_dict(), "plan": self.plan.state_dict(), "epoch": epoch}
        torch.save(state | ({"mean": self.mean.state_dict()} if self.mean is not None else {}), partial)
        partial.replace(self.part)
        print(f"{self.part.stem} epoch {epoch}: loss {np.mean(self.losses):.3f}, training accuracy {np.mean(self.hits):.3f}, {time.time() - self.since:.0f} s", flush=True)
        self.since, self.losses, self.hits = time.time(), [], []

    def settle(self) -> None:
        """The stage is over: its modules take the mean of their weights, where it keeps one."""
        if self.mean is not None:
            self.modules.load_state_dict(self.mean.module.state_dict())


def batches(count: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    order = rng.permutation(count)
    return [np.sort(order[i : i + size]) for i in range(0, count - size + 1, size)]


def head_loss(heads: np.ndarray, area: Tensor, centre: Tensor) -> Tensor:
    """How well the fine map knows heads: what is where (cross-entropy), their centres, and their count."""
    maps = [face_maps(h, area.shape[-1]) for h in heads]
    what = torch.from_numpy(np.stack([m[0] for m in maps])).long()
    where = torch.from_numpy(np.stack([m[1] for m in maps]))
    dense = F.cross_entropy(area, what, weight=torch.tensor([0.3, 1.0, 1.0, 1.0]), label_smoothing=0.03)
    spots = 10 * F.binary_cross_entropy_with_logits(centre, where)
    count = F.smooth_l1_loss(torch.log1p(torch.sigmoid(centre).sum((1, 2))), torch.log1p(where.sum((1, 2))))
    return dense + spots + count


def frames(cache: Path, names: list[str]) -> training_sets.Record:
    """The sets of single frames of these names, one after the other."""
    sets = [training_sets.load(name, cache) for name in names]
    return {key: np.concatenate([kept[key] for kept in sets]) for key in sets[0]}


def train_pictures(network: EdgeNetwork, part: Path, cache: Path, plan: tuple[int, int], size: int, seed: int, before: Path | None = None,
                   rate: float = 2e-3, averaged: bool = False) -> None:
    """Single frames: scene label, group size, and the fine map. `plan` is (epochs that the rate is planned for, epochs to run). With
    `before`, the state of an earlier stage, it starts from there, frames of few people join, and every other batch is a mosaic of faces."""
    kept = frames(cache, ["pictures"] if before is None else ["pictures", "few"])
    labels = torch.from_numpy(np.array(kept["label"]))
    shape = network.shape
    modules = nn.ModuleList([network.picture, nn.Linear(shape.dim, 3), nn.Linear(shape.dim, shape.buckets)])
    if before is not None:
        modules.load_state_dict(torch.load(before, weights_only=True)["modules"])
    run = Run(part, modules, rate, plan[0], len(labels) // size, averaged)
    mosaics = Mosaics(cache) if before is not None and run.first < plan[1] else None
    network.picture.train()
    for epoch in range(run.first, plan[1]):
        rng = np.random.default_rng([seed, 0 if before is None else 3, epoch])
        for number, rows in enumerate(batches(len(labels), size, rng)):
            if mosaics is not None and number % 2:
                x, heads, goal = mosaics.batch(size, rng)
            else:
                x, heads = augment.turn(augment.normalise(kept["video"][rows, 0]), kept["heads"][rows, 0], rng)
                x, goal = augment.colours(x, rng), labels[rows]
            vector, area, centre = network.picture(x.contiguous(memory_format=torch.channels_last))
            people = torch.tensor([bucket(int((h[:, 4] >= 0).sum())) for h in heads])
            guess = modules[1](vector)
            sizes = F.cross_entropy(modules[2](vector), people, label_smoothing=0.05)
            run.step(head_loss(heads, area, centre) + F.cross_entropy(guess, goal, label_smoothing=0.1) + 0.5 * sizes, guess.argmax(1) == goal)
        run.keep(epoch)
    run.settle()


def train_sounds(network: EdgeNetwork, part: Path, cache: Path, facts: dict[str, object], epochs: int, size: int, seed: int, before: Path | None = None,
                 rate: float = 1.5e-3, named: bool = False) -> None:
    """Sound alone: the label from the mean of the five seconds. With `before`, it starts from that stage's state; with `named`, on
    the named kinds of sounds and half of the mixes."""
    mels, labels = training_sets.load("sounds", cache)["sound"], np.array(training_sets.load("sounds", cache)["label"])
    if named:
        extra = training_sets.load("named", cache)
        mels, labels = np.concatenate([extra["sound"], mels[::2]]), np.concatenate([extra["label"], labels[::2]])
    labels = torch.from_numpy(labels)
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(network.shape.dim, 3))
    modules = nn.ModuleList([network.sound, head])
    if before is not None:
        modules.load_state_dict(torch.load(before, weights_only=True)["modules"])
    run = Run(part, modules, rate, epochs, len(labels) // size)
    network.sound.train()
    for epoch in range(run.first, epochs):
        rng = np.random.default_rng([seed, 1, epoch])
        for rows in batches(len(labels), size, rng):
            x = figures.normal_mel(mels[rows], facts)
            x = augment.sounds(augment.louder_of_two(x, labels[rows], facts["mel_std"], rng), rng)
            guess = head(network.sound(x[:, :, None]).mean(1))
            run.step(F.cross_entropy(guess, labels[rows], label_smoothing=0.1), guess.argmax(1) == labels[rows])
        run.keep(epoch)


def recombined(rows: np.ndarray, kept: training_sets.Record, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(whose sound each clip gets, the labels): now and then a background that says nothing, often that of another clip which
    sounds the same, so that few clips teach many pairs. Dark clips keep their own: nothing else says what they are."""
    fate, seen, heard, label = (np.array(kept[key]) for key in ("fate", "seen", "heard", "label"))
    told, goal = rows.copy(), label[rows].copy()
    for place, row in enumerate(rows):
        chance = rng.random()
        if fate[row] != training_sets.FATES.index("dark") and chance < 0.15:
            told[place] = rng.choice(np.flatnonzero(heard < 0))
            goal[place] = seen[row]
        elif fate[row] == training_sets.FATES.index("agree") and chance < 0.6:
            told[place] = rng.choice(np.flatnonzero((heard == heard[row]) & (fate == fate[row])))
    return told, goal


def train_fusion(network: EdgeNetwork, part: Path, cache: Path, facts: dict[str, object], epochs: int, size: int, seed: int) -> None:
    """Heads and cross-attention over frozen encoders, with senses dropped."""
    kept = training_sets.load("clips", cache)
    views = [figures.features(network, kept, facts, flip) for flip in (False, True)]
    seen, heard = (torch.from_numpy(np.array(kept[k])) for k in ("seen", "heard"))
    heard = torch.where(heard < 0, torch.ones_like(heard), heard)  # a background alone is neutral
    groups = torch.tensor([bucket(int(p)) for p in kept["people"]])
    dark = torch.from_numpy(np.array(kept["fate"]) == 3)
    # the picture network knows the training faces; others it reads worse, and the fusion must not trust it more than it deserves
    wrong = np.where(np.array(kept["source"]) == training_sets.SOURCES.index("drawn"), 0.06, 0.12)
    few = training_sets.load("few", cache)
    alone, counted = figures.look(network, few), torch.from_numpy(np.array(few["people"]))
    run = Run(part, nn.ModuleList([network.fusion]), 1e-3, epochs, len(seen) // size)
    network.fusion.train()
    for epoch in range(run.first, epochs):
        rng = np.random.default_rng([seed, 2, epoch])
        for rows in batches(len(seen), size, rng):
            video, sound = views[int(rng.integers(2))]
            told, label = recombined(rows, kept, rng)
            shown = np.where(rng.random(len(rows)) < wrong[rows], rng.permutation(rows), rows)
            present = augment.presence(len(rows), rng)
            # one sense alone can only know what it has: its own label
            goal = torch.where(present[:, 1] == 0, seen[rows], torch.where(present[:, 0] == 0, heard[told], torch.from_numpy(label)))
            logits, sizes = network.fusion(video[shown], sound[told], present)
            size_loss = F.cross_entropy(sizes, groups[shown], weight=FEW_FIRST, reduction="none")[~dark[shown]].mean()
            # frames of few people stand still for five seconds, and only the group's size is learnt of them
            still = rng.integers(0, len(counted), size)
            _, few_sizes = network.fusion(alone[still].expand(-1, FRAMES, -1), torch.zeros_like(sound[: len(still)]), torch.tensor([[1.0, 0.0]]).repeat(len(still), 1))
            size_loss = size_loss + 0.5 * F.cross_entropy(few_sizes, counted[still])
            run.step(F.cross_entropy(logits, goal, label_smoothing=0.05) + 0.5 * size_loss, logits.argmax(1) == goal)
        if epoch % 10 == 9 or epoch == epochs - 1:
            run.keep(epoch)


def mel_statistics(cache: Path) -> dict[str, object]:
    """Mean and standard deviation of the training log-mels."""
    values = np.asarray(training_sets.load("sounds", cache)["sound"][::4], np.float32)
    return {"mel_mean": round(float(values.mean(dtype=np.float64)), 4), "mel_std": round(float(values.std(dtype=np.float64)), 4)}


def run_stage(stage: str, number: int, network: EdgeNetwork, facts: dict[str, object], options: argparse.Namespace) -> None:
    """One stage with its own seed; its state is a file in the cache, from which it goes on."""
    if stage in ("pictures", "polish", "fusion"):
        training_sets.render_set("few", options.cache, options.scale, options.threads)
    if stage in ("sounds", "polish-sounds", "named-sounds", "fusion"):
        training_sets.render_set("sounds", options.cache, options.scale, options.threads)
        facts.update(mel_statistics(options.cache))
    training_sets.render_set({"fusion": "clips", "heads": "pictures", "polish": "pictures", "polish-sounds": "sounds", "named-sounds": "named", "widths": "clips"}.get(stage, stage), options.cache, options.scale, options.threads)
    part, heads = (options.cache / f"edge-{name}-{options.seed}.pt" for name in (stage, "heads"))
    torch.manual_seed(options.seed * 10 + number)
    size = min(32, max(int(400 * options.scale), 4))
    if stage == "heads":
        train_pictures(network, part, options.cache, (HEADS_PLAN, options.head_epochs), size, options.seed)
    elif stage == "pictures":
        train_pictures(network, part, options.cache, (options.picture_epochs,) * 2, size, options.seed, heads, 1.5e-3)
    elif stage == "polish":
        if options.polish_epochs:
            before = options.cache / f"edge-pictures-{options.seed}.pt"
            train_pictures(network, part, options.cache, (options.polish_epochs,) * 2, size, options.seed + 1, before, 1e-3, True)
    elif stage == "polish-sounds":
        if options.polish_sound_epochs:
            before = options.cache / f"edge-sounds-{options.seed}.pt"
            train_sounds(network, part, options.cache, facts, options.polish_sound_epochs, size, options.seed + 1, before, 6e-4)
    elif stage == "named-sounds":
        before = options.cache / f"edge-{'polish-sounds' if options.polish_sound_epochs else 'sounds'}-{options.seed}.pt"
        train_sounds(network, part, options.cache, facts, options.named_epochs, size, options.seed + 2, before, 8e-4, True)
    elif stage == "sounds":
        train_sounds(network, part, options.cache, facts, options.sound_epochs, size, options.seed)
    elif stage == "fusion":
        train_fusion(network, part, options.cache, facts, options.fusion_epochs, size, options.seed)
    elif part.exists():
        kept = torch.load(part, weights_only=True)
        network.head_width.load_state_dict(kept["modules"])
        facts.update(head_width=kept["trained"])
    else:
        facts.update(head_width=head_width.learn(network, options.cache, options.width_epochs, options.seed))
        torch.save({"modules": network.head_width.state_dict(), "trained": facts["head_width"]}, part)


def describe(options: argparse.Namespace) -> dict[str, object]:
    """What the contract says about the training."""
    return {"command": "python -m ger.edge_train", "seed": options.seed,
            "sets": {name: max(int(count * options.scale), 8) for name, (count, _) in training_sets.SETS.items()},
            "epochs": {"heads": options.head_epochs, "pictures": options.picture_epochs, "polish": options.polish_epochs, "sounds": options.sound_epochs, "polish-sounds": options.polish_sound_epochs, "named-sounds": options.named_epochs, "fusion": options.fusion_epochs, "widths": options.width_epochs},
            "torch": torch.__version__.split("+")[0]}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full data set")
    parser.add_argument("--head-epochs", type=int, default=4)
    parser.add_argument("--picture-epochs", type=int, default=4)
    parser.add_argument("--polish-epochs", type=int, default=8)
    parser.add_argument("--sound-epochs", type=int, default=6)
    parser.add_argument("--polish-sound-epochs", type=int, default=2)
    parser.add_argument("--named-epochs", type=int, default=3)
    parser.add_argument("--fusion-epochs", type=int, default=40)
    parser.add_argument("--width-epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and processes that render")
    parser.add_argument("--until", choices=STAGES, help="stop after this stage, whose state is kept in the cache")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    network, facts = EdgeNetwork(Shape(head_width=True)).to(memory_format=torch.channels_last), {}
    for number, stage in enumerate(STAGES):
        run_stage(stage, number, network, facts, options)
        if stage == options.until:
            return
    for name in ("held", "heard"):
        training_sets.render_set(name, options.cache, options.scale, options.threads)
    facts.update(figures.measure(network, options.cache, facts))
    facts.update(name=NAME, created=datetime.date.today().isoformat(), training=describe(options), licence=LICENCE)
    torch.save({"shape": network.shape.to_dict(), "model_state_dict": network.state_dict(), "facts": facts}, options.out)
    figures.show(facts)


if __name__ == "__main__":
    main()
