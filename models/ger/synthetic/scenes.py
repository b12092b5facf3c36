"""Scenes: a background, a group with a majority expression, motion, a camera and its compression.

`Scene(seed, ...)` is deterministic; `frame(t)` draws the moment t, in RGB. `clip_frames` gives what the
network sees: five frames, degraded like a camera's stream and squashed to a square.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import skia
from PIL import Image, ImageFilter

from ger.synthetic import backgrounds
from ger.synthetic.person_drawing import draw_person
from ger.synthetic.appearance import NEUTRAL, Look, random_look

BUCKETS = [0, 1, 2, 5, 10]
SIZE = 192
GRID = 24
FRAMES = 5
WINDOW = 5.0


def bucket(people: int) -> int:
    """The index of the group-size bucket: 0, 1, 2-4, 5-9, 10 and more."""
    return sum(people >= low for low in BUCKETS) - 1


def draw_count(rng: np.random.Generator) -> int:
    """How many people: every bucket is common enough to learn."""
    low, high = [(0, 0), (1, 1), (2, 4), (5, 9), (10, 30)][int(rng.choice(5, p=[0.06, 0.09, 0.22, 0.38, 0.25]))]
    return int(rng.integers(low, high + 1))


def feelings(rng: np.random.Generator, label: int, people: int) -> list[int]:
    """The label for a clear majority of the people, the others at random, shuffled."""
    share = rng.uniform(0.62, 1.0)
    same = max(int(round(share * people)), people // 2 + 1) if people else 0
    all_of_them = [label] * same + [int(v) for v in rng.integers(0, 3, people - same)]
    return [all_of_them[i] for i in rng.permutation(people)]


@dataclass
class Seat:
    """A person's place: head centre, half head width, sway."""

    look: Look
    x: float
    y: float
    half: float
    sway: np.ndarray


class Scene:
    """A drawn group whose majority shows `label` (an empty room is neutral)."""

    def __init__(self, seed: int, label: int, people: int, family: str = "train", size: tuple[int, int] = (640, 360)) -> None:
        rng = np.random.default_rng([seed, 11])
        self.width, self.height = size
        self.label = label if people else NEUTRAL
        self.people = people
        kinds = {"train": backgrounds.TRAIN, "held": backgrounds.HELD, "demo": ["room", "park", "cafe", "stage"]}[family]
        self.background = self._background(rng, str(rng.choice(kinds)), family)
        self.pan = rng.uniform(-1, 1, 4)
        self.seats = self._seats(rng, family)

    def _background(self, rng: np.random.Generator, kind: str, family: str) -> skia.Image:
        pixels = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = surface(pixels).getCanvas()
        backgrounds.draw_room(canvas, rng, kind, self.width, self.height)
        soft = Image.fromarray(pixels[..., :3]).filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3) + (family == "demo"))))
        return skia.Image.fromarray(np.dstack([np.asarray(soft), np.full(soft.size[::-1], 255, np.uint8)]),
                                    colorType=skia.kRGBA_8888_ColorType)

    def _seats(self, rng: np.random.Generator, family: str) -> list[Seat]:
        n = self.people
        if n == 0:
            return []
        rows = 1 if n <= 4 else 2 if n <= 12 else 3
        per_row = math.ceil(n / rows)
        pitch = self.width / (per_row + 0.3)
        wide = float(rng.uniform(0.24, 0.36)) if family != "demo" else 0.33
        half = float(np.clip(pitch * wide, 0.027 * self.width, self.height * (0.2 if rows == 1 else 0.14)))
        seats: list[Seat] = []
        own = feelings(rng, self.label, n)
        left = n
        for row in range(rows):  # the back row first
            count = min(left, per_row) if row < rows - 1 else left
            left -= count
            size = half * (0.86 + 0.14 * (row + 1) / rows)
            top, bottom = half * 1.7, max(self.height - half * (2.6 if rows > 1 else 2.2), half * 1.7)
            y = top + (bottom - top) * (row / (rows - 1) if rows > 1 else rng.uniform(0.25, 1.0))
            for k in range(count):
                x = (k + 0.5 + 0.5 * (row % 2) * (count > 1) * 0.6) * self.width / count - 0.15 * (row % 2) * pitch
                look = random_look(rng, family, own.pop())
                jitter = rng.normal(0, 1, 2) * (0.1 * pitch, 0.12 * size)
                scale = size * rng.uniform(0.9, 1.08)
                x = float(np.clip(x + jitter[0], scale, self.width - scale))
                y_head = float(np.clip(y + jitter[1], scale * 1.2, self.height - scale * 1.5))
                seats.append(Seat(look, x, y_head, scale, rng.uniform(0, 2 * math.pi, 3)))
        return seats

    def place(self, seat: Seat, t: float) -> tuple[float, float, float]:
        """The head's centre and tilt at time t: sway, bobbing with laughter or shouting."""
        bob = {"laugh": 0.1, "shout": 0.08, "cry": 0.06, "grin": 0.04}.get(seat.look.kind, 0.015)
        x = seat.x + seat.half * 0.14 * math.sin(0.9 * t + seat.sway[0]) + 3 * self.pan[0] * math.sin(0.5 * t + self.pan[1])
        y = seat.y + seat.half * bob * math.sin(5.5 * t + seat.sway[1])
        return x, y, 7.0 * math.sin(0.8 * t + seat.sway[2])

    def frame(self, t: float) -> np.ndarray:
        """The picture at time t, u8 RGB [height, width, 3]."""
        pixels = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = surface(pixels).getCanvas()
        canvas.drawImage(self.background, 0, 0)
        for seat in self.seats:
            x, y, tilt = self.place(seat, t)
            draw_person(canvas, seat.look, t, x, y, seat.half, tilt)
        return pixels[..., :3]

    def heads(self, t: float) -> np.ndarray:
        """Every head as (x, y, half width, half height, feeling), f32 [people, 5], within [0, 1] of the frame, back to front."""
        out = []
        for seat in self.seats:
            x, y, _ = self.place(seat, t)
            out.append((x / self.width, y / self.height, seat.half * 1.05 / self.width, seat.half * seat.look.aspect * 1.05 / self.height, seat.look.feeling))
        return np.array(out, np.float32).reshape(-1, 5)


def face_maps(heads: np.ndarray, cells: int = GRID) -> tuple[np.ndarray, np.ndarray]:
    """What training looks for, from `heads` f32 [K, 5] (rows with a feeling below 0 are padding): u8 [cells, cells] with 0 for nothing and
    1 + feeling on a face (a head without a face stays 0), and f32 [cells, cells] with a bump of 1 at each head's centre."""
    area, centre = np.zeros((cells, cells), np.uint8), np.zeros((cells, cells), np.float32)
    axis = (np.arange(cells) + 0.5) / cells
    for x, y, rx, ry, feeling in heads:
        if feeling < 0:
            continue
        area[np.ix_(axis > y + ry, np.abs(axis - x) < 2 * rx)] = 0  # the body hides who stands behind
        dx, dy = ((axis - x) / rx)[None, :], ((axis - y) / ry)[:, None]
        value = 0 if feeling == 3 else 1 + int(feeling)
        area[dx**2 + dy**2 < 1] = value
        row, column = (min(max(int(v * cells), 0), cells - 1) for v in (y, x))
        area[row, column] = value
        centre[row, column] = 1.0
    return area, centre


def surface(pixels: np.ndarray) -> skia.Surface:
    """A skia surface over an RGBA array."""
    info = skia.ImageInfo.Make(pixels.shape[1], pixels.shape[0], skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType)
    return skia.Surface.MakeRasterDirect(info, pixels)


class Camera:
    """A camera's faults, fixed for a clip: exposure, tint, blur, noise, vignette."""

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


def squash(picture: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The contract's resize rule, `squash-bicubic-antialias`."""
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG: a stand-in for the camera's compression."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data).convert("RGB"))


def h264(pictures: list[np.ndarray], crf: int) -> list[np.ndarray]:
    """The pictures through x264, each a key frame: what the daemon's key-frame path sees."""
    import av

    height, width = pictures[0].shape[:2]
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuv420p", __import__("fractions").Fraction(1, 1)
    codec.options = {"crf": str(crf), "preset": "veryfast", "g": "1", "bf": "0", "tune": "zerolatency"}
    codec.thread_count = 1
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = [p for i, q in enumerate(pictures) for p in codec.encode(_video_frame(av, q, i))] + list(codec.encode(None))
    frames = [f for p in packets for f in decoder.decode(p)] + list(decoder.decode(None))
    return [f.to_ndarray(format="rgb24") for f in frames]


def _video_frame(av: object, picture: np.ndarray, index: int) -> object:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame.pts = index
    return frame


def clip_frames(scene: Scene, seed: int, start: float) -> np.ndarray:
    """Five frames u8 [5, 192, 192, 3] of a `Scene` or `Group` as the network sees them."""
    rng = np.random.default_rng([seed, 37])
    camera = Camera(seed, (scene.width, scene.height))
    late = rng.uniform(0, 0.6)
    moments = [start + i + 0.5 - late for i in range(FRAMES)]
    pictures = [camera(scene.frame(t)) for t in moments]
    if rng.random() < 0.35:
        pictures = h264(pictures, int(rng.integers(20, 36)))
    else:
        quality = int(rng.integers(25, 92))
        pictures = [jpeg(p, quality) for p in pictures]
    return np.stack([squash(p) for p in pictures])
