"""Trains a system on clips: `python -m ger.train --preset augusma2023 --data vgaf:ROOT --out DIR`.

Presets are the papers' recipes and ours (`ger.recipes`). DIR gets `last.pt` (the state from which to resume), `best.pt`
(the best by validation, in the layout that `python -m ger.export` reads), `history.json` and TensorBoard's files. The
same command resumes where it was stopped or killed, and gives the same losses as an uninterrupted run. On one machine
and device, a seed repeats a training.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
from pathlib import Path
from typing import Any

import torch

from ger.datasets import DatasetError
from ger.datasets.specs import FORMS, open_splits, open_synthetic
from ger.recipes import RECIPES, Recipe
from ger.recipes.job import Job, Settings, build_datasets
from ger.recipes.trainable import build
from ger.recipes.training import Training


def adjust(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """The recipe with what the command line changes."""
    stages = recipe.stages
    if options.epochs is not None:
        stages = tuple(dataclasses.replace(stage, epochs=options.epochs) for stage in stages)
    changes: dict[str, Any] = {"stages": stages, "config": {**recipe.config, **dict(map(setting, options.config))}}
    if options.batch is not None:
        changes["batch_size"] = options.batch
    if recipe.synthetic_share and options.synthetic is None:
        if not options.no_synthetic:
            raise DatasetError(
                f"preset {recipe.system}: {recipe.synthetic_share:.0%} of its training clips are synthetic; "
                "name them with --synthetic folder:DIR, or leave them out with --no-synthetic, "
                "which the checkpoint then states."
            )
        changes["synthetic_share"] = 0.0
    return dataclasses.replace(recipe, **changes)


def setting(text: str) -> tuple[str, Any]:
    """`key=value` of a system's configuration; a value is a Python literal or else a string."""
    key, separator, value = text.partition("=")
    if not separator:
        raise DatasetError(f"--config {text!r}: write KEY=VALUE.")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=RECIPES, required=True)
    parser.add_argument("--data", required=True, help=FORMS)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--synthetic", metavar="DATA", help="synthetic clips, as folder:DIR or table:CLIPS:LABELS.csv")
    parser.add_argument(
        "--no-synthetic", action="store_true", help="train a recipe that has a synthetic share without it"
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the system, to make it smaller than its full size",
    )
    parser.add_argument("--start", type=Path, metavar="FILE.pt", help="weights to start from, in our layout")
    parser.add_argument("--epochs", type=int, help="of every stage, instead of the recipe's")
    parser.add_argument("--batch", type=int, help="clips at once, instead of the recipe's")
    parser.add_argument(
        "--val-share", type=float, default=0.2, help="of the source videos, where the data has no split (default 0.2)"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keeps decoded clips: as confidential as the clips themselves"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode")
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--at-most", type=int, metavar="EPOCHS", help="stop after this number of epochs; the same command resumes later"
    )
    parser.add_argument("--name", help="of the network, in its contract")
    return parser


def main(words: list[str] | None = None) -> None:
    options = arguments().parse_args(words)
    torch.set_num_threads(options.threads)
    try:
        recipe = adjust(RECIPES[options.preset], options)
        train, val, description = open_splits(options.data, options.val_share, options.seed)
        print(description, flush=True)
        synthetic = open_synthetic(options.synthetic) if options.synthetic else None
        torch.manual_seed(options.seed)
        system = build(recipe.system, recipe.config)
        datasets = build_datasets(recipe, system, train, val, synthetic, options.cache, options.seed)
        settings = Settings(
            out=options.out,
            device=options.device,
            seed=options.seed,
            workers=options.workers,
            name=options.name or f"{recipe.system}-{options.preset}",
            data=options.data.partition(":")[0],
            digests=[split.labels_sha256 for split in (train, val)],
            start=options.start,
        )
        Training(Job(recipe, system, *datasets, settings)).run(options.at_most)
    except (DatasetError, ValueError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
