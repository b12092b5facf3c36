"""Renders the training and held-out sets into a cache of NumPy arrays.

Sets: `pictures` and `few` (single frames with the places of heads; nobody, one or two people, near), `sounds` (sound alone), `clips` (both senses), `held` (clips of held-out faces,
places, voices and drawing styles) and `heard` (held-out sounds by their named kind). `python -m ger.data --cache DIR` renders what is
missing; the cache must hold the media made ready by `ger.bursts`, `ger.find_faces` and `ger.photographs`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np

from ger.contract import mel
from ger.synthetic import photographs
from ger.synthetic.sparse_scenes import Few, draw_few
from ger.synthetic.photo_groups import Group
from ger.synthetic.appearance import NEGATIVE, NEUTRAL, POSITIVE
from ger.synthetic.scenes import FRAMES, SIZE, Camera, Scene, clip_frames, draw_count, h264, jpeg, squash

SIZES = [(640, 360), (480, 270), (426, 240), (480, 360), (360, 360)]
SETS = {"pictures": (8000, 110_000_000), "sounds": (6000, 120_000_000), "named": (900, 125_000_000),
        "clips": (800, 130_000_000), "few": (1500, 115_000_000),
        "held": (900, 190_000_000), "heard": (374, 195_000_000)}
SOURCES = ["drawn", "photo", "warped", "mixed"]
SOURCE_CHANCES = {"train": [0.28, 0.3, 0.1, 0.32], "held": [1 / 3, 1 / 3, 1 / 3, 0.0]}
MOST = 32  # heads of a frame that are kept
# What becomes of a clip: the two senses agree, the sound or the picture says nothing, or they contradict each other.
FATES = ["agree", "sound says nothing", "picture neutral", "dark", "contradiction"]
FATE_CHANCES = [0.76, 0.1, 0.06, 0.04, 0.04]

Record = dict[str, np.ndarray]


def pick(seed: int, side: str) -> tuple[np.random.Generator, int, int, tuple[int, int], str]:
    """(generator, label, people, camera size, source of faces) of a seed."""
    rng = np.random.default_rng([seed, 3])
    label, people, size = int(rng.integers(3)), draw_count(rng), SIZES[int(rng.integers(len(SIZES)))]
    return rng, label, people, size, SOURCES[int(rng.choice(4, p=SOURCE_CHANCES[side]))]


def make_scene(seed: int, label: int, people: int, size: tuple[int, int], source: str, side: str, cache: Path) -> Scene | Group:
    """A drawn scene or a photographic group."""
    if source == "drawn":
        return Scene(seed, label, people, side, size)
    return Group(seed, label, people, photographs.load(cache, side), source, side, size)


def padded(heads: np.ndarray) -> np.ndarray:
    """Heads f32 [32, 5]; rows of -1 where there are fewer."""
    out = np.full((MOST, 5), -1, np.float32)
    out[: len(heads)] = heads[:MOST]
    return out


def picture_record(seed: int, cache: Path, few: bool = False) -> Record:
    """One degraded frame and its heads; of few people, where so asked."""
    rng, label, people, size, source = pick(seed, "train")
    if few:
        people, source = draw_few(rng), "mixed"
        scene: Scene | Group = Few(seed, label, people, photographs.load(cache, "train"), source, "train", size)
    else:
        scene = make_scene(seed, label, people, size, source, "train", cache)
    t = float(rng.uniform(0, 20))
    frame = Camera(seed, size)(scene.frame(t))
    coded = h264([frame], int(rng.integers(20, 36)))[0] if rng.random() < 0.3 else jpeg(frame, int(rng.integers(25, 92)))
    return {"video": squash(coded)[None], "heads": padded(scene.heads(t))[None], "label": np.int64(scene.label), "people": np.int64(people),
            "source": np.int64(SOURCES.index(source))}


def sound_record(seed: int, cache: Path) -> Record:
    """The log-mel of one sound."""
    from ger.synthetic.sound_mixes import group_sound

    rng = np.random.default_rng([seed, 3])
    label, people = int(rng.choice([POSITIVE, NEUTRAL, NEGATIVE], p=[0.34, 0.32, 0.34])), max(draw_count(rng), 1)
    samples, kind = group_sound(seed, label, people, "train", cache)
    return {"sound": log_mel16(samples), "label": np.int64(label), "people": np.int64(people), "kind": np.int64(kind)}


def named_record(seed: int, cache: Path) -> Record:
    """The log-mel of one training sound of a named kind; those that are hardest to tell are more frequent."""
    from ger.synthetic.sound_mixes import KINDS, named_sound

    often = KINDS + ["cheering"] * 5 + ["screaming"] + [k for k in KINDS if k.startswith("real")] * 2
    samples, label = named_sound(seed, often[seed % len(often)], "train", cache)
    return {"sound": log_mel16(samples), "label": np.int64(label), "people": np.int64(0), "kind": np.int64(KINDS.index(often[seed % len(often)]))}


def heard_record(seed: int, cache: Path) -> Record:
    """The log-mel of one held-out sound of a named kind."""
    from ger.synthetic.sound_mixes import KINDS, named_sound

    kind = seed % len(KINDS)
    samples, label = named_sound(seed, KINDS[kind], "held", cache)
    return {"sound": log_mel16(samples), "label": np.int64(label), "people": np.int64(0), "kind": np.int64(kind)}


def clip_plan(seed: int, side: str) -> dict[str, object]:
    """What a clip shows and holds: its label follows the picture's majority, unless the picture is neutral or dark and the sound is not."""
    rng, label, people, size, source = pick(seed, side)
    fate = int(rng.choice(5, p=FATE_CHANCES)) if people > 1 else 1 if rng.random() < 0.7 else 0
    seen, heard = label, label
    if fate == 1 or people == 0:
        heard = -1  # nothing but a background
    elif fate == 2:
        seen, heard = NEUTRAL, label if label != NEUTRAL else POSITIVE
        label = heard
    elif fate == 4:
        seen = label if label != NEUTRAL else NEGATIVE
        heard = NEGATIVE if seen == POSITIVE else POSITIVE
        label = seen
    if people == 0:
        label = NEUTRAL
    return {"label": label, "seen": seen, "heard": heard, "people": people, "size": size, "source": source, "fate": fate,
            "start": float(rng.uniform(0, 20)), "dark": fate == 3}


def clip_record(seed: int, side: str, cache: Path) -> Record:
    """Five frames and the log-mel of one clip, with what the measures need to sort it."""
    from ger.synthetic.sound_mixes import background_sound, group_sound

    plan = clip_plan(seed, side)
    scene = make_scene(seed, plan["seen"], plan["people"], plan["size"], plan["source"], side, cache)
    video = clip_frames(scene, seed, plan["start"])
    heads = scene.heads(plan["start"])
    if plan["dark"]:
        video = np.clip(np.random.default_rng([seed, 5]).normal(6, 4, video.shape), 0, 30).astype(np.uint8)
    samples, kind = background_sound(seed) if plan["heard"] < 0 else group_sound(seed, plan["heard"], plan["people"], side, cache)
    return {"video": video, "sound": log_mel16(samples), "label": np.int64(plan["label"]), "people": np.int64(plan["people"]),
            "source": np.int64(SOURCES.index(plan["source"])), "fate": np.int64(plan["fate"]), "kind": np.int64(kind),
            "seen": np.int64(scene.label), "heard": np.int64(plan["heard"]),
            "face": np.float32(np.median(heads[:, 2]) * 2 * SIZE if len(heads) else 0.0)}


def log_mel16(samples: np.ndarray) -> np.ndarray:
    return mel.log_mel(samples).astype(np.float16)


def render(job: tuple[str, int, Path]) -> Record:
    """One record of a set."""
    name, seed, cache = job
    if name == "clips" or name == "held":
        return clip_record(seed, "held" if name == "held" else "train", cache)
    if name == "few":
        return picture_record(seed, cache, few=True)
    return {"pictures": picture_record, "sounds": sound_record, "named": named_record, "heard": heard_record}[name](seed, cache)


def shapes(name: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """The arrays of a set: shape of one record, and kind."""
    fields: dict[str, tuple[tuple[int, ...], str]] = {"label": ((), "i8"), "people": ((), "i8")}
    if name in ("pictures", "few", "clips", "held"):
        fields["video"] = ((1 if name in ("pictures", "few") else FRAMES, SIZE, SIZE, 3), "u1")
        fields["source"] = ((), "i8")
    if name in ("pictures", "few"):
        fields["heads"] = ((1, MOST, 5), "f4")
    else:
        fields["sound"] = ((mel.SEGMENTS, mel.BINS, mel.FRAMES), "f2")
        fields["kind"] = ((), "i8")
    if name in ("clips", "held"):
        fields |= {"fate": ((), "i8"), "seen": ((), "i8"), "heard": ((), "i8"), "face": ((), "f4")}
    return fields


def render_set(name: str, cache: Path, scale: float, workers: int) -> None:
    """Renders a whole set unless it is already there."""
    count, base = SETS[name]
    count = max(int(count * scale), 8)
    done = cache / f"{name}.json"
    if done.exists() and json.loads(done.read_text())["count"] == count:
        return
    started = time.time()
    arrays = {key: np.lib.format.open_memmap(cache / f"{name}-{key}.npy", "w+", np.dtype(kind), (count, *shape))
              for key, (shape, kind) in shapes(name).items()}
    with multiprocessing.Pool(workers) as pool:
        for i, record in enumerate(pool.imap(render, [(name, base + i, cache) for i in range(count)], chunksize=4)):
            for key, value in record.items():
                arrays[key][i] = value
            if i % 1000 == 999:
                print(f"{name}: {i + 1} of {count}, {time.time() - started:.0f} s", flush=True)
    for array in arrays.values():
        array.flush()
    done.write_text(json.dumps({"count": count}))
    print(f"{name}: {count} rendered in {time.time() - started:.0f} s", flush=True)


def load(name: str, cache: Path) -> Record:
    """The arrays of a rendered set."""
    return {key: np.load(cache / f"{name}-{key}.npy", mmap_mode="r") for key in shapes(name)}


def render_all(cache: Path, scale: float = 1.0, workers: int = 2) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        render_set(name, cache, scale, workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full set sizes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=list(SETS), help="render one set")
    options = parser.parse_args()
    for name in [options.only] if options.only else SETS:
        render_set(name, options.cache, options.scale, options.workers)


if __name__ == "__main__":
    main()
