"""Trains the edge network from random weights: `python -m ger.edge_train --out edge-ger.pt --cache DIR`.

Renders what the cache lacks, resumes where it was stopped, and prints its figures as it goes. The cache must hold the
prepared media (`ger.bursts`, `ger.find_faces`, `ger.photographs`).
"""

from __future__ import annotations

import argparse
import datetime
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from ger.edge import figures, training_sets
from ger.edge.network import EdgeNetwork, Shape
from ger.edge.training import STAGES, Epochs, Settings, run_stage

NAME = "edge-ger-4"
LICENCE = {
    "weights": "Apache-2.0 OR MIT",
    "data": [
        "EmoGator vocal bursts, Buhl 2023, arXiv:2301.00508, Apache-2.0",
        "SFHQ-T2I synthetic faces, Beniaguev 2024, MIT",
        "Poly Haven panoramas, CC0",
        "drawn scenes and synthesised sounds by models/ger, Apache-2.0 OR MIT",
    ],
}
# Stage to the option that sets its epochs.
EPOCH_OPTIONS = {
    "heads": "head",
    "pictures": "picture",
    "polish": "polish",
    "sounds": "sound",
    "polish_sounds": "polish-sound",
    "named_sounds": "named",
    "fusion": "fusion",
    "widths": "width",
}


def describe(settings: Settings) -> dict[str, Any]:
    """What the contract states about the training."""
    return {
        "command": "python -m ger.edge_train",
        "seed": settings.seed,
        "sets": {name: max(int(count * settings.scale), 8) for name, (count, _) in training_sets.SETS.items()},
        "epochs": settings.epochs.by_stage(),
        "torch": torch.__version__.split("+")[0],
    }


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full data set")
    for field in fields(Epochs):
        parser.add_argument(f"--{EPOCH_OPTIONS[field.name]}-epochs", type=int, default=field.default, dest=field.name)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and processes that render")
    parser.add_argument("--until", choices=STAGES, help="stop after this stage, whose state stays in the cache")
    return parser


def main() -> None:
    options = arguments().parse_args()
    epochs = Epochs(**{field.name: getattr(options, field.name) for field in fields(Epochs)})
    settings = Settings(options.cache, options.seed, options.scale, options.threads, epochs)
    torch.set_num_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    network = EdgeNetwork(Shape(head_width=True))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from PyTorch's overloads
    facts: dict[str, Any] = {}
    for stage in STAGES:
        run_stage(stage, network, facts, settings)
        if stage == options.until:
            return
    for name in ("held", "held-sounds"):
        training_sets.render_set(name, options.cache, options.scale, options.threads)
    facts |= figures.measure(network, options.cache, facts)
    facts |= {
        "name": NAME,
        "created": datetime.date.today().isoformat(),
        "training": describe(settings),
        "licence": LICENCE,
    }
    torch.save(
        {"shape": network.shape.to_dict(), "model_state_dict": network.state_dict(), "facts": facts}, options.out
    )
    figures.show(facts)


if __name__ == "__main__":
    main()
