"""Renders the training and held-out sets into a cache of NumPy arrays.

Sets: `pictures` (single frames with face grids), `sounds` (sound alone), `clips` (both), and `held`, clips of
other seeds, other backgrounds and other face styles. `python -m ger.data --cache DIR` renders what is missing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np

from . import mel
from .scenes import FRAMES, GRID, SIZE, Camera, Scene, clip_frames, draw_count, h264, jpeg, squash
from .sounds import scene_sound

SIZES = [(640, 360), (480, 270), (426, 240), (480, 360)]
SETS = {"pictures": (4800, 10_000_000), "sounds": (2400, 20_000_000), "clips": (900, 30_000_000), "held": (600, 90_000_000)}
SILENT_SHARE = 0.06  # clips whose sound holds no voices
DARK_SHARE = 0.03  # clips whose picture is black

Record = dict[str, np.ndarray]


def pick(seed: int) -> tuple[np.random.Generator, int, int, tuple[int, int]]:
    """(generator, label, people, camera size) of a seed."""
    rng = np.random.default_rng([seed, 3])
    return rng, int(rng.integers(3)), draw_count(rng), SIZES[int(rng.integers(len(SIZES)))]


def picture_record(seed: int) -> Record:
    """One degraded frame and its face grid."""
    rng, label, people, size = pick(seed)
    scene = Scene(seed, label, people, "train", size)
    t = float(rng.uniform(0, 20))
    frame = Camera(seed, size)(scene.frame(t))
    coded = h264([frame], int(rng.integers(20, 36)))[0] if rng.random() < 0.35 else jpeg(frame, int(rng.integers(25, 92)))
    return {"video": squash(coded)[None], "grid": scene.grid(t)[None], "label": np.int64(scene.label), "people": np.int64(people)}


def sound_record(seed: int) -> Record:
    """The log-mel of one sound."""
    _, label, people, _ = pick(seed)
    people = max(people, 1)
    return {"sound": log_mel16(scene_sound(seed, label, people)), "label": np.int64(label), "people": np.int64(people)}


def clip_record(seed: int, family: str) -> Record:
    """Five frames and the log-mel of one scene."""
    rng, label, people, size = pick(seed)
    scene = Scene(seed, label, people, family, size)
    start = float(rng.uniform(0, 20))
    video, grid = clip_frames(scene, seed, start)
    fate = rng.random()
    if fate < DARK_SHARE:
        video = np.clip(rng.normal(6, 4, video.shape), 0, 30).astype(np.uint8)
        grid = np.zeros_like(grid)
    sound = scene_sound(seed, scene.label, people, tells=not DARK_SHARE <= fate < DARK_SHARE + SILENT_SHARE)
    return {"video": video, "grid": grid, "sound": log_mel16(sound), "label": np.int64(scene.label), "people": np.int64(people)}


def log_mel16(samples: np.ndarray) -> np.ndarray:
    return mel.log_mel(samples).astype(np.float16)


def render(job: tuple[str, int]) -> Record:
    """One record of a set."""
    name, seed = job
    if name == "pictures":
        return picture_record(seed)
    if name == "sounds":
        return sound_record(seed)
    return clip_record(seed, "held" if name == "held" else "train")


def shapes(name: str) -> dict[str, tuple[tuple[int, ...], str]]:
    frames = 1 if name == "pictures" else FRAMES
    fields: dict[str, tuple[tuple[int, ...], str]] = {"label": ((), "i8"), "people": ((), "i8")}
    if name != "sounds":
        fields["video"] = ((frames, SIZE, SIZE, 3), "u1")
        fields["grid"] = ((frames, GRID, GRID), "u1")
    if name != "pictures":
        fields["sound"] = ((mel.SEGMENTS, mel.BINS, mel.FRAMES), "f2")
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
        for i, record in enumerate(pool.imap(render, [(name, base + i) for i in range(count)], chunksize=4)):
            for key, value in record.items():
                arrays[key][i] = value
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
    options = parser.parse_args()
    render_all(options.cache, options.scale, options.workers)


if __name__ == "__main__":
    main()
