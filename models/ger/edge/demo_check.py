"""The answers of an exported edge network over the windows of the demo clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from ger.contract import BUCKETS, CLASSES, mel, resize
from ger.edge.controls import FRAMES, ExportedNetwork
from ger.edge.figures import MODALITIES
from ger.synthetic.demo_clip import SCENES, SECONDS

RATE = mel.SAMPLE_RATE
STEP_S = 2.5  # from one window to the next


@dataclass(frozen=True)
class Frame:
    """A decoded frame at the network's size."""

    time_s: float
    is_key: bool
    picture: np.ndarray


def decode(path: Path, side: int) -> tuple[list[Frame], np.ndarray]:
    """Every frame, and the sound as 16 kHz mono."""
    frames, blocks = [], []
    with av.open(str(path)) as media:
        for frame in media.decode(video=0):
            picture = resize(frame.to_ndarray(format="rgb24"), side, side)
            frames.append(Frame(float(frame.time or 0.0), bool(frame.key_frame), picture))
    with av.open(str(path)) as media:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        for block in media.decode(audio=0):
            blocks += [resampled.to_ndarray()[0] for resampled in resampler.resample(block)]
        blocks += [resampled.to_ndarray()[0] for resampled in resampler.resample(None)]
    return frames, np.concatenate(blocks)


def window(frames: list[Frame], start: float, only_keys: bool) -> list[np.ndarray]:
    """The pictures of the 5 seconds from `start`: the last (key) frame before each midpoint."""
    usable = [frame for frame in frames if frame.is_key or not only_keys]
    return [[frame.picture for frame in usable if frame.time_s < start + second + 0.5][-1] for second in range(FRAMES)]


def check(path: Path, model: Path) -> bool:
    """Prints the answer to every window inside one scene. True where all are right with both modalities."""
    network = ExportedNetwork(model)
    frames, samples = decode(path, network.side)
    right = True
    for only_keys in (False, True):
        print("key frames only" if only_keys else "last frame before each moment")
        for number, (label, _, _) in enumerate(SCENES):
            for start in np.arange(number * SECONDS, (number + 1) * SECONDS - 4.9, STEP_S):
                first = round(float(start) * RATE)
                video = network.video(window(frames, float(start), only_keys))
                sound = network.sound(mel.log_mel(samples[first : first + mel.SAMPLES]))
                answers = {mode: network.probabilities(video, sound, p) for mode, p in MODALITIES.items()}
                shown = {
                    mode: f"{CLASSES[int(chances.argmax())]} {chances.max():.2f}"
                    for mode, (chances, _) in answers.items()
                }
                chances, size = answers["both"]
                right &= int(chances.argmax()) == label
                print(
                    f"  {start:5.1f} s, {CLASSES[label]}: both {shown['both']}, picture {shown['video_only']}, "
                    f"sound {shown['sound_only']}, group from {BUCKETS[size]}"
                )
    return right
