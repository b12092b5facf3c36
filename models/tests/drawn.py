"""Small clips for the tests: drawn people and synthetic sounds, encoded as files. No media is needed, and none is in
them.
"""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ger.contract import CLASSES
from ger.synthetic.scenes import Scene
from ger.synthetic.voices import RATE, scene_sound

FPS = 8


def frames_of(
    seed: int, label: int, people: int = 3, size: tuple[int, int] = (96, 64), seconds: float = 5.0, fps: int = FPS
) -> list[np.ndarray]:
    scene = Scene(seed, label, people, "train", size)
    return [np.ascontiguousarray(scene.frame(i / fps)) for i in range(round(seconds * fps))]


def sound_of(seed: int, label: int, seconds: float = 5.0) -> np.ndarray:
    return scene_sound(seed, label, 3, seconds)


def write_clip(
    path: Path,
    frames: list[np.ndarray] | None,
    samples: np.ndarray | None,
    fps: int = FPS,
    rate_hz: int = RATE,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
) -> None:
    """Encodes RGB frames with x264 and f32 samples as 16-bit PCM (which no codec changes), or either alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mov") as out:
        if frames:
            video = out.add_stream(codec, rate=fps)
            video.width, video.height, video.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
            video.options = {"preset": "ultrafast", "crf": "12", **(options or {})}
            video.codec_context.thread_count = 1
        if samples is not None:
            sound = out.add_stream("pcm_s16le", rate=rate_hz)
            sound.layout = "mono"
        if frames:
            for index, picture in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, fps)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if samples is not None:
            whole = np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            out.mux(sound.encode(frame))
            out.mux(sound.encode(None))


def drawn_clip(path: Path, seed: int, label: int, people: int = 3, has_sound: bool = True) -> None:
    write_clip(path, frames_of(seed, label, people), sound_of(seed, label) if has_sound else None)


def drawn_table(folder: Path, count: int, first: int = 70_000_000) -> tuple[Path, Path]:
    """(clips' folder, labels.csv) of `count` clips; every third source video has two; the last clip has no sound."""
    rows = []
    for index in range(count):
        label, people = index % 3, (1, 3, 6, 12)[index % 4]
        name = f"clip-{index:02d}.mp4"
        drawn_clip(folder / "clips" / name, first + index, label, people, index != count - 1)
        rows.append([name, CLASSES[label], str(people), f"video-{index // 2}", ("dim", "bright")[index % 2]])
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["clip", "label", "people", "source", "light"], *rows])
    return folder / "clips", folder / "labels.csv"
