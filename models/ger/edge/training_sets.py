"""The sets that the edge network is trained and measured on, rendered into a cache of NumPy arrays.

`pictures` and `few` are single frames with the places of heads (`few`: nobody, one or two people, close); `sounds` and
`named` are sounds alone; `clips` have both; `held` are clips of held-out faces, places, voices and drawing styles;
`held-sounds` are held-out sounds by kind. The cache must hold the media prepared by `ger.bursts`, `ger.find_faces` and
`ger.photographs`.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE, mel, resize
from ger.synthetic import photographs
from ger.synthetic.camera import FRAMES, SIZE, Camera, clip_frames, h264, jpeg
from ger.synthetic.photo_groups import PhotoGroup
from ger.synthetic.scenes import Scene, draw_count
from ger.synthetic.sound_mixes import KINDS, background_sound, group_sound, named_sound
from ger.synthetic.sparse_scenes import SparseScene, draw_few

SIZES = [(640, 360), (480, 270), (426, 240), (480, 360), (360, 360)]
# Name to number of records and first seed.
SETS = {
    "pictures": (8000, 110_000_000),
    "sounds": (6000, 120_000_000),
    "named": (900, 125_000_000),
    "clips": (800, 130_000_000),
    "few": (1500, 115_000_000),
    "held": (900, 190_000_000),
    "held-sounds": (374, 195_000_000),
}
SOURCES = ["drawn", "photo", "warped", "mixed"]
SOURCE_CHANCES = {"train": [0.28, 0.3, 0.1, 0.32], "held": [1 / 3, 1 / 3, 1 / 3, 0.0]}
HEADS_MAX = 32  # heads of a frame that are stored
# How the sound and the picture of a clip relate.
RELATIONS = ["agree", "sound says nothing", "picture neutral", "dark", "contradiction"]
RELATION_CHANCES = [0.76, 0.1, 0.06, 0.04, 0.04]
AGREE, NO_VOICES, PICTURE_NEUTRAL, DARK, CONTRADICTION = range(5)

Record = dict[str, np.ndarray]


def draw_scene_settings(seed: int, side: str) -> tuple[np.random.Generator, int, int, tuple[int, int], str]:
    """(generator, label, people, camera size, source of faces) of a seed."""
    rng = np.random.default_rng([seed, 3])
    label, people, size = int(rng.integers(3)), draw_count(rng), SIZES[int(rng.integers(len(SIZES)))]
    return rng, label, people, size, SOURCES[int(rng.choice(4, p=SOURCE_CHANCES[side]))]


def make_scene(
    seed: int, label: int, people: int, size: tuple[int, int], source: str, side: str, cache: Path
) -> Scene | PhotoGroup:
    """A drawn scene or a group of photographic faces."""
    if source == "drawn":
        return Scene(seed, label, people, side, size)
    return PhotoGroup(seed, label, people, photographs.load(cache, side), source, side, size)


def padded(heads: np.ndarray) -> np.ndarray:
    """Heads f32 [32, 5]; rows of -1 where there are fewer."""
    rows = np.full((HEADS_MAX, 5), -1, np.float32)
    rows[: len(heads)] = heads[:HEADS_MAX]
    return rows


def picture_record(seed: int, cache: Path, few: bool = False) -> Record:
    """One frame through a camera, and its heads; with `few`, of at most two people."""
    rng, label, people, size, source = draw_scene_settings(seed, "train")
    if few:
        people, source = draw_few(rng), "mixed"
        scene: Scene | PhotoGroup = SparseScene(
            seed, label, people, photographs.load(cache, "train"), source, "train", size
        )
    else:
        scene = make_scene(seed, label, people, size, source, "train", cache)
    t = float(rng.uniform(0, 20))
    frame = Camera(seed, size)(scene.frame(t))
    coded = (
        h264([frame], int(rng.integers(20, 36)))[0] if rng.random() < 0.3 else jpeg(frame, int(rng.integers(25, 92)))
    )
    return {
        "video": resize(coded, SIZE, SIZE)[None],
        "heads": padded(scene.heads(t))[None],
        "label": np.array(scene.label),
        "people": np.array(people),
        "source": np.array(SOURCES.index(source)),
    }


def sound_record(seed: int, cache: Path) -> Record:
    """The log-mel of one sound of a group."""
    rng = np.random.default_rng([seed, 3])
    label = int(rng.choice([POSITIVE, NEUTRAL, NEGATIVE], p=[0.34, 0.32, 0.34]))
    people = max(draw_count(rng), 1)
    samples, kind = group_sound(seed, label, people, "train", cache)
    return sound_only(samples, label, people, kind)


def named_record(seed: int, cache: Path) -> Record:
    """The log-mel of one training sound of a named kind; the kinds that are hardest to tell apart are more frequent."""
    often = KINDS + ["cheering"] * 5 + ["screaming"] + [kind for kind in KINDS if kind.startswith("real")] * 2
    kind = often[seed % len(often)]
    samples, label = named_sound(seed, kind, "train", cache)
    return sound_only(samples, label, 0, KINDS.index(kind))


def held_sound_record(seed: int, cache: Path) -> Record:
    """The log-mel of one held-out sound of a named kind."""
    kind = seed % len(KINDS)
    samples, label = named_sound(seed, KINDS[kind], "held", cache)
    return sound_only(samples, label, 0, kind)


def sound_only(samples: np.ndarray, label: int, people: int, kind: int) -> Record:
    return {
        "sound": log_mel16(samples),
        "label": np.array(label),
        "people": np.array(people),
        "kind": np.array(kind),
    }


@dataclass(frozen=True)
class ClipPlan:
    """What a clip shows and sounds like."""

    label: int
    picture_label: int
    sound_label: int  # -1 for a background without voices
    people: int
    size: tuple[int, int]  # the camera's width and height, pixels
    source: str
    relation: int
    start: float  # s


def plan_clip(seed: int, side: str) -> ClipPlan:
    """The label follows the picture's majority, unless the picture is neutral or dark and the sound is not."""
    rng, label, people, size, source = draw_scene_settings(seed, side)
    relation = int(rng.choice(5, p=RELATION_CHANCES)) if people > 1 else NO_VOICES if rng.random() < 0.7 else AGREE
    picture_label, sound_label = label, label
    if relation == NO_VOICES or people == 0:
        sound_label = -1
    elif relation == PICTURE_NEUTRAL:
        picture_label, sound_label = NEUTRAL, label if label != NEUTRAL else POSITIVE
        label = sound_label
    elif relation == CONTRADICTION:
        picture_label = label if label != NEUTRAL else NEGATIVE
        sound_label = NEGATIVE if picture_label == POSITIVE else POSITIVE
        label = picture_label
    if people == 0:
        label = NEUTRAL
    return ClipPlan(label, picture_label, sound_label, people, size, source, relation, float(rng.uniform(0, 20)))


def clip_record(seed: int, side: str, cache: Path) -> Record:
    """Five frames and the log-mel of one clip, with the conditions by which its figures are sorted."""
    plan = plan_clip(seed, side)
    scene = make_scene(seed, plan.picture_label, plan.people, plan.size, plan.source, side, cache)
    video = clip_frames(scene, seed, plan.start)
    heads = scene.heads(plan.start)
    if plan.relation == DARK:
        video = np.clip(np.random.default_rng([seed, 5]).normal(6, 4, video.shape), 0, 30).astype(np.uint8)
    if plan.sound_label < 0:
        samples, kind = background_sound(seed)
    else:
        samples, kind = group_sound(seed, plan.sound_label, plan.people, side, cache)
    return {
        "video": video,
        "sound": log_mel16(samples),
        "label": np.array(plan.label),
        "people": np.array(plan.people),
        "source": np.array(SOURCES.index(plan.source)),
        "relation": np.array(plan.relation),
        "kind": np.array(kind),
        "picture_label": np.array(scene.label),
        "sound_label": np.array(plan.sound_label),
        "head_px": np.array(np.median(heads[:, 2]) * 2 * SIZE if len(heads) else 0.0, np.float32),
    }


def log_mel16(samples: np.ndarray) -> np.ndarray:
    return mel.log_mel(samples).astype(np.float16)


def render_record(job: tuple[str, int, Path]) -> Record:
    """The record of a set (name), a seed and the cache with the media."""
    name, seed, cache = job
    if name in ("clips", "held"):
        return clip_record(seed, "held" if name == "held" else "train", cache)
    if name in ("pictures", "few"):
        return picture_record(seed, cache, few=name == "few")
    makers = {"sounds": sound_record, "named": named_record, "held-sounds": held_sound_record}
    return makers[name](seed, cache)


def fields(name: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """The arrays of a set: shape of one record, and NumPy's type code."""
    arrays: dict[str, tuple[tuple[int, ...], str]] = {"label": ((), "i8"), "people": ((), "i8")}
    is_picture, is_clip = name in ("pictures", "few"), name in ("clips", "held")
    if is_picture or is_clip:
        arrays["video"] = ((1 if is_picture else FRAMES, SIZE, SIZE, 3), "u1")
        arrays["source"] = ((), "i8")
    if is_picture:
        arrays["heads"] = ((1, HEADS_MAX, 5), "f4")
    else:
        arrays["sound"] = ((mel.SEGMENTS, mel.BINS, mel.FRAMES), "f2")
        arrays["kind"] = ((), "i8")
    if is_clip:
        arrays |= {
            "relation": ((), "i8"),
            "picture_label": ((), "i8"),
            "sound_label": ((), "i8"),
            "head_px": ((), "f4"),
        }
    return arrays


def array_path(name: str, key: str, cache: Path) -> Path:
    return cache / f"{name}-{key}.npy"


def render_set(name: str, cache: Path, scale: float, workers: int) -> None:
    """Renders a whole set, at a share of its full size, unless the cache has it."""
    count, first_seed = SETS[name]
    count = max(int(count * scale), 8)
    done, arrays = cache / f"{name}.json", fields(name)
    is_whole = done.exists() and all(array_path(name, key, cache).exists() for key in arrays)
    if is_whole and json.loads(done.read_text())["count"] == count:
        return
    cache.mkdir(parents=True, exist_ok=True)
    done.unlink(missing_ok=True)
    started = time.time()
    files = {
        key: np.lib.format.open_memmap(array_path(name, key, cache), "w+", np.dtype(code), (count, *shape))
        for key, (shape, code) in arrays.items()
    }
    jobs = [(name, first_seed + index, cache) for index in range(count)]
    with multiprocessing.Pool(workers) as pool:
        for index, record in enumerate(pool.imap(render_record, jobs, chunksize=4)):
            for key, value in record.items():
                files[key][index] = value
            if index % 1000 == 999:
                print(f"{name}: {index + 1} of {count}, {time.time() - started:.0f} s", flush=True)
    for file in files.values():
        file.flush()
    done.write_text(json.dumps({"count": count}))
    print(f"{name}: {count} rendered in {time.time() - started:.0f} s", flush=True)


def load(name: str, cache: Path) -> Record:
    """The arrays of a rendered set, read from the disk as they are used."""
    return {key: np.load(array_path(name, key, cache), mmap_mode="r") for key in fields(name)}
