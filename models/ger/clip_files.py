"""Writes clips as small .mp4 files (H.264, AAC) with `labels.csv`: `python -m ger.clip_files --out DIR --count 40`.

These are drawn people and synthesised voices of the held-out families: no media is needed, and none is in them. With `--cache DIR` the
first clips of the set `held` are written instead; they show the media's faces and are for measuring on this machine only.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import Iterable

import numpy as np

from .contract import CLASSES
from .scenes import Camera, Scene
from .sounds import RATE, scene_sound

FPS = 12
SECONDS = 5.2
BASE = 95_000_000


def write_wave(path: Path, samples: np.ndarray) -> None:
    """f32 samples within [-1, 1] as a 16 kHz mono wave file."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2").tobytes())


def write_clip(path: Path, frames: Iterable[np.ndarray], size: tuple[int, int], samples: np.ndarray, fps: int = FPS) -> None:
    """Encodes RGB frames and sound; needs the `ffmpeg` program with x264."""
    with tempfile.TemporaryDirectory() as folder:
        write_wave(Path(folder) / "sound.wav", samples)
        command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(fps),
                   "-i", "-", "-i", f"{folder}/sound.wav", "-c:v", "libx264", "-preset", "veryfast", "-crf", "29", "-maxrate", "120k",
                   "-bufsize", "300k", "-pix_fmt", "yuv420p", "-bf", "0", "-g", str(fps), "-threads", "1", "-c:a", "aac", "-b:a", "40k", "-ac", "1",
                   "-map_metadata", "-1", "-fflags", "+bitexact", "-movflags", "+faststart", str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
            assert encoder.stdin is not None
            for frame in frames:
                encoder.stdin.write(np.ascontiguousarray(frame).tobytes())
            encoder.stdin.close()
            if encoder.wait() != 0:
                raise SystemExit(f"ffmpeg could not write {path}")


def drawn_clip(path: Path, number: int, size: tuple[int, int] = (640, 360)) -> str:
    """Writes held-out drawn clip `number`; returns its label's name."""
    rng = np.random.default_rng([BASE + number, 3])
    scene = Scene(BASE + number, number % 3, int(rng.integers(2, 13)), "held", size)
    camera = Camera(BASE + number, size, mild=True)
    moments = float(rng.uniform(0, 20)) + np.arange(int(SECONDS * FPS)) / FPS
    samples = scene_sound(BASE + number, scene.label, scene.people, SECONDS)
    write_clip(path, (camera(scene.frame(float(t))) for t in moments), size, samples)
    return CLASSES[scene.label]


def held_clip(path: Path, number: int, cache: Path) -> str:
    """Writes clip `number` of the set `held` as a camera would have sent it; returns its label's name."""
    from . import data, mixes

    seed = data.SETS["held"][1] + number
    plan = data.clip_plan(seed, "held")
    size = plan["size"]
    scene = data.make_scene(seed, plan["seen"], plan["people"], size, plan["source"], "held", cache)
    camera = Camera(seed, size)
    sound = mixes.background_sound(seed) if plan["heard"] < 0 else mixes.group_sound(seed, plan["heard"], plan["people"], "held", cache)
    moments = plan["start"] + np.arange(int(SECONDS * FPS)) / FPS
    pictures = (camera(scene.frame(float(t))) if not plan["dark"] else np.zeros((size[1], size[0], 3), np.uint8) for t in moments)
    write_clip(path, pictures, size, np.pad(sound[0], (0, int((SECONDS - 5) * RATE)), mode="wrap"))
    return CLASSES[plan["label"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--cache", type=Path, help="write clips of the set `held`; the folder of the media made ready")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "labels.csv", "w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["clip", "label"])
        for number in range(options.count):
            name = f"{'held' if options.cache else 'drawn'}-{number:03d}.mp4"
            path = options.out / name
            rows.writerow([name, held_clip(path, number, options.cache) if options.cache else drawn_clip(path, number)])


if __name__ == "__main__":
    main()
