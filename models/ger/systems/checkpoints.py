"""Reads checkpoints: ours, and those of the published systems' authors. Every tensor is used, or the file is
refused.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ger import contract
from ger.contract import Interface
from ger.edge.network import EdgeNetwork, Shape
from ger.systems import SYSTEMS, build, configured

LISTED_MAX = 12
# What the facts must state about a checkpoint without any.
NEEDED = ("name", "created", "video_mean", "video_std", "prior", "calibration", "evaluation", "training", "licence")


class CheckpointError(Exception):
    """A checkpoint that cannot be read whole; the message names the file, the key and what to do."""


@dataclass
class Loaded:
    """A network in evaluation mode, and the facts for its contract."""

    network: nn.Module
    interface: Interface
    facts: dict[str, Any]
    source: str  # SHA-256 of the checkpoint, or a description
    left_out: list[str] = field(default_factory=list)  # tensors of decoders that only training uses


def edge_interface(network: EdgeNetwork) -> Interface:
    return Interface(
        "edge",
        5,
        network.shape.size,
        contract.VIDEO_MEAN,
        contract.VIDEO_STD,
        "mel",
        missing="mask",
        present=True,
        group_size=True,
        head_width=network.shape.head_width,
    )


def load_edge(path: Path) -> tuple[EdgeNetwork, dict[str, Any]]:
    """The edge network of a checkpoint in evaluation mode, and the facts that training measured. Raises
    `CheckpointError`.
    """
    loaded = load(path, "edge")
    if not isinstance(loaded.network, EdgeNetwork):
        raise CheckpointError(f"{path}: system: is not edge")
    return loaded.network, loaded.facts


def random_weights(system: str, size: str, seed: int) -> Loaded:
    """A system with random weights: shows that it runs and how fast, but gives no useful answers. The edge network
    has one size.
    """
    torch.manual_seed(seed)
    network: Any = EdgeNetwork() if system == "edge" else build(system, size)
    description = "none: random weights"
    facts = {
        "name": f"{system}-{size}-random",
        "created": datetime.date.today().isoformat(),
        "mel_mean": 0.0,
        "mel_std": 1.0,
        "prior": [1 / 3] * 3,
        "calibration": {"temperature": 1.0, "data": description},
        "evaluation": {"data": description},
        "training": {"data": description, "seed": seed},
        "licence": {"weights": "random, free of rights", "data": [description]},
    }
    interface = edge_interface(network) if isinstance(network, EdgeNetwork) else network.interface
    return Loaded(network.eval(), interface, facts, description)


def load(path: Path, system: str | None = None, size: str = "full", facts: Path | None = None) -> Loaded:
    """A checkpoint in any of the layouts. Those of the authors need `system`, and `facts`, a JSON file.

    Raises `CheckpointError` where the file is of another system or layout, or a tensor is missing, unknown or of
    another shape.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, from OSError to UnpicklingError
        raise CheckpointError(f"{path}: no checkpoint that can be read safely: {error}") from error
    if not isinstance(saved, dict) or not isinstance(saved.get("model_state_dict"), Mapping):
        raise CheckpointError(
            f"{path}: model_state_dict: missing; a checkpoint is a dictionary with the weights under this key"
        )
    found = "edge" if "shape" in saved else saved.get("system", system)
    if found is None:
        raise CheckpointError(f"{path}: system: not stated; name it with --system")
    if system is not None and found != system:
        raise CheckpointError(f"{path}: system: is {found!r}, not {system!r}; omit --system or name the right one")
    if found != "edge" and found not in SYSTEMS:
        raise CheckpointError(f"{path}: system: {found!r} is not known; known: edge, {', '.join(SYSTEMS)}")
    own = "shape" in saved or "system" in saved
    loaded = ours(saved, found, path) if own else published(saved, found, size, path)
    loaded.facts = {**saved.get("facts", {}), **read_facts(facts)}
    check_facts(loaded, own, path)
    loaded.source = contract.sha256(path)
    loaded.network.eval()
    return loaded


def ours(saved: Mapping[str, Any], system: str, path: Path) -> Loaded:
    """The layouts of this kit: `shape` or `system` and `config`, with `facts`."""
    try:
        if system == "edge":
            fields = saved["shape"] if "shape" in saved else saved["config"]
            sizes: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
            }
            network: Any = EdgeNetwork(Shape(**sizes))
        else:
            network = build(system, saved["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: config: {error}; it must be that of {system}") from error
    fill(network, saved["model_state_dict"], (), path)
    interface = edge_interface(network) if isinstance(network, EdgeNetwork) else network.interface
    return Loaded(network, interface, {}, "")


def published(saved: Mapping[str, Any], system: str, size: str, path: Path) -> Loaded:
    """The authors' layouts: weights only."""
    module = SYSTEMS.get(system)
    if module is None or not hasattr(module, "own_names"):
        raise CheckpointError(
            f"{path}: system, config: missing; no checkpoints of {system} are published, so it must be one of ours"
        )
    weights, head, left_out = module.own_names(dict(saved["model_state_dict"]))
    network = module.Network(configured(module.SIZES[size], {"head": head}))
    fill(network, weights, getattr(module, "TRAINING_ONLY", ()), path)
    return Loaded(network, network.interface, {}, "", left_out)


def fill(network: nn.Module, weights: Mapping[str, Tensor], may_lack: tuple[str, ...], path: Path) -> None:
    """Copies the weights into the network. Raises `CheckpointError` with every tensor that does not fit."""
    wanted = network.state_dict()
    lists = {
        "missing": [name for name in wanted if name not in weights and not (may_lack and name.startswith(may_lack))],
        "unexpected": [name for name in weights if name not in wanted],
        "of another shape": [
            f"{name} {list(weights[name].shape)} instead of {list(wanted[name].shape)}"
            for name in wanted
            if name in weights and weights[name].shape != wanted[name].shape
        ],
    }
    if any(lists.values()):
        lines = [f"  {kind} ({len(names)}): {shortened(names)}" for kind, names in lists.items() if names]
        raise CheckpointError(
            f"{path}: model_state_dict: does not fit the network; "
            "was it trained at another size, or with another head?\n" + "\n".join(lines)
        )
    network.load_state_dict({**wanted, **weights})


def shortened(names: list[str]) -> str:
    rest = len(names) - LISTED_MAX
    return ", ".join(names[:LISTED_MAX]) + (f" and {rest} more" if rest > 0 else "")


def read_facts(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no JSON that can be read: {error}") from error
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path}: must be a JSON object with {', '.join(NEEDED)}")
    return facts


def check_facts(loaded: Loaded, own: bool, path: Path) -> None:
    """Preprocessing and licence are not guessed: where the checkpoint does not state them, `--facts` must."""
    needed = [name for name in NEEDED if not (own and name in ("video_mean", "video_std", "licence"))]
    if loaded.interface.sound == "mel":
        needed += ["mel_mean", "mel_std"]
    if missing := [name for name in needed if name not in loaded.facts]:
        raise CheckpointError(f"{path}: facts: missing {', '.join(missing)}; give them in a JSON file with --facts")
