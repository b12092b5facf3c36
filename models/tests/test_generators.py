"""Drawn scenes and sounds: the same seed gives the same clip, and the label is the majority."""

from collections import Counter

import numpy as np
import pytest

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE, bucket
from ger.synthetic import noises, sound_mixes, vocal_bursts
from ger.synthetic.camera import SIZE, clip_frames
from ger.synthetic.scenes import Scene
from ger.synthetic.voices import RATE, scene_sound


def test_a_clip_is_repeated_by_its_seed() -> None:
    first, second = (clip_frames(Scene(5, POSITIVE, 6), 5, 2.0) for _ in range(2))
    other = clip_frames(Scene(6, POSITIVE, 6), 6, 2.0)
    assert first.shape == (5, SIZE, SIZE, 3) and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("label", [POSITIVE, NEUTRAL, NEGATIVE])
@pytest.mark.parametrize("people", [1, 2, 5, 12, 30])
def test_the_label_is_the_majority(label: int, people: int) -> None:
    for family in ("train", "held", "demo"):
        scene = Scene(9, label, people, family)
        feelings = Counter(person.look.feeling for person in scene.placed)
        assert sum(feelings.values()) == people == len(scene.heads(0.0))
        assert feelings[label] * 2 > people


def test_a_scene_without_people_is_neutral() -> None:
    scene = Scene(1, NEGATIVE, 0)
    assert scene.label == NEUTRAL and not scene.placed and scene.heads(0.0).shape == (0, 5)


def test_held_out_styles_are_not_seen_in_training() -> None:
    def traits(family: str) -> set[str]:
        return {
            look.eyes
            for seed in range(30)
            for look in (person.look for person in Scene(seed, seed % 3, 6, family).placed)
        }

    assert traits("train").isdisjoint(traits("held"))


def test_buckets() -> None:
    assert [bucket(n) for n in (0, 1, 2, 4, 5, 9, 10, 30)] == [0, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("label", [POSITIVE, NEUTRAL, NEGATIVE])
def test_a_sound_is_repeated_by_its_seed(label: int) -> None:
    first, second = (scene_sound(3, label, 5, 2.0) for _ in range(2))
    assert first.dtype == np.float32 and first.shape == (2 * RATE,)
    assert np.array_equal(first, second)
    assert np.isfinite(first).all() and np.abs(first).max() <= 1.0 and first.std() > 0


@pytest.mark.parametrize("kind", noises.KINDS)
def test_a_noise_is_repeated_and_finite(kind: str) -> None:
    first, second = (sound_mixes.background_sound(11, kind)[0] for _ in range(2))
    assert np.array_equal(first, second) and first.shape == (5 * RATE,) and first.dtype == np.float32
    assert np.isfinite(first).all() and np.abs(first).max() <= 1.0
    assert (np.sqrt(np.mean(first**2)) < 0.002) == (kind == "silence")


@pytest.fixture()
def made_bursts(tmp_path, monkeypatch):
    """A cache of synthesised bursts by 300 contributors: the real ones are not part of the repository."""
    rng = np.random.default_rng(0)
    keys = [(person, category) for person in (1, 2, 270, 271, 300) for category in vocal_bursts.CATEGORIES]
    samples = np.rint(rng.uniform(-0.5, 0.5, (len(keys), RATE)) * 32767).astype(np.int16)
    np.savez(
        tmp_path / "bursts.npz",
        samples=samples.ravel(),
        ends=np.arange(1, len(keys) + 1) * RATE,
        contributor=[k[0] for k in keys],
        category=[k[1] for k in keys],
    )
    yield tmp_path
    vocal_bursts.load.cache_clear()


def test_no_contributor_is_on_both_sides(made_bursts) -> None:
    people = {
        side: {p for own in vocal_bursts.load(made_bursts, side).people.values() for p in own}
        for side in ("train", "held")
    }
    assert people == {"train": {1, 2, 270}, "held": {271, 300}}


@pytest.mark.parametrize("label", [POSITIVE, NEUTRAL, NEGATIVE])
def test_a_mix_of_bursts_is_repeated(made_bursts, label: int) -> None:
    first, second = (sound_mixes.group_sound(4, label, 6, "train", made_bursts)[0] for _ in range(2))
    assert np.array_equal(first, second) and first.shape == (5 * RATE,) and 0 < np.abs(first).max() <= 1.0


def test_missing_media_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="ger.bursts"):
        vocal_bursts.VocalBursts(tmp_path, "train")


def test_every_named_sound_has_its_label(made_bursts) -> None:
    assert {sound_mixes.LABELS[k] for k in ("cheering", "applause", "laughter")} == {POSITIVE}
    assert {sound_mixes.LABELS[k] for k in ("screaming", "crying")} == {NEGATIVE}
    for kind in sound_mixes.KINDS:
        samples, label = sound_mixes.named_sound(8, kind, "held", made_bursts)
        assert label == sound_mixes.LABELS[kind] and samples.shape == (5 * RATE,) and np.isfinite(samples).all()
