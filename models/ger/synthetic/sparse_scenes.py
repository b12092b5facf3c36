"""Nobody, one or two people close to the camera, among objects that resemble people: the network learns from these
that they are no groups.

`SparseScene` has the interface of `photo_groups.PhotoGroup`. Bottles, vases, lamps and pictures on walls have the
outline of a head over a body; hands have the colour of faces. None of them is a person.
"""

from __future__ import annotations

import math

import numpy as np
import skia

from ger.synthetic.canvas import fill, rgb, surface, tint
from ger.synthetic.photo_groups import Person, PhotoGroup
from ger.synthetic.photographs import Photographs
from ger.synthetic.scenes import feelings


def draw_few(rng: np.random.Generator) -> int:
    """How many people: none and one equally often, sometimes two for contrast."""
    return int(rng.choice(3, p=[0.42, 0.42, 0.16]))


def colour(rng: np.random.Generator, alpha: float = 1.0) -> int:
    """A random colour, more often a pale one, with an opacity of 0 to 1."""
    channels = rng.normal(125, 55) + rng.normal(0, float(rng.choice([8, 25, 65])), 3)
    tone = tint(rgb(np.clip(channels, 0, 255)), 1.0)
    return skia.ColorSetA(tone, int(255 * alpha))


def draw_object(canvas: skia.Canvas, rng: np.random.Generator, x: float, foot: float, high: float) -> None:
    """One object at (x, foot), `high` pixels high."""
    kind, wide, alpha = (
        int(rng.integers(5)),
        high * rng.uniform(0.1, 0.22),
        float(rng.choice([1.0, 1.0, rng.uniform(0.3, 0.8)])),
    )
    body, cap = colour(rng, alpha), colour(rng)
    if kind == 0:  # a bottle: body, shoulders, neck, cap
        canvas.drawRoundRect(
            skia.Rect.MakeLTRB(x - wide, foot - 0.66 * high, x + wide, foot), wide * 0.5, wide * 0.6, fill(body)
        )
        shoulders = skia.Path()
        shoulders.addPoly(
            [
                skia.Point(x - wide, foot - 0.6 * high),
                skia.Point(x - wide * 0.35, foot - 0.86 * high),
                skia.Point(x + wide * 0.35, foot - 0.86 * high),
                skia.Point(x + wide, foot - 0.6 * high),
            ],
            True,
        )
        canvas.drawPath(shoulders, fill(body))
        canvas.drawRoundRect(
            skia.Rect.MakeLTRB(x - wide * 0.42, foot - high, x + wide * 0.42, foot - 0.86 * high), 2, 2, fill(cap)
        )
        label = foot - high * rng.uniform(0.3, 0.5)
        canvas.drawRect(skia.Rect.MakeLTRB(x - wide, label, x + wide, label + 0.18 * high), fill(colour(rng, 0.7)))
    elif kind == 1:  # a lamp or a plant: something round on a stem
        canvas.drawRect(skia.Rect.MakeLTRB(x - wide * 0.12, foot - high, x + wide * 0.12, foot), fill(body))
        canvas.drawOval(
            skia.Rect.MakeLTRB(x - wide, foot - high, x + wide, foot - high * rng.uniform(0.5, 0.75)), fill(cap)
        )
    elif kind == 2:  # a vase, a bowling pin: one oval on another
        canvas.drawOval(skia.Rect.MakeLTRB(x - wide, foot - 0.7 * high, x + wide, foot), fill(body))
        canvas.drawOval(
            skia.Rect.MakeLTRB(x - wide * 0.55, foot - high, x + wide * 0.55, foot - 0.55 * high), fill(cap)
        )
    elif kind == 3:  # a picture on a wall, a screen
        box = skia.Rect.MakeLTRB(x - 2 * wide, foot - high, x + 2 * wide, foot - 0.4 * high)
        canvas.drawRect(box, fill(body))
        box.inset(wide * 0.3, wide * 0.3)
        canvas.drawRect(box, fill(cap))
        canvas.drawOval(
            skia.Rect.MakeXYWH(x - wide * 0.6, foot - 0.85 * high, wide * 1.2, high * 0.3), fill(colour(rng))
        )
    else:  # a chair's back, a box, a bag
        canvas.drawRoundRect(
            skia.Rect.MakeLTRB(x - 1.6 * wide, foot - high, x + 1.6 * wide, foot), wide * 0.5, wide * 0.5, fill(body)
        )


class SparseScene(PhotoGroup):
    """At most two people, close, with moving hands, among objects."""

    def __init__(
        self,
        seed: int,
        label: int,
        people: int,
        photographs: Photographs,
        source: str = "mixed",
        side: str = "train",
        size: tuple[int, int] = (640, 360),
    ) -> None:
        super().__init__(seed, label, people, photographs, source, side, size)
        self.floating, self.front = False, []
        rng = np.random.default_rng([seed, 73])
        objects = int(rng.choice([0, 1, 2, 3, 4, 7], p=[0.2, 0.15, 0.2, 0.2, 0.15, 0.1]))
        self.back = self._furnished(rng, objects)
        self.hands = [
            (person, *rng.uniform(-1, 1, 3)) for person in self.persons for _ in range(int(rng.choice([0, 1, 2])))
        ]

    def _furnished(self, rng: np.random.Generator, objects: int) -> skia.Image:
        pixels = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = surface(pixels).getCanvas()
        if rng.random() < 0.3:  # a bare wall and a floor
            canvas.clear(colour(rng))
            edge = self.height * rng.uniform(0.5, 0.9)
            canvas.drawRect(skia.Rect.MakeLTRB(0, edge, self.width, self.height), fill(colour(rng)))
        else:
            canvas.drawImage(self.back, 0, 0)
        alike = rng.random() < 0.3  # several copies of one object
        repeated_seed = int(rng.integers(1 << 30))
        for _ in range(objects):
            place = (
                float(rng.uniform(0, self.width)),
                self.height * float(rng.uniform(0.55, 1.1)),
                self.height * float(rng.uniform(0.15, 0.65)),
            )
            draw_object(canvas, np.random.default_rng(repeated_seed) if alike else rng, *place)
        pixels[..., 3] = 255
        return skia.Image.fromarray(pixels.copy(), colorType=skia.kRGBA_8888_ColorType)

    def _place(self, rng: np.random.Generator, seed: int) -> list[Person]:  # noqa: ARG002  # as in PhotoGroup
        own = feelings(rng, self.label, self.people) if self.people else []
        half = self.width * float(np.exp(rng.uniform(math.log(0.03), math.log(0.13))))
        spots = (np.arange(len(own)) + rng.uniform(0.25, 0.75, len(own))) / max(len(own), 1)
        out = []
        for feeling, spot in zip(own, spots, strict=True):
            y = self.height * rng.uniform(0.1, 0.55) + half
            out.append(
                self._person(
                    rng, feeling, float(spot) * self.width, float(y), half * rng.uniform(0.85, 1.15), rng.normal(0, 8)
                )
            )
        return out

    def frame(self, t: float) -> np.ndarray:
        """The picture at time t, u8 RGB [height, width, 3]: as of a group, with hands in front of the people."""
        rgb = super().frame(t)
        pixels = np.dstack([rgb, np.full((self.height, self.width, 1), 255, np.uint8)])
        canvas = surface(pixels).getCanvas()
        for person, u, v, w in self.hands:
            x, y, _ = self.at(person, t)
            skin, size = tint(person.look.skin, 1.0 + 0.1 * w), person.half * (0.42 + 0.1 * w)
            x, y = x + person.half * (2.2 * u + 0.3 * math.sin(3 * t + 9 * v)), y + person.half * (2.2 + 1.6 * v)
            arm = skia.Paint(
                AntiAlias=True,
                Color=skin,
                Style=skia.Paint.kStroke_Style,
                StrokeWidth=size * 0.9,
                StrokeCap=skia.Paint.kRound_Cap,
            )
            canvas.drawLine(x, y, x + person.half * (0.8 if u > 0 else -0.8), y + 2.2 * person.half, arm)
            canvas.drawOval(skia.Rect.MakeLTRB(x - size * 0.8, y - size, x + size * 0.8, y + size), fill(skin))
        return np.ascontiguousarray(pixels[..., :3])
