"""A recipe: the stages of a training, and what each of them does to which weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A number of epochs with one optimiser. Weights that no prefix of `rates` matches are frozen."""

    name: str
    epochs: int
    objective: str  # "frames": the picture encoder with a head that is thrown away; "clip": the whole network
    rates: Mapping[str, float]  # prefix of the parameters' names to learning rate; the longest matching prefix counts
    optimiser: str  # "sgd", "adam" or "adamw"
    momentum: float = 0.0  # of SGD
    weight_decay: float = 0.0
    schedule: str = "constant"  # or "one-cycle" over the whole stage


@dataclass(frozen=True)
class Recipe:
    """How a system is trained. `choices` describes what a paper leaves open."""

    system: str
    sources: str  # where the recipe is from
    stages: tuple[Stage, ...]
    batch_size: int
    config: Mapping[str, Any] = field(default_factory=dict)  # for the system's `build`
    label_smoothing: float = 0.0  # share of the target that is spread over all classes
    synthetic_share: float = 0.0  # of the training clips
    drop_picture: float = 0.0  # share of clips whose picture is withheld from the network
    drop_sound: float = 0.0
    flip: bool = False  # mirror half of the clips
    group_weight: float = 0.0  # of the group-size head's cross-entropy
    mmd_weight: float = 0.0  # of the penalty that makes latents normally distributed
    heatmap_weight: float = 0.0  # of the mean squared error of the body heatmaps
    gradient_norm_max: float | None = None
    choices: tuple[str, ...] = ()
