"""What a trained network's contract says of its training and of how well it does."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ger.evaluation import metrics
from ger.contract import CLASSES
from ger.datasets import class_counts

if TYPE_CHECKING:
    from ger.recipes.training import Run


def figures(run: Run, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The facts of `best.pt`. Of the sources of the validation clips, every other one fits the temperature, the rest measure it."""
    sources = [clip.source for clip in run.val.clips]
    order = {source: index for index, source in enumerate(sorted(set(sources)))}
    fits = np.array([order[source] % 2 == 0 for source in sources])
    measured = ~fits if not fits.all() else fits
    temperature = metrics.fit_temperature(logits[fits], labels[fits])
    before, after = (metrics.calibration(logits[measured], labels[measured], t)[0].value for t in (1.0, temperature))
    scores = metrics.score(logits, labels, sources)
    prior = np.array(class_counts(run.train.clips)) / len(run.train)
    how = "validation clips of every other source video fitted it" + (
        "; one source only, so the error is on the same" if fits.all() else "; the error is on the rest"
    )
    statistics = (
        {"mel_mean": run.trainee.senses.mel_mean, "mel_std": run.trainee.senses.mel_std} if run.trainee.senses.kind == "mel" else {}
    )
    return {
        "name": run.settings.name,
        "created": datetime.date.today().isoformat(),
        **statistics,
        "prior": [round(float(share), 4) for share in prior],
        "calibration": {"temperature": round(temperature, 4), "ece_before": round(before, 4), "ece": round(after, 4), "data": how},
        "evaluation": {
            "data": f"validation clips of {run.settings.data}, which also chose the epoch",
            "clips": scores.clips,
            "accuracy": round(scores.accuracy.value, 4),
            "macro_f1": round(scores.macro_f1.value, 4),
            "intervals": {"accuracy": scores.accuracy.to_json(), "macro_f1": scores.macro_f1.to_json()},
            "confusion": scores.confusion.astype(int).tolist(),
        },
        "training": describe(run),
    }


def describe(run: Run) -> dict[str, Any]:
    """How it was trained, without a path or a clip's name."""
    recipe, settings = run.recipe, run.settings
    mapped = {"clips_with_heatmaps": sum(run.train.map_path(clip) is not None for clip in run.train.clips)} if recipe.heatmap_weight else {}
    return {
        "command": f"python -m ger.train --preset {recipe.system}",
        "recipe": recipe.sources,
        "choices": list(recipe.choices),
        "seed": settings.seed,
        "data": settings.data,
        "labels_sha256": settings.digests,
        "clips": dict(zip(CLASSES, class_counts(run.train.clips))),
        "synthetic": run.train.synthetic,
        **mapped,
        "epochs": {stage.name: stage.epochs for stage in recipe.stages},
        "batch": recipe.batch_size,
        "torch": torch.__version__.split("+")[0],
    }
