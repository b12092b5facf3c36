"""A system that can be trained: how it is built, its inputs and its outputs, the same for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ger import contract, systems
from ger.contract import mel
from ger.datasets.decode import Rule
from ger.datasets.preprocessing import Preprocessing
from ger.edge.network import EdgeNetwork, Shape


@dataclass
class TrainableSystem:
    """A network, and what training needs to know about it."""

    system: str
    config: dict[str, Any]
    network: nn.Module
    preprocessing: Preprocessing  # mean and std of the spectrogram still to be measured
    picture: Callable[[Tensor], Tensor]  # the picture encoder: frames [M, 3, H, W] to vectors [M, D]
    # What training needs beside the answers, by the same inputs: `logits`, `latent` [M, D], `heatmaps` [N, T, J, h, w].
    training: Callable[..., dict[str, Tensor]] | None = None
    heatmap_shape: tuple[int, int, int, int] | None = (
        None  # [frames, limbs, height, width], where it draws bodies in training
    )

    @property
    def inputs(self) -> list[str]:
        """What the network takes, of `video`, `sound` and `present`."""
        return [
            name for name in inspect.signature(self.network.forward).parameters if name in ("video", "sound", "present")
        ]

    @property
    def takes_present(self) -> bool:
        """Whether the network can be told that a modality is missing."""
        return "present" in self.inputs

    def predict(self, batch: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """`logits` [N, 3], and `group_size` [N, 5] where the network estimates it; in training also what only that
        needs.
        """
        given = {name: batch[name] for name in self.inputs}
        if training and self.training is not None:
            return self.training(**given)
        answer = self.network(**given)
        return (
            {"logits": answer}
            if isinstance(answer, Tensor)
            else dict(zip(("logits", "group_size"), answer, strict=False))  # a head width is not used
        )

    def frames(self, video: Tensor) -> Tensor:
        """The picture encoder's vectors of video [N, T, 3, H, W], averaged over the frames: [N, D]."""
        count = video.shape[0]
        return self.picture(video.flatten(0, 1)).reshape(count, video.shape[1], -1).mean(1)


def build(system: str, config: Mapping[str, Any]) -> TrainableSystem:
    """A system with random weights. Raises `ValueError` for one that is not known, or a key that it does not have.

    Of a published system, `size` in the configuration may be "full" or "tiny"; other keys are those of its `Config`.
    """
    if system == "edge":
        shape = Shape(**config)
        rule = Rule(5.0, 5, shape.size, shape.size, mel.SAMPLE_RATE)
        preprocessing = Preprocessing(rule, contract.VIDEO_MEAN, contract.VIDEO_STD, "mel")
        edge = EdgeNetwork(shape)
        return TrainableSystem(system, shape.to_dict(), edge, preprocessing, lambda frames: edge.picture(frames)[0])
    network: Any = systems.build(system, config)
    interface = network.interface
    rule = Rule(
        5.0, interface.frames, interface.size, interface.size, 0 if interface.sound == "none" else mel.SAMPLE_RATE
    )
    preprocessing = Preprocessing(
        rule, interface.mean, interface.std, interface.sound, zscore=interface.normalise == "zscore-clip"
    )
    trainable = TrainableSystem(system, systems.config_of(network), network, preprocessing, network.picture)
    if system == "vemd2026":
        trainable.training = network.training_answers
        trainable.heatmap_shape = network.heatmap_shape
    return trainable


def head_for(trainable: TrainableSystem) -> nn.Linear:
    """A linear head of three classes for the picture encoder's vectors, to be thrown away after its stage."""
    rule = trainable.preprocessing.rule
    with torch.no_grad():
        was_training = trainable.network.training
        width = trainable.frames(
            torch.zeros(1, rule.frames, 3, rule.height, rule.width, device=next(trainable.network.parameters()).device)
        ).shape[1]
        trainable.network.train(was_training)
    return nn.Linear(width, len(contract.CLASSES))
