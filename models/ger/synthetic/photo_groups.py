"""Groups of photographic faces: cut-outs on drawn bodies or floating, in rows or scattered, before photographs of
places.

`PhotoGroup` has the interface of `scenes.Scene`: `frame(t)` draws the picture at time t, `heads(t)` gives the places of
heads (for training only).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import skia
from PIL import Image, ImageFilter

from ger.contract import NEUTRAL
from ger.synthetic.appearance import Appearance, random_appearance
from ger.synthetic.canvas import LUMA, fill, rgb, surface, tint
from ger.synthetic.person_drawing import draw_arms, draw_body, draw_hair_back
from ger.synthetic.photographs import JOINED, RAW, UNLABELLED, WARPED, Photographs, oval_mask
from ger.synthetic.scenes import Scene, feelings

Mix = dict[int, tuple[float, float, float, float]]  # by feeling: shares of the kinds of faces

HALF = 37.0  # half a head's width in the 128-pixel cut-outs
SAMPLING = skia.SamplingOptions(skia.FilterMode.kLinear, skia.MipmapMode.kLinear)
# how often a face of a feeling is raw, joined, warped or unlabelled, by the scene's source
MIX: dict[str, Mix] = {
    "photo": {0: (0.55, 0.45, 0, 0), 1: (0.45, 0.15, 0, 0.4), 2: (0.5, 0.5, 0, 0)},
    "warped": {0: (0, 0, 1, 0), 1: (0, 0, 1, 0), 2: (0, 0, 1, 0)},
    "mixed": {0: (0.3, 0.25, 0.45, 0), 1: (0.3, 0.1, 0.35, 0.25), 2: (0.25, 0.3, 0.45, 0)},
}
HELD_MIX: dict[str, Mix] = {"photo": dict.fromkeys(range(3), (1, 0, 0, 0)), "warped": MIX["warped"]}
KINDS = [RAW, JOINED, WARPED, UNLABELLED]


@dataclass
class Person:
    """A head's place and picture; `feeling` 3 means that the face is not visible."""

    x: float
    y: float
    half: float
    tilt: float
    feeling: int
    picture: skia.Image | None
    look: Appearance
    stretch: tuple[float, float] = (1.0, 1.0)
    sway: np.ndarray = field(default_factory=lambda: np.zeros(3))


def cut_out(face: np.ndarray, rng: np.random.Generator, light: np.ndarray, contrast: float) -> skia.Image:
    """The face under the scene's light behind one of several feathered masks, as an RGBA picture."""
    grey = (face @ LUMA)[..., None]
    saturation = 0.0 if rng.random() < 0.06 else rng.uniform(0.45, 1.1)
    colour = grey + (face - grey) * saturation
    colour = ((colour - 112) * contrast * rng.uniform(0.85, 1.15) + 112 * np.exp(rng.normal(0, 0.12))) * light
    kind = rng.random()
    if kind < 0.5:
        mask = oval_mask(rx=rng.uniform(36, 42), ry=rng.uniform(50, 56), row=62, soft=rng.uniform(0.06, 0.22))
    elif kind < 0.8:
        mask = oval_mask(rx=rng.uniform(42, 58), ry=rng.uniform(54, 62), row=62, soft=rng.uniform(0.06, 0.3))
    else:
        mask = oval_mask(rx=rng.uniform(30, 36), ry=rng.uniform(42, 48), row=68, soft=rng.uniform(0.1, 0.3))
    pixels = np.dstack([np.clip(colour, 0, 255), mask * 255]).astype(np.uint8)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return skia.Image.fromarray(np.ascontiguousarray(pixels), colorType=skia.kRGBA_8888_ColorType)


class PhotoGroup:
    """A group of `people` whose majority shows `label`, from the photographs of one side of the split."""

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
        rng = self.rng = np.random.default_rng([seed, 71])
        self.width, self.height = size
        self.label, self.people, self.side = (label if people else NEUTRAL), people, side
        self.photographs, self.mix = photographs, (HELD_MIX if side == "held" else MIX)[source]
        self.light = (np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.08, 3))).astype(np.float32)
        self.contrast = float(np.exp(rng.normal(0, 0.15)))
        self.back = self._background(rng)
        self.floating = bool(rng.random() < 0.3)
        self.persons = self._place(rng, seed)
        self.distractors = [self._distractor(rng) for _ in range(int(rng.choice([0, 0, 1, 2, 5])))]
        self.front = [rng.uniform(0, 1, 6) for _ in range(int(rng.choice([0, 0, 0, 1, 2])))]
        self.pan = rng.uniform(-1, 1, 2)

    def _background(self, rng: np.random.Generator) -> skia.Image:
        """A part of a panorama's crop, or sometimes a drawn background."""
        if rng.random() < 0.12:
            return Scene(int(rng.integers(1 << 30)), 1, 0, self.side, (self.width, self.height)).background
        shot = self.photographs.backgrounds[int(rng.integers(len(self.photographs.backgrounds)))]
        share = rng.uniform(0.45, 1.0)
        w, h = int(448 * share), int(min(336, 448 * share * self.height / self.width))
        x, y = int(rng.integers(0, 449 - w)), int(rng.integers(0, 337 - h))
        part = Image.fromarray(shot[y : y + h, x : x + w]).resize((self.width, self.height), Image.Resampling.BICUBIC)
        if rng.random() < 0.4:
            part = part.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 4))))
        pixels = (
            np.asarray(part, np.float32)[:, :: -1 if rng.random() < 0.5 else 1]
            * self.light
            * np.exp(rng.normal(0, 0.15))
        )
        opaque = np.full((self.height, self.width, 1), 255, np.float32)
        return skia.Image.fromarray(
            np.dstack([np.clip(pixels, 0, 255), opaque]).astype(np.uint8), colorType=skia.kRGBA_8888_ColorType
        )

    def _place(self, rng: np.random.Generator, seed: int) -> list[Person]:
        if self.people == 0:
            return []
        own = feelings(rng, self.label, self.people)
        kind = rng.random()
        if self.people <= 4 and kind < 0.3:
            return [self._distant(rng, feeling) for feeling in own]
        if kind < 0.7:
            zoom = rng.uniform(0.5 if self.people < 10 else 0.75, 1.0)
            places = Scene(seed, self.label, self.people, self.side, (self.width, self.height)).placed
            return [
                self._person(rng, f, s.x, s.y, s.half * zoom * rng.uniform(0.85, 1.1), rng.normal(0, 8))
                for f, s in zip(own, places, strict=True)
            ]
        return self._scatter(rng, own)

    def _scatter(self, rng: np.random.Generator, own: list[int]) -> list[Person]:
        """Heads anywhere, hardly overlapping, some strongly tilted: as in the published synthetic scenes."""
        half = float(
            np.clip(
                rng.uniform(0.25, 0.5) * self.width / math.sqrt(len(own) + 1), 0.018 * self.width, 0.11 * self.width
            )
        )
        placed: list[tuple[float, float]] = []
        out = []
        for feeling in own:
            for _ in range(60):
                x, y = rng.uniform(half, self.width - half), rng.uniform(1.4 * half, self.height - 1.4 * half)
                if all(((x - a) / 2.0) ** 2 + ((y - b) / 2.6) ** 2 > half**2 for a, b in placed):
                    break
            placed.append((x, y))
            tilt = rng.uniform(-45, 45) if rng.random() < 0.35 else rng.normal(0, 8)
            out.append(self._person(rng, feeling, x, y, half * rng.uniform(0.8, 1.1), tilt))
        return sorted(out, key=lambda p: p.y)

    def _distant(self, rng: np.random.Generator, feeling: int) -> Person:
        """A whole person on foot, sometimes seen from behind."""
        half = self.width * rng.uniform(0.014, 0.045)
        person = self._person(
            rng,
            feeling,
            rng.uniform(0.08, 0.92) * self.width,
            rng.uniform(1.4 * half, self.height * 0.55),
            half,
            rng.normal(0, 5),
        )
        if self.people == 1 and rng.random() < 0.35:
            person.feeling, person.picture = 3, None
        person.look.arms = "legs"
        return person

    def _person(self, rng: np.random.Generator, feeling: int, x: float, y: float, half: float, tilt: float) -> Person:
        kind = KINDS[int(rng.choice(4, p=self.mix[feeling]))]
        face = self.photographs.pick(rng, feeling, kind).astype(np.float32)
        look = random_appearance(rng, self.side, feeling)
        look.skin = rgb(np.clip(face[66:84, 52:76].mean((0, 1)) * self.light, 10, 245))
        if rng.random() < 0.6:
            look.arms = "down"
        stretch = (float(rng.uniform(0.88, 1.12)), float(rng.uniform(0.9, 1.1)))
        return Person(
            x,
            y,
            half,
            float(tilt),
            feeling,
            cut_out(face, rng, self.light, self.contrast),
            look,
            stretch,
            rng.uniform(0, 6.3, 3),
        )

    def _distractor(self, rng: np.random.Generator) -> tuple[float, float, float, float, int, int]:
        """A round or oblong object that is no head: a balloon, a plate, a lamp."""
        colour = rng.normal(130, 60, 3) if rng.random() < 0.5 else np.array([200, 150, 120]) * rng.uniform(0.4, 1.1)
        size = self.width * rng.uniform(0.015, 0.06)
        tone = tint(rgb(np.clip(colour, 0, 255)), 1.0)
        return (
            float(rng.uniform(0, self.width)),
            float(rng.uniform(0, self.height)),
            size,
            size * rng.uniform(0.6, 1.6),
            tone,
            int(rng.integers(3)),
        )

    def at(self, person: Person, t: float) -> tuple[float, float, float]:
        """The head's centre and tilt at time t."""
        walk = person.half * (1.2 if person.look.arms == "legs" else 0.15)
        bob = (0.08, 0.02, 0.06, 0.02)[person.feeling]
        x = person.x + walk * math.sin(0.7 * t + person.sway[0]) + 4 * self.pan[0] * math.sin(0.5 * t)
        return (
            x,
            person.y + person.half * bob * math.sin(5.0 * t + person.sway[1]),
            person.tilt + 4 * math.sin(0.8 * t + person.sway[2]),
        )

    def _draw(self, canvas: skia.Canvas, p: Person, t: float) -> None:
        x, y, tilt = self.at(p, t)
        canvas.save()
        canvas.translate(x, y)
        canvas.scale(p.half, p.half)
        if not self.floating or p.look.arms == "legs":
            self._draw_body(canvas, p, t)
        canvas.rotate(tilt)
        if p.picture is None:  # seen from behind
            canvas.drawOval(skia.Rect.MakeLTRB(-1, -1.35, 1, 1.1), fill(tint(p.look.hair, 1.0)))
        else:
            canvas.scale(p.stretch[0] / HALF, p.stretch[1] / HALF)
            canvas.drawImage(p.picture, -64, -64, SAMPLING)
        canvas.restore()

    def _draw_body(self, canvas: skia.Canvas, p: Person, t: float) -> None:
        if p.look.arms != "legs":
            draw_hair_back(canvas, p.look)
            draw_body(canvas, p.look)
            draw_arms(canvas, p.look, t)
            return
        step = 0.8 * math.sin(3.0 * t + p.sway[0])
        trousers = tint(rgb(255 - c for c in p.look.shirt), 0.5)
        for side in (-1, 1):
            leg = skia.Paint(
                AntiAlias=True,
                Color=trousers,
                Style=skia.Paint.kStroke_Style,
                StrokeWidth=1.2,
                StrokeCap=skia.Paint.kRound_Cap,
            )
            canvas.drawLine(side * 0.6, 6.5, side * (0.7 + step), 12.5, leg)
            arm = skia.Paint(
                AntiAlias=True, Color=tint(p.look.shirt, 0.85), Style=skia.Paint.kStroke_Style, StrokeWidth=0.9
            )
            canvas.drawLine(side * 1.6, 2.3, side * (1.9 - 0.6 * step), 6.2, arm)
        torso = skia.Path()
        torso.addRoundRect(skia.Rect.MakeLTRB(-1.7, 1.5, 1.7, 7.2), 0.9, 0.9)
        canvas.drawPath(torso, fill(tint(p.look.shirt, 1.0)))
        canvas.drawRect(skia.Rect.MakeLTRB(-0.4, 0.8, 0.4, 1.8), fill(tint(p.look.skin, 0.85)))

    def frame(self, t: float) -> np.ndarray:
        """The picture at time t, u8 RGB [height, width, 3]."""
        pixels = np.zeros((self.height, self.width, 4), np.uint8)
        canvas = surface(pixels).getCanvas()
        canvas.drawImage(self.back, 0, 0)
        for x, y, rx, ry, tone, form in self.distractors:
            box = skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry)
            (canvas.drawRect if form == 2 else canvas.drawOval)(box, fill(tone))
        for person in self.persons:
            self._draw(canvas, person, t)
        for u in self.front:  # an object in front: a post, a plant, the back of a chair
            w, h = self.width * (0.02 + 0.05 * u[0]), self.height * (0.1 + 0.5 * u[1])
            tone = tint(rgb(200 * u[2:5]), 1.0)
            canvas.drawRect(skia.Rect.MakeXYWH(u[5] * self.width, self.height - h, w, h), fill(tone))
        return pixels[..., :3]

    def heads(self, t: float) -> np.ndarray:
        """Every head as (x, y, half width, half height, feeling), f32 [people, 5], within [0, 1] of the frame, back
        to front.
        """
        out = []
        for p in self.persons:
            x, y, _ = self.at(p, t)
            out.append((x / self.width, y / self.height, p.half / self.width, 1.3 * p.half / self.height, p.feeling))
        return np.array(out, np.float32).reshape(-1, 5)
