"""Metrics against scikit-learn and cases counted by hand; the bootstrap's intervals have the right coverage."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from ger.evaluation import metrics


def random_answers(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truths = rng.choice(3, count, p=[0.5, 0.3, 0.2])
    return rng.normal(0, 1, (count, 3)) + 1.2 * np.eye(3)[truths], truths


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_scikit_learns(seed: int) -> None:
    logits, truths = random_answers(seed)
    answers = logits.argmax(1)
    scores = metrics.score(logits, truths)
    assert scores.accuracy.value == pytest.approx(accuracy_score(truths, answers))
    assert scores.macro_f1.value == pytest.approx(
        f1_score(truths, answers, labels=[0, 1, 2], average="macro", zero_division=0)
    )
    assert np.array_equal(scores.confusion, confusion_matrix(truths, answers, labels=[0, 1, 2]))
    assert np.array_equal(metrics.confusion(truths, answers), scores.confusion)


def test_a_confusion_counted_by_hand() -> None:
    matrix = metrics.confusion(np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 0]))
    assert matrix.tolist() == [[2, 1, 0], [0, 1, 0], [1, 1, 0]]
    assert metrics.accuracy(matrix) == pytest.approx(3 / 6)
    # F1: 2*2/(3+3), 2*1/(1+3), 0.
    assert metrics.macro_f1(matrix) == pytest.approx((4 / 6 + 2 / 4 + 0) / 3)


def test_a_class_that_never_occurs_counts_as_zero() -> None:
    truths = answers = np.array([0, 0, 1])
    wanted = f1_score(truths, answers, labels=[0, 1, 2], average="macro", zero_division=0)
    assert metrics.macro_f1(metrics.confusion(truths, answers)) == pytest.approx(wanted) == pytest.approx(2 / 3)


def test_a_calibration_error_counted_by_hand() -> None:
    # Two clips at 0.6 (one right) share the bin (8/15, 9/15]; one at 0.95 is right.
    chances = np.array([[0.6, 0.3, 0.1], [0.6, 0.2, 0.2], [0.02, 0.95, 0.03]])
    rows = metrics.reliability(chances, np.array([0, 1, 1]))
    assert rows.sum(0)[8].tolist() == pytest.approx([2, 1.2, 1]) and rows.sum(0)[14].tolist() == pytest.approx(
        [1, 0.95, 1]
    )
    assert metrics.calibration_error(rows.sum(0)) == pytest.approx(2 / 3 * abs(0.5 - 0.6) + 1 / 3 * abs(1 - 0.95))


def test_certainty_and_its_edges_have_bins() -> None:
    rows = metrics.reliability(np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3]]), np.array([0, 0])).sum(0)
    assert rows[14, 0] == 1 and rows[4, 0] == 1 and rows[:, 0].sum() == 2


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(3)
    calm = rng.normal(0, 1.5, (3000, 3))
    drawn = (metrics.softmax(calm).cumsum(1) > rng.random((3000, 1))).argmax(1)
    found = metrics.fit_temperature(calm * temperature, drawn)
    assert found == pytest.approx(temperature, rel=0.1)
    before, _ = metrics.calibration(calm * temperature, drawn, 1.0)
    after, _ = metrics.calibration(calm * temperature, drawn, found)
    assert after.value < 0.04 and (temperature == 1.0 or after.value < before.low)


def coverage(clips_a_source: int, by_source: bool) -> float:
    """How often the interval of the accuracy holds the true one, when the clips of a source are right or wrong
    together.
    """
    rng, truth, held = np.random.default_rng(8), 0.7, 0
    for trial in range(200):
        right = np.repeat(rng.random(80) < truth, clips_a_source)
        sources = np.repeat(np.arange(80), clips_a_source).astype(str).tolist()
        rows = metrics.one_hot_confusion(np.zeros(right.size, int), np.where(right, 0, 1))
        interval = metrics.bootstrap(rows, metrics.accuracy, sources if by_source else None, 300, trial)
        held += interval.low <= truth <= interval.high
    return held / 200


def test_intervals_cover_the_truth() -> None:
    assert 0.90 <= coverage(1, by_source=False) <= 0.985
    assert 0.90 <= coverage(6, by_source=True) <= 0.985


def test_intervals_over_clips_of_the_same_sources_are_too_narrow() -> None:
    assert coverage(6, by_source=False) < 0.75


def test_an_interval_is_the_same_for_the_same_seed_and_holds_its_value() -> None:
    logits, truths = random_answers(1)
    first, second = (metrics.score(logits, truths) for _ in range(2))
    assert first.accuracy == second.accuracy
    assert first.accuracy.low < first.accuracy.value < first.accuracy.high
    assert first.macro_f1.low < first.macro_f1.value < first.macro_f1.high


def test_probabilities_survive_large_logits() -> None:
    assert metrics.softmax(np.array([1e4, 0.0, -1e4])).tolist() == [1.0, 0.0, 0.0]
