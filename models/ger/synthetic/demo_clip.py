"""The demo clip: three scenes of 16 s, one of each label, 640x360 at 25 frames a second.

A key frame every second and no B-frames, so that it plays in any browser and behaves like a camera's stream.
"""

from __future__ import annotations

import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE
from ger.synthetic.camera import Camera
from ger.synthetic.scenes import Scene
from ger.synthetic.voices import RATE, scene_sound

SIZE = (640, 360)
FPS = 25
SECONDS = 16
SCENES = [(POSITIVE, 8, 434), (NEUTRAL, 7, 425), (NEGATIVE, 9, 436)]  # label, people, seed


def write(out: Path) -> None:
    """Draws and encodes the clip. Needs the `ffmpeg` program with x264."""
    with tempfile.TemporaryDirectory() as folder:
        write_sound(Path(folder) / "sound.wav")
        write_video(out, Path(folder) / "sound.wav")


def write_sound(path: Path) -> None:
    """The three scenes' sound as a 16 kHz mono wave file, faded over 50 ms at the cuts."""
    parts = []
    for label, people, seed in SCENES:
        part = scene_sound(seed, label, people, SECONDS, clean=True)
        ramp = np.minimum(np.arange(part.size), np.arange(part.size)[::-1]) / (0.05 * RATE)
        parts.append(part * np.minimum(ramp, 1.0))
    samples = np.clip(np.rint(np.concatenate(parts) * 32767), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())


def write_video(out: Path, sound: Path) -> None:
    """Pipes the drawn frames into ffmpeg."""
    width, height = SIZE
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {FPS} -i -"
    video = f"-c:v libx264 -profile:v main -bf 0 -pix_fmt yuv420p -preset medium -crf 27 -g {FPS} -keyint_min {FPS}"
    audio = "-c:a aac -profile:a aac_low -b:a 64k -ar 48000 -ac 1"
    file = "-sc_threshold 0 -threads 1 -map_metadata -1 -fflags +bitexact -movflags +faststart"
    options = f"{video} {audio} {file}".split()
    command = ["ffmpeg", "-y", "-loglevel", "error", *source.split(), "-i", str(sound), *options, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        if encoder.stdin is None:
            raise SystemExit("ffmpeg does not read its input")
        for label, people, seed in SCENES:
            scene, camera = Scene(seed, label, people, "demo", SIZE), Camera(seed, SIZE, mild=True)
            for i in range(SECONDS * FPS):
                encoder.stdin.write(np.ascontiguousarray(camera(scene.frame(i / FPS))).tobytes())
        encoder.stdin.close()
        if encoder.wait() != 0:
            raise SystemExit("ffmpeg failed")
