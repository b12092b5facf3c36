"""From predictions to figures: the document that an evaluation's JSON holds and its report shows."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ger.contract import CLASSES, sha256
from ger.datasets import DatasetError, Split, class_counts
from ger.evaluation import metrics
from ger.evaluation.faults import FAULTS
from ger.evaluation.inference import MODES, Network, Prediction
from ger.evaluation.predictions import Predictions

# Columns that say where a clip comes from, not what it shows.
NOT_CURVES = {"source", "split"}
POINTS_MAX = 12
QUANTILES = 4
PEOPLE = "people"


def summarise(
    model: Path, network: Network, split: Split, predictions: Predictions, calibrate: str | None = None
) -> dict[str, Any]:
    """All figures, ready for JSON. Intervals resample source videos where they are known."""
    truths = np.array([clip.label for clip in split.clips])
    sources = [clip.source for clip in split.clips] if split.sources_known else None
    document = {
        "created": datetime.date.today().isoformat(),
        "model": describe_model(model, network),
        "labels": describe_labels(split),
        "modes": {mode: mode_figures(predictions.by_mode.get(mode), truths, sources) for mode in MODES},
        "calibration": calibration(predictions.by_mode["both"], truths, sources, network.temperature),
        "group_size": group_size(predictions.by_mode["both"], split, sources, network.buckets),
        "columns": column_curves(predictions, split, sources, network.buckets),
        "faults": fault_curves(predictions, truths, sources),
        "fault_clips": len(predictions.fault_rows),
        "versions": {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        "bootstrap": {
            "resamples": metrics.RESAMPLES,
            "level": metrics.LEVEL,
            "by": "source video" if sources else "clip",
        },
    }
    if calibrate:
        document["refit"] = refit(predictions.by_mode["both"], split, sources, calibrate)
    return document


def describe_model(model: Path, network: Network) -> dict[str, Any]:
    terms = network.terms
    return {
        "file": model.name,
        "sha256": sha256(model),
        "name": terms["name"],
        "system": terms["system"],
        "precision": terms.get("precision", "fp32"),
        "without_sound": network.missing,
        "calibrated_on": terms["calibration"].get("data", "not stated"),
    }


def describe_labels(split: Split) -> dict[str, Any]:
    return {
        "clips": len(split.clips),
        "counts": dict(zip(CLASSES, class_counts(split.clips), strict=True)),
        "sha256": split.labels_sha256,
        "sources": len({clip.source for clip in split.clips}) if split.sources_known else None,
    }


def pick(
    predictions: Sequence[Prediction], truths: np.ndarray, sources: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """(logits, truths, sources) of the clips that were answered."""
    rows = [row for row, prediction in enumerate(predictions) if prediction.logits is not None]
    logits = np.array([predictions[row].logits for row in rows]).reshape(len(rows), len(CLASSES))
    return logits, truths[rows], None if sources is None else [sources[row] for row in rows]


def mode_figures(
    predictions: Sequence[Prediction] | None, truths: np.ndarray, sources: Sequence[str] | None
) -> dict[str, Any]:
    if predictions is None:
        return {"offered": False}
    logits, of_answered, groups = pick(predictions, truths, sources)
    if not len(logits):
        return {"offered": True, "withheld": len(predictions), "clips": 0}
    return {
        "offered": True,
        "withheld": len(predictions) - len(logits),
        **metrics.score(logits, of_answered, groups).to_json(),
    }


def calibration(
    predictions: Sequence[Prediction], truths: np.ndarray, sources: Sequence[str] | None, temperature: float
) -> dict[str, Any]:
    """The error of the raw predictions and of those with the contract's temperature, and the bins of both."""
    logits, truths, sources = pick(predictions, truths, sources)
    if not len(logits):
        raise DatasetError(
            "no clip was answered: none has the modalities that this network needs (see sound.missing in its contract)."
        )
    before, bins_before = metrics.calibration(logits, truths, 1.0, sources)
    after, bins_after = metrics.calibration(logits, truths, temperature, sources)
    return {
        "temperature": round(temperature, 4),
        "before": before.to_json(),
        "after": after.to_json(),
        "bins_before": bins_before.round(4).tolist(),
        "bins_after": bins_after.round(4).tolist(),
    }


def refit(predictions: Sequence[Prediction], split: Split, sources: Sequence[str] | None, rule: str) -> dict[str, Any]:
    """A temperature fitted on the clips whose COLUMN is VALUE, and the error before and after it on all others."""
    column, separator, value = rule.partition("=")
    if not separator or any(column not in clip.columns for clip in split.clips):
        known = ", ".join(split.clips[0].columns) or "no further columns"
        raise DatasetError(f"--calibrate {rule!r}: write COLUMN=VALUE with a column of the labels, which has {known}.")
    fits = np.array([clip.columns[column] == value for clip in split.clips])
    shared = {clip.source for clip, fit in zip(split.clips, fits, strict=True) if fit} & {
        clip.source for clip, fit in zip(split.clips, fits, strict=True) if not fit
    }
    truths = np.array([clip.label for clip in split.clips])
    parts = []
    for chosen in (fits, ~fits):
        rows = np.flatnonzero(chosen).tolist()
        parts.append(
            pick(
                [predictions[row] for row in rows],
                truths[rows],
                None if sources is None else [sources[row] for row in rows],
            )
        )
    if not all(len(logits) for logits, _, _ in parts) or shared:
        raise DatasetError(
            f"--calibrate {rule!r}: {fits.sum()} of {fits.size} clips match, and {len(shared)} sources lie on "
            "both sides; there must be answered clips on both sides and no shared source."
        )
    (fit_logits, fit_truths, _), (logits, rest, groups) = parts
    temperature = metrics.fit_temperature(fit_logits, fit_truths)
    before, after = (metrics.calibration(logits, rest, t, groups)[0].to_json() for t in (1.0, temperature))
    return {
        "rule": rule,
        "fitted_on": len(fit_logits),
        "measured_on": len(logits),
        "temperature": round(temperature, 4),
        "before": before,
        "after": after,
    }


def group_size(
    predictions: Sequence[Prediction], split: Split, sources: Sequence[str] | None, buckets: list[int] | None
) -> dict[str, Any] | None:
    """How well group sizes are estimated, where the network estimates them and the labels have a column `people`.

    `under_two_labelled` is the share of empty rooms and single persons that are taken for a group, and so would be
    labelled.
    """
    rows = [
        row
        for row, prediction in enumerate(predictions)
        if prediction.group_size is not None and PEOPLE in split.clips[row].columns
    ]
    if not buckets or not rows:
        return None
    people = np.array([whole_number(split.clips[row].columns[PEOPLE], split.clips[row].name) for row in rows])
    sizes = [
        prediction.group_size for prediction in (predictions[row] for row in rows) if prediction.group_size is not None
    ]
    estimated = np.array([int(size.argmax()) for size in sizes])
    truths = np.searchsorted(buckets, people, "right") - 1
    groups = None if sources is None else [sources[row] for row in rows]
    matrix = metrics.one_hot_confusion(truths, estimated, len(buckets))
    alone = people < 2
    is_group = np.array(buckets)[estimated] >= 2
    taken = np.stack([is_group[alone], ~is_group[alone]], -1)[:, None, :].astype(float)
    share = metrics.bootstrap(
        taken,
        lambda sums: sums[..., 0, 0] / np.maximum(sums[..., 0, :].sum(-1), 1),
        None if groups is None else [g for g, one in zip(groups, alone, strict=True) if one],
    )
    return {
        "clips": len(rows),
        "buckets": buckets,
        "accuracy": metrics.bootstrap(matrix, metrics.accuracy, groups).to_json(),
        "confusion": matrix.sum(0).astype(int).tolist(),
        "under_two": int(alone.sum()),
        "under_two_labelled": share.to_json() if alone.any() else None,
    }


def whole_number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DatasetError(f"column {PEOPLE} of {name} is {text!r}; it must be a whole number of people.") from None


def column_curves(
    predictions: Predictions, split: Split, sources: Sequence[str] | None, buckets: list[int] | None
) -> list[dict[str, Any]]:
    """Accuracy in every mode over each further column of the labels that has few values or numbers."""
    curves = []
    names = [name for name in (split.clips[0].columns if split.clips else {}) if name not in NOT_CURVES]
    truths = np.array([clip.label for clip in split.clips])
    for name in names:
        levels = bin_column([clip.columns.get(name, "") for clip in split.clips], buckets if name == PEOPLE else None)
        if levels is None:
            continue
        points = []
        for level, rows in levels:
            point: dict[str, Any] = {"level": level, "clips": len(rows)}
            for mode, of_mode in predictions.by_mode.items():
                point[mode] = accuracy_of(
                    [of_mode[row] for row in rows],
                    truths[rows],
                    None if sources is None else [sources[r] for r in rows],
                )
            points.append(point)
        curves.append({"column": name, "points": points})
    return curves


def bin_column(values: Sequence[str], lows: list[int] | None = None) -> list[tuple[str, list[int]]] | None:
    """(name, rows) of the column's bins: its values where they are few, else ranges of its numbers; None where it is
    neither.

    Numbers are cut at `lows` where they are given, else at their quartiles.
    """
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        distinct = sorted(set(values))
        return _by_value(values, distinct) if 2 <= len(distinct) <= POINTS_MAX else None
    if not np.isfinite(numbers).all() or np.ptp(numbers) == 0:
        return None
    if lows is None and len(set(numbers)) <= POINTS_MAX:
        return _by_value([f"{number:g}" for number in numbers], [f"{number:g}" for number in sorted(set(numbers))])
    edges = np.array(lows, float) if lows else np.unique(np.quantile(numbers, np.arange(QUANTILES) / QUANTILES))
    at = np.clip(np.searchsorted(edges, numbers, "right") - 1, 0, None)
    bins = [(index, np.flatnonzero(at == index).tolist()) for index in range(len(edges))]
    return [(_range(numbers[rows]), rows) for index, rows in bins if rows]


def _range(numbers: np.ndarray) -> str:
    low, high = numbers.min(), numbers.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _by_value(values: Sequence[str], distinct: Sequence[str]) -> list[tuple[str, list[int]]]:
    return [(level or "(empty)", [row for row, value in enumerate(values) if value == level]) for level in distinct]


def fault_curves(predictions: Predictions, truths: np.ndarray, sources: Sequence[str] | None) -> list[dict[str, Any]]:
    """Accuracy with each fault, from both modalities and from the faulty one alone, beside the same clips without
    faults.
    """
    rows = predictions.fault_rows
    of_faulted = truths[rows]
    groups = None if sources is None else [sources[row] for row in rows]
    curves: dict[str, dict[str, Any]] = {}
    for fault in FAULTS:
        modes = [mode for mode in ("both", fault.modality) if (fault.name, mode) in predictions.by_fault]
        if not modes:
            continue
        if fault.curve not in curves:
            clean = {
                mode: accuracy_of([predictions.by_mode[mode][row] for row in rows], of_faulted, groups)
                for mode in modes
            }
            curves[fault.curve] = {
                "curve": fault.curve,
                "sense": fault.modality,
                "points": [{"level": "as it is", **clean}],
            }
        point = {mode: accuracy_of(predictions.by_fault[fault.name, mode], of_faulted, groups) for mode in modes}
        curves[fault.curve]["points"].append({"level": fault.level, **point})
    return list(curves.values())


def accuracy_of(
    predictions: Sequence[Prediction], truths: np.ndarray, sources: Sequence[str] | None
) -> dict[str, float] | None:
    """The accuracy over the clips that were answered; None where none was."""
    logits, truths, groups = pick(predictions, truths, sources)
    if not len(logits):
        return None
    rows = metrics.one_hot_confusion(truths, logits.argmax(-1))
    return metrics.bootstrap(rows, metrics.accuracy, groups).to_json()
