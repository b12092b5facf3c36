"""The sound of a group at a microphone: real vocal bursts and synthesised voices, crowds, a room, a background, a
level.

The label of a mix is that of its voices. Without voices (music, rain, engines, silence) it is neutral: no feeling is
audible.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE
from ger.contract.mel import SAMPLES
from ger.synthetic import noises, vocal_bursts
from ger.synthetic.voices import RATE, Array, applause, cheer, cry, far, laugh, reverberate, scream, shout, talk

# kinds that the held-out sounds are sorted by, with the label that each must get
KINDS = [
    "cheering",
    "applause",
    "laughter",
    "real amusement",
    "real elation and triumph",
    "screaming",
    "crying",
    "real fear and anger",
    "real sadness and distress",
    "talk",
    "real neutral voices",
    "music",
    "rain",
    "engine",
    "typing",
    "wind, hum, traffic, machines",
    "silence",
]
LABELS = dict(zip(KINDS, [POSITIVE] * 5 + [NEGATIVE] * 4 + [NEUTRAL] * 8, strict=True))
OTHER = -1  # a mix of several kinds
BURST_KINDS = {
    "real amusement": (2,),
    "real elation and triumph": (13, 28, 30),
    "real fear and anger": (15, 3),
    "real sadness and distress": (24, 11),
    "real neutral voices": (17, 18),
}
BY_LABEL = {label: [c for c, (_, its) in vocal_bursts.CATEGORIES.items() if its == label] for label in range(3)}


def burst_voice(rng: np.random.Generator, bursts: vocal_bursts.VocalBursts, categories: list[int], n: int) -> Array:
    """One person of the set: bursts of one category of theirs, one after another with pauses, pitch and level a
    little changed.
    """
    category = int(rng.choice(categories))
    person = int(rng.choice(bursts.people[category]))
    own = bursts.index[person, category]
    speed = float(np.exp(rng.normal(0, 0.06)))
    out, at = np.zeros(n), -int(rng.uniform(0, 1.0) * RATE)
    while at < n:
        burst = bursts.get(int(rng.choice(own)))
        burst = np.interp(np.arange(0, burst.size - 1, speed), np.arange(burst.size), burst)
        a, b = max(at, 0), min(at + burst.size, n)
        if b > a:
            out[a:b] += burst[a - at : b - at]
        at += burst.size + int(rng.exponential(0.5) * RATE)
    return out / (np.sqrt(np.mean(out**2)) + 1e-6)


def crowd(rng: np.random.Generator, label: int, n: int) -> Array:
    """Many synthesised voices at once: a cheering or an applauding hall, or a screaming or a shouting one."""
    count = int(rng.integers(6, 12))
    if label == POSITIVE:
        makers = [[cheer], [cheer, laugh], [laugh]][int(rng.choice(3, p=[0.4, 0.25, 0.35]))]
    else:
        makers = [[scream], [shout, scream], [cry], [shout]][int(rng.integers(4))]
    out = total((far(rng, makers[int(rng.integers(len(makers)))](rng, n)) for _ in range(count)), n)
    if label == POSITIVE and rng.random() < 0.5:
        clap = applause(rng, n, 14) + applause(rng, n, 14)
        out = out + clap / (clap.std() + 1e-9) * np.std(out) * rng.uniform(0.4, 2.0)
    return out


def synthetic(rng: np.random.Generator, label: int, n: int, people: int) -> Array:
    """Synthesised voices, or applause alone."""
    if label == POSITIVE and rng.random() < 0.25:
        return total((applause(rng, n, people + 2) * rng.uniform(0.5, 1) for _ in range(1 + people // 5)), n)
    if label != NEUTRAL and people >= 5 and rng.random() < 0.6:
        return crowd(rng, label, n)
    makers = {POSITIVE: [laugh, laugh, cheer], NEUTRAL: [talk], NEGATIVE: [shout, scream, cry, cry]}[label]
    if rng.random() < 0.6:
        makers = [makers[int(rng.integers(len(makers)))]]
    count = int(np.clip(people, 1, 6))
    return total((far(rng, makers[int(rng.integers(len(makers)))](rng, n)) for _ in range(count)), n)


def real(rng: np.random.Generator, label: int, n: int, people: int, bursts: vocal_bursts.VocalBursts) -> Array:
    """1 to 15 real voices: most of the label, the others of any."""
    count = int(np.clip(rng.integers(max(people // 2, 1), people + 1), 1, 15))
    out = np.zeros(n)
    narrow = [int(rng.choice(BY_LABEL[label]))] if rng.random() < 0.35 else BY_LABEL[label]
    for k in range(count):
        own = k == 0 or rng.random() < 0.85
        categories = narrow if own else BY_LABEL[int(rng.integers(3))]
        out += far(rng, burst_voice(rng, bursts, categories, n)) * (1.0 if own else 0.6)
    return out


def total(parts: Iterable[Array], n: int) -> Array:
    """The sum of sounds of n samples each."""
    return sum(parts, start=np.zeros(n))


def unit(samples: Array) -> Array:
    return samples / (np.sqrt(np.mean(samples**2)) + 1e-9)


def finish(rng: np.random.Generator, voices: Array, level: tuple[float, float] = (-36.0, -12.0)) -> Array:
    """Room, background, the microphone's band and level; f32 samples within [-1, 1]."""
    mix = unit(reverberate(rng, voices) if rng.random() < 0.7 else voices)
    if rng.random() < 0.75:
        kind = str(rng.choice(noises.KINDS[:-1], p=[0.3] + [0.1] * 7))
        mix = mix + noises.noise(rng, kind, mix.size) * 10 ** (-rng.uniform(2, 30) / 20)
    return microphone(rng, mix, level)


def microphone(rng: np.random.Generator, mix: Array, level: tuple[float, float]) -> Array:
    mix = sosfilt(butter(1, rng.uniform(30, 200), "highpass", fs=RATE, output="sos"), mix)
    if rng.random() < 0.45:
        mix = sosfilt(butter(4, rng.uniform(3000, 7600), "lowpass", fs=RATE, output="sos"), mix)
    mix = unit(mix) * 10 ** (rng.uniform(*level) / 20) + rng.standard_normal(mix.size) * 10 ** rng.uniform(-5, -3)
    return np.clip(mix, -1.0, 1.0).astype(np.float32)


def background_sound(seed: int, kind: str | None = None) -> tuple[Array, int]:
    """(5 s of a place without voices, number of its kind or -1)."""
    rng = np.random.default_rng([seed, 57])
    kind = kind or str(rng.choice(noises.KINDS, p=[0.24, 0.1, 0.1, 0.1, 0.1, 0.08, 0.1, 0.1, 0.08]))
    samples = noises.noise(rng, kind, SAMPLES)
    if kind == "silence":
        return np.clip(samples, -1, 1).astype(np.float32), KINDS.index("silence")
    if rng.random() < 0.3:
        samples = samples + noises.noise(rng, str(rng.choice(noises.KINDS[:-1])), SAMPLES) * rng.uniform(0.1, 0.7)
    if rng.random() < 0.4:
        samples = reverberate(rng, samples)
    named = kind if kind in KINDS else "wind, hum, traffic, machines"
    return microphone(rng, samples, (-50.0, -12.0)), KINDS.index(named)


def group_sound(seed: int, label: int, people: int, side: str, cache: Path) -> tuple[Array, int]:
    """(5 s of a group that sounds like its label, number of its kind or -1); a neutral one may be silent over a
    background.
    """
    rng = np.random.default_rng([seed, 53])
    if label == NEUTRAL and rng.random() < 0.45:
        return background_sound(seed)
    bursts = vocal_bursts.load(cache, side)
    how = rng.random()
    if how < 0.62:
        voices = real(rng, label, SAMPLES, people, bursts)
    elif how < 0.84:
        voices = synthetic(rng, label, SAMPLES, people)
    else:
        voices = unit(real(rng, label, SAMPLES, people, bursts)) + unit(
            synthetic(rng, label, SAMPLES, people)
        ) * rng.uniform(0.3, 1.5)
    return finish(rng, unit(voices)), OTHER


def named_sound(seed: int, kind: str, side: str, cache: Path) -> tuple[Array, int]:
    """(5 s of a named kind, its label)."""
    rng = np.random.default_rng([seed, 59])
    if kind in ("music", "rain", "engine", "typing", "silence"):
        return background_sound(seed, kind)[0], NEUTRAL
    if kind == "wind, hum, traffic, machines":
        return background_sound(seed, str(rng.choice(["wind", "hum", "traffic", "machines"])))[0], NEUTRAL
    people = int(rng.integers(2, 11))
    if kind in BURST_KINDS:
        bursts = vocal_bursts.load(cache, side)
        categories = list(BURST_KINDS[kind])
        each = (far(rng, burst_voice(rng, bursts, categories, SAMPLES)) for _ in range(people))
    elif kind == "applause":
        each = (applause(rng, SAMPLES, 14) for _ in range(1 + people // 4))
    else:
        maker = {"cheering": cheer, "laughter": laugh, "screaming": scream, "crying": cry, "talk": talk}[kind]
        each = (far(rng, maker(rng, SAMPLES)) for _ in range(people))
    return finish(rng, unit(total(each, SAMPLES))), LABELS[kind]
