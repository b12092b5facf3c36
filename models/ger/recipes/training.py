"""A training in stages and epochs, its saved state, and how an interrupted run resumes."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ger.datasets import DatasetError
from ger.datasets.clip_dataset import ClipDataset
from ger.recipes.facts import facts_of
from ger.recipes.job import Job
from ger.recipes.losses import clip_loss, group_loss, heatmap_loss, mmd
from ger.recipes.recipe import Stage
from ger.recipes.trainable import head_for


class Training:
    """One training, from the start or from where it was interrupted."""

    def __init__(self, job: Job) -> None:
        """Raises `DatasetError` where `out` holds a training of other settings or data."""
        self.job = job
        self.device = torch.device(pick_device(job.settings.device))
        job.settings.out.mkdir(parents=True, exist_ok=True)
        if job.settings.start:
            job.system.network.load_state_dict(read_weights(job.settings.start, job.recipe.system))
        job.system.network.to(self.device)
        self.history: list[dict[str, Any]] = []
        self.stage_index, self.epoch = 0, 0
        self.best: list[float] | None = None  # accuracy and minus the loss of the best epoch
        self.head: nn.Module | None = None
        self.enter(0)
        if self.last.exists():
            self.restore()

    @property
    def last(self) -> Path:
        return self.job.settings.out / "last.pt"

    @property
    def stage(self) -> Stage:
        return self.job.recipe.stages[self.stage_index]

    def fingerprint(self) -> str:
        """What must be unchanged for a run to resume: recipe, configuration, seed and clips."""
        clips = [[clip.name, clip.label] for part in (self.job.train, self.job.val) for clip in part.clips]
        recipe = dataclasses.asdict(self.job.recipe)
        return json.dumps(
            [recipe, self.job.system.config, self.job.settings.seed, self.job.settings.digests, clips],
            sort_keys=True,
            default=str,
        )

    def run(self, at_most: int | None = None) -> None:
        """Trains to the end, or for at most this number of epochs."""
        with SummaryWriter(str(self.job.settings.out / "tensorboard"), purge_step=len(self.history)) as board:
            while at_most is None or at_most > 0:
                if self.epoch == self.stage.epochs:
                    if self.stage_index + 1 == len(self.job.recipe.stages):
                        break
                    self.job.system.network.load_state_dict(self.best_weights())
                    self.enter(self.stage_index + 1)
                self.one_epoch(board)
                at_most = None if at_most is None else at_most - 1
        if self.epoch == self.stage.epochs and self.stage_index + 1 == len(self.job.recipe.stages):
            self.finish()

    def enter(self, index: int) -> None:
        """Prepares a stage: its head, which weights it trains, its optimiser and schedule."""
        self.stage_index, self.epoch, self.best = index, 0, None
        torch.manual_seed(self.job.settings.seed * 1000 + index)
        self.head = head_for(self.job.system).to(self.device) if self.stage.objective == "frames" else None
        groups = parameter_groups(self.job.system.network, self.stage)
        if self.head is not None:
            groups.append({"params": list(self.head.parameters()), "lr": max(group["lr"] for group in groups)})
        self.optimiser = make_optimiser(self.stage, groups)
        self.schedule = None
        if self.stage.schedule == "one-cycle":
            steps = max(self.stage.epochs * len(self.batches(0)), 1)
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimiser, [group["lr"] for group in groups], total_steps=steps, pct_start=0.15
            )

    def generator(self, purpose: int) -> np.random.Generator:
        """A random generator that depends on stage, epoch and purpose alone, so that it is the same after an
        interruption.
        """
        return np.random.default_rng([self.job.settings.seed, self.stage_index, self.epoch, purpose])

    def batches(self, epoch: int) -> list[list[int]]:
        """The clips' indices in the epoch's order. A last batch of a single clip is left out: it has no batch
        statistics.
        """
        rng = np.random.default_rng([self.job.settings.seed, self.stage_index, epoch, 0])
        order, size = rng.permutation(len(self.job.train)).tolist(), self.job.recipe.batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return [part for part in parts if len(part) > 1 or size == 1] or parts

    def one_epoch(self, board: SummaryWriter) -> None:
        """Trains on every clip once, validates, and saves the best weights, the state and the history."""
        since, losses, hits, seen = time.monotonic(), [], 0, 0
        self.job.system.network.train()
        freeze_modules(self.job.system.network)
        rng = self.generator(1)
        noise = torch.Generator().manual_seed(int(self.generator(2).integers(2**62)))
        for batch in self.load(
            self.job.train, self.batches(self.epoch), f"{self.stage.name} {self.epoch + 1}/{self.stage.epochs}"
        ):
            self.augment(batch, rng)
            loss, logits = self.losses(batch, noise)
            self.step(loss)
            losses.append(float(loss.detach()))
            hits, seen = hits + int((logits.argmax(1) == batch["label"]).sum()), seen + len(logits)
        val_loss, val_accuracy = self.validate()
        self.epoch += 1
        entry = {
            "stage": self.stage.name,
            "epoch": self.epoch,
            "loss": float(np.mean(losses)),
            "accuracy": hits / max(seen, 1),
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
        }
        for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
            board.add_scalar(f"{self.stage.name}/{key}", entry[key], len(self.history))
        self.history.append(entry)
        # Of epochs with the same accuracy, the one with the smaller loss is better.
        if self.best is None or (val_accuracy, -val_loss) > (self.best[0], self.best[1]):
            self.best = [val_accuracy, -val_loss]
            write_whole({"model_state_dict": self.job.system.network.state_dict()}, self.best_file())
        self.save()
        print(
            f"{self.stage.name} {self.epoch}: loss {entry['loss']:.4f}, accuracy {entry['accuracy']:.3f}; "
            f"validation loss {val_loss:.4f}, accuracy {val_accuracy:.3f}; {time.monotonic() - since:.0f} s",
            flush=True,
        )

    def load(self, clips: ClipDataset, batches: list[list[int]], title: str) -> Iterator[dict[str, Tensor]]:
        """The batches, on the device."""
        loader = DataLoader(
            clips, batch_sampler=batches, num_workers=self.job.settings.workers, pin_memory=self.device.type == "cuda"
        )
        for batch in tqdm(loader, title, leave=False, file=sys.stderr):
            yield {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def augment(self, batch: dict[str, Tensor], rng: np.random.Generator) -> None:
        """Mirrors clips and withholds modalities, as the recipe says. No clip loses its only modality."""
        count = len(batch["label"])
        if self.job.recipe.flip:
            mirrored = torch.from_numpy(rng.random(count) < 0.5).to(self.device)
            batch["video"] = torch.where(mirrored[:, None, None, None, None], batch["video"].flip(-1), batch["video"])
        draws = rng.random(count)
        if self.job.system.takes_present and (self.job.recipe.drop_picture or self.job.recipe.drop_sound):
            no_picture = draws < self.job.recipe.drop_picture
            no_sound = ~no_picture & (draws < self.job.recipe.drop_picture + self.job.recipe.drop_sound)
            remaining = batch["present"] * torch.from_numpy(~np.stack([no_picture, no_sound], 1)).to(self.device)
            batch["present"] = torch.where(remaining.any(1, keepdim=True), remaining, batch["present"])

    def losses(self, batch: dict[str, Tensor], noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """(the loss, logits [N, 3]) of a batch."""
        recipe = self.job.recipe
        if self.head is not None:
            logits = self.head(self.job.system.frames(batch["video"]))
            return clip_loss(logits, batch["label"], batch["present"][:, 0], recipe.label_smoothing), logits
        given = self.job.system.predict(batch, training=True)
        # A clip without any modality has no weight, nor has one that lacks a modality which the network needs.
        weights = (
            batch["present"].amax(1)
            if self.job.system.takes_present
            else batch["present"].amin(1)
            if "sound" in batch
            else batch["present"][:, 0]
        )
        loss = clip_loss(given["logits"], batch["label"], weights, recipe.label_smoothing)
        if recipe.group_weight and "group_size" in given:
            loss = loss + recipe.group_weight * group_loss(
                given["group_size"], torch.where(batch["present"][:, 0] > 0, batch["bucket"], -1)
            )
        if recipe.mmd_weight and "latent" in given:
            loss = loss + recipe.mmd_weight * mmd(given["latent"], noise)
        if recipe.heatmap_weight and "heatmaps" in given and "heatmaps" in batch:
            loss = loss + recipe.heatmap_weight * heatmap_loss(
                given["heatmaps"], batch["heatmaps"], batch["has_heatmaps"]
            )
        return loss, given["logits"]

    def step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        if self.job.recipe.gradient_norm_max:
            nn.utils.clip_grad_norm_(
                [p for group in self.optimiser.param_groups for p in group["params"]], self.job.recipe.gradient_norm_max
            )
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """(loss, accuracy) over the validation clips, as they are."""
        logits, labels = self.validation_logits()
        loss = nn.functional.cross_entropy(logits, labels)
        return float(loss), float((logits.argmax(1) == labels).float().mean())

    @torch.no_grad()
    def validation_logits(self) -> tuple[Tensor, Tensor]:
        """(logits [N, 3], labels [N]) of all validation clips, on the CPU."""
        self.job.system.network.eval()
        size = self.job.recipe.batch_size
        parts = [
            list(range(start, min(start + size, len(self.job.val)))) for start in range(0, len(self.job.val), size)
        ]
        logits, labels = [], []
        for batch in self.load(self.job.val, parts, "validation"):
            given = (
                self.head(self.job.system.frames(batch["video"]))
                if self.head is not None
                else self.job.system.predict(batch)["logits"]
            )
            logits.append(given.float().cpu())
            labels.append(batch["label"].cpu())
        return torch.cat(logits), torch.cat(labels)

    def best_file(self) -> Path:
        return self.job.settings.out / f"best-{self.stage.name}.pt"

    def best_weights(self) -> dict[str, Tensor]:
        return torch.load(self.best_file(), map_location=self.device, weights_only=True)["model_state_dict"]

    def save(self) -> None:
        """Writes `last.pt` whole or not at all, and the history beside it."""
        write_whole(
            {
                "system": self.job.recipe.system,
                "config": self.job.system.config,
                "model_state_dict": self.job.system.network.state_dict(),
                "head_state_dict": None if self.head is None else self.head.state_dict(),
                "optimizer_state_dict": self.optimiser.state_dict(),
                "scheduler_state_dict": None if self.schedule is None else self.schedule.state_dict(),
                "stage": self.stage_index,
                "epoch": self.epoch,
                "best": self.best,
                "history": self.history,
                "rng": random_states(),
                "fingerprint": self.fingerprint(),
            },
            self.last,
        )
        (self.job.settings.out / "history.json").write_text(json.dumps(self.history, indent=1) + "\n", encoding="utf-8")

    def restore(self) -> None:
        """Restores the end of the last complete epoch."""
        saved = torch.load(self.last, map_location=self.device, weights_only=True)
        if saved["fingerprint"] != self.fingerprint():
            raise DatasetError(
                f"{self.last} belongs to a training with another recipe, configuration, seed or data; "
                "choose another --out, or the same settings."
            )
        self.enter(saved["stage"])
        self.epoch, self.best, self.history = saved["epoch"], saved["best"], saved["history"]
        self.job.system.network.load_state_dict(saved["model_state_dict"])
        if self.head is not None:
            self.head.load_state_dict(saved["head_state_dict"])
        self.optimiser.load_state_dict(saved["optimizer_state_dict"])
        if self.schedule is not None:
            self.schedule.load_state_dict(saved["scheduler_state_dict"])
        set_random_states(saved["rng"])
        print(f"resuming after epoch {self.epoch} of stage {self.stage.name}", flush=True)

    def finish(self) -> None:
        """Writes `best.pt`: the best weights with the facts for their contract."""
        self.job.system.network.load_state_dict(self.best_weights())
        logits, labels = self.validation_logits()
        facts = facts_of(self.job, logits.numpy(), labels.numpy())
        write_whole(
            {
                "system": self.job.recipe.system,
                "config": self.job.system.config,
                "model_state_dict": self.job.system.network.state_dict(),
                "facts": facts,
                "epoch": self.epoch,
                "best_metric": self.best[0] if self.best else 0.0,
            },
            self.job.settings.out / "best.pt",
        )
        scores = facts["evaluation"]
        print(
            f"best.pt: accuracy {scores['accuracy']:.3f}, macro-F1 {scores['macro_f1']:.3f} "
            f"on {scores['clips']} validation clips, which also chose it"
        )


def pick_device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def read_weights(path: Path, system: str) -> dict[str, Tensor]:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if saved.get("system") != system:
        raise DatasetError(
            f"{path}: system {saved.get('system')!r}, not {system!r}; start from a checkpoint of the same system."
        )
    return saved["model_state_dict"]


def parameter_groups(network: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Parameters by learning rate; those with none, or 0, are frozen. Raises `ValueError` for a prefix that matches
    nothing, whose rate would be lost silently.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    used = set()
    for name, parameter in network.named_parameters():
        matches = [prefix for prefix in stage.rates if name == prefix or not prefix or name.startswith(prefix + ".")]
        longest = max(matches, key=len, default=None)
        used.update(matches)
        rate = stage.rates[longest] if longest is not None else 0.0
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.setdefault(rate, []).append(parameter)
    if lost := set(stage.rates) - used:
        raise ValueError(f"stage {stage.name}: the network has no weights {', '.join(sorted(lost))}")
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]


def freeze_modules(network: nn.Module) -> None:
    """Sets completely frozen modules to evaluation: without dropout, and with unchanged batch statistics."""
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def make_optimiser(stage: Stage, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if stage.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=stage.momentum, weight_decay=stage.weight_decay)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[stage.optimiser](groups, weight_decay=stage.weight_decay)


def random_states() -> dict[str, Any]:
    """The states of every random generator that a network may use."""
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(words), gauss],
    }


def set_random_states(saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"].cpu())
    if torch.cuda.is_available() and saved["cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))


def write_whole(content: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint whole or not at all, so that a killed process leaves the previous one."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)
