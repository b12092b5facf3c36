"""Drawn scenes: a background, a group with a majority expression, and motion. The same seed draws the same scene."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import skia
from PIL import Image, ImageFilter

from ger.contract import NEUTRAL
from ger.synthetic import backgrounds
from ger.synthetic.appearance import Appearance, random_appearance
from ger.synthetic.canvas import surface
from ger.synthetic.person_drawing import draw_person


def draw_count(rng: np.random.Generator) -> int:
    """How many people; every bucket is frequent enough to be learnt."""
    low, high = [(0, 0), (1, 1), (2, 4), (5, 9), (10, 30)][int(rng.choice(5, p=[0.06, 0.09, 0.22, 0.38, 0.25]))]
    return int(rng.integers(low, high + 1))


def feelings(rng: np.random.Generator, label: int, people: int) -> list[int]:
    """The label for a clear majority of the people, random classes for the others, in random order."""
    share = rng.uniform(0.62, 1.0)
    same = max(round(share * people), people // 2 + 1) if people else 0
    all_of_them = [label] * same + [int(v) for v in rng.integers(0, 3, people - same)]
    return [all_of_them[i] for i in rng.permutation(people)]


@dataclass
class PlacedPerson:
    """A person's place: head centre and half a head's width in pixels, phases of the sway."""

    look: Appearance
    x: float
    y: float
    half: float
    sway: np.ndarray


class Scene:
    """A drawn group whose majority shows `label`; without people the label is neutral."""

    def __init__(
        self, seed: int, label: int, people: int, family: str = "train", size: tuple[int, int] = (640, 360)
    ) -> None:
        rng = np.random.default_rng([seed, 11])
        self.width, self.height = size
        self.label = label if people else NEUTRAL
        self.people = people
        kinds = {"train": backgrounds.TRAIN, "held": backgrounds.HELD, "demo": ["room", "park", "cafe", "stage"]}[
            family
        ]
        self.background = self._background(rng, str(rng.choice(kinds)), family)
        self.pan = rng.uniform(-1, 1, 4)
        self.placed = self._place(rng, family)

    def _background(self, rng: np.random.Generator, kind: str, family: str) -> skia.Image:
        pixels = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = surface(pixels).getCanvas()
        backgrounds.draw(canvas, rng, kind, self.width, self.height)
        soft = Image.fromarray(pixels[..., :3]).filter(
            ImageFilter.GaussianBlur(float(rng.uniform(0, 3) + (family == "demo")))
        )
        return skia.Image.fromarray(
            np.dstack([np.asarray(soft), np.full(soft.size[::-1], 255, np.uint8)]), colorType=skia.kRGBA_8888_ColorType
        )

    def _place(self, rng: np.random.Generator, family: str) -> list[PlacedPerson]:
        n = self.people
        if n == 0:
            return []
        rows = 1 if n <= 4 else 2 if n <= 12 else 3
        per_row = math.ceil(n / rows)
        pitch = self.width / (per_row + 0.3)
        wide = float(rng.uniform(0.24, 0.36)) if family != "demo" else 0.33
        half = float(np.clip(pitch * wide, 0.027 * self.width, self.height * (0.2 if rows == 1 else 0.14)))
        placed: list[PlacedPerson] = []
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
                look = random_appearance(rng, family, own.pop())
                jitter = rng.normal(0, 1, 2) * (0.1 * pitch, 0.12 * size)
                scale = size * rng.uniform(0.9, 1.08)
                x = float(np.clip(x + jitter[0], scale, self.width - scale))
                y_head = float(np.clip(y + jitter[1], scale * 1.2, self.height - scale * 1.5))
                placed.append(PlacedPerson(look, x, y_head, scale, rng.uniform(0, 2 * math.pi, 3)))
        return placed

    def place(self, person: PlacedPerson, t: float) -> tuple[float, float, float]:
        """The head's centre and tilt at time t: sway, bobbing with laughter or shouting."""
        bob = {"laugh": 0.1, "shout": 0.08, "cry": 0.06, "grin": 0.04}.get(person.look.kind, 0.015)
        x = (
            person.x
            + person.half * 0.14 * math.sin(0.9 * t + person.sway[0])
            + 3 * self.pan[0] * math.sin(0.5 * t + self.pan[1])
        )
        y = person.y + person.half * bob * math.sin(5.5 * t + person.sway[1])
        return x, y, 7.0 * math.sin(0.8 * t + person.sway[2])

    def frame(self, t: float) -> np.ndarray:
        """The picture at time t, u8 RGB [height, width, 3]."""
        pixels = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = surface(pixels).getCanvas()
        canvas.drawImage(self.background, 0, 0)
        for person in self.placed:
            x, y, tilt = self.place(person, t)
            draw_person(canvas, person.look, t, x, y, person.half, tilt)
        return pixels[..., :3]

    def heads(self, t: float) -> np.ndarray:
        """Every head as (x, y, half width, half height, feeling), f32 [people, 5], within [0, 1] of the frame, back
        to front.
        """
        out = []
        for person in self.placed:
            x, y, _ = self.place(person, t)
            out.append(
                (
                    x / self.width,
                    y / self.height,
                    person.half * 1.05 / self.width,
                    person.half * person.look.aspect * 1.05 / self.height,
                    person.look.feeling,
                )
            )
        return np.array(out, np.float32).reshape(-1, 5)
