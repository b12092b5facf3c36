"""Scenes and sounds: the same seed gives the same clip, and the label is the majority."""

from collections import Counter

import numpy as np
import pytest

from ger.people import NEGATIVE, NEUTRAL, POSITIVE
from ger.scenes import GRID, SIZE, Scene, bucket, clip_frames
from ger.sounds import RATE, scene_sound


def test_a_clip_is_repeated_by_its_seed() -> None:
    first, grid = clip_frames(Scene(5, POSITIVE, 6), 5, 2.0)
    second, _ = clip_frames(Scene(5, POSITIVE, 6), 5, 2.0)
    other, _ = clip_frames(Scene(6, POSITIVE, 6), 6, 2.0)
    assert first.shape == (5, SIZE, SIZE, 3) and first.dtype == np.uint8 and grid.shape == (5, GRID, GRID)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("label", [POSITIVE, NEUTRAL, NEGATIVE])
@pytest.mark.parametrize("people", [1, 2, 5, 12, 30])
def test_the_label_is_the_majority(label: int, people: int) -> None:
    for family in ("train", "held", "demo"):
        scene = Scene(9, label, people, family)
        feelings = Counter(seat.look.feeling for seat in scene.seats)
        assert sum(feelings.values()) == people
        assert feelings[label] * 2 > people


def test_an_empty_room_is_neutral() -> None:
    scene = Scene(1, NEGATIVE, 0)
    assert scene.label == NEUTRAL and not scene.seats and not scene.grid(0.0).any()


def test_held_out_styles_are_not_seen_in_training() -> None:
    def traits(family: str) -> set[str]:
        return {look.eyes for seed in range(30) for look in (s.look for s in Scene(seed, seed % 3, 6, family).seats)}

    assert traits("train").isdisjoint(traits("held"))


def test_buckets() -> None:
    assert [bucket(n) for n in (0, 1, 2, 4, 5, 9, 10, 30)] == [0, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("label", [POSITIVE, NEUTRAL, NEGATIVE])
def test_a_sound_is_repeated_by_its_seed(label: int) -> None:
    first, second = (scene_sound(3, label, 5, 2.0) for _ in range(2))
    assert first.dtype == np.float32 and first.shape == (2 * RATE,)
    assert np.array_equal(first, second)
    assert np.isfinite(first).all() and np.abs(first).max() <= 1.0 and first.std() > 0
