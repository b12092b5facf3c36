"""The appearance of drawn people: face, hair, clothes, arms and expression, in units of half a head's width.

An `Appearance` does not change within a scene; an `Expression` is a set of continuous face parameters that
`expression_at` moves smoothly with time. `FAMILIES` reserves some traits for held-out clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import skia

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE
from ger.synthetic.canvas import Colour, rgb

# traits of one side of the split: eyes, jaws, shading
FAMILIES: dict[str, dict[str, list[str]]] = {
    "train": {"eyes": ["round", "almond", "dot"], "jaw": ["oval", "round", "heart"], "shade": ["soft", "flat", "line"]},
    "held": {"eyes": ["wide", "narrow"], "jaw": ["square", "long"], "shade": ["soft", "ink"]},
}
FAMILIES["demo"] = {"eyes": ["round", "almond", "wide"], "jaw": ["oval", "round", "heart", "square"], "shade": ["soft"]}

SKINS: list[Colour] = [(255, 224, 196), (241, 194, 160), (224, 172, 130), (198, 134, 92), (150, 96, 62), (98, 62, 42)]
HAIRS: list[Colour] = [
    (30, 24, 22),
    (62, 40, 26),
    (104, 68, 40),
    (164, 116, 62),
    (214, 178, 110),
    (150, 60, 34),
    (170, 168, 166),
]
KINDS = {
    POSITIVE: ["smile", "grin", "laugh"],
    NEUTRAL: ["calm", "talk", "listen"],
    NEGATIVE: ["shout", "scowl", "cry", "snarl"],
}
CHANCES = {POSITIVE: [0.3, 0.35, 0.35], NEUTRAL: [0.45, 0.35, 0.2], NEGATIVE: [0.35, 0.25, 0.25, 0.15]}


@dataclass
class Expression:
    """Face parameters; the defaults are a neutral face with a closed mouth and open eyes."""

    curve: float = 0.0  # mouth corners: +1 up, -1 down
    gape: float = 0.0  # mouth opening
    width: float = 0.45
    brow_inner: float = 0.0  # +1 raised (sad), -1 lowered (angry)
    brow_outer: float = 0.0
    eye: float = 1.0
    teeth: float = 0.0
    tears: float = 0.0
    blush: float = 0.0


@dataclass
class Appearance:
    """Everything about a person that does not change within a scene."""

    skin: Colour
    hair: Colour
    shirt: Colour
    eyes: str
    jaw: str
    shade: str
    style: str
    collar: str
    glasses: bool
    beard: float
    aspect: float
    light: float
    kind: str = "calm"
    feeling: int = NEUTRAL
    strength: float = 1.0
    arms: str = "down"
    phase: list[float] = field(default_factory=lambda: [0.0] * 6)


def random_shirt(rng: np.random.Generator) -> Colour:
    """A shirt's colour: any hue, mostly muted."""
    grey = rng.uniform(50, 215)
    return rgb(np.clip(grey + rng.normal(0, 38, 3), 15, 240))


def random_appearance(rng: np.random.Generator, family: str, feeling: int) -> Appearance:
    """Draws a person of a style family with a feeling."""
    traits = FAMILIES[family]
    mix = rng.random()
    first = int(rng.integers(0, len(SKINS) - 1))
    skin = rgb(a + (b - a) * mix for a, b in zip(SKINS[first], SKINS[first + 1], strict=True))
    styles = ["short", "long", "bob", "bald", "afro", "bun", "cap", "scarf", "quiff"]
    arms = {
        POSITIVE: ["down", "up", "clap", "wave"],
        NEUTRAL: ["down", "folded"],
        NEGATIVE: ["down", "fist", "folded", "head"],
    }[feeling]
    arm = str(rng.choice(arms)) if rng.random() < 0.55 else "down"
    if rng.random() < 0.15:  # a raised arm alone must not reveal the class
        arm = str(rng.choice(["up", "wave", "fist", "folded"]))
    low = 0.55 if family != "demo" else 0.85
    return Appearance(
        skin=skin,
        hair=HAIRS[int(rng.integers(len(HAIRS)))],
        shirt=random_shirt(rng),
        eyes=str(rng.choice(traits["eyes"])),
        jaw=str(rng.choice(traits["jaw"])),
        shade=str(rng.choice(traits["shade"])),
        style=str(rng.choice(styles)),
        collar=str(rng.choice(["v", "round", "shirt", "stripe"])),
        glasses=bool(rng.random() < 0.15),
        beard=float(rng.choice([0.0, 0.0, 0.0, 0.5, 1.0])),
        aspect=float(rng.uniform(1.18, 1.38)),
        light=float(rng.uniform(-0.5, 0.5)),
        kind=str(rng.choice(KINDS[feeling], p=CHANCES[feeling])),
        feeling=feeling,
        strength=float(rng.uniform(low, 1.0)),
        arms=arm,
        phase=[float(v) for v in rng.uniform(0, 2 * math.pi, 6)],
    )


def expression_at(look: Appearance, t: float) -> Expression:
    """The face at time t in s: the feeling's shape, with moving mouth and eyes."""
    s, p = look.strength, look.phase
    slow = 0.5 + 0.5 * math.sin(1.7 * t + p[0])
    fast = 0.5 + 0.5 * math.sin(11.0 * t + p[1])
    talk = max(0.0, math.sin(7.3 * t + p[2])) * (0.4 + 0.6 * slow)
    blink = 0.05 if math.sin(1.3 * t + p[3]) > 0.985 else 1.0
    e = Expression(eye=blink)
    if look.kind == "smile":
        e = Expression(0.95 * s, 0.04, 0.5 + 0.1 * s, 0.1, 0.15, 0.75 * blink, 0.0, 0.0, 0.5)
    elif look.kind == "grin":
        e = Expression(0.9 * s, 0.22 + 0.12 * slow, 0.52 + 0.1 * s, 0.15, 0.2, 0.65 * blink, 1.0, 0.0, 0.7)
    elif look.kind == "laugh":
        e = Expression(
            0.95 * s,
            0.4 + 0.35 * s * (0.6 * slow + 0.4 * fast),
            0.55 + 0.08 * s,
            0.2,
            0.3,
            0.12 + 0.3 * (1 - s),
            1.0,
            0.0,
            1.0,
        )
    elif look.kind == "talk":
        e = Expression(0.06 * math.sin(p[4]), 0.32 * talk, 0.36, 0.05 * slow, 0.05, 0.9 * blink)
    elif look.kind == "listen":
        e = Expression(0.1 * math.sin(p[4]), 0.02, 0.4, 0.1, 0.0, 0.85 * blink)
    elif look.kind == "calm":
        e = Expression(0.12 * math.sin(p[4]), 0.0, 0.42, 0.0, 0.0, 0.95 * blink)
    elif look.kind == "shout":
        e = Expression(-0.55 * s, 0.45 + 0.4 * s * (0.5 * slow + 0.5 * talk), 0.44, -0.9 * s, 0.25, 0.95, 0.6, 0.0, 0.6)
    elif look.kind == "snarl":
        e = Expression(-0.6 * s, 0.28 + 0.1 * slow, 0.5, -1.0 * s, 0.3, 0.7 * blink, 1.0, 0.0, 0.3)
    elif look.kind == "scowl":
        e = Expression(-0.85 * s, 0.0, 0.42, -0.95 * s, 0.2, 0.7 * blink)
    elif look.kind == "cry":
        e = Expression(-0.95 * s, 0.15 + 0.25 * slow, 0.42, 0.95 * s, -0.5, 0.25 * blink, 0.2, 1.0, 0.6)
    return e


def head_path(look: Appearance) -> skia.Path:
    """The outline of the head: forehead, then a jaw of the look's shape."""
    a = look.aspect
    jaw = {
        "oval": (0.86, 0.55),
        "round": (0.98, 0.7),
        "heart": (0.75, 0.4),
        "square": (0.98, 0.82),
        "long": (0.88, 0.62),
    }[look.jaw]
    if look.jaw == "long":
        a *= 1.1
    path = skia.Path()
    path.moveTo(-1.0, -0.15)
    path.cubicTo(-1.0, -a * 0.95, -0.6, -a, 0, -a)
    path.cubicTo(0.6, -a, 1.0, -a * 0.95, 1.0, -0.15)
    path.cubicTo(1.0, 0.35, jaw[0], a * 0.6, jaw[1], a * 0.85)
    path.quadTo(jaw[1] * 0.6, a * 1.02, 0, a * 1.02)
    path.quadTo(-jaw[1] * 0.6, a * 1.02, -jaw[1], a * 0.85)
    path.cubicTo(-jaw[0], a * 0.6, -1.0, 0.35, -1.0, -0.15)
    path.close()
    return path
