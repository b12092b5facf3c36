"""The edge network's training from random weights, in stages.

The picture network is trained alone, on single frames, then on frames and mosaics of faces alternately; the sound
network alone; then the fusion over both, frozen, on clips that neither was trained on; last the head width. The picture
network's fine map is trained to show where heads are and what they express, which the scenes know. Every stage has its
own seed and its state in the cache, from which a stopped run resumes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ger.contract import NEUTRAL, bucket
from ger.edge import augment, head_width, training_sets
from ger.edge.face_maps import face_maps
from ger.edge.features import encode_clips, encode_pictures, normalise_mel
from ger.edge.mosaics import Mosaics
from ger.edge.network import EdgeNetwork
from ger.edge.training_sets import RELATIONS, SOURCES, Record
from ger.synthetic.camera import FRAMES

HEADS_SCHEDULE = 7  # epochs of the first stage's one-cycle rate; the stage ends earlier, while the rate is high
SIZE_WEIGHTS = torch.tensor([3.0, 3.0, 1.0, 1.0, 1.0])  # to take nobody or one person for a group is the worse error


@dataclass(frozen=True)
class Epochs:
    """The epochs of each stage, in order; `polish` and `polish_sounds` are skipped at 0."""

    heads: int = 4
    pictures: int = 4
    polish: int = 8
    sounds: int = 6
    polish_sounds: int = 2
    named_sounds: int = 3
    fusion: int = 40
    widths: int = 40

    def by_stage(self) -> dict[str, int]:
        return {field.name.replace("_", "-"): getattr(self, field.name) for field in fields(self)}


STAGES = list(Epochs().by_stage())
# Stage to the sets that it reads.
SETS = {
    "heads": ["pictures"],
    "pictures": ["few", "pictures"],
    "polish": ["few", "pictures"],
    "sounds": ["sounds"],
    "polish-sounds": ["sounds"],
    "named-sounds": ["sounds", "named"],
    "fusion": ["few", "sounds", "clips"],
    "widths": ["clips"],
}


@dataclass(frozen=True)
class Settings:
    """A training: where its cache is, its seed, its share of the full sets, and its epochs."""

    cache: Path
    seed: int = 7
    scale: float = 1.0
    workers: int = 2  # processes that render
    epochs: Epochs = Epochs()

    @property
    def batch_size(self) -> int:
        return min(32, max(int(400 * self.scale), 4))

    def state(self, stage: str) -> Path:
        """The file of a stage's state."""
        return self.cache / f"edge-{stage}-{self.seed}.pt"


class StageRun:
    """One stage's optimiser and one-cycle rate over a number of steps, saved after each epoch.

    With `averaged`, the stage ends with the running mean of its weights over the last few hundred steps, which does
    better on unseen faces (Izmailov et al. 2018, arXiv:1803.05407; exponential as in Tarvainen and Valpola 2017,
    arXiv:1703.01780).
    """

    def __init__(
        self, state: Path, modules: nn.ModuleList, rate: float, epochs: int, steps: int, averaged: bool = False
    ) -> None:
        self.state, self.modules, self.epochs, self.first = state, modules, epochs, 0
        self.parameters = list(modules.parameters())
        self.optimiser = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=0.05)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, rate, total_steps=max(epochs * steps, 2), pct_start=0.15
        )
        self.mean = None
        if averaged:
            self.mean = AveragedModel(modules, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
        self.start_epoch()
        if state.exists():
            saved = torch.load(state, weights_only=True)
            modules.load_state_dict(saved["modules"])
            if self.mean is not None:
                self.mean.load_state_dict(saved["mean"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.schedule.load_state_dict(saved["plan"])
            self.first = saved["epoch"] + 1

    def start_epoch(self) -> None:
        self.started = time.time()
        self.losses: list[float] = []
        self.hits: list[float] = []

    def step(self, loss: Tensor, hits: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.schedule.step()
        if self.mean is not None:
            self.mean.update_parameters(self.modules)
        self.losses.append(loss.item())
        self.hits.append(hits.float().mean().item())
        if len(self.losses) % 50 == 0:
            print(f"  {self.state.stem}: step {len(self.losses)}, {self.progress(50)}", flush=True)

    def progress(self, last: int = 0) -> str:
        """The mean figures of the last steps of this epoch, 0 for all of them."""
        loss, accuracy = np.mean(self.losses[-last:]), np.mean(self.hits[-last:])
        return f"loss {loss:.3f}, training accuracy {accuracy:.3f}, {time.time() - self.started:.0f} s"

    def save_epoch(self, epoch: int) -> None:
        """Writes the state whole or not at all, and prints the epoch's figures."""
        state = {
            "modules": self.modules.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plan": self.schedule.state_dict(),
            "epoch": epoch,
        }
        if self.mean is not None:
            state["mean"] = self.mean.state_dict()
        partial = self.state.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.state)
        print(f"{self.state.stem} epoch {epoch}: {self.progress()}", flush=True)
        self.start_epoch()

    def finish(self) -> None:
        """Gives the modules the mean of their weights, where the stage averages them."""
        if self.mean is not None:
            self.modules.load_state_dict(self.mean.module.state_dict())


def batches(count: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows in random order in batches of `size`, each sorted; a smaller rest is left out."""
    order = rng.permutation(count)
    return [np.sort(order[start : start + size]) for start in range(0, count - size + 1, size)]


def load_modules(modules: nn.ModuleList, state: Path | None) -> None:
    """Starts from the state of an earlier stage, where one is given."""
    if state is not None:
        modules.load_state_dict(torch.load(state, weights_only=True)["modules"])


def head_loss(heads: np.ndarray, area: Tensor, centre: Tensor) -> Tensor:
    """How well the fine map shows heads: what each cell shows (cross-entropy), where heads' centres are, and their
    count.
    """
    maps = [face_maps(rows, area.shape[-1]) for rows in heads]
    area_goal = torch.from_numpy(np.stack([what for what, _ in maps])).long()
    centre_goal = torch.from_numpy(np.stack([where for _, where in maps]))
    dense = F.cross_entropy(area, area_goal, weight=torch.tensor([0.3, 1.0, 1.0, 1.0]), label_smoothing=0.03)
    centres = 10 * F.binary_cross_entropy_with_logits(centre, centre_goal)
    estimated, count = torch.sigmoid(centre).sum((1, 2)), centre_goal.sum((1, 2))
    return dense + centres + F.smooth_l1_loss(torch.log1p(estimated), torch.log1p(count))


def frame_sets(cache: Path, names: list[str]) -> Record:
    """The sets of single frames of these names, one after the other."""
    sets = [training_sets.load(name, cache) for name in names]
    return {key: np.concatenate([record[key] for record in sets]) for key in sets[0]}


def train_pictures(
    network: EdgeNetwork,
    settings: Settings,
    stage: str,
    epochs: int,
    seed: int,
    start: Path | None = None,
    rate: float = 2e-3,
    averaged: bool = False,
    schedule_epochs: int | None = None,
) -> None:
    """Single frames: scene label, group size and the fine map.

    With `start`, the state of an earlier stage, training continues from it, frames of few people are added, and every
    other batch is of mosaics of faces. `schedule_epochs` is the length of the rate's schedule where it is not `epochs`.
    """
    record = frame_sets(settings.cache, ["pictures"] if start is None else ["pictures", "few"])
    labels = torch.from_numpy(np.array(record["label"]))
    shape, size = network.shape, settings.batch_size
    label_head, size_head = nn.Linear(shape.dim, 3), nn.Linear(shape.dim, shape.buckets)
    modules = nn.ModuleList([network.picture, label_head, size_head])
    load_modules(modules, start)
    run = StageRun(settings.state(stage), modules, rate, schedule_epochs or epochs, len(labels) // size, averaged)
    mosaics = Mosaics(settings.cache) if start is not None and run.first < epochs else None
    network.picture.train()
    for epoch in range(run.first, epochs):
        rng = np.random.default_rng([seed, 0 if start is None else 3, epoch])
        for number, rows in enumerate(batches(len(labels), size, rng)):
            if mosaics is not None and number % 2:
                x, heads, goal = mosaics.batch(size, rng)
            else:
                x = augment.normalise(record["video"][rows, 0])
                x, heads = augment.transform(x, record["heads"][rows, 0], rng)
                x, goal = augment.colours(x, rng), labels[rows]
            vector, area, centre = network.picture(x.contiguous(memory_format=torch.channels_last))
            people = torch.tensor([bucket(int((own[:, 4] >= 0).sum())) for own in heads])
            logits = label_head(vector)
            size_loss = F.cross_entropy(size_head(vector), people, label_smoothing=0.05)
            label_loss = F.cross_entropy(logits, goal, label_smoothing=0.1)
            run.step(head_loss(heads, area, centre) + label_loss + 0.5 * size_loss, logits.argmax(1) == goal)
        run.save_epoch(epoch)
    run.finish()


def train_sounds(
    network: EdgeNetwork,
    settings: Settings,
    stage: str,
    facts: Mapping[str, Any],
    epochs: int,
    seed: int,
    start: Path | None = None,
    rate: float = 1.5e-3,
    named: bool = False,
) -> None:
    """The sound alone: the label from the mean of the five seconds. With `start`, from the state of an earlier stage;
    with `named`, on the named kinds of sounds and half of the mixes."""
    record = training_sets.load("sounds", settings.cache)
    mels, labels = record["sound"], np.array(record["label"])
    if named:
        extra = training_sets.load("named", settings.cache)
        mels, labels = np.concatenate([extra["sound"], mels[::2]]), np.concatenate([extra["label"], labels[::2]])
    goals, size = torch.from_numpy(labels), settings.batch_size
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(network.shape.dim, 3))
    modules = nn.ModuleList([network.sound, head])
    load_modules(modules, start)
    run = StageRun(settings.state(stage), modules, rate, epochs, len(goals) // size)
    network.sound.train()
    for epoch in range(run.first, epochs):
        rng = np.random.default_rng([seed, 1, epoch])
        for rows in batches(len(goals), size, rng):
            x = normalise_mel(mels[rows], facts)
            x = augment.sounds(augment.louder_of_two(x, goals[rows], facts["mel_std"], rng), rng)
            logits = head(network.sound(x[:, :, None]).mean(1))
            loss = F.cross_entropy(logits, goals[rows], label_smoothing=0.1)
            run.step(loss, logits.argmax(1) == goals[rows])
        run.save_epoch(epoch)


def recombined(rows: np.ndarray, record: Record, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(the row whose sound each clip gets, the labels).

    Some clips get a background without voices, many the sound of another clip with the same sound label, so that few
    clips give many pairs. Dark clips keep their own sound: nothing else determines their label.
    """
    keys = ("relation", "picture_label", "sound_label", "label")
    relation, picture_label, sound_label, label = (np.array(record[key]) for key in keys)
    sounds, goals = rows.copy(), label[rows].copy()
    for place, row in enumerate(rows):
        chance = rng.random()
        if relation[row] != RELATIONS.index("dark") and chance < 0.15:
            sounds[place] = rng.choice(np.flatnonzero(sound_label < 0))
            goals[place] = picture_label[row]
        elif relation[row] == RELATIONS.index("agree") and chance < 0.6:
            alike = (sound_label == sound_label[row]) & (relation == relation[row])
            sounds[place] = rng.choice(np.flatnonzero(alike))
    return sounds, goals


class FusionBatches:
    """What the fusion is trained on: both encoders' vectors of the clips, as they are and mirrored, and of frames of
    few people.
    """

    def __init__(self, network: EdgeNetwork, cache: Path, facts: Mapping[str, Any]) -> None:
        self.record = training_sets.load("clips", cache)
        self.views = [encode_clips(network, self.record, facts, flip) for flip in (False, True)]
        self.picture_label = torch.from_numpy(np.array(self.record["picture_label"]))
        sound_label = torch.from_numpy(np.array(self.record["sound_label"]))
        self.sound_label = torch.where(sound_label < 0, torch.full_like(sound_label, NEUTRAL), sound_label)
        self.sizes = torch.tensor([bucket(int(people)) for people in self.record["people"]])
        self.dark = torch.from_numpy(np.array(self.record["relation"]) == RELATIONS.index("dark"))
        # The picture network was trained on these faces and reads others worse; the fusion must not learn to trust it
        # too much.
        is_drawn = np.array(self.record["source"]) == SOURCES.index("drawn")
        self.wrong_picture_chance = np.where(is_drawn, 0.06, 0.12)
        few = training_sets.load("few", cache)
        self.few, self.few_sizes = encode_pictures(network, few), torch.from_numpy(np.array(few["people"]))

    def loss(
        self, network: EdgeNetwork, rows: np.ndarray, size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """(loss, which clips were right) of one batch."""
        video, sound = self.views[int(rng.integers(2))]
        sounds, label = recombined(rows, self.record, rng)
        wrong = rng.random(len(rows)) < self.wrong_picture_chance[rows]
        pictures = np.where(wrong, rng.permutation(rows), rows)
        present = augment.presence(len(rows), rng)
        # A single modality can only determine its own label.
        goal = torch.where(present[:, 0] == 0, self.sound_label[sounds], torch.from_numpy(label))
        goal = torch.where(present[:, 1] == 0, self.picture_label[rows], goal)
        logits, sizes = network.fusion(video[pictures], sound[sounds], present)
        size_losses = F.cross_entropy(sizes, self.sizes[pictures], weight=SIZE_WEIGHTS, reduction="none")
        size_loss = size_losses[~self.dark[pictures]].mean()
        # Frames of few people are repeated for five seconds; only the group's size is learnt from them.
        few = rng.integers(0, len(self.few_sizes), size)
        frames, no_sound = self.few[few].expand(-1, FRAMES, -1), torch.zeros_like(sound[: len(few)])
        _, few_sizes = network.fusion(frames, no_sound, torch.tensor([[1.0, 0.0]]).repeat(len(few), 1))
        size_loss = size_loss + 0.5 * F.cross_entropy(few_sizes, self.few_sizes[few])
        return F.cross_entropy(logits, goal, label_smoothing=0.05) + 0.5 * size_loss, logits.argmax(1) == goal


def train_fusion(network: EdgeNetwork, settings: Settings, facts: Mapping[str, Any]) -> None:
    """The heads and the cross-attention over frozen encoders, with modalities withheld."""
    clips, size, epochs = FusionBatches(network, settings.cache, facts), settings.batch_size, settings.epochs.fusion
    count = len(clips.sizes)
    run = StageRun(settings.state("fusion"), nn.ModuleList([network.fusion]), 1e-3, epochs, count // size)
    network.fusion.train()
    for epoch in range(run.first, epochs):
        rng = np.random.default_rng([settings.seed, 2, epoch])
        for rows in batches(count, size, rng):
            run.step(*clips.loss(network, rows, size, rng))
        if epoch % 10 == 9 or epoch == epochs - 1:
            run.save_epoch(epoch)


def train_widths(network: EdgeNetwork, settings: Settings) -> list[float]:
    """The head width on frozen vectors, or its saved state. Returns the trained range."""
    state, layers = settings.state("widths"), head_width.head_of(network)
    if state.exists():
        saved = torch.load(state, weights_only=True)
        layers.load_state_dict(saved["modules"])
        restored: list[float] = saved["trained"]
        return restored
    trained = head_width.train(network, settings.cache, settings.epochs.widths, settings.seed)
    torch.save({"modules": layers.state_dict(), "trained": trained}, state)
    return trained


def mel_statistics(cache: Path) -> dict[str, float]:
    """Mean and standard deviation of the training log-mels, dB."""
    values = np.asarray(training_sets.load("sounds", cache)["sound"][::4], np.float32)
    return {
        "mel_mean": round(float(values.mean(dtype=np.float64)), 4),
        "mel_std": round(float(values.std(dtype=np.float64)), 4),
    }


def run_stage(stage: str, network: EdgeNetwork, facts: dict[str, Any], settings: Settings) -> None:
    """Renders the stage's sets and trains it, or what its saved state leaves of it; adds to the facts what it
    measures.
    """
    for name in SETS[stage]:
        training_sets.render_set(name, settings.cache, settings.scale, settings.workers)
    if "sounds" in SETS[stage]:
        facts.update(mel_statistics(settings.cache))
    seed, epochs = settings.seed, settings.epochs
    torch.manual_seed(seed * 10 + STAGES.index(stage))
    if stage == "heads":
        train_pictures(network, settings, stage, epochs.heads, seed, schedule_epochs=HEADS_SCHEDULE)
    elif stage == "pictures":
        train_pictures(network, settings, stage, epochs.pictures, seed, settings.state("heads"), 1.5e-3)
    elif stage == "polish" and epochs.polish:
        start = settings.state("pictures")
        train_pictures(network, settings, stage, epochs.polish, seed + 1, start, 1e-3, averaged=True)
    elif stage == "sounds":
        train_sounds(network, settings, stage, facts, epochs.sounds, seed)
    elif stage == "polish-sounds" and epochs.polish_sounds:
        train_sounds(network, settings, stage, facts, epochs.polish_sounds, seed + 1, settings.state("sounds"), 6e-4)
    elif stage == "named-sounds":
        start = settings.state("polish-sounds" if epochs.polish_sounds else "sounds")
        train_sounds(network, settings, stage, facts, epochs.named_sounds, seed + 2, start, 8e-4, named=True)
    elif stage == "fusion":
        train_fusion(network, settings, facts)
    elif stage == "widths":
        facts["head_width"] = train_widths(network, settings)
