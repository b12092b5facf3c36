"""Training: one tiny epoch of every preset, and a run that is stopped or killed resumes with the same results."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import drawn_table
from torch import nn

from ger import train
from ger.contract import BUCKETS
from ger.datasets import DatasetError, table
from ger.datasets.clip_dataset import ClipDataset, Heatmaps
from ger.datasets.decode import Rule
from ger.datasets.preprocessing import Preprocessing
from ger.recipes import RECIPES, Recipe, Stage, losses
from ger.recipes.job import Job, Settings
from ger.recipes.trainable import TrainableSystem
from ger.recipes.training import Training, freeze_modules, parameter_groups

TINY = {
    "edge": ["size=64", "dim=16", "depth=1", "heads=2", "stem=(4,4,8)", "sound=(4,4,8,8)"],
    "augusma2023": ["size='tiny'"],
    "evtodienko2021": ["size='tiny'"],
    "vemd2026": ["size='tiny'"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    drawn_table(root, 10)
    return root


def words(root: Path, preset: str, out: Path, *more: str) -> list[str]:
    config = [word for pair in TINY[preset] for word in ("--config", pair)]
    return [
        "--preset",
        preset,
        "--data",
        f"table:{root / 'clips'}:{root / 'labels.csv'}",
        "--out",
        str(out),
        "--batch",
        "4",
        "--cache",
        str(root / "cache"),
        "--device",
        "cpu",
        "--threads",
        "1",
        *config,
        *more,
    ]


def history(out: Path) -> list[dict]:
    return json.loads((out / "history.json").read_text())


@pytest.fixture(scope="module")
def uninterrupted(data: Path) -> Path:
    train.main(words(data, "edge", data / "uninterrupted", "--epochs", "3"))
    return data / "uninterrupted"


def test_a_checkpoint_is_in_our_layout(uninterrupted: Path) -> None:
    kept = torch.load(uninterrupted / "best.pt", weights_only=True)
    assert set(kept) == {"system", "config", "model_state_dict", "facts", "epoch", "best_metric"}
    facts = kept["facts"]
    assert kept["system"] == "edge" and kept["config"]["dim"] == 16 and facts["mel_std"] > 1 and facts["mel_mean"] < 0
    assert sum(facts["prior"]) == pytest.approx(1, abs=1e-3) and 0.05 <= facts["calibration"]["temperature"] <= 20
    assert np.array(facts["evaluation"]["confusion"]).sum() == facts["evaluation"]["clips"] == 2
    assert str(uninterrupted.parent) not in json.dumps(facts)
    best = max(history(uninterrupted), key=lambda entry: (entry["val_accuracy"], -entry["val_loss"]))
    assert kept["best_metric"] == best["val_accuracy"]
    assert list((uninterrupted / "tensorboard").iterdir())


def test_a_seed_repeats_a_training_and_another_does_not(data: Path, uninterrupted: Path) -> None:
    train.main(words(data, "edge", data / "again", "--epochs", "3", "--at-most", "1"))
    assert history(data / "again") == history(uninterrupted)[:1]
    with pytest.raises(SystemExit, match="another recipe, configuration, seed or data"):
        train.main(words(data, "edge", data / "again", "--epochs", "3", "--seed", "1"))
    train.main(words(data, "edge", data / "other", "--epochs", "3", "--at-most", "1", "--seed", "1"))
    assert history(data / "other")[0]["loss"] != history(uninterrupted)[0]["loss"]


def test_a_stopped_training_resumes_with_the_same_results(data: Path, uninterrupted: Path) -> None:
    for _ in range(3):
        torch.manual_seed(int(time.time()))
        train.main(words(data, "edge", data / "stopped", "--epochs", "3", "--at-most", "1"))
    assert history(data / "stopped") == history(uninterrupted)
    first, second = (
        torch.load(data / name / "best.pt", weights_only=True)["model_state_dict"]
        for name in ("stopped", "uninterrupted")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_killed_training_resumes_with_the_same_results(data: Path, uninterrupted: Path) -> None:
    out = data / "killed"
    child = subprocess.Popen(
        [sys.executable, "-m", "ger.train", *words(data, "edge", out, "--epochs", "3")],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while not (out / "history.json").exists() and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and not (out / "best.pt").exists()
    train.main(words(data, "edge", out, "--epochs", "3"))
    assert history(out) == history(uninterrupted)


@pytest.mark.parametrize("preset", sorted(TINY))
def test_every_preset_trains_its_stages(data: Path, preset: str) -> None:
    out = data / f"preset-{preset}"
    train.main(
        words(data, preset, out, "--epochs", "1", *(["--no-synthetic"] if RECIPES[preset].synthetic_share else []))
    )
    assert [entry["stage"] for entry in history(out)] == [stage.name for stage in RECIPES[preset].stages]
    assert all(np.isfinite(entry["loss"]) for entry in history(out))
    assert torch.load(out / "best.pt", weights_only=True)["system"] == RECIPES[preset].system


def test_a_synthetic_share_must_be_named_or_left_out_on_purpose(data: Path) -> None:
    options = train.arguments().parse_args(["--preset", "augusma2023", "--data", "x", "--out", "y"])
    with pytest.raises(DatasetError, match="30% of its training clips are synthetic.*--no-synthetic"):
        train.adjust(RECIPES["augusma2023"], options)


@pytest.mark.parametrize(
    ("config", "words"),
    [("size='huge'", "size 'huge' of vemd2026 is not known; known"), ("depth=3", "config has no depth")],
)
def test_a_configuration_that_the_system_does_not_have_is_refused(data: Path, config: str, words: str) -> None:
    options = [
        "--preset",
        "vemd2026",
        "--data",
        f"table:{data / 'clips'}:{data / 'labels.csv'}",
        "--out",
        str(data / "x"),
        "--config",
        config,
    ]
    with pytest.raises(SystemExit, match=words):
        train.main(options)


def test_the_papers_numbers() -> None:
    first, second = RECIPES["augusma2023"].stages
    assert (first.optimiser, first.momentum, second.epochs, RECIPES["augusma2023"].batch_size) == ("sgd", 0.9, 100, 4)
    assert set(first.rates.values()) == {1e-5} and set(second.rates.values()) == {1e-5, 0.0}
    # 1140 synthetic clips beside 2661 are 30 %.
    assert round(2661 * 0.3 / 0.7) == 1140 and RECIPES["augusma2023"].synthetic_share == 0.3
    only = RECIPES["evtodienko2021"].stages[0]
    assert (
        only.optimiser,
        only.weight_decay,
        RECIPES["evtodienko2021"].label_smoothing,
        sorted(set(only.rates.values())),
    ) == (
        "adam",
        1e-3,
        0.2,
        [1e-6, 1e-4],
    )


# ---- parts ----


def test_rates_go_by_the_longest_prefix_and_the_rest_is_frozen() -> None:
    network = nn.ModuleDict(
        {"eye": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "eyelid": nn.Linear(2, 2), "head": nn.Linear(2, 3)}
    )
    stage = Stage("s", 1, "clip", {"": 1e-2, "eye": 0.0, "eye.1": 1e-3}, "sgd")
    groups = parameter_groups(network, stage)
    assert {group["lr"]: len(group["params"]) for group in groups} == {1e-2: 4, 1e-3: 2}
    assert not network["eye"][0].weight.requires_grad and network["eyelid"].weight.requires_grad
    network.train()
    freeze_modules(network)
    assert not network["eye"][0].training and network["eye"][1].training and network["head"].training
    with pytest.raises(ValueError, match="no weights nose"):
        parameter_groups(network, dataclasses.replace(stage, rates={"nose": 1.0}))


def test_losses_leave_out_unknown_targets() -> None:
    logits, labels = torch.tensor([[2.0, 0, 0], [0, 0, 5.0]]), torch.tensor([0, 1])
    alone = losses.clip_loss(logits[:1], labels[:1], torch.ones(1), 0.0)
    assert losses.clip_loss(logits, labels, torch.tensor([1.0, 0.0]), 0.0) == pytest.approx(float(alone))
    assert float(alone) == pytest.approx(np.log(np.exp(2) + 2) - 2, rel=1e-5)
    assert losses.clip_loss(logits, labels, torch.zeros(2), 0.0) == 0
    assert losses.group_loss(torch.randn(2, 5), torch.tensor([-1, -1])) == 0
    sizes = torch.randn(2, 5)
    assert losses.group_loss(sizes, torch.tensor([3, -1])) == pytest.approx(
        float(nn.functional.cross_entropy(sizes[:1], torch.tensor([3])))
    )
    maps = torch.zeros(2, 1, 1, 2, 2)
    assert losses.heatmap_loss(
        maps, torch.stack([maps[0] + 3, maps[0] + 1]), torch.tensor([0.0, 1.0])
    ) == pytest.approx(1.0)


def test_the_mmd_is_small_for_normal_latents_and_has_a_gradient_for_others() -> None:
    torch.manual_seed(0)
    normal, shifted, narrow = (
        torch.randn(200, 8),
        torch.randn(200, 8) + 1.0,
        (0.2 * torch.randn(200, 8)).requires_grad_(),
    )
    of_normal, of_shifted, of_narrow = (
        losses.mmd(x, torch.Generator().manual_seed(1)) for x in (normal, shifted, narrow)
    )
    assert 0 <= of_normal < 0.1 * of_shifted and of_normal < 0.1 * of_narrow
    of_narrow.backward()
    assert narrow.grad is not None and torch.isfinite(narrow.grad).all() and narrow.grad.abs().sum() > 0


class TwoParts(nn.Module):
    """A picture encoder and a head, which draws bodies in training: small enough to see what a stage does to which
    weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 6))
        self.head, self.bodies = nn.Linear(6, 3), nn.Linear(6, 2 * 4 * 4)

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(video.flatten(0, 1)).reshape(len(video), 5, 6).mean(1))

    def train_on(self, video: torch.Tensor) -> dict[str, torch.Tensor]:
        latent = self.encoder(video.flatten(0, 1))
        return {
            "logits": self(video),
            "latent": latent,
            "heatmaps": self.bodies(latent).reshape(len(video), 5, 2, 4, 4),
        }


def two_stage_run(data: Path, out: Path, **changes: float) -> Training:
    stages = (
        Stage("frames", 2, "frames", {"encoder": 1e-1}, "sgd", momentum=0.9),
        Stage("fusion", 2, "clip", {"": 1e-1, "encoder": 0.0}, "adam"),
    )
    recipe = dataclasses.replace(Recipe("edge", "this test", stages, 4), **changes)
    torch.manual_seed(0)
    network = TwoParts()
    preprocessing = Preprocessing(Rule(5.0, 5, 32, 32, 0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "none")
    system = TrainableSystem("edge", {}, network, preprocessing, network.encoder, network.train_on, (5, 2, 4, 4))
    split = table.load(data / "clips", data / "mapped.csv")
    material = ClipDataset(split.clips, preprocessing, BUCKETS, out.parent / "cache", Heatmaps((5, 2, 4, 4)))
    val = ClipDataset(split.clips[:4], preprocessing, BUCKETS, out.parent / "cache")
    return Training(Job(recipe, system, material, val, Settings(out, "cpu", 0, 0, "two", "table", [None, None])))


@pytest.fixture(scope="module")
def mapped(data: Path) -> Path:
    """The same clips, of which every second one has body heatmaps."""
    lines = (data / "labels.csv").read_text().splitlines()
    for index in range(0, len(lines) - 1, 2):
        np.save(data / "clips" / f"{index}.npy", np.full((5, 2, 4, 4), 0.25, np.float16))
    (data / "mapped.csv").write_text(
        "\n".join(
            [lines[0] + ",heatmaps", *(f"{line},{'' if i % 2 else f'{i}.npy'}" for i, line in enumerate(lines[1:]))]
        )
    )
    return data


def test_the_second_stage_starts_from_the_best_of_the_first_and_does_not_change_it(
    mapped: Path, tmp_path: Path
) -> None:
    training = two_stage_run(mapped, tmp_path)
    begun = {name: value.clone() for name, value in training.job.system.network.state_dict().items()}
    training.run(at_most=2)
    seen = torch.load(tmp_path / "best-frames.pt", weights_only=True)["model_state_dict"]
    assert not torch.equal(seen["encoder.2.weight"], begun["encoder.2.weight"]) and torch.equal(
        seen["head.weight"], begun["head.weight"]
    )
    assert not (tmp_path / "best.pt").exists()
    two_stage_run(mapped, tmp_path).run()
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert torch.equal(best["model_state_dict"]["encoder.2.weight"], seen["encoder.2.weight"])
    assert not torch.equal(best["model_state_dict"]["head.weight"], begun["head.weight"])
    assert [(entry["stage"], entry["epoch"]) for entry in history(tmp_path)] == [
        ("frames", 1),
        ("frames", 2),
        ("fusion", 1),
        ("fusion", 2),
    ]
    two_stage_run(mapped, tmp_path / "whole").run()
    assert history(tmp_path / "whole") == history(tmp_path)


def test_bodies_are_learnt_from_the_clips_that_have_them(mapped: Path, tmp_path: Path) -> None:
    plain, drawing = (
        two_stage_run(mapped, tmp_path / "a"),
        two_stage_run(mapped, tmp_path / "b", heatmap_weight=50.0, mmd_weight=0.1),
    )
    for training in (plain, drawing):
        training.run()
    errors = []
    for training in (plain, drawing):
        video = training.job.train[0]["video"][None]
        errors.append(float((training.job.system.network.train_on(video)["heatmaps"].detach() - 0.25).square().mean()))
    assert errors[1] < 0.5 * errors[0]
    assert drawing.job.train[1]["has_heatmaps"] == 0 and drawing.job.train[0]["has_heatmaps"] == 1
    facts = torch.load(tmp_path / "b" / "best.pt", weights_only=True)["facts"]
    assert facts["training"]["clips_with_heatmaps"] == 5 and "mel_mean" not in facts
    np.save(mapped / "clips" / "0.npy", np.zeros((5, 2, 4, 3)))
    with pytest.raises(DatasetError, match=r"0.npy: heatmaps of shape \(5, 2, 4, 3\)"):
        drawing.job.train[0]


def test_modalities_are_withheld_as_often_as_the_recipe_says_and_never_both(data: Path) -> None:
    options = train.arguments().parse_args(words(data, "edge", data / "vary"))
    recipe = dataclasses.replace(train.adjust(RECIPES["edge"], options), drop_picture=0.3, drop_sound=0.2)
    trial = Training.__new__(Training)
    clips = ClipDataset([], Preprocessing(Rule(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "none"), BUCKETS, None)
    settings = Settings(data / "vary", "cpu", 0, 0, "vary", "table", [])
    trial.job = Job(recipe, train.build("edge", recipe.config), clips, clips, settings)
    trial.device = torch.device("cpu")
    present = torch.ones(4000, 2)
    present[:1000, 1] = 0
    video = torch.arange(2.0).expand(4000, 1, 1, 1, 2)
    batch = {"label": torch.zeros(4000), "present": present, "video": video}
    trial.augment(batch, np.random.default_rng(0))
    whole = batch["present"][1000:]
    assert whole[:, 0].mean() == pytest.approx(0.7, abs=0.03) and whole[:, 1].mean() == pytest.approx(0.8, abs=0.03)
    assert batch["present"].any(1).all() and not batch["present"][:1000, 1].any()
    assert batch["video"][:, 0, 0, 0, 0].mean() == pytest.approx(0.5, abs=0.03)
