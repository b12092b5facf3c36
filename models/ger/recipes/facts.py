"""What the contract of a trained network states about its training and its figures."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import torch

from ger.contract import CLASSES
from ger.datasets import class_counts
from ger.evaluation import metrics
from ger.recipes.job import Job


def facts_of(job: Job, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The facts of `best.pt`, from the logits [N, 3] and labels [N] of the validation clips.

    The clips of every other source video fit the temperature, the rest measure it.
    """
    sources = [clip.source for clip in job.val.clips]
    order = {source: index for index, source in enumerate(sorted(set(sources)))}
    fits = np.array([order[source] % 2 == 0 for source in sources])
    measured = ~fits if not fits.all() else fits
    temperature = metrics.fit_temperature(logits[fits], labels[fits])
    before, after = (metrics.calibration(logits[measured], labels[measured], t)[0].value for t in (1.0, temperature))
    scores = metrics.score(logits, labels, sources)
    prior = np.array(class_counts(job.train.clips)) / len(job.train)
    how = "validation clips of every other source video fitted it"
    how += "; one source only, so the error is on the same" if fits.all() else "; the error is on the rest"
    preprocessing, statistics = job.system.preprocessing, {}
    if preprocessing.kind == "mel":
        statistics = {"mel_mean": preprocessing.mel_mean, "mel_std": preprocessing.mel_std}
    return {
        "name": job.settings.name,
        "created": datetime.date.today().isoformat(),
        **statistics,
        "prior": [round(float(share), 4) for share in prior],
        "calibration": {
            "temperature": round(temperature, 4),
            "ece_before": round(before, 4),
            "ece": round(after, 4),
            "data": how,
        },
        "evaluation": {
            "data": f"validation clips of {job.settings.data}, which also chose the epoch",
            "clips": scores.clips,
            "accuracy": round(scores.accuracy.value, 4),
            "macro_f1": round(scores.macro_f1.value, 4),
            "intervals": {"accuracy": scores.accuracy.to_json(), "macro_f1": scores.macro_f1.to_json()},
            "confusion": scores.confusion.astype(int).tolist(),
        },
        "training": describe(job),
    }


def describe(job: Job) -> dict[str, Any]:
    """How the network was trained, without a path or a clip's name."""
    recipe, settings = job.recipe, job.settings
    mapped = {}
    if recipe.heatmap_weight:
        mapped["clips_with_heatmaps"] = sum(job.train.map_path(clip) is not None for clip in job.train.clips)
    return {
        "command": f"python -m ger.train --preset {recipe.system}",
        "recipe": recipe.sources,
        "choices": list(recipe.choices),
        "seed": settings.seed,
        "data": settings.data,
        "labels_sha256": list(settings.digests),
        "clips": dict(zip(CLASSES, class_counts(job.train.clips), strict=True)),
        "synthetic": job.train.synthetic,
        **mapped,
        "epochs": {stage.name: stage.epochs for stage in recipe.stages},
        "batch": recipe.batch_size,
        "torch": torch.__version__.split("+")[0],
    }
