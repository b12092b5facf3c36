"""A clip's file to the frames and samples that the daemon would give to a network.

Frames: for each i of T the last frame shown before (i + 0.5) * D / T seconds after the first one, D = `clip_seconds`. A
clip that is shorter repeats its last frame; where the first frame comes later than a wanted moment, the first is taken.
Only the first D seconds count. Each frame is converted by `colour` and resized as Pillow's bicubic does.

Sound: mixed to one channel (the mean of all), placed by its time stamps relative to the first frame, resampled by soxr
HQ, and cut to D seconds. What is missing is zero. A modality is missing by the daemon's rules: no sound where less than
nine tenths of the clip are present, or where it is digitally silent; no picture where no frame can be decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

from ger.contract import resize
from ger.datasets.clip import DatasetError
from ger.datasets.colour import to_rgb

# The same three numbers as in the daemon, below src/infer/.
SOUND_SHARE_MIN = 0.9
DIGITAL_STEP = 1.0 / 32_768.0
GAP_S = 0.02


@dataclass(frozen=True)
class Rule:
    """What a contract asks for."""

    clip_seconds: float = 5.0
    frames: int = 5
    height: int = 224  # pixels
    width: int = 224  # pixels
    sample_rate: int = 16_000  # Hz; 0 for a network without sound

    @property
    def samples(self) -> int:
        return round(self.clip_seconds * self.sample_rate)


@dataclass(frozen=True)
class Decoded:
    """A clip before normalisation. `None` is a missing modality."""

    pictures: np.ndarray | None  # u8 RGB [frames, height, width, 3]
    samples: np.ndarray | None  # f32 [samples], -1 to 1


def decode(path: Path, rule: Rule) -> Decoded:
    """Decodes both modalities. Raises `DatasetError` where the file is not media, or its streams cannot be read."""
    pictures, samples = decode_frames(path, rule), None
    if rule.sample_rate:
        samples = decode_sound(path, rule)
    return Decoded(
        None if pictures is None else np.stack([resize(p, rule.width, rule.height) for p in pictures]), samples
    )


def decode_frames(path: Path, rule: Rule) -> list[np.ndarray] | None:
    """The chosen frames at the camera's own size, u8 RGB [height, width, 3] each; None without a picture."""
    # In fractions: whether a frame comes before a moment must not depend on how a float was rounded.
    moments = [Fraction(rule.clip_seconds) * (2 * i + 1) / (2 * rule.frames) for i in range(rule.frames)]
    chosen: list[av.VideoFrame] = []
    before: av.VideoFrame | None = None
    zero = None
    for at, frame in _frames(path, "video"):
        zero = at if zero is None else zero
        while len(chosen) < rule.frames and moments[len(chosen)] <= at - zero:
            chosen.append(before or frame)
        if len(chosen) == rule.frames:
            break
        before = frame
    if before is None:
        return None
    chosen += [before] * (rule.frames - len(chosen))
    converted = {id(frame): to_rgb(frame) for frame in chosen}
    return [converted[id(frame)] for frame in chosen]


def decode_sound(path: Path, rule: Rule) -> np.ndarray | None:
    """The clip's sound, f32 [samples] at the rule's rate; None where it is missing by the daemon's rules."""
    zero = next((at for at, _ in _frames(path, "video")), None)
    track, rate_hz, covered_s = _track(path, zero, rule.clip_seconds)
    if covered_s < SOUND_SHARE_MIN * rule.clip_seconds:
        return None
    samples = track if rate_hz == rule.sample_rate else soxr.resample(track, rate_hz, rule.sample_rate, "HQ")
    samples = np.pad(samples[: rule.samples], (0, max(rule.samples - samples.size, 0))).astype(np.float32)
    return None if np.ptp(samples) <= DIGITAL_STEP else samples


def _track(path: Path, zero: Fraction | None, clip_seconds: float) -> tuple[np.ndarray, int, float]:
    """The clip's samples at their own rate from `zero` on, f32, their rate in Hz, and how many seconds it covers.

    Blocks are placed by their time stamps; a gap or an overlap of at most 20 ms is closed, as time stamps are no more
    exact.
    """
    track, rate_hz, covered, next_at = np.zeros(0, np.float32), 0, 0, 0
    for moment, frame in _frames(path, "audio"):
        zero = moment if zero is None else zero
        if not rate_hz:
            rate_hz = frame.sample_rate
            # A little more than the clip, so that the resampler's filter sees the samples after its end.
            track = np.zeros(round((clip_seconds + 0.1) * rate_hz), np.float32)
            next_at = round((moment - zero) * rate_hz)
        at = round((moment - zero) * rate_hz)
        at = next_at if abs(at - next_at) <= GAP_S * rate_hz else at
        mono = _mono(frame)
        next_at = at + mono.size
        first, last = max(at, 0), min(next_at, track.size)
        if first < last:
            track[first:last] = mono[first - at : last - at]
            covered += max(min(last, round(clip_seconds * rate_hz)) - first, 0)
        if track.size <= at:
            break
    return track, rate_hz, covered / max(rate_hz, 1)


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of a block's channels, f32 [samples]."""
    block = frame.to_ndarray()
    kind = block.dtype
    if not frame.format.is_planar:
        block = block.reshape(-1, frame.layout.nb_channels).T
    if kind == np.uint8:
        block = (block.astype(np.float32) - 128) / 128
    elif kind.kind == "i":
        block = block.astype(np.float32) / np.float32(2.0 ** (8 * kind.itemsize - 1))
    return block.mean(0, dtype=np.float32)


def _frames(path: Path, kind: str) -> Iterator[tuple[Fraction, Any]]:
    """The decoded frames of the file's first stream of this kind with their times in s; nothing where there is none.

    Damaged packets and single frames without a time are skipped, as the daemon does with a damaged stream.
    """
    timed, untimed = 0, 0
    try:
        with av.open(str(path)) as media:
            streams = media.streams.video if kind == "video" else media.streams.audio
            if not streams:
                return
            streams[0].codec_context.thread_count = 1
            for packet in media.demux(streams[0]):
                for frame in _decoded(packet):
                    if frame.pts is None or frame.time_base is None:
                        untimed += 1
                        continue
                    timed += 1
                    yield frame.pts * frame.time_base, frame
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(
            f"{path}: cannot be read as media ({error}); replace the file or take it out of the labels."
        ) from error
    if untimed and not timed:
        raise DatasetError(
            f"{path}: its frames carry no times, so it is a raw stream; put it into a container, such as mp4, first."
        )


def _decoded(packet: av.Packet) -> Sequence[av.VideoFrame | av.AudioFrame]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return []
