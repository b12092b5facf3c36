"""A camera's faults and its compression, and the frames of a scene that the network gets through them."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from PIL import Image, ImageFilter

from ger.contract import resize

SIZE = 192  # pixels, both sides, of the edge network's pictures
FRAMES = 5


class Camera:
    """A camera's faults, the same for a whole clip: exposure, tint, blur, noise, vignette."""

    def __init__(self, seed: int, size: tuple[int, int], mild: bool = False) -> None:
        rng = self.rng = np.random.default_rng([seed, 23])
        width, height = size
        strength = 0.3 if mild else 1.0
        self.gain = np.exp(rng.normal(0, 0.28 * strength)) * np.exp(rng.normal(0, 0.06 * strength, 3))
        self.offset = rng.normal(0, 14 * strength)
        dim = np.random.default_rng([seed, 29])
        if not mild and dim.random() < 0.08:  # little light
            self.gain = self.gain * dim.uniform(0.15, 0.45)
        self.blur = 0.0 if mild or rng.random() < 0.5 else float(rng.uniform(0.3, 1.8))
        self.noise = float(rng.uniform(0, 12)) * strength
        y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        slope = rng.normal(0, 0.18 * strength, 2)
        shade = 1 + slope[0] * x + slope[1] * y - rng.uniform(0, 0.3) * strength * (x * x + y * y) / 2
        self.shade = (shade[..., None] * self.gain).astype(np.float32)
        self.pool = rng.standard_normal((height + 32, width + 32, 1), dtype=np.float32) * self.noise

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        dy, dx = self.rng.integers(0, 32, 2)
        h, w = picture.shape[:2]
        out = picture * self.shade + self.pool[dy : dy + h, dx : dx + w] + np.float32(self.offset)
        image = Image.fromarray(np.clip(out, 0, 255).astype(np.uint8))
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        return np.asarray(image)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG: in place of the camera's compression."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data).convert("RGB"))


def h264(pictures: list[np.ndarray], crf: int) -> list[np.ndarray]:
    """The pictures through x264, each a key frame: as on the daemon's key-frame path."""
    height, width = pictures[0].shape[:2]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 1)
    encoder.options = {"crf": str(crf), "preset": "veryfast", "g": "1", "bf": "0", "tune": "zerolatency"}
    encoder.thread_count = 1
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = [
        packet for index, picture in enumerate(pictures) for packet in encoder.encode(_video_frame(picture, index))
    ]
    packets += encoder.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + list(decoder.decode(None))
    return [frame.to_ndarray(format="rgb24") for frame in frames]


def _video_frame(picture: np.ndarray, index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame.pts = index
    return frame


class MovingScene(Protocol):
    """What can be filmed: a drawn scene or a group of photographic faces."""

    width: int
    height: int

    def frame(self, t: float) -> np.ndarray:
        """The picture at time t in s, u8 RGB [height, width, 3]."""


def clip_frames(scene: MovingScene, seed: int, start: float) -> np.ndarray:
    """Five frames u8 [5, 192, 192, 3] of a scene through a camera, at the network's size."""
    rng = np.random.default_rng([seed, 37])
    camera = Camera(seed, (scene.width, scene.height))
    delay = rng.uniform(0, 0.6)
    moments = [start + i + 0.5 - delay for i in range(FRAMES)]
    pictures = [camera(scene.frame(t)) for t in moments]
    if rng.random() < 0.35:
        pictures = h264(pictures, int(rng.integers(20, 36)))
    else:
        quality = int(rng.integers(25, 92))
        pictures = [jpeg(p, quality) for p in pictures]
    return np.stack([resize(p, SIZE, SIZE) for p in pictures])
