"""Draws the demo clip: `python -m ger.demo --out demo/group.mp4`. Needs the `ffmpeg` program with x264.

Three scenes of 16 seconds, one per mood, 640x360 at 25 frames a second, a key frame every second and no
B-frames, so that it plays in any browser and behaves like a camera's stream.
`--check MODEL.onnx` cuts 5-second windows as the daemon does and says what the network answers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from ger.contract import mel
from ger.contract import CLASSES, KEY
from ger.synthetic.appearance import NEGATIVE, NEUTRAL, POSITIVE
from ger.synthetic.scenes import Camera, Scene, squash
from ger.synthetic.voices import RATE, scene_sound

SIZE = (640, 360)
FPS = 25
SECONDS = 16
SCENES = [(POSITIVE, 8, 434), (NEUTRAL, 7, 425), (NEGATIVE, 9, 436)]


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
    command = [
        "ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(FPS),
        "-i", "-", "-i", str(sound), "-c:v", "libx264", "-profile:v", "main", "-bf", "0", "-pix_fmt", "yuv420p", "-preset", "medium",
        "-crf", "27", "-g", str(FPS), "-keyint_min", str(FPS), "-sc_threshold", "0", "-threads", "1", "-c:a", "aac", "-profile:a", "aac_low",
        "-b:a", "64k", "-ar", "48000", "-ac", "1", "-map_metadata", "-1", "-fflags", "+bitexact", "-movflags", "+faststart", str(out),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for label, people, seed in SCENES:
            scene, camera = Scene(seed, label, people, "demo", SIZE), Camera(seed, SIZE, mild=True)
            for i in range(SECONDS * FPS):
                encoder.stdin.write(np.ascontiguousarray(camera(scene.frame(i / FPS))).tobytes())
        encoder.stdin.close()
        if encoder.wait() != 0:
            raise SystemExit("ffmpeg failed")


def decode(path: Path, side: int) -> tuple[list[tuple[float, bool, np.ndarray]], np.ndarray]:
    """(time, key frame, squashed picture) of every frame, and the sound as 16 kHz mono."""
    import av

    frames, chunks = [], []
    with av.open(str(path)) as media:
        for frame in media.decode(video=0):
            frames.append((float(frame.time), bool(frame.key_frame), squash(frame.to_ndarray(format="rgb24"), side)))
    with av.open(str(path)) as media:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        for frame in media.decode(audio=0):
            chunks += [r.to_ndarray()[0] for r in resampler.resample(frame)]
        chunks += [r.to_ndarray()[0] for r in resampler.resample(None)]
    return frames, np.concatenate(chunks)


def window(frames: list[tuple[float, bool, np.ndarray]], sound: np.ndarray, start: float, keys: bool, terms: dict) -> dict[str, np.ndarray]:
    """The network's inputs for the 5 seconds from `start`: the last (key) frame before each midpoint."""
    chosen = [[p for t, key, p in frames if t < start + i + 0.5 and (key or not keys)][-1] for i in range(5)]
    mean, std = np.float32(terms["video"]["mean"]), np.float32(terms["video"]["std"])
    video = (np.stack(chosen).astype(np.float32) / 255 - mean) / std
    first = int(round(start * RATE))
    samples = sound[first : first + mel.SAMPLES]
    spectrum = (mel.log_mel(samples) - np.float32(terms["sound"]["mel"]["mean"])) / np.float32(terms["sound"]["mel"]["std"])
    return {"video": video.transpose(0, 3, 1, 2)[None], "sound": spectrum[None, :, None].astype(np.float32)}


def check(path: Path, model: Path) -> bool:
    """Prints the answer for every window inside one scene; true when all are right with both senses."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    terms = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    frames, sound = decode(path, terms["video"]["height"])
    right = True
    for keys in (False, True):
        print("key frames only" if keys else "last frame before each moment")
        for number, (label, _, _) in enumerate(SCENES):
            for start in np.arange(number * SECONDS, (number + 1) * SECONDS - 4.9, 2.5):
                inputs = window(frames, sound, float(start), keys, terms)
                answers = []
                for present in ((1, 1), (1, 0), (0, 1)):
                    logits, size = session.run(["logits", "group_size"], {**inputs, "present": np.float32([present])})
                    chances = np.exp(logits[0] / terms["calibration"]["temperature"])
                    answers.append(f"{CLASSES[int(chances.argmax())]} {chances.max() / chances.sum():.2f}")
                    if present == (1, 1):
                        right &= int(chances.argmax()) == label
                        group = terms["outputs"]["group_size"]["buckets"][int(size[0].argmax())]
                print(f"  {start:5.1f} s, {CLASSES[label]}: both {answers[0]}, picture {answers[1]}, sound {answers[2]}, group from {group}")
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--check", type=Path, metavar="MODEL", help="do not draw: run this network over the existing clip")
    options = parser.parse_args()
    if options.check:
        raise SystemExit(0 if check(options.out, options.check) else "a window was answered wrongly")
    with tempfile.TemporaryDirectory() as folder:
        write_sound(Path(folder) / "sound.wav")
        write_video(options.out, Path(folder) / "sound.wav")
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
