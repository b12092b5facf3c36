"""Accuracy, macro-F1, confusion and calibration error, each with a bootstrap interval.

Predictions are logits [N, 3] and truths [N] in 0, 1, 2 (positive, neutral, negative). Clips cut from one source video
are alike, so intervals resample whole sources where they are known (Efron and Tibshirani 1993, ch. 6 and 13: percentile
bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from ger.datasets.threads import one_blas_thread

CLASSES = 3
BINS = 15
RESAMPLES = 2000
RESAMPLES_AT_ONCE = 250  # limits memory with thousands of clips
LEVEL = 0.95
# Beyond these temperatures there is nothing to calibrate.
TEMPERATURE_MIN, TEMPERATURE_MAX = 0.05, 20.0


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """f64 probabilities [..., C] of logits [..., C] divided by a temperature above 0."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def confusion(truths: np.ndarray, answers: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """Counts [classes, classes]: rows are the truth, columns the answer."""
    return np.bincount(np.asarray(truths) * classes + np.asarray(answers), minlength=classes**2).reshape(
        classes, classes
    )


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """The share of right answers of confusion matrices [..., C, C]; 0 where there are no clips."""
    return matrix.trace(axis1=-2, axis2=-1) / np.maximum(matrix.sum((-2, -1)), 1)


def macro_f1(matrix: np.ndarray) -> np.ndarray:
    """The mean over the classes of F1 = 2 TP / (2 TP + FP + FN) of confusion matrices [..., C, C].

    A class that neither occurs nor is answered counts as 0, as in scikit-learn when it is given all labels.
    """
    hits = matrix.diagonal(axis1=-2, axis2=-1)
    sizes = matrix.sum(-1) + matrix.sum(-2)
    return (2 * hits / np.maximum(sizes, 1)).mean(-1)


def reliability(probabilities: np.ndarray, truths: np.ndarray, bins: int = BINS) -> np.ndarray:
    """For each clip one row of sums for its confidence bin: f64 [N, bins, 3] of (1, confidence, right).

    Bins are of equal width, open below and closed above, as in Guo et al. 2017, eq. 3.
    """
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == truths
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = np.zeros((len(truths), bins, 3))
    rows[np.arange(len(truths)), at] = np.stack([np.ones_like(confidence), confidence, right], -1)
    return rows


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error, 0 to 1, of summed rows of `reliability` [..., bins, 3]: sum over bins of n/N
    |right - confidence|.
    """
    total = np.maximum(sums[..., 0].sum(-1), 1)
    return np.abs(sums[..., 2] - sums[..., 1]).sum(-1) / total


def fit_temperature(logits: np.ndarray, truths: np.ndarray) -> float:
    """The temperature that makes the truths most likely (Guo et al. 2017, sec. 4.2), between 0.05 and 20."""
    logits, truths = np.asarray(logits, np.float64), np.asarray(truths)

    def loss(log_temperature: float) -> float:
        chosen = softmax(logits, float(np.exp(log_temperature)))[np.arange(len(truths)), truths]
        return float(-np.log(np.maximum(chosen, 1e-300)).mean())

    bounds = float(np.log(TEMPERATURE_MIN)), float(np.log(TEMPERATURE_MAX))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


def bootstrap(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    sources: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic of sums over clips.

    `rows` [N, ...] are what each clip adds to the sums; `statistic` maps sums [..., ...] to numbers. Whole `sources`
    are resampled where they are given (one for each clip), else single clips. Every statistic here is one of sums,
    which makes thousands of resamples one matrix product.
    """
    if not len(rows):
        return Interval(float("nan"), float("nan"), float("nan"))
    groups = np.arange(len(rows)) if sources is None else np.unique(np.asarray(sources), return_inverse=True)[1]
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    per_group = np.zeros((int(groups.max()) + 1, flat.shape[1]))
    np.add.at(per_group, groups, flat)
    count = len(per_group)
    rng, shares = np.random.default_rng(seed), np.full(count, 1 / count)
    replicates = []
    with one_blas_thread():
        for start in range(0, resamples, RESAMPLES_AT_ONCE):
            drawn = rng.multinomial(count, shares, min(RESAMPLES_AT_ONCE, resamples - start)).astype(np.float64)
            replicates.append(statistic((drawn @ per_group).reshape(len(drawn), *rows.shape[1:])))
    low, high = np.quantile(np.concatenate(replicates), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(statistic(rows.astype(np.float64).sum(0))), float(low), float(high))


def one_hot_confusion(truths: np.ndarray, answers: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """What each clip adds to the confusion matrix: [N, classes, classes]."""
    rows = np.zeros((len(truths), classes, classes))
    rows[np.arange(len(truths)), truths, answers] = 1
    return rows


@dataclass(frozen=True)
class Scores:
    """The scores of one set of predictions."""

    clips: int
    accuracy: Interval
    macro_f1: Interval
    confusion: np.ndarray  # [3, 3], rows are the truth

    def to_json(self) -> dict[str, object]:
        return {
            "clips": self.clips,
            "accuracy": self.accuracy.to_json(),
            "macro_f1": self.macro_f1.to_json(),
            "confusion": self.confusion.astype(int).tolist(),
        }


def score(logits: np.ndarray, truths: np.ndarray, sources: Sequence[str] | None = None) -> Scores:
    """Accuracy, macro-F1 and confusion of logits [N, 3] against truths [N]."""
    truths = np.asarray(truths, int)
    rows = one_hot_confusion(truths, np.asarray(logits).argmax(-1))
    return Scores(len(truths), bootstrap(rows, accuracy, sources), bootstrap(rows, macro_f1, sources), rows.sum(0))


def calibration(
    logits: np.ndarray, truths: np.ndarray, temperature: float, sources: Sequence[str] | None = None
) -> tuple[Interval, np.ndarray]:
    """The calibration error with a temperature, and the summed bins [15, 3] that a reliability plot shows."""
    rows = reliability(softmax(logits, temperature), np.asarray(truths, int))
    return bootstrap(rows, calibration_error, sources), rows.sum(0)
